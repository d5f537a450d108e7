package sensorthings

import (
	"cmp"
	"iter"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// stream is a datastream: the series of one device and metric with the same tags.
// They are several where the device changed its site, kind or region.
type stream struct {
	id     string
	device *registry.Device
	metric string
	tags   []telemetry.Label
}

// name is how a person writes the series.
func (s *stream) name() string {
	var b strings.Builder
	b.WriteString(s.metric)
	b.WriteString(" @ ")
	b.WriteString(s.device.ID)
	for i, t := range s.tags {
		b.WriteString([]string{", ", " ("}[b2i(i == 0)] + t.Name + "=" + t.Value)
	}
	if len(s.tags) > 0 {
		b.WriteByte(')')
	}
	return b.String()
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// maxBatch is how many devices are named to the index at once: it looks up to 256
// alternatives up one by one, and walks over all values for more.
const maxBatch = 128

// streamsOf returns the datastreams of some devices that the caller sees, in the
// order of their devices and ids; of one metric alone unless it is empty.
func (q *question) streamsOf(devices []*registry.Device, metric string) ([]*stream, error) {
	from, err := q.series()
	if err != nil {
		return nil, err
	}
	ms, err := matchers(devices, metric)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]*registry.Device, len(devices))
	for _, d := range devices {
		byID[d.ID] = d
	}
	known := map[string]bool{}
	var found []*stream
	// Func tells the store that no samples are wanted.
	set := from.Select(q.ctx, false, &storage.SelectHints{Start: math.MinInt64, End: math.MaxInt64, Func: "series"}, ms...)
	for set.Next() {
		if err := q.takeSeries(); err != nil {
			return nil, err
		}
		ls := set.At().Labels()
		s := &stream{device: byID[ls.Get("device")], metric: ls.Get(metricLabel), tags: tagsOf(ls)}
		if s.device == nil {
			continue
		}
		s.id = s.device.ID + streamTail(s.metric, s.tags)
		if !known[s.id] {
			known[s.id] = true
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b *stream) int {
		return cmp.Or(strings.Compare(a.device.ID, b.device.ID), strings.Compare(a.id, b.id))
	})
	return found, set.Err()
}

func matchers(devices []*registry.Device, metric string) ([]*labels.Matcher, error) {
	var ms []*labels.Matcher
	if len(devices) == 1 {
		ms = append(ms, labels.MustNewMatcher(labels.MatchEqual, "device", devices[0].ID))
	} else {
		quoted := make([]string, len(devices))
		for i, d := range devices {
			quoted[i] = regexp.QuoteMeta(d.ID)
		}
		m, err := labels.NewMatcher(labels.MatchRegexp, "device", strings.Join(quoted, "|"))
		if err != nil {
			return nil, err
		}
		ms = append(ms, m)
	}
	if metric != "" {
		ms = append(ms, labels.MustNewMatcher(labels.MatchEqual, metricLabel, metric))
	}
	return ms, nil
}

// findStream finds a datastream by the device and metric in its id, so that no
// others are looked at than those that differ in tags; nil for an unknown one.
func (q *question) findStream(id string) (*stream, error) {
	device, metric, ok := parseStream(id)
	if !ok {
		return nil, nil
	}
	d := q.registered(device)
	if d == nil {
		return nil, nil
	}
	all, err := q.streamsOf([]*registry.Device{d}, metric)
	for _, s := range all {
		if s.id == id {
			return s, nil
		}
	}
	return nil, err
}

// streamsIn lists the datastreams of all devices that a filter lets through, one
// metric of them or all, behind an id. Devices are asked for in batches that grow,
// so that a page that few devices fill looks at few.
func (q *question) streamsIn(f registry.Filter, metric, after string, of func(*registry.Device) bool) iter.Seq2[*row, error] {
	return func(yield func(*row, error) bool) {
		device, _, _ := strings.Cut(after, string(partMark))
		behind := before(device)
		f.Sees = q.sees
		for size, more := 4, true; more; size = min(2*size, maxBatch) {
			var page, batch []*registry.Device
			page, more = q.api.deps.Devices.List(f, behind, size)
			for _, d := range page {
				behind = d.ID
				if of == nil || of(d) {
					batch = append(batch, d)
				}
			}
			q.cost += len(page) * costOfDevice
			if !q.yieldStreams(batch, metric, after, yield) {
				return
			}
			if len(page) > 0 && !yield(&row{set: streams, id: behind + lastOfDevice, passed: true}, q.ctx.Err()) {
				return
			}
		}
	}
}

// lastOfDevice is behind all that an id of a datastream has behind its device.
const lastOfDevice = string(partMark) + "\x7f"

// before is a text behind which ids begin with id itself.
func before(id string) string {
	if id == "" {
		return ""
	}
	last := len(id) - 1
	return id[:last] + string(rune(id[last]-1)) + "\x7f"
}

func (q *question) yieldStreams(devices []*registry.Device, metric, after string, yield func(*row, error) bool) bool {
	if len(devices) == 0 {
		return true
	}
	all, err := q.streamsOf(devices, metric)
	if err != nil {
		yield(nil, err)
		return false
	}
	for _, s := range all {
		if strings.HasPrefix(after, s.device.ID+string(partMark)) && s.id <= after {
			continue
		}
		if !yield(streamRow(s), nil) {
			return false
		}
	}
	return true
}
