package web

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/schedule"
)

// Compute is what there is of compute, what is promised of it and what waits,
// as far as somebody may see it.
type Compute struct {
	At              time.Time
	Facilities      []Facility
	Bars            []Bar // leases, also those that ended lately
	Queue, Deferred Waits
	Events          []Event // the newest first
}

// Facility is one with what is taken of it and what its power costs now.
type Facility struct {
	schedule.Facility
	Pools         []Pool
	PUENow        float64
	Carbon, Price Reading // g/kWh, CNY/kWh
	Live          Live
}

// Live is what series say of a facility.
type Live struct {
	PowerW int64 // that its pools draw; 0: not measured
	InletC float64
	At     time.Time // of the oldest value
	// Stale names what is too old to count, so that what was declared does.
	Stale []string
}

// Reading is the value of a signal now.
type Reading struct {
	Value    float64
	Forecast bool // false: nothing is forecast for now, and a usual value counts
}

// Pool is what one has, what is leased of it and what new work may have.
type Pool struct {
	ID, Facility           string
	Capacity, Leased, Free schedule.Vector
	DrawW                  int64 // by plan
}

// Bar is what a workload has of a pool for a time.
type Bar struct {
	Pool, Workload, Name string
	State                string
	Start, End           time.Time
	Members              int
}

// Waits are those of one state: the first, and how many there are.
type Waits struct {
	First []Waiting
	All   int
	More  bool // than All, which is how many were counted
}

// Waiting is a workload in the queue, or one that waits for its time.
type Waiting struct {
	ID, Name, Tenant string
	Priority         int
	Since            time.Time
	Rank             int       // how many are ahead
	Start            time.Time // expected; zero: not known
	Until            time.Time // of one that is deferred
	Planned          []Bar     // where it is to run then, as seen now
	Reasons          []schedule.Reason
	Help             schedule.Refusal // the smallest change that would help; without a pool where none is known
}

// Event is a transition, with the workload's name where that is known.
type Event struct {
	schedule.Event
	Name string
}

// Workload is one with the explanation of its decision.
type Workload struct {
	schedule.Workload
	State    schedule.State
	Since    time.Time
	Reasons  []schedule.Reason // of its last transition
	Decision schedule.Decision
	Bars     []Bar // where it runs or ran
	Scores   []Score
	Waits    bool // for capacity
	Rank     int
	Start    time.Time
	Events   []schedule.Event // of it and of its leases, the oldest first
}

// Score is one of a decision, and what its scorer measures.
type Score struct {
	schedule.Score
	About schedule.Text
}

// ErrNoWorkload says that there is no workload of that name for this caller.
var ErrNoWorkload = errors.New("no such workload")

// computeView is what the page is rendered from besides view.
type computeView struct {
	Compute
	Cards     []card
	Sum       []gauge // of all facilities
	Ready     int
	Chart     gantt
	Failed    bool
	Clock     string
	Zone      string
	Draw, CO2 string
}

// card is a facility.
type card struct {
	Facility
	Shape, Draw, Measured string
	Gauges                []gauge
}

// gauge is how much of one resource is taken.
type gauge struct {
	Resource             string // name of the dimension
	Leased, Total        string
	Unit                 string
	Percent              int
	LeasedPart, BusyPart string // in percent: leased, and in use besides
	BusyFrom             string
}

func (p *pages) showCompute(w http.ResponseWriter, r *http.Request) {
	caller, may := p.admit(w, r, access.ReadCompute)
	if !may {
		return
	}
	v, code := computeView{}, http.StatusOK
	c, err := p.Compute(r.Context(), caller.Region)
	if err != nil {
		p.Log.Error("compute_not_read", "error", err)
		v.Failed, code = true, http.StatusInternalServerError
	} else {
		v = viewOf(c)
	}
	p.render(w, r, p.compute, code, view{Who: p.greet(caller), Page: v})
}

func viewOf(c Compute) computeView {
	v := computeView{Compute: c, Clock: c.At.Local().Format(time.TimeOnly), Zone: zoneOf(c.At), Chart: chartOf(&c)}
	var capacity, leased, free schedule.Vector
	var draw int64
	var grams float64
	for _, f := range c.Facilities {
		var own Pool
		for _, p := range f.Pools {
			own.Capacity, own.Leased, own.Free = own.Capacity.Add(p.Capacity), own.Leased.Add(p.Leased), own.Free.Add(p.Free)
			own.DrawW += p.DrawW
		}
		capacity, leased, free = capacity.Add(own.Capacity), leased.Add(own.Leased), free.Add(own.Free)
		meter := float64(own.DrawW) * f.PUENow
		draw, grams = draw+int64(meter), grams+meter/1000*f.Carbon.Value*(1-f.GreenShare)
		if f.State == schedule.Ready {
			v.Ready++
		}
		v.Cards = append(v.Cards, card{Facility: f, Shape: shapeOf(f.State), Draw: kilowatts(meter), Measured: kilowatts(float64(f.Live.PowerW)), Gauges: gaugesOf(own.Capacity, own.Leased, own.Free)})
	}
	v.Sum, v.Draw, v.CO2 = gaugesOf(capacity, leased, free), kilowatts(float64(draw)), figure(grams/1000)
	return v
}

