package hub

import (
	"context"
	"log/slog"
	"slices"
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

// standing writes presence as series, and ends the series of devices that went
// offline.
type standing struct {
	store interface {
		Series([]telemetry.Label) telemetry.SeriesID
		Forget([]telemetry.SeriesID)
	}
	pipeline *ingest.Pipeline
	registry *registry.Registry
	presence *registry.Presence
	clock    func() time.Time
	log      *slog.Logger

	// writing is held from before an id is taken until its point is durable, and
	// while ids are given back: the store takes no point under one of these.
	writing sync.Mutex
	series  map[string]telemetry.SeriesID // by device and labels; as many as devices
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

// turn is told of every transition, from one goroutine.
func (s *standing) turn(t registry.Transition) {
	if v, ok := value(t.To); ok {
		if d := s.registry.Device(t.Device); d != nil {
			s.write([]reading{{d, t.At.UnixMilli(), v}})
		}
	}
	if t.To == registry.Offline {
		if err := s.pipeline.End(t.Device); err != nil {
			s.log.Debug("series_not_ended", "device", t.Device, "error", err)
		}
	}
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
	var gone []telemetry.SeriesID
	for k, id := range s.series {
		if _, ok := seen[k]; !ok {
			gone = append(gone, id)
			delete(s.series, k)
		}
	}
	s.store.Forget(gone)
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
	points := make([]telemetry.Point, len(readings))
	for i, r := range readings {
		points[i] = telemetry.Point{Series: s.id(r.device), Time: r.at, Value: r.value}
	}
	if err := s.pipeline.Write(points); err != nil {
		s.log.Debug("presence_not_written", "error", err)
	}
}

func key(d *telemetry.Device) string {
	return strings.Join([]string{d.ID, string(d.Kind), d.Region, d.Site}, "\xff")
}

// id returns the series of a device. The caller holds s.writing.
func (s *standing) id(d *telemetry.Device) telemetry.SeriesID {
	k := key(d)
	id, ok := s.series[k]
	if !ok {
		labels := append([]telemetry.Label{{Name: "__name__", Value: presenceMetric}, {Name: "job", Value: query.OwnJob}}, d.Labels()...)
		slices.SortFunc(labels, func(a, b telemetry.Label) int { return strings.Compare(a.Name, b.Name) })
		id = s.store.Series(labels)
		s.series[k] = id
	}
	return id
}
