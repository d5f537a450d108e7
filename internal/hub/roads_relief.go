package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/audit"
	"github.com/songhua-io/hub/internal/command"
	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/road/dialect"
	"github.com/songhua-io/hub/internal/traffic"
)

// relief asks the noisiest roadside units to send less while V2X messages take
// more of the machine than they may, and says so in the record of changes.
type relief struct {
	*hub
	// units are all units that said something, as the board sees them.
	units func() []traffic.UnitView
	load  func() (traffic.Load, error) // since the last look

	mu      sync.Mutex // guards control, which limits also asks
	control *traffic.Relief

	resumed map[string]struct{} // units whose bounds of before the restart are known
	share   prometheus.Gauge
	orders  *prometheus.CounterVec
}

// Bounds of what relief does at one look.
const (
	reliefTTL     = 2 * time.Minute
	resumedAtOnce = 100 // units whose commands are read
	resumedBack   = 20  // commands of each
)

func newRelief(h *hub, units func() []traffic.UnitView) *relief {
	r := &relief{
		hub: h, units: units, control: traffic.NewRelief(h.cfg.Relief), resumed: map[string]struct{}{},
		share: prometheus.NewGauge(prometheus.GaugeOpts{Name: "hub_traffic_load_ratio", Help: "Share of the machine's processors that reading V2X messages took at the last look."}),
		orders: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hub_traffic_relief_orders_total", Help: "Limits that units were asked for because of the hub's load, by whether they are to send less or more.",
		}, []string{"send"}),
	}
	var spent cost
	r.load = func() (traffic.Load, error) { return spent.since(h.metrics, h.clock()) }
	h.metrics.MustRegister(r.share, r.orders, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "hub_traffic_relief_bounds", Help: "Streams of units that are bounded because of the hub's load.",
	}, func() float64 {
		r.mu.Lock()
		defer r.mu.Unlock()
		return float64(r.control.Len())
	}))
	for _, send := range []string{"less", "more"} {
		r.orders.WithLabelValues(send)
	}
	return r
}

// limits are what a unit is bounded to for now.
func (r *relief) limits(device string) map[road.Kind]float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.control.Bounds(device)
}

// run looks at the load until ctx ends.
func (r *relief) run(ctx context.Context) error {
	tick := time.NewTicker(r.cfg.Relief.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			r.look(ctx)
		}
	}
}

// look takes what V2X cost since the last look, and asks units for what follows.
// While no unit speaks a dialect there is nothing to look at.
func (r *relief) look(ctx context.Context) {
	units := r.units()
	if len(units) == 0 {
		return
	}
	load, err := r.load()
	if err != nil {
		r.log.Warn("load_not_known", "error", err)
		return
	}
	r.share.Set(load.Share)
	r.resume(ctx, units)
	r.mu.Lock()
	bounds := r.control.Step(load, streams(units))
	r.mu.Unlock()
	byUnit := map[string][]traffic.Bound{}
	for _, b := range bounds {
		byUnit[b.Unit] = append(byUnit[b.Unit], b)
	}
	for _, unit := range slices.Sorted(maps.Keys(byUnit)) {
		if err := r.ask(ctx, unit, byUnit[unit]); err != nil && ctx.Err() == nil {
			r.log.Warn("unit_not_relieved", "device", unit, "error", err)
		}
	}
}

// streams are what units send of the kinds that have limits, and of all others.
func streams(units []traffic.UnitView) (all []traffic.Stream) {
	for _, u := range units {
		for kind, rate := range u.Rates {
			limit, known := u.Status.Limits[string(kind)]
			if !known {
				limit = traffic.Unlimited
			}
			all = append(all, traffic.Stream{Unit: u.Unit, Kind: kind, Rate: rate, Limit: limit})
		}
	}
	return all
}

// bounded is the order for a unit as the command holds it: was is what held before
// the first bound, for people and for a hub that starts again.
type bounded struct {
	*dialect.Config
	Was map[road.Kind]float64 `json:"was"`
}