// shapeOf is the shape of presence that a state is shown by.
func shapeOf(s schedule.FacilityState) string {
	switch s {
	case schedule.Ready:
		return "online"
	case schedule.Lost:
		return "offline"
	}
	return "late"
}

// gaugesOf are those of CPU, memory and accelerators, as far as there are any.
func gaugesOf(capacity, leased, free schedule.Vector) (all []gauge) {
	for _, d := range []int{schedule.CPUMilli, schedule.MemoryMiB, schedule.AcceleratorMilli} {
		if capacity[d] == 0 {
			continue
		}
		share := func(n int64) float64 { return 100 * float64(max(0, n)) / float64(capacity[d]) }
		g := gauge{Resource: schedule.DimensionNames[d], Percent: int(math.Round(share(leased[d])))}
		g.Leased, _ = amount(d, leased[d])
		g.Total, g.Unit = amount(d, capacity[d])
		if d == schedule.MemoryMiB && capacity[d] >= tebi { // both in the unit of the larger
			g.Leased = figure(float64(leased[d]) / tebi)
		}
		g.LeasedPart, g.BusyFrom = percent(share(leased[d])), percent(share(leased[d]))
		g.BusyPart = percent(share(capacity[d] - leased[d] - free[d]))
		all = append(all, g)
	}
	return all
}

// tebi is a TiB in MiB.
const tebi = 1 << 20

// amount is how people say how much of a dimension.
func amount(dimension int, n int64) (value, unit string) {
	switch v := float64(n); {
	case dimension == schedule.MemoryMiB && n >= tebi:
		return figure(v / tebi), "TiB"
	case dimension == schedule.MemoryMiB:
		return figure(v / 1024), "GiB"
	case dimension == schedule.DiskGiB:
		return figure(v), "GiB"
	case dimension == schedule.PowerW:
		return figure(v), "W"
	default:
		return figure(v / 1000), "" // CPUs and devices are counted
	}
}

