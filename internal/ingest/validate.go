package ingest

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/songhua-io/hub/internal/telemetry"
)

// validate makes a point of every sample with a finite value, a time within
// the device's window, and a series that the device may have.
func (p *Pipeline) validate(d *Delivery) {
	late, past := p.lateBefore(d), p.pastBefore(d)
	for _, i := range d.open {
		m := &d.Messages[i]
		if m.source == nil {
			continue
		}
		m.newest = math.MinInt64
		src := m.source
		w := p.window(src.device.Load(), d.now)
		now, newest := d.now.UnixMilli(), src.event.Load()
		src.mu.Lock()
		m.withhold = src.withhold
		if src.gone {
			m.refuse(telemetry.StageIdentify, telemetry.ReasonUnknownDevice, fmt.Sprintf("device %q was removed", m.Device))
		}
		for k := m.first; k < m.last; k++ {
			s := &d.batch.Samples[k]
			if r := w.check(s); r.Reason != "" {
				if r.Reason != telemetry.ReasonNotFinite && !m.History {
					src.arrivals.Refused++
				}
				m.Rejects = append(m.Rejects, r)
				continue
			}
			to, r := p.seriesOf(d, m, s)
			if r.Reason != "" {
				if r.Reason == telemetry.ReasonSeriesLimit && p.full(src) {
					p.deps.Quotas.RefusedSeries(m.From)
				}
				m.Rejects = append(m.Rejects, r)
				continue
			}
			store := src.store
			if to.rule != nil {
				store = to.rule.store
				p.judge(d, src, to.rule, i, k)
			} else if len(s.Unit) > 0 {
				p.noteUnit(d, s)
			}
			m.newest = max(m.newest, s.Time)
			if !m.History {
				src.arrivals.Came(now, s.Time, newest)
				if s.Time < late {
					d.late = append(d.late, int32(k))
				}
			}
			if s.Time < past {
				d.isPast(i, s.Time)
			}
			d.write[store].Points = append(d.write[store].Points, telemetry.Point{Series: to.id, Time: s.Time, Value: s.Value})
			d.samples[store] = append(d.samples[store], int32(k))
		}
		src.mu.Unlock()
		p.noteStates(d, i)
	}
}

// window is the range of times that is accepted, in milliseconds.
type window struct{ oldest, newest int64 }

func (p *Pipeline) window(device *telemetry.Device, now time.Time) window {
	future, oldest := p.cfg.FutureSkew, p.deps.Store.Oldest(now)
	if len(p.cfg.Windows) > 0 {
		own := p.cfg.Windows[string(device.Kind)]
		future = cmp.Or(own.Future, future)
		if own.Past > 0 && now.Add(-own.Past).After(oldest) {
			oldest = now.Add(-own.Past)
		}
	}
	return window{oldest.UnixMilli(), now.Add(future).UnixMilli()}
}

func (w window) check(s *telemetry.Sample) telemetry.Reject {
	switch {
	case s.Time > w.newest:
		return rejectSample(s, telemetry.ReasonTimeFuture, fmt.Sprintf("%s of %q; accepted until %s", atTime(s.Time), clip(s.Metric), atTime(w.newest)))
	case s.Time < w.oldest:
		return rejectSample(s, telemetry.ReasonTimePast, fmt.Sprintf("%s of %q; accepted from %s", atTime(s.Time), clip(s.Metric), atTime(w.oldest)))
	case math.IsInf(s.Value, 0), math.IsNaN(s.Value) && !telemetry.IsStaleMarker(s.Value):
		return rejectSample(s, telemetry.ReasonNotFinite, fmt.Sprintf("%q is %v", clip(s.Metric), s.Value))
	}
	return telemetry.Reject{}
}

