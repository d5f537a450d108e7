package simulate

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/songhua-io/hub/internal/client"
)

// Compute plays the owners of four facilities of Jilin and those who want work
// done there, until ctx ends: it declares what there is, sends forecasts of
// carbon and price each hour, submits workloads, runs what it is promised (its
// pools have no engine of the hub), and loses one facility for 45 seconds now
// and then. The same seed submits the same work. Art. 13
func Compute(ctx context.Context, seed uint64, doors Doors, log *slog.Logger) error {
	hub, err := client.New(doors.HTTP, doors.Admin)
	if err != nil {
		return err
	}
	c := &computing{hub: hub, seed: seed, rng: rand.New(rand.NewPCG(seed, 0xc0)), log: log, began: time.Now(), ends: map[string]run{}}
	if err := c.declare(ctx); err != nil {
		return fmt.Errorf("declare the simulated facilities: %w", err)
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			if err := c.step(ctx, now); err != nil && ctx.Err() == nil {
				log.Warn("simulated compute", "error", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// computing is the play so far.
type computing struct {
	hub   *client.Client
	seed  uint64
	rng   *rand.Rand
	log   *slog.Logger
	began time.Time

	told     time.Time // when forecasts were sent last
	next     time.Time // when the next workload arrives
	arrived  int
	ends     map[string]run // what runs, by workload
	lost     bool           // the facility that is lost now and then
	lastLost time.Time
}

// run is work that the simulated owner does: when it ends.
type run struct {
	token uint64
	ends  time.Time
}

type object = map[string]any

// The grids of the province, and what a kWh of each stands for, in grams of carbon
// dioxide.
const (
	gridJilin    = "CN-JL"
	gridBaicheng = "CN-JL-BC"
)

func carbonJilin(hour int, wind float64) float64 { return 560 + 70*bumpAt(hour, 19) - 40*wind }

func carbonBaicheng(_ int, wind float64) float64 { return max(40, 480-420*wind) }

// facilities are what is declared first.
func facilities() []struct {
	id   string
	what object
} {
	named := func(zh, en string) object { return object{"zh": zh, "en": en} }
	return []struct {
		id   string
		what object
	}{
		{"changchun-1", object{"names": named("长春智算中心", "Changchun AI centre"), "region": "220100", "lat": 43.88, "lon": 125.32, "security_grade": 3,
			"max_data_grade": "important", "grid_zone": gridJilin, "pue": object{"constant": 1.25, "load": [][2]float64{{0, 1.45}, {0.5, 1.25}, {1, 1.2}}}, "power_cap_w": 400_000}},
		{"baicheng-wind", object{"names": named("白城风电算力基地", "Baicheng wind-powered centre"), "region": "220800", "lat": 45.62, "lon": 122.84, "security_grade": 3,
			"max_data_grade": "general", "grid_zone": gridBaicheng, "pue": 1.12, "green_share": 0.3}},
		{"yanbian-edge", object{"names": named("延边边缘机房", "Yanbian edge room"), "region": "222400", "lat": 42.91, "lon": 129.51, "security_grade": 2,
			"max_data_grade": "general", "grid_zone": gridJilin, "pue": 1.4}},
		{"jilin-cloud", object{"names": named("吉林云区域", "Jilin cloud region"), "region": "220200", "lat": 43.84, "lon": 126.55, "security_grade": 3,
			"max_data_grade": "general", "grid_zone": gridJilin, "pue": 1.3}},
	}
}

// computePools are their pools.
func computePools() []struct {
	id   string
	what object
} {
	a100 := object{"vendor": "nvidia", "model": "A100", "memory_mib": 40960, "shareable": true}
	ascend := object{"vendor": "huawei", "model": "910B", "memory_mib": 65536}
	var nodes []object
	for i := range 8 {
		nodes = append(nodes, object{"id": fmt.Sprintf("cc1-g%02d", i+1), "cpu_milli": 64_000, "memory_mib": 524_288, "disk_gib": 2000, "accelerators": 8})
	}
	class := func(count, cpu, memory, devices int) []object {
		return []object{{"count": count, "cpu_milli": cpu, "memory_mib": memory, "disk_gib": 1000, "accelerators": devices}}
	}
	return []struct {
		id   string
		what object
	}{
		{"cc1-a100", object{"facility": "changchun-1", "engine": "none", "accelerator": a100, "nodes": nodes, "labels": object{"tier": "training"}, "rate": object{"cpu": 0.05, "accelerator": 6}}},
		{"cc1-cpu", object{"facility": "changchun-1", "engine": "none", "classes": class(16, 96_000, 393_216, 0), "rate": object{"cpu": 0.06, "accelerator": 0}}},
		{"bc-ascend", object{"facility": "baicheng-wind", "engine": "none", "arch": "arm64", "accelerator": ascend, "classes": class(12, 128_000, 1_048_576, 8), "rate": object{"cpu": 0.03, "accelerator": 4}}},
		{"bc-cpu", object{"facility": "baicheng-wind", "engine": "none", "classes": class(24, 64_000, 262_144, 0), "rate": object{"cpu": 0.03, "accelerator": 0}}},
		{"yb-edge", object{"facility": "yanbian-edge", "engine": "none", "classes": class(4, 32_000, 131_072, 0), "labels": object{"tier": "edge"}, "rate": object{"cpu": 0.08, "accelerator": 0}}},
		{"jl-cloud", object{"facility": "jilin-cloud", "engine": "none", "classes": class(40, 64_000, 262_144, 0), "rate": object{"cpu": 0.12, "accelerator": 0}}},
	}
}

func (c *computing) declare(ctx context.Context) error {
	for _, f := range facilities() {
		if err := c.hub.Call(ctx, http.MethodPut, "/api/v1/facilities/"+f.id, nil, f.what, nil); err != nil {
			return err
		}
	}
	for _, p := range computePools() {
		if err := c.hub.Call(ctx, http.MethodPut, "/api/v1/pools/"+p.id, nil, p.what, nil); err != nil {
			return err
		}
	}
	return nil
}

func (c *computing) step(ctx context.Context, now time.Time) error {
	if now.Sub(c.told) >= time.Hour {
		if err := c.forecast(ctx, now); err != nil {
			return err
		}
		c.told = now
	}
	if err := c.outage(ctx, now); err != nil {
		return err
	}
	for ; !now.Before(c.next); c.arrived++ {
		if err := c.submit(ctx, now); err != nil {
			return err
		}
		// Arrivals are a Poisson process of one each six seconds, and denser at first.
		mean := 6.0
		if c.arrived < 40 {
			mean = 0.3
		}
		c.next = now.Add(time.Duration(c.rng.ExpFloat64() * mean * float64(time.Second)))
	}
	return c.work(ctx, now)
}

// forecast sends the next two days in steps of an hour. In Baicheng wind blows
// mostly at night, and then power is cheap and clean.
func (c *computing) forecast(ctx context.Context, now time.Time) error {
	start := now.UTC().Truncate(time.Hour)
	for _, s := range []struct {
		kind, zone, unit string
		value            func(hour int, wind float64) float64
	}{
		{"carbon", gridJilin, "g/kWh", carbonJilin},
		{"carbon", gridBaicheng, "g/kWh", carbonBaicheng},
		{"price", gridJilin, "CNY/kWh", func(h int, _ float64) float64 { return 0.38 + 0.42*bumpAt(h, 19) + 0.25*bumpAt(h, 10) }},
		{"price", gridBaicheng, "CNY/kWh", func(h int, wind float64) float64 { return max(0.05, 0.42+0.2*bumpAt(h, 19)-0.34*wind) }},
	} {
		points := make([]object, 48)
		for i := range points {
			at := start.Add(time.Duration(i) * time.Hour)
			v := s.value(localHour(at), c.wind(at))
			points[i] = object{"start": at, "end": at.Add(time.Hour), "value": round(v), "p10": round(v * 0.9), "p90": round(v * 1.1)}
		}
		body := object{"issued_at": now.UTC(), "unit": s.unit, "points": points}
		if err := c.hub.Call(ctx, http.MethodPut, "/api/v1/signals/"+s.kind+"/"+s.zone, nil, body, nil); err != nil {
			return err
		}
	}
	return nil
}

func localHour(at time.Time) int { return (at.UTC().Hour() + 8) % 24 } // China Standard Time

// calm is how long there is little wind from the beginning on: who looks at the
// play at any time of the day sees work that waits for it.
const calm = 2 * time.Hour

// wind is how much of it the play has in Baicheng in an hour, 0 to 1.
func (c *computing) wind(at time.Time) float64 {
	if at.Before(c.began.Add(calm)) {
		return 0.1 * windOf(c.seed, at)
	}
	return windOf(c.seed, at)
}

// windOf is how much there is of it in an hour, without the calm.
func windOf(seed uint64, at time.Time) float64 {
	return clamp(0.5+0.35*math.Cos(2*math.Pi*float64(localHour(at)-2)/24)+0.35*wander(seed, 0xc1, at, 9*time.Hour), 0, 1)
}

// bumpAt is 1 at an hour of the day and falls off within three hours.
func bumpAt(hour, peak int) float64 {
	d := math.Abs(float64(hour - peak))
	d = min(d, 24-d)
	return math.Exp(-d * d / 8)
}

// The edge room is lost after outageAfter, and again each outageEvery, for
// outageFor: somebody who looks for two minutes sees it.
const (
	outageAfter = 90 * time.Second
	outageFor   = 45 * time.Second
	outageEvery = 30 * time.Minute
)

func (c *computing) outage(ctx context.Context, now time.Time) error {
	verb := ""
	switch since := now.Sub(c.began); {
	case !c.lost && since >= outageAfter && now.Sub(c.lastLost) >= outageEvery:
		verb = "lose"
	case c.lost && now.Sub(c.lastLost) >= outageFor:
		verb = "ready"
	default:
		return nil
	}
	if verb == "lose" {
		c.lastLost = now
	}
	c.lost = verb == "lose"
	return c.hub.Call(ctx, http.MethodPost, "/api/v1/facilities/yanbian-edge/"+verb, nil, nil, nil)
}

// submit asks for one workload.
func (c *computing) submit(ctx context.Context, now time.Time) error {
	w := c.workload(now)
	return c.hub.Once(fmt.Sprintf("demo-%d-%d", c.began.Unix(), c.arrived)).Call(ctx, http.MethodPost, "/api/v1/workloads", nil, w, nil)
}

// workload makes the next one: training, inference near users, batches that may
// wait for wind, statistics on important data, and an ensemble over facilities.
func (c *computing) workload(now time.Time) object {
	n := c.arrived
	minutes := func(lo, hi float64) string {
		return time.Duration((lo + (hi-lo)*c.rng.Float64()) * float64(time.Minute)).Round(time.Second).String()
	}
	task := func(count, cpu, memory int, more object) []object {
		t := object{"name": "main", "count": count, "cpu_milli": cpu, "memory_mib": memory}
		for k, v := range more {
			t[k] = v
		}
		return []object{t}
	}
	switch kind := c.rng.IntN(20); {
	case kind < 5:
		devices := 1 << c.rng.IntN(4)
		return object{"tenant": "university", "name": fmt.Sprintf("train-%d", n), "priority": 50, "objective": "balanced", "gang": "all", "shape": "one_facility",
			"tasks": task(1, 4000*devices, 16_384*devices, object{"accelerators": object{"count": devices, "models": []string{"A100", "910B"}, "speed": object{"910B": 0.9}}, "duration": minutes(3, 12)})}
	case kind < 9:
		return object{"tenant": "transport", "name": fmt.Sprintf("inference-%d", n), "priority": 80, "objective": "fastest",
			"latency": object{"from_region": []string{"222400", "220100", "220200"}[c.rng.IntN(3)], "max_ms": 20},
			"tasks":   task(1+c.rng.IntN(3), 2000, 4096, object{"duration": minutes(2, 8)})}
	case kind < 14:
		return object{"tenant": "meteorology", "name": fmt.Sprintf("reanalysis-%d", n), "priority": 20, "objective": "greenest",
			"window": object{"deadline": now.UTC().Add(20 * time.Hour), "deferrable": true},
			"tasks":  task(2+c.rng.IntN(6), 16_000, 65_536, object{"duration": minutes(20, 90), "interruptible": true})}
	case kind < 16:
		return object{"tenant": "statistics", "name": fmt.Sprintf("census-%d", n), "priority": 60, "objective": "cheapest", "security": object{"min_grade": 3, "data_grade": "important"},
			"data":  []object{{"dataset": "population", "at": []string{"changchun-1"}, "read_gib": 200}},
			"tasks": task(4, 8000, 32_768, object{"duration": minutes(4, 10)})}
	case kind < 18:
		return object{"tenant": "agriculture", "name": fmt.Sprintf("ensemble-%d", n), "priority": 40, "objective": "balanced", "gang": "all", "shape": "spread",
			"tasks": task(12, 8000, 16_384, object{"duration": minutes(3, 9)})}
	case kind < 19:
		// More than any facility has: it waits, and says why.
		return object{"tenant": "university", "name": fmt.Sprintf("giant-%d", n), "priority": 10, "objective": "cheapest", "gang": "all", "shape": "one_facility",
			"tasks": task(9, 48_000, 400_000, object{"accelerators": object{"count": 8, "models": []string{"A100"}}, "duration": "2h"})}
	default:
		return object{"tenant": "media", "name": fmt.Sprintf("render-%d", n), "priority": 30, "objective": "cheapest",
			"tasks": task(4, 2000, 8192, object{"accelerators": object{"count": 1, "milli": 250, "models": []string{"A100"}}, "duration": minutes(2, 6)})}
	}
}

// promised is what the play reads of a workload.
type promised struct {
	ID       string `json:"id"`
	State    string `json:"state"`
	Decision struct {
		Assignments []struct {
			End time.Time `json:"end"`
		} `json:"assignments"`
	} `json:"decision"`
	Lease *struct {
		Token uint64 `json:"token"`
	} `json:"lease"`
}

// work begins what is promised, and ends what has run its time. One of 25 fails.
func (c *computing) work(ctx context.Context, now time.Time) error {
	reserved, err := client.Pages[promised](ctx, c.hub, "/api/v1/workloads", url.Values{"state": {"reserved"}}, 200)
	if err != nil {
		return err
	}
	for _, w := range reserved {
		if w.Lease == nil || len(w.Decision.Assignments) == 0 {
			continue
		}
		if err := c.progress(ctx, w.ID, object{"token": w.Lease.Token, "state": "running"}); err != nil {
			return err
		}
		c.ends[w.ID] = run{w.Lease.Token, w.Decision.Assignments[0].End}
	}
	for id, r := range c.ends {
		if now.Before(r.ends) {
			continue
		}
		delete(c.ends, id)
		end := object{"token": r.token, "state": "succeeded"}
		if c.rng.IntN(25) == 0 {
			end = object{"token": r.token, "state": "failed", "exit_code": 137}
		}
		if err := c.progress(ctx, id, end); err != nil {
			c.log.Debug("simulated work", "workload", id, "error", err) // it was lost with its facility
		}
	}
	return nil
}

func (c *computing) progress(ctx context.Context, id string, report object) error {
	return c.hub.Call(ctx, http.MethodPost, "/api/v1/workloads/"+url.PathEscape(id)+"/progress", nil, report, nil)
}
