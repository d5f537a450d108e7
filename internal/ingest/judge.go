package ingest

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/telemetry"
)

// series is where samples of one spelling go.
type series struct {
	id   telemetry.SeriesID
	rule *rule // nil where no model says anything of the metric
}

// rule is what a device's model says of one series, resolved when the series
// was first seen. The source's mu guards it.
type rule struct {
	unit      string  // of its samples, as sent; empty: whatever is sent
	low, high float64 // in that unit; infinite where nothing is known
	store     int
	foreign   prometheus.Counter // counts samples in a unit that is not the model's

	flag telemetry.SeriesID // of its quality series; 0 until a sample was out of range
	// flagged is the time of the newest sample out of range that no good one has
	// followed, ms; 0 when there is none.
	flagged int64
	// good is the time of the newest sample within the range, ms; 0 when none came
	// since the hub started.
	good int64
}

// speaks reports whether a sample with this unit belongs to the series.
func (to series) speaks(unit []byte) bool {
	return to.rule == nil || len(unit) == 0 || to.rule.unit == "" || string(unit) == to.rule.unit
}

// storeOf returns the store of a series. The caller holds mu.
func (s *source) storeOf(to series) int {
	if to.rule != nil {
		return to.rule.store
	}
	return s.store
}

// saying is what the model says of a sample's series.
type saying struct {
	rule *rule
	unit []byte // part of the key: as sent, where the model writes another
	tag  []byte // value of the tag unit: where it is another unit, too
}

// modelled looks a sample up in the model of its device, or refuses a metric
// that the model does not take.
func (p *Pipeline) modelled(src *source, s *telemetry.Sample) (saying, telemetry.Reject) {
	device := src.device.Load()
	model := device.Model
	if model == nil {
		return saying{}, telemetry.Reject{}
	}
	metric := model.Metric(s.Metric)
	if metric == nil {
		return saying{}, unlisted(model, s)
	}
	r := &rule{unit: metric.Unit, low: metric.Min, high: metric.Max, store: storeOf(max(device.EffectiveGrade(), metric.Grade))}
	if metric.Unit == "" && math.IsInf(metric.Min, -1) && math.IsInf(metric.Max, 1) && r.store == src.store {
		return saying{}, telemetry.Reject{} // it is listed, and nothing is said of it
	}
	if metric.Unit == "" || len(s.Unit) == 0 || string(s.Unit) == metric.Unit {
		return saying{rule: r}, telemetry.Reject{}
	}
	r.unit = string(s.Unit)
	says := saying{rule: r, unit: s.Unit}
	if telemetry.SameUnit(r.unit, metric.Unit) {
		return says, telemetry.Reject{}
	}
	if !slices.ContainsFunc(s.Tags, func(t telemetry.Tag) bool { return string(t.Name) == telemetry.UnitTag }) {
		says.tag = s.Unit
	}
	var known bool
	r.foreign = p.metrics.foreign[0]
	if r.low, r.high, known = telemetry.ConvertRange(metric.Min, metric.Max, metric.Unit, r.unit); !known {
		r.low, r.high, r.foreign = math.Inf(-1), math.Inf(1), p.metrics.foreign[1]
	}
	return says, telemetry.Reject{}
}

// unlisted refuses a metric that is not in the model where the model is closed,
// or where it is the name of what the hub writes itself.
func unlisted(model *telemetry.Model, s *telemetry.Sample) telemetry.Reject {
	if base, quality := bytes.CutSuffix(s.Metric, []byte(telemetry.OutOfRange)); quality && model.Metric(base) != nil {
		return rejectSample(s, telemetry.ReasonMetricInvalid, fmt.Sprintf("metric %q: the hub writes it, for samples of %q out of the model's range; send another name", clip(s.Metric), clip(base)))
	}
	if model.Closed {
		return rejectSample(s, telemetry.ReasonMetricUnknown, fmt.Sprintf("metric %q is not in model %s, which takes no others", clip(s.Metric), model.ID))
	}
	return telemetry.Reject{}
}