// ask asks a unit for its bounds, with an entry in the record of changes.
func (r *relief) ask(ctx context.Context, unit string, all []traffic.Bound) error {
	d := r.registry.Device(unit)
	if d == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.control.Forget(unit)
		return nil
	}
	limits, was, send := map[road.Kind]float64{}, map[road.Kind]float64{}, "less"
	for _, b := range all {
		limits[b.Kind], was[b.Kind] = b.Limit, b.Before
		if b.More {
			send = "more"
		}
	}
	params, err := json.Marshal(bounded{dialect.Limit(limits), was})
	if err != nil {
		return err
	}
	noted := audit.With(ctx, audit.Entry{
		At: r.clock(), Actor: own, Origin: "relief", Action: access.SendCommands, Object: "device " + unit, Region: d.Region,
		Before: upLimits(was), After: upLimits(limits),
	})
	if _, err := r.commands.Issue(noted, unit, command.Request{Name: orderPrefix + string(dialect.OrderConfig), Params: params, TTL: reliefTTL, Actor: own}); err != nil {
		return err
	}
	r.orders.WithLabelValues(send).Add(float64(len(all)))
	r.log.Info("unit_relieved", "device", unit, "send", send, "limits", upLimits(limits))
	return nil
}

func upLimits(m map[road.Kind]float64) string {
	text, err := json.Marshal(map[string]any{"upLimit": m})
	if err != nil {
		panic(err) // limits are finite
	}
	return string(text)
}

// resume takes over what units were bounded to before the hub started.
func (r *relief) resume(ctx context.Context, units []traffic.UnitView) {
	read := 0
	for _, u := range units {
		if _, known := r.resumed[u.Unit]; known || read == resumedAtOnce {
			continue
		}
		read++
		all, err := r.commands.List(ctx, command.Filter{Device: u.Unit}, "", resumedBack)
		if err != nil {
			r.log.Warn("bounds_not_known", "device", u.Unit, "error", err)
			return
		}
		r.resumed[u.Unit] = struct{}{}
		r.mu.Lock()
		for _, b := range boundsOf(u.Unit, all) {
			r.control.Resume(b)
		}
		r.mu.Unlock()
	}
}

// boundsOf reads the bounds of a unit from its newest commands.
func boundsOf(unit string, all []command.Command) (out []traffic.Bound) {
	for _, c := range all {
		if c.Actor != own || c.Name != orderPrefix+string(dialect.OrderConfig) {
			continue
		}
		var b bounded
		if json.Unmarshal(c.Params, &b) != nil || b.Config == nil {
			return nil
		}
		for kind, was := range b.Was {
			if limit, ok := b.Config.UpLimit(kind); ok && limit != was {
				out = append(out, traffic.Bound{Unit: unit, Kind: kind, Limit: limit, Before: was})
			}
		}
		return out
	}
	return nil
}

// cost is what V2X messages cost until the last look.
type cost struct {
	at            time.Time
	observed      float64 // seconds
	waited, waits float64
}

// since returns what they cost since then.
func (c *cost) since(g prometheus.Gatherer, now time.Time) (traffic.Load, error) {
	families, err := g.Gather()
	if err != nil {
		return traffic.Load{}, fmt.Errorf("gather own metrics: %w", err)
	}
	next := cost{at: now}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			switch {
			case f.GetName() == "hub_ingest_stage_seconds" && labelled(m, "stage", "observe"):
				next.observed = m.GetHistogram().GetSampleSum()
			case f.GetName() == "hub_ingest_commit_wait_seconds":
				next.waited, next.waits = m.GetHistogram().GetSampleSum(), float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	before := *c
	*c = next
	seconds := now.Sub(before.at).Seconds()
	if before.at.IsZero() || seconds <= 0 {
		return traffic.Load{}, nil
	}
	load := traffic.Load{Share: min(1, (next.observed-before.observed)/seconds/float64(runtime.GOMAXPROCS(0)))}
	if n := next.waits - before.waits; n > 0 {
		load.CommitWait = time.Duration((next.waited - before.waited) / n * float64(time.Second))
	}
	return load, nil
}

func labelled(m *dto.Metric, name, value string) bool {
	return slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == name && l.GetValue() == value })
}