// figure is a number with about three digits.
func figure(v float64) string {
	digits := 2
	switch a := math.Abs(v); {
	case a >= 100 || v == math.Trunc(v):
		digits = 0
	case a >= 10:
		digits = 1
	case a < .0001:
		return "<0.0001"
	case a < .1:
		digits = 1 - int(math.Floor(math.Log10(a)))
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

func kilowatts(watts float64) string { return figure(watts / 1000) }

func percent(p float64) string { return strconv.FormatFloat(min(max(p, 0), 100), 'f', 2, 64) + "%" }

// The timeline of leases.
const (
	before   = 30 * time.Minute
	after    = 3 * time.Hour
	maxLanes = 8 // of a pool; what does not fit is counted
	laneHigh = 14
)

// gantt is the timeline: pools, and over them the hours.
type gantt struct {
	Ticks []tick
	Now   string // where now is, in percent
	Rows  []ganttRow
	Later int // that are to begin beyond its end
}

type tick struct{ At, Label string }

type ganttRow struct {
	Facility schedule.Text
	Pool     string
	High     int // pixels
	Bars     []block
	Hidden   int // bars that found no lane
	Later    []Bar
}

// block is a bar as it is drawn.
type block struct {
	Bar
	X, Width, TextX string
	Y               int
	Title           string
	Beside          bool // the name stands to the right of the bar, where it finds no room in it
	Label           bool // there is room for its name at all
}

func chartOf(c *Compute) gantt {
	from, to := c.At.Add(-before), c.At.Add(after)
	at := func(t time.Time) float64 { return 100 * float64(t.Sub(from)) / float64(to.Sub(from)) }
	g := gantt{Now: percent(at(c.At))}
	for t := from.Truncate(30 * time.Minute).Add(30 * time.Minute); t.Before(to); t = t.Add(30 * time.Minute) {
		one := tick{At: percent(at(t))}
		if x := at(t); x > 3 && x < 97 { // nearer to the edge it would be cut
			one.Label = t.Local().Format("15:04")
		}
		g.Ticks = append(g.Ticks, one)
	}
	bars := map[string][]Bar{}
	for _, b := range c.Bars {
		if b.End.After(from) && b.Start.Before(to) {
			bars[b.Pool] = append(bars[b.Pool], b)
		}
	}
	later := map[string][]Bar{}
	for _, w := range c.Deferred.First {
		for _, b := range w.Planned {
			if b.Start.Before(to) {
				bars[b.Pool] = append(bars[b.Pool], b)
			} else {
				later[b.Pool] = append(later[b.Pool], b)
				g.Later++
			}
		}
	}
	for _, f := range c.Facilities {
		for _, p := range f.Pools {
			row := ganttRow{Facility: f.Names, Pool: p.ID, Later: later[p.ID]}
			row.pack(bars[p.ID], at)
			g.Rows = append(g.Rows, row)
		}
	}
	return g
}

// letter is how wide a letter of a name is, in percent of the timeline.
const letter = .66

// pack gives every bar a lane in which it and its name cover no other: what ends
// last first, so that what runs is never among those that are only counted.
func (r *ganttRow) pack(bars []Bar, at func(time.Time) float64) {
	slices.SortStableFunc(bars, func(a, b Bar) int { return b.End.Compare(a.End) })
	type span struct{ from, to float64 }
	var lanes [][]span
	for _, b := range bars {
		left, right := max(at(b.Start), 0), min(at(b.End), 100)
		wide := max(right-left, .4)
		name := letter*float64(len(b.Name)) + 1
		one := block{Bar: b, X: percent(left), Width: percent(wide), TextX: percent(left + .4), Title: titleOf(b), Beside: wide < name}
		one.Label = !one.Beside || left+wide+name <= 100
		taken := span{left, left + wide}
		if one.Beside && one.Label {
			one.TextX, taken.to = percent(left+wide+.4), left+wide+name
		}
		lane := slices.IndexFunc(lanes, func(have []span) bool {
			return !slices.ContainsFunc(have, func(o span) bool { return taken.from < o.to && o.from < taken.to })
		})
		switch {
		case lane < 0 && len(lanes) == maxLanes:
			r.Hidden++
			continue
		case lane < 0:
			lane = len(lanes)
			lanes = append(lanes, nil)
		}
		lanes[lane] = append(lanes[lane], taken)
		one.Y = lane*laneHigh + 3
		r.Bars = append(r.Bars, one)
	}
	r.High = max(len(lanes), 2)*laneHigh + 4
}

func titleOf(b Bar) string {
	t := fmt.Sprintf("%s · %s–%s", b.Name, b.Start.Local().Format("15:04"), b.End.Local().Format("15:04"))
	if b.Members > 1 {
		t += fmt.Sprintf(" · ×%d", b.Members)
	}
	return t
}

// workloadView is what the page of a workload is rendered from besides view.
type workloadView struct {
	Workload
	Missing bool
	Failed  bool
	ID      string
}

func (p *pages) showWorkload(w http.ResponseWriter, r *http.Request) {
	caller, may := p.admit(w, r, access.ReadCompute)
	if !may {
		return
	}
	v, code := workloadView{ID: r.PathValue("id")}, http.StatusOK
	var err error
	v.Workload, err = p.Workload(r.Context(), caller.Region, v.ID)
	switch {
	case errors.Is(err, ErrNoWorkload):
		v.Missing, code = true, http.StatusNotFound
	case err != nil:
		p.Log.Error("workload_not_read", "workload", v.ID, "error", err)
		v.Failed, code = true, http.StatusInternalServerError
	}
	p.render(w, r, p.workload, code, view{Who: p.greet(caller), Page: v})
}

// say is a text in the language of a page.
func say(tag string, t schedule.Text) string {
	if tag == english.tag() {
		return t.EN
	}
	return t.ZH
}

// showAmount says a vector as people do: its parts that are not zero.
func showAmount(t map[string]string, v schedule.Vector) (s string) {
	for d, n := range v {
		if n == 0 {
			continue
		}
		value, unit := amount(d, n)
		if s != "" {
			s += " · "
		}
		s += t[schedule.DimensionNames[d]] + " " + value
		if unit != "" {
			s += " " + unit
		}
	}
	return s
}

// because says a reason in the language of a page, its times as clocks here
// show them.
func because(tag string, r schedule.Reason) string {
	here := schedule.Reason{Code: r.Code, Args: slices.Clone(r.Args)}
	for i, a := range here.Args {
		if t, err := time.Parse(time.RFC3339, a); err == nil {
			here.Args[i] = t.Local().Format("01-02 15:04")
		}
	}
	return say(tag, here.Text())
}

// length is a duration without the parts that are zero.
func length(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// unitName is how people write a unit of UCUM.
func unitName(t map[string]string, unit string) string {
	switch unit {
	case "h":
		return t["unit_hours"]
	case "GiBy.h":
		return "GiB·h"
	case "CNY":
		return t["unit_yuan"]
	}
	return unit
}