// flag is what is to be said of the quality of a sample, once it is durable.
type flag struct {
	rule    *rule
	message int32 // index in Messages
	sample  int32 // index in batch.Samples
	at      int64 // ms
	value   float64
}

// judge holds the sample at k of the message at i against its rule. The caller
// holds src.mu.
func (p *Pipeline) judge(d *Delivery, src *source, r *rule, i int32, k int) {
	s := &d.batch.Samples[k]
	if r.foreign != nil {
		r.foreign.Inc()
	}
	if r.unit == "" && len(s.Unit) > 0 {
		p.noteUnit(d, s)
	}
	switch {
	case p.holdings[r.store].store == nil: // the stage grade refuses it
	case s.Value < r.low || s.Value > r.high:
		if r.flag == 0 && !p.claimFlag(src, r, s) {
			p.metrics.unflagged.Inc()
			return
		}
		d.flags = append(d.flags, flag{r, i, int32(k), s.Time, 1})
		if s.Time < r.good { // late: it is history, and must not stand as what is now
			d.flags = append(d.flags, flag{r, i, int32(k), r.good, 0})
			return
		}
		r.flagged = max(r.flagged, s.Time)
	case math.IsNaN(s.Value):
	default:
		r.good = max(r.good, s.Time)
		if r.flagged != 0 && s.Time > r.flagged {
			d.flags = append(d.flags, flag{r, i, int32(k), s.Time, 0})
		}
	}
}

// claimFlag finds the quality series of a sample's own; false when there is no
// room for it.
func (p *Pipeline) claimFlag(src *source, r *rule, s *telemetry.Sample) bool {
	says, _ := p.modelled(src, s)
	labels, bad := p.labels(src, s, says.tag)
	if bad.Reason != "" || len(src.ids[plainStore])+len(src.ids[sealedStore]) >= p.deps.Quotas.Series() {
		return false
	}
	for i := range labels {
		if labels[i].Name == "__name__" {
			labels[i].Value += telemetry.OutOfRange
		}
	}
	id, ok := p.claim(src, r.store, labels)
	if ok {
		r.flag = id
	}
	return ok
}

// writeFlags makes durable what judge found of the samples that are stored:
// what is acknowledged is flagged, and what was refused is not.
func (p *Pipeline) writeFlags(d *Delivery) error {
	if len(d.flags) == 0 {
		return nil
	}
	var points [stores][]telemetry.Point
	for _, f := range d.flags {
		if d.stored(f.rule.store, f.sample) {
			points[f.rule.store] = append(points[f.rule.store], telemetry.Point{Series: f.rule.flag, Time: f.at, Value: f.value})
		}
	}
	if err := p.write(points); err != nil {
		return err
	}
	for _, f := range d.flags {
		if f.value == 0 && d.stored(f.rule.store, f.sample) {
			src := d.Messages[f.message].source
			src.mu.Lock()
			if f.at > f.rule.flagged {
				f.rule.flagged = 0
			}
			src.mu.Unlock()
		}
	}
	return nil
}

// stored reports whether the store took a sample.
func (d *Delivery) stored(store int, sample int32) bool {
	point, found := slices.BinarySearch(d.samples[store], sample)
	if !found {
		return false
	}
	refused := d.write[store].Refused
	at := sort.Search(len(refused), func(i int) bool { return refused[i].Index >= point })
	return at == len(refused) || refused[at].Index != point
}

// keepable returns the message as the desk may keep it: of data that must not
// lie on the plain disk, and of V2X, whose bytes hold tracks of people, only
// what became of it.
func (m *Message) keepable() *Message {
	if m.Format.Road() {
		return &Message{Device: m.Device, Format: m.Format, Rejects: m.Rejects}
	}
	if m.source == nil || !m.withhold {
		return m
	}
	kept := Message{Device: m.Device, Format: m.Format, Decode: m.Decode, Rejects: slices.Clone(m.Rejects)}
	for i := range kept.Rejects {
		if kept.Rejects[i].Reason != telemetry.ReasonGradeUnsupported {
			kept.Rejects[i].Detail = "withheld: the device reports data of a grade above general"
		}
	}
	return &kept
}
