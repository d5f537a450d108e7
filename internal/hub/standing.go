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

	mu     sync.Mutex
	series map[string]telemetry.SeriesID // by device and labels; as many as devices
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
			s.write([]telemetry.Point{{Series: s.id(d), Time: t.At.UnixMilli(), Value: v}})
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
		points := make([]telemetry.Point, 0, len(page))
		for _, d := range page {
			after = d.ID
			seen[key(d.Device)] = struct{}{}
			if v, ok := value(s.presence.Of(d.ID).State); ok {
				points = append(points, telemetry.Point{Series: s.id(d.Device), Time: now, Value: v})
			}
		}
		s.write(points)
	}
	s.forget(seen)
}

// forget gives back the series of devices that are gone or have other labels.
func (s *standing) forget(seen map[string]struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var gone []telemetry.SeriesID
	for k, id := range s.series {
		if _, ok := seen[k]; !ok {
			gone = append(gone, id)
			delete(s.series, k)
		}
	}
	s.store.Forget(gone)
}

func (s *standing) write(points []telemetry.Point) {
	if len(points) == 0 {
		return
	}
	if err := s.pipeline.Write(points); err != nil {
		s.log.Debug("presence_not_written", "error", err)
	}
}

func key(d *telemetry.Device) string {
	return strings.Join([]string{d.ID, string(d.Kind), d.Region, d.Site}, "\xff")
}

func (s *standing) id(d *telemetry.Device) telemetry.SeriesID {
	s.mu.Lock()
	defer s.mu.Unlock()
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
