package register

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/telemetry"
)

// maxSeries bounds what is looked at of one dataset.
const maxSeries = 10_000

// Series is one that a selector selects.
type Series struct {
	Metric string
	Labels map[string]string // the reserved ones among them
	Unit   string
	// Grade is that of the device or of the metric, whichever is higher.
	Grade telemetry.Grade
	// Period is how often it is measured; 0 for not known.
	Period time.Duration
}

// Metric is what models know of one.
type Metric struct {
	// Title is empty where no model says it.
	Title Text
	Unit  string
}

// Device is one that a dataset comes from.
type Device struct {
	ID, Kind, Region string
	Series           []string // metrics with their tags
}

// Lineage is where the rows of a dataset come from, as far as the register
// knows.
type Lineage struct {
	Dataset string
	Source  Source
	// Devices is empty for sources that are no series.
	Devices []Device
	// Cut says that there are more than could be looked at.
	Cut bool
}

// Lineage tells from which series of which devices a dataset is made.
func (r *Register) Lineage(ctx context.Context, id string) (*Lineage, error) {
	rec, err := r.Get(id)
	if err != nil {
		return nil, err
	}
	l := &Lineage{Dataset: id, Source: rec.Document.Source}
	if rec.dataset.Source.Kind != catalog.SourceSeries {
		return l, nil
	}
	all, err := r.deps.Series(ctx, rec.Document.Source.Selector, maxSeries+1)
	if err != nil {
		return nil, err
	}
	if len(all) > maxSeries {
		all, l.Cut = all[:maxSeries], true
	}
	by := map[string]*Device{}
	for _, s := range all {
		id := s.Labels["device"]
		d := by[id]
		if d == nil {
			d = &Device{ID: id, Kind: s.Labels["kind"], Region: s.Labels["region"]}
			by[id] = d
		}
		d.Series = append(d.Series, s.name())
	}
	for _, id := range slices.Sorted(maps.Keys(by)) {
		slices.Sort(by[id].Series)
		l.Devices = append(l.Devices, *by[id])
	}
	return l, nil
}

// reserved are the labels that the registry gives.
var reserved = []string{"device", "kind", "site", "region"}

func (s *Series) name() string {
	var tags []string
	for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
		if !slices.Contains(reserved, name) {
			tags = append(tags, fmt.Sprintf("%s=%q", name, s.Labels[name]))
		}
	}
	if len(tags) == 0 {
		return s.Metric
	}
	return s.Metric + "{" + strings.Join(tags, ",") + "}"
}

// Draft writes a document from what is measured: items with units and the names
// that models know, the region that all of it lies in, the cycle, and a text of
// what there is. A person completes it. It is kept nowhere.
func (r *Register) Draft(ctx context.Context, id, selector string) (*Document, error) {
	if _, err := r.deps.Selection(selector); err != nil {
		return nil, &Invalid{Of: "the draft", Problems: []catalog.Problem{{Path: "selector", ZH: "不是 PromQL 序列选择器：" + err.Error(), EN: "is no selector of series in PromQL: " + err.Error()}}}
	}
	all, err := r.deps.Series(ctx, selector, maxSeries)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, &Invalid{Of: "the draft", Problems: []catalog.Problem{{Path: "selector", ZH: "近期没有序列符合", EN: "selects no series of late; see `hub query`"}}}
	}
	s := survey(all)
	d := &Document{
		ID: orElse(id, s.id()), Region: s.region, Grade: s.grade.String(),
		Source: Source{Kind: string(catalog.SourceSeries), Selector: selector, Bin: "1h", Function: string(catalog.Mean), By: []string{"device"}},
		Share:  Terms{Class: string(catalog.Unconditional)}, Open: Terms{Class: string(catalog.Unconditional)},
		Cycle: Cycle{Kind: string(catalog.Periodic), Period: "1h"},
	}
	if s.grade > telemetry.General { // such data are never for everybody
		d.Share.Class, d.Open.Class = string(catalog.Conditional), string(catalog.None)
	}
	d.Items = []Item{
		{Name: "time", Title: Text{"时间", "Time"}, Type: string(catalog.Instant)},
		{Name: "device", Title: Text{"设备", "Device"}, Type: string(catalog.String), Length: telemetry.MaxDeviceID},
	}
	var zh, en []string
	for _, name := range slices.Sorted(maps.Keys(s.metrics)) {
		m := r.deps.Metric(name)
		title := Text{m.Title.ZH, orElse(m.Title.EN, strings.ReplaceAll(name, "_", " "))}
		d.Items = append(d.Items, Item{Name: itemName(name), Title: title, Type: string(catalog.Number), Unit: orElse(m.Unit, s.metrics[name])})
		zh, en = append(zh, orElse(title.ZH, name)), append(en, title.EN)
	}
	d.Title = Text{EN: strings.Join(en[:min(3, len(en))], ", ") + " (" + d.ID + ")"}
	d.Abstract = Text{
		ZH: fmt.Sprintf("%d 台设备的 %d 条序列：%s；区划 %s；测量间隔约 %s。按小时取平均值。", s.devices, len(all), strings.Join(zh, "、"), orElse(s.region, "不限"), s.often("不详")),
		EN: fmt.Sprintf("%d series of %d devices: %s; region %s; measured about every %s. Averages by the hour.", len(all), s.devices, strings.Join(en, ", "), orElse(s.region, "any"), s.often("unknown time")),
	}
	return d, nil
}

// surveyed is what series have in common.
type surveyed struct {
	metrics map[string]string // unit by name
	devices int
	region  string
	grade   telemetry.Grade
	period  time.Duration
}

func survey(all []Series) (s surveyed) {
	s.metrics, s.region, s.grade = map[string]string{}, all[0].Labels["region"], telemetry.General
	devices := map[string]bool{}
	var periods []time.Duration
	for _, one := range all {
		s.metrics[one.Metric] = cmp.Or(s.metrics[one.Metric], one.Unit)
		devices[one.Labels["device"]] = true
		s.grade = max(s.grade, one.Grade)
		if one.Period > 0 {
			periods = append(periods, one.Period)
		}
		for s.region != "" && !strings.HasPrefix(one.Labels["region"], s.region) {
			s.region = s.region[:max(0, len(s.region)-2)]
		}
	}
	s.devices = len(devices)
	if slices.Sort(periods); len(periods) > 0 {
		s.period = periods[len(periods)/2]
	}
	return s
}

func (s *surveyed) often(unknown string) string {
	if s.period == 0 {
		return unknown
	}
	return s.period.String()
}

// id makes one of the first metric and the region.
func (s *surveyed) id() string {
	first := slices.Sorted(maps.Keys(s.metrics))[0]
	id := strings.Trim(strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(first)), "-")
	id = strings.Trim(id[:min(len(id), 50)], "-")
	if s.region != "" {
		id = strings.Trim(id+"-"+s.region, "-")
	}
	return orElse(id, "dataset")
}

// itemName makes a name for a column of that of a metric.
func itemName(metric string) string {
	name := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(metric))
	if name == "" || name[0] < 'a' || name[0] > 'z' {
		name = "m_" + strings.TrimLeft(name, "_")
	}
	return name[:min(len(name), 63)]
}
