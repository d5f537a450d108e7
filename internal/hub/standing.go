package hub

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/query"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// presenceMetric is 1 while a device is online, 0.5 while it is late, 0 while
// it is offline. It is the hub's own series (job="hub"), so it holds five
// minutes whatever the device's period is.
const presenceMetric = "device_presence"

// presenceInterval is how often a standing that did not change is written.
const presenceInterval = time.Minute

type seriesStore interface {
	Series([]telemetry.Label) telemetry.SeriesID
	Forget([]telemetry.SeriesID)
}

// standing writes presence as series, and ends the series of devices that went
// offline.
type standing struct {
	store seriesStore
	// sealed takes the presence of devices of grade important and core; nil: it is
	// not written.
	sealed   seriesStore
	pipeline *ingest.Pipeline
	registry *registry.Registry
	presence *registry.Presence // set before run
	clock    func() time.Time
	log      *slog.Logger

	// writing is held from before an id is taken until its point is durable, and
	// while ids are given back: the store takes no point under one of these.
	writing sync.Mutex
	series  map[string]*ownSeries // by device, labels and store; as many as devices

	ending sync.Mutex
	ends   map[string]struct{} // devices whose series are to be ended
}

// ownSeries is a device's presence as a series.
type ownSeries struct {
	id telemetry.SeriesID
	at int64       // of its newest point, ms
	in seriesStore // that gave out id
}

func newStanding(store, sealed seriesStore, pipeline *ingest.Pipeline, r *registry.Registry, clock func() time.Time, log *slog.Logger) *standing {
	return &standing{store: store, sealed: sealed, pipeline: pipeline, registry: r, clock: clock, log: log, series: map[string]*ownSeries{}, ends: map[string]struct{}{}}
}

func value(s registry.PresenceState) (float64, bool) {
	switch s {
	case registry.Online:
		return 1, true
	case registry.Late:
		return 0.5, true
	case registry.Offline:
		return 0, true
	}
	return 0, false
}

// turn is told of transitions, from one goroutine. However many there are, it
// waits for two commits: one of their points, one of what ends.
func (s *standing) turn(all []registry.Transition) {
	readings := make([]reading, 0, len(all))
	for _, t := range all {
		if v, ok := value(t.To); ok {
			if d := s.registry.Device(t.Device); d != nil {
				readings = append(readings, reading{d, t.At.UnixMilli(), v})
			}
		}
	}
	s.write(readings)
	s.ending.Lock()
	defer s.ending.Unlock()
	for _, t := range all {
		if t.To == registry.Offline {
			s.ends[t.Device] = struct{}{}
		} else {
			delete(s.ends, t.Device) // it came back before its series were ended
		}
	}
	s.end()
}

// end ends the series of devices that went offline. While the hub is busy they
// wait for the next turn or minute. s.ending is held.
func (s *standing) end() {
	if len(s.ends) == 0 {
		return
	}
	all := make([]ingest.Ending, 0, len(s.ends))
	for device := range s.ends {
		all = append(all, ingest.Ending{Device: device})
	}
	if err := s.pipeline.End(all...); err != nil {
		s.log.Warn("series_not_ended", "devices", len(all), "error", err)
		return
	}
	clear(s.ends)
}

// run writes every device's standing once a minute, in chunks.
func (s *standing) run(ctx context.Context) error {
	tick := time.NewTicker(presenceInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.writeAll()
			s.ending.Lock()
			s.end()
			s.ending.Unlock()
		}
	}
}

func (s *standing) writeAll() {
	now := s.clock().UnixMilli()
	seen := map[string]struct{}{}
	after, more := "", true
	for more {
		var page []*registry.Device
		page, more = s.registry.List(registry.Filter{}, after, 1000)
		readings := make([]reading, 0, len(page))
		for _, d := range page {
			after = d.ID
			seen[key(d.Device)] = struct{}{}
			if v, ok := value(s.presence.Of(d.ID).State); ok {
				readings = append(readings, reading{d.Device, now, v})
			}
		}
		s.write(readings)
	}
	s.forget(seen)
}

// forget gives back the series of devices that are gone or have other labels.
func (s *standing) forget(seen map[string]struct{}) {
	s.writing.Lock()
	defer s.writing.Unlock()
	gone := map[seriesStore][]telemetry.SeriesID{}
	for k, own := range s.series {
		if _, ok := seen[k]; !ok {
			gone[own.in] = append(gone[own.in], own.id)
			delete(s.series, k)
		}
	}
	for store, ids := range gone {
		store.Forget(ids)
	}
}

// reading is the presence of a device at a time.
type reading struct {
	device *telemetry.Device
	at     int64 // ms
	value  float64
}

func (s *standing) write(readings []reading) {
	if len(readings) == 0 {
		return
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	var points, sealed []telemetry.Point
	for _, r := range readings {
		switch s.storeOf(r.device) {
		case nil:
		case s.store:
			points = append(points, s.point(r))
		default:
			sealed = append(sealed, s.point(r))
		}
	}
	if err := s.pipeline.WriteGraded(points, sealed); err != nil {
		s.log.Warn("presence_not_written", "devices", len(points), "error", err)
	}
}

// storeOf returns where a device's presence is kept; nil is nowhere.
func (s *standing) storeOf(d *telemetry.Device) seriesStore {
	if d.EffectiveGrade().Sealed() {
		return s.sealed
	}
	return s.store
}

func key(d *telemetry.Device) string {
	return strings.Join([]string{d.ID, string(d.Kind), d.Region, d.Site, strconv.FormatBool(d.EffectiveGrade().Sealed())}, "\xff")
}

// point puts a reading into its device's series. Changes of one millisecond are
// written one after the other, so that the last one counts. The caller holds
// s.writing.
func (s *standing) point(r reading) telemetry.Point {
	own, at := s.own(r.device), r.at
	if at <= own.at && at > own.at-1000 {
		at = own.at + 1
	}
	own.at = max(own.at, at)
	return telemetry.Point{Series: own.id, Time: at, Value: r.value}
}

// own returns the series of a device. The caller holds s.writing.
func (s *standing) own(d *telemetry.Device) *ownSeries {
	k := key(d)
	own := s.series[k]
	if own == nil {
		labels := append([]telemetry.Label{{Name: "__name__", Value: presenceMetric}, {Name: "job", Value: query.OwnJob}}, d.Labels()...)
		slices.SortFunc(labels, func(a, b telemetry.Label) int { return strings.Compare(a.Name, b.Name) })
		in := s.storeOf(d)
		own = &ownSeries{id: in.Series(labels), in: in}
		s.series[k] = own
	}
	return own
}