// seriesOf returns the series of a sample. The caller holds the mu of m.source.
func (p *Pipeline) seriesOf(d *Delivery, m *Message, s *telemetry.Sample) (series, telemetry.Reject) {
	src := m.source
	if len(s.Tags) == 0 {
		if to, ok := src.plain[string(s.Metric)]; ok && to.speaks(s.Unit) {
			return to, telemetry.Reject{}
		}
	} else {
		src.key = appendKey(src.key[:0], s, nil)
		if to, ok := src.tagged[string(src.key)]; ok && to.speaks(s.Unit) {
			return to, telemetry.Reject{}
		}
	}
	if src.foreign && len(s.Unit) > 0 {
		src.key = appendKey(src.key[:0], s, s.Unit)
		if to, ok := src.tagged[string(src.key)]; ok {
			return to, telemetry.Reject{}
		}
	}
	return p.newSeries(d, m, s)
}

// appendKey writes metric and tags as sent, and a unit that is not the model's.
// The separators occur in no valid name, and only valid samples are ever put
// under a key.
func appendKey(key []byte, s *telemetry.Sample, unit []byte) []byte {
	key = append(key, s.Metric...)
	if len(unit) > 0 {
		key = append(key, 0xfd)
		key = append(key, unit...)
	}
	for _, t := range s.Tags {
		key = append(key, 0xff)
		key = append(key, t.Name...)
		key = append(key, 0xfe)
		key = append(key, t.Value...)
	}
	return key
}

// newSeries checks names seen for the first time and registers their series,
// within the bounds of the device, of who sends and of the hub. The caller holds
// the mu of m.source.
func (p *Pipeline) newSeries(d *Delivery, m *Message, s *telemetry.Sample) (series, telemetry.Reject) {
	src := m.source
	says, r := p.modelled(src, s)
	if r.Reason != "" {
		return series{}, r
	}
	labels, r := p.labels(src, s, says.tag)
	if r.Reason != "" {
		return series{}, r
	}
	// Spellings of one series (other orders of tags) are bounded as series are.
	if p.full(src) {
		return series{}, rejectSample(s, telemetry.ReasonSeriesLimit, fmt.Sprintf("device %q has %d series, as many as it may; refused %q", src.id, p.deps.Quotas.Series(), clip(s.Metric)))
	}
	if over := p.deps.Quotas.NewSeries(m.From, d.now); over != nil {
		return series{}, rejectSample(s, telemetry.ReasonSeriesLimit, fmt.Sprintf("%v; refused %q of %q", over, clip(s.Metric), src.id))
	}
	to := series{rule: says.rule}
	var ok bool
	if to.id, ok = p.claim(src, src.storeOf(to), labels); !ok {
		return series{}, rejectSample(s, telemetry.ReasonSeriesLimit, fmt.Sprintf("the hub has %d series in use, as many as it may; refused %q of %q", p.cfg.MaxSeries, clip(s.Metric), src.id))
	}
	if len(s.Tags) == 0 && len(says.unit) == 0 {
		src.plain[string(s.Metric)] = to
		return to, telemetry.Reject{}
	}
	if src.tagged == nil {
		src.tagged = map[string]series{}
	}
	src.tagged[string(appendKey(nil, s, says.unit))] = to
	src.foreign = src.foreign || len(says.unit) > 0
	return to, telemetry.Reject{}
}

// full reports whether a device has as many series as it may. The caller holds
// src.mu.
func (p *Pipeline) full(src *source) bool {
	return len(src.plain)+len(src.tagged) >= p.deps.Quotas.Series()
}

// claim returns the id of a series in a store; 0 where there is no such store,
// since its samples are refused by the stage grade. The caller holds src.mu.
func (p *Pipeline) claim(src *source, store int, labels []telemetry.Label) (telemetry.SeriesID, bool) {
	if p.holdings[store].store == nil {
		return 0, true
	}
	id, ok := p.holdings[store].claim(labels, src.ids[store])
	src.count.Store(int64(len(src.ids[plainStore]) + len(src.ids[sealedStore])))
	return id, ok
}

