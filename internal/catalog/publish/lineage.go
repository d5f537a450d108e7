package publish

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/release"
	"github.com/songhua-io/hub/internal/catalog/source"
)

// tree is what is kept of where the rows of a version come from.
type tree struct {
	Transform Transform      `json:"transform"`
	Bin       time.Duration  `json:"bin_ns"`
	Inputs    []source.Input `json:"inputs"`
	Groups    []source.Group `json:"groups"`
	// Devices are as they were when it was made, by id.
	Devices map[string]Device `json:"devices"`
	// Behind are the series of persons that inputs are sums of: grades are followed by
	// them, and no lineage has them.
	Behind []source.Input `json:"behind,omitempty"`
}

// lineageOf writes down where rows come from.
func (p *Publisher) lineageOf(ctx context.Context, pub *publication, made *rows) ([]byte, error) {
	t := tree{Bin: made.Bin, Inputs: made.Inputs, Groups: made.Groups, Devices: map[string]Device{}, Behind: made.behind}
	var err error
	if t.Transform, err = transformOf(pub.Dataset); err != nil {
		return nil, err
	}
	for i := range t.Inputs {
		id := t.Inputs[i].Labels["device"]
		if _, known := t.Devices[id]; id != "" && !known {
			t.Devices[id] = p.deps.Device(ctx, id)
		}
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	err = errors.Join(json.NewEncoder(z).Encode(t), z.Close())
	return b.Bytes(), err
}

func (p *Publisher) tree(ctx context.Context, of ref) (*tree, error) {
	var t *tree
	err := p.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var packed []byte
		if err := rows.Scan(&packed); err != nil {
			return err
		}
		z, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return err
		}
		t = &tree{}
		return json.NewDecoder(z).Decode(t)
	}, "SELECT lineage FROM publications WHERE dataset = ? AND version = ?", of.Dataset, of.Version)
	if err == nil && t == nil {
		err = fmt.Errorf("version %d of dataset %.70q %w; see `hub release list %s`", of.Version, of.Dataset, ErrUnknown, of.Dataset)
	}
	return t, err
}

// Lineage is where rows of a release come from.
type Lineage struct {
	Dataset   string
	Version   int64
	Period    catalog.Period
	Made      time.Time
	Replaces  int64
	Reason    catalog.Text
	Transform Transform
	// Row is the one that is asked for, from 0; -1: all. By are the labels that it
	// keeps, with their values, and At when its bin begins.
	Row int
	By  []string
	At  time.Time
	// Series are those that went into it, and Devices those that measured them, as
	// they were when the release was made.
	Series  []source.Input
	Devices []Device
	// Corrections are those that its samples were read with, the oldest first.
	Corrections []Correction
}

// Lineage answers from which series of which devices a row of a version is, or all
// rows where row is -1. Version 0 is the newest.
func (p *Publisher) Lineage(ctx context.Context, dataset string, version int64, row int) (*Lineage, error) {
	pub, err := p.version(ctx, dataset, version)
	if err != nil {
		return nil, err
	}
	t, err := p.tree(ctx, ref{dataset, pub.Version})
	if err != nil {
		return nil, err
	}
	l := &Lineage{Dataset: dataset, Version: pub.Version, Period: pub.Period, Made: pub.At, Replaces: pub.Replaces, Reason: pub.Reason, Transform: t.Transform, Row: row}
	inputs, of := make([]int, 0, len(t.Inputs)), pub.Period
	if row < 0 {
		l.Row = -1
		for i := range t.Inputs {
			inputs = append(inputs, i)
		}
	} else {
		g := t.group(row)
		if g == nil {
			return nil, fmt.Errorf("row %d of version %d of dataset %s %w: its rows are numbered from 0 to %d", row, pub.Version, dataset, ErrUnknown, t.rows()-1)
		}
		inputs, l.By = g.Inputs, g.By
		bin := cmp.Or(g.Bin, t.Bin)
		l.At = pub.Period.From.Add(time.Duration(g.At(row-g.Row)) * bin)
		of = catalog.Period{From: l.At, To: l.At.Add(bin)}
	}
	seen := map[string]bool{}
	for _, i := range inputs {
		in := t.Inputs[i]
		l.Series = append(l.Series, in)
		if d, known := t.Devices[in.Labels["device"]]; known && !seen[d.ID] {
			seen[d.ID] = true
			l.Devices = append(l.Devices, d)
		}
	}
	sort.Slice(l.Devices, func(i, j int) bool { return l.Devices[i].ID < l.Devices[j].ID })
	if pub.Dataset.Source.Kind != catalog.SourceRoads { // made of what passed, which is no series
		l.Corrections = about(p.deps.Corrections(time.Time{}, pub.At, of), l.Series)
	}
	return l, nil
}

// Stretches say of all rows of a version, in their order, where what they are made
// of was measured: in the regions that series have, or that their devices were of
// when it was made. What had none has an empty one.
func (p *Publisher) Stretches(ctx context.Context, dataset string, version int64) ([]release.Stretch, error) {
	t, err := p.tree(ctx, ref{dataset, version})
	if err != nil {
		return nil, err
	}
	pub, err := p.one(ctx, dataset, version)
	if err != nil {
		return nil, err
	}
	all := make([]release.Stretch, len(t.Groups))
	for i := range t.Groups {
		g := &t.Groups[i]
		all[i] = release.Stretch{Rows: g.Rows(), Bin: cmp.Or(g.Bin, t.Bin)}
		if pub.Dataset.Source.Kind != catalog.SourceRoads { // whose groups are of a code, which is a link or a district
			all[i].Key = g.By
		}
		for _, in := range g.Inputs {
			labels := t.Inputs[in].Labels
			region := cmp.Or(labels["region"], t.Devices[labels["device"]].Region)
			if !slices.Contains(all[i].Regions, region) {
				all[i].Regions = append(all[i].Regions, region)
			}
		}
	}
	return all, nil
}

// version is that of a number, or the newest that is out.
func (p *Publisher) version(ctx context.Context, dataset string, version int64) (*publication, error) {
	if version != 0 {
		return p.one(ctx, dataset, version)
	}
	all, err := p.publications(ctx, "dataset = ? AND released > 0 ORDER BY version DESC LIMIT 1", dataset)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("a release of dataset %.70q %w: none was made yet; `hub release make %s`", dataset, ErrUnknown, dataset)
	}
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// group is the one that a row is of; nil: there is no such row.
func (t *tree) group(row int) *source.Group {
	i := sort.Search(len(t.Groups), func(i int) bool { return t.Groups[i].Row > row }) - 1
	if i < 0 || row >= t.Groups[i].Row+t.Groups[i].Rows() {
		return nil
	}
	return &t.Groups[i]
}

func (t *tree) rows() int {
	if len(t.Groups) == 0 {
		return 0
	}
	last := &t.Groups[len(t.Groups)-1]
	return last.Row + last.Rows()
}
