package hub

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/query"
	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/loop"
	"github.com/songhua-io/hub/internal/telemetry"
)

// poolSeries writes what pools have, and what of it is to be free, into the
// store, with the region of their facility: who is narrowed to a region sees
// those of no other. The metrics of the hub, which have no region, hold sums.
type poolSeries struct {
	scheduler *loop.Scheduler
	store     seriesStore
	pipeline  *ingest.Pipeline
	// facilities are those of all regions.
	facilities func(ctx context.Context) ([]facilityNow, error)
	clock      func() time.Time
	log        *slog.Logger

	series map[string]telemetry.SeriesID // by labels; bounded by maxPoolSeries
}

const (
	poolCapacityMetric = "hub_schedule_pool_capacity"
	poolForecastMetric = "hub_schedule_pool_free_forecast"

	facilityLoadMetric   = "hub_schedule_facility_load"
	facilityPowerMetric  = "hub_schedule_facility_power_watts"
	facilityCarbonMetric = "hub_schedule_facility_carbon_kg_per_hour"

	poolInterval = 15 * time.Second
	// maxPoolSeries bounds the pools that are series of their own; hub_schedule_pools
	// says how many there are.
	maxPoolSeries = 2000
)

// facilityMetrics are what datasets of compute are made of.
var facilityMetrics = []string{facilityLoadMetric, facilityPowerMetric, facilityCarbonMetric}

// poolMetrics are what is written, with their help.
var poolMetrics = map[string]string{
	poolCapacityMetric: "Capacity of a pool by resource: what there is (total), what is leased, what new work may have (free).",
	poolForecastMetric: "What of a pool is to be free so long from now (ahead), by plan of leases and deferred work.",

	facilityLoadMetric:   "Share of the processors of a facility that is leased, 0 to 1.",
	facilityPowerMetric:  "Power that a facility draws, as measured, or else as its pools and its PUE have it.",
	facilityCarbonMetric: "Carbon dioxide that the power of a facility stands for, by the forecast of its grid.",
}

// ahead are how far from now free capacity is written.
var ahead = []time.Duration{time.Hour, 6 * time.Hour, 24 * time.Hour}

var aheadNames = []string{"1h", "6h", "24h"}

func newPoolSeries(h *hub) *poolSeries {
	return &poolSeries{scheduler: h.scheduler, store: h.plain, pipeline: h.pipeline, facilities: h.facilitiesNow, clock: h.clock, log: h.log, series: map[string]telemetry.SeriesID{}}
}

func (s *poolSeries) run(ctx context.Context) error {
	tick := time.NewTicker(poolInterval)
	defer tick.Stop()
	for {
		if err := s.write(ctx); err != nil {
			// The pipeline has said why it takes no more, and ends the hub.
			s.log.Debug("pool_series_not_written", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// write writes all pools, and gives back the series of those that are gone.
func (s *poolSeries) write(ctx context.Context) error {
	now := s.clock().UnixMilli()
	var points []telemetry.Point
	seen := make(map[string]telemetry.SeriesID, len(s.series))
	add := func(p *loop.PoolSeries, metric, dimension string, value int64, name, of string) {
		labels := []telemetry.Label{{Name: "__name__", Value: metric}, {Name: "facility", Value: p.Facility}, {Name: "job", Value: query.OwnJob},
			{Name: "pool", Value: p.Pool}, {Name: "region", Value: p.Region}, {Name: "resource", Value: dimension}, {Name: name, Value: of}}
		key := metric + "\xff" + p.Facility + "\xff" + p.Pool + "\xff" + p.Region + "\xff" + dimension + "\xff" + of
		id, ok := s.series[key]
		if !ok {
			slices.SortFunc(labels, func(a, b telemetry.Label) int { return strings.Compare(a.Name, b.Name) })
			id = s.store.Series(labels)
		}
		seen[key] = id
		points = append(points, telemetry.Point{Series: id, Time: now, Value: float64(value)})
	}
	pools := s.scheduler.PoolSeries(maxPoolSeries, ahead)
	for i := range pools {
		p := &pools[i]
		for d, dimension := range schedule.DimensionNames {
			if p.Capacity.Capacity[d] == 0 {
				continue
			}
			add(p, poolCapacityMetric, dimension, p.Capacity.Capacity[d], "of", "total")
			add(p, poolCapacityMetric, dimension, p.Leased[d], "of", "leased")
			add(p, poolCapacityMetric, dimension, p.Free[d], "of", "free")
			for j, v := range p.Ahead {
				add(p, poolForecastMetric, dimension, v[d], "ahead", aheadNames[j])
			}
		}
	}
	facilities, err := s.facilities(ctx)
	if err != nil {
		return err
	}
	for _, f := range facilities {
		for metric, v := range map[string]float64{facilityLoadMetric: f.load, facilityPowerMetric: f.watts, facilityCarbonMetric: f.carbon} {
			key := metric + "\xff" + f.id + "\xff" + f.region
			id, ok := s.series[key]
			if !ok {
				id = s.store.Series([]telemetry.Label{{Name: "__name__", Value: metric}, {Name: "facility", Value: f.id}, {Name: "job", Value: query.OwnJob}, {Name: "region", Value: f.region}})
			}
			seen[key] = id
			points = append(points, telemetry.Point{Series: id, Time: now, Value: v})
		}
	}
	var gone []telemetry.SeriesID
	for key, id := range s.series {
		if _, ok := seen[key]; !ok {
			gone = append(gone, id)
		}
	}
	s.series = seen
	if len(points) > 0 {
		err = s.pipeline.Write(points)
	}
	s.store.Forget(gone)
	return err
}

// facilityNow is what a facility does now.
type facilityNow struct {
	id, region          string
	load, watts, carbon float64
}

// maxFacilitySeries bounds the facilities that are series of their own.
const maxFacilitySeries = 500

// facilitiesNow are what the facilities do, as the page of compute shows it.
func (h *hub) facilitiesNow(ctx context.Context) (out []facilityNow, err error) {
	all, err := h.scheduler.Declared(ctx)
	if err != nil {
		return nil, err
	}
	for _, f := range h.facilities(&all, "") {
		if len(out) == maxFacilitySeries {
			break
		}
		var leased, total, draw int64
		for i := range f.Pools {
			p := &f.Pools[i]
			leased, total, draw = leased+p.Leased[schedule.CPUMilli], total+p.Capacity[schedule.CPUMilli], draw+p.DrawW
		}
		one := facilityNow{id: f.ID, region: f.Region, load: float64(leased) / float64(max(total, 1)), watts: float64(draw) * f.PUENow}
		if f.Live.PowerW > 0 {
			one.watts = float64(f.Live.PowerW)
		}
		one.carbon = one.watts / 1000 * f.Carbon.Value / 1000
		out = append(out, one)
	}
	return out, nil
}