// labels builds the labels of a series: metric, tags, and the device's own,
// with a unit that must be told. A tag that forges a reserved label is left out
// and counted.
func (p *Pipeline) labels(src *source, s *telemetry.Sample, unit []byte) ([]telemetry.Label, telemetry.Reject) {
	if !validName(s.Metric, p.cfg.MaxNameBytes) {
		return nil, rejectSample(s, telemetry.ReasonMetricInvalid, fmt.Sprintf("metric %q: 1 to %d bytes of UTF-8 without control characters are allowed", clip(s.Metric), p.cfg.MaxNameBytes))
	}
	if len(s.Tags) > p.cfg.MaxTags {
		return nil, rejectSample(s, telemetry.ReasonLabelLimit, fmt.Sprintf("%q has %d tags; at most %d are allowed", clip(s.Metric), len(s.Tags), p.cfg.MaxTags))
	}
	labels := make([]telemetry.Label, 0, 2+len(s.Tags)+len(src.labels))
	labels = append(labels, telemetry.Label{Name: "__name__", Value: string(s.Metric)})
	labels = append(labels, src.labels...)
	tags := s.Tags
	if len(unit) > 0 {
		tags = append(slices.Clip(tags), telemetry.Tag{Name: []byte(telemetry.UnitTag), Value: unit})
	}
	for _, t := range tags {
		if telemetry.IsReserved(t.Name) || string(t.Name) == "job" && string(t.Value) == telemetry.OwnJob {
			p.metrics.forged.Inc()
			continue
		}
		if len(t.Value) == 0 {
			continue
		}
		if !validName(t.Name, p.cfg.MaxNameBytes) || bytes.HasPrefix(t.Name, []byte("__")) {
			return nil, rejectSample(s, telemetry.ReasonLabelInvalid, fmt.Sprintf("tag %q of %q: a name has 1 to %d bytes of UTF-8 without control characters and does not begin with __", clip(t.Name), clip(s.Metric), p.cfg.MaxNameBytes))
		}
		if len(t.Value) > p.cfg.MaxValueBytes || !utf8.Valid(t.Value) {
			return nil, rejectSample(s, telemetry.ReasonLabelInvalid, fmt.Sprintf("tag %q of %q: the value %q is not UTF-8 of at most %d bytes", clip(t.Name), clip(s.Metric), clip(t.Value), p.cfg.MaxValueBytes))
		}
		labels = append(labels, telemetry.Label{Name: string(t.Name), Value: string(t.Value)})
	}
	slices.SortFunc(labels, func(a, b telemetry.Label) int { return cmp.Compare(a.Name, b.Name) })
	for i := 1; i < len(labels); i++ {
		if labels[i].Name == labels[i-1].Name {
			return nil, rejectSample(s, telemetry.ReasonLabelInvalid, fmt.Sprintf("tag %q of %q stands twice", labels[i].Name, clip(s.Metric)))
		}
	}
	return labels, telemetry.Reject{}
}

func validName(name []byte, longest int) bool {
	if len(name) == 0 || len(name) > longest || !utf8.Valid(name) {
		return false
	}
	for _, c := range name {
		if c < 0x20 || c == 0x7f {
			return false
		}
	}
	return true
}

// noteUnit collects the unit of a metric that has none yet. The first one
// stays: senders that differ would turn it to and fro for ever.
func (p *Pipeline) noteUnit(d *Delivery, s *telemetry.Sample) {
	p.unitMu.RLock()
	_, known := p.units[string(s.Metric)]
	n := len(p.units)
	p.unitMu.RUnlock()
	if known || n >= maxUnits || len(s.Unit) > p.cfg.MaxNameBytes || !utf8.Valid(s.Unit) {
		return
	}
	if _, named := d.units[string(s.Metric)]; named {
		return
	}
	if d.units == nil {
		d.units = map[string]string{}
	}
	d.units[string(s.Metric)] = string(s.Unit)
}

func rejectSample(s *telemetry.Sample, reason telemetry.Reason, detail string) telemetry.Reject {
	return telemetry.Reject{Index: int(s.Index), Stage: telemetry.StageValidate, Reason: reason, Detail: detail}
}

func atTime(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }

// clip keeps what a stranger sent short in messages.
func clip(b []byte) []byte {
	if len(b) <= 64 {
		return b
	}
	return append(b[:64:64], "…"...)
}
