package plan

import (
	"cmp"
	"container/heap"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/signal"
	"github.com/songhua-io/hub/internal/telemetry"
)

var carbonTable = flag.Bool("carbon", false, "print what shifting saves of every mix of jobs in every zone; minutes")

// What shifting saves, by the planner as the loop asks it, with a clock that jumps
// from event to event: workloads come one by one and are placed or deferred; what
// is deferred is booked, and planned anew each hour when some of it is new, and
// each day with the forecast.

var year = time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC)

// intensity are the hourly values of a zone in 2023, g/kWh over the life cycle.
func intensity(t testing.TB, zone string) (values []float64) {
	for _, r := range shared(t, "carbon/"+zone+"_2023_hourly.csv.gz") {
		v, err := strconv.ParseFloat(r[5], 64)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	return values
}

func hourly(issued time.Time, values []float64) *signal.Series {
	s := &signal.Series{Kind: signal.Carbon, Zone: "z", Issued: issued, Steps: make([]signal.Step, len(values))}
	for i, v := range values {
		at := year.Add(time.Duration(i) * time.Hour)
		s.Steps[i] = signal.Step{Start: at, End: at.Add(time.Hour), Value: v, Low: v, High: v}
	}
	return s
}

// noisy is a forecast with an error of 5 % of the mean, another with each issue,
// as in Let's Wait Awhile.
func noisy(values []float64) func(time.Time) *signal.Series {
	mean := 0.0
	for _, v := range values {
		mean += v / float64(len(values))
	}
	rng := rand.New(rand.NewPCG(5, 5))
	return func(now time.Time) *signal.Series {
		is := slices.Clone(values)
		for i := range is {
			is[i] = max(0, is[i]+rng.NormFloat64()*mean*0.05)
		}
		return hourly(now, is)
	}
}

// job is a workload of a trace: it runs as long as it says.
type job struct {
	at       time.Time
	length   time.Duration
	deadline time.Time
	cpus     int64
}

// trainings are as in Let's Wait Awhile (Wiesner et al., Middleware '21): 3,387 a
// year, of 4 hours to 4 days, submitted on workdays between 9 and 17. They may
// end as late as the next time that meets.
func trainings(weeks int, meets func(time.Time) bool) (all []job) {
	rng := rand.New(rand.NewPCG(1, 1))
	for len(all) < 3387*weeks/50 {
		at := year.Add(time.Duration(rng.IntN(weeks*7*24*60)) * time.Minute)
		if d := at.Weekday(); d == time.Saturday || d == time.Sunday || at.Hour() < 9 || at.Hour() >= 17 {
			continue
		}
		j := job{at: at, length: 4*time.Hour + time.Duration(rng.IntN(92*2+1))*30*time.Minute, cpus: 1}
		j.deadline = at.Add(j.length).Truncate(time.Hour).Add(time.Hour)
		for !meets(j.deadline) {
			j.deadline = j.deadline.Add(time.Hour)
		}
		all = append(all, j)
	}
	slices.SortFunc(all, func(a, b job) int { return a.at.Compare(b.at) })
	return all
}

func semiWeekly(t time.Time) bool {
	return t.Hour() == 9 && (t.Weekday() == time.Monday || t.Weekday() == time.Thursday)
}

func nextWorkday(t time.Time) bool {
	return t.Hour() >= 9 && t.Hour() < 17 && t.Weekday() != time.Saturday && t.Weekday() != time.Sunday
}

// azure are the first weeks of the trace. Each may end a day later than at once.
func azure(t testing.TB, weeks int) (all []job) {
	number := func(s string) float64 {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, r := range shared(t, "jobs/azure-100k.csv.gz") { // hours
		at, length := number(r[0]), number(r[1])
		if at > float64(weeks)*168 {
			break
		}
		j := job{at: year.Add(time.Duration(at * float64(time.Hour))), length: max(time.Minute, time.Duration(length*float64(time.Hour)).Round(time.Minute)), cpus: int64(number(r[2]))}
		j.deadline = j.at.Add(j.length + 24*time.Hour)
		all = append(all, j)
	}
	slices.SortStableFunc(all, func(a, b job) int { return a.at.Compare(b.at) })
	return all
}

// world runs jobs in one pool.
type world struct {
	t        testing.TB
	c        *Cluster
	truth    *signal.Series
	forecast func(now time.Time) *signal.Series // nil: nobody issues any
	set      signal.Set
	now      time.Time
	issued   time.Time
	round    time.Time
	fresh    bool
	due      dues
	queue    []*run
	deferred map[*run]bool
	use      int64
	peak     int64
	grams    float64 // with a kW for each CPU
	done     int
	late     int
	pauses   int
}

// run is a job on its way.
type run struct {
	job
	w       *schedule.Workload
	parts   []schedule.Assignment
	planned []schedule.Assignment
	left    time.Duration
	event   int // its next; earlier ones do not count any more
}

type due struct {
	at    time.Time
	what  string
	r     *run
	event int
}

type dues []due

func (d dues) Len() int { return len(d) }
func (d dues) Less(i, j int) bool {
	return cmp.Or(d[i].at.Compare(d[j].at), cmp.Compare(d[i].what, d[j].what), cmp.Compare(d[i].r.w.ID, d[j].r.w.ID)) < 0
}
func (d dues) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d *dues) Push(x any)   { *d = append(*d, x.(due)) }
func (d *dues) Pop() any {
	last := (*d)[len(*d)-1]
	*d = (*d)[:len(*d)-1]
	return last
}

const boundless = 1_000_000

func newWorld(t testing.TB, values []float64, cpus int64, forecast func(time.Time) *signal.Series) *world {
	w := &world{t: t, c: NewCluster(nil), truth: hourly(year, values), forecast: forecast, set: signal.Set{}, deferred: map[*run]bool{}}
	w.c.SetFacility(&schedule.Facility{ID: "f", Region: "220100", SecurityGrade: 3, MaxDataGrade: telemetry.General, GridZone: "z", State: schedule.Ready, PUE: schedule.PUE{Constant: 1}})
	if err := w.c.SetPool(&schedule.Pool{ID: "p", Facility: "f", Classes: []schedule.Class{{Count: 1, Node: schedule.Node{CPUMilli: cpus * 1000}}}}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) push(at time.Time, what string, r *run) {
	r.event++
	heap.Push(&w.due, due{at, what, r, r.event})
}

// checkpoint is what a pause loses.
const checkpoint = 10 * time.Minute

func (w *world) run(jobs []job, interruptible bool) *world {
	for i, j := range jobs {
		r := &run{job: j, left: j.length}
		t := schedule.Task{Name: "t", Min: 1, Max: 1, Use: schedule.Vector{schedule.CPUMilli: j.cpus * 1000}, P50: j.length, P95: j.length}
		if interruptible {
			t.Interruptible, t.Checkpoint = true, checkpoint
		}
		r.w = &schedule.Workload{ID: fmt.Sprintf("%05d", i), Objective: schedule.Greenest, Gang: schedule.GangNone,
			Window: schedule.Window{Deferrable: w.forecast != nil, Deadline: j.deadline}, Tasks: []schedule.Task{t}}
		w.push(j.at, "start", r)
	}
	for len(w.due) > 0 {
		e := heap.Pop(&w.due).(due)
		w.now = e.at
		w.turn()
		switch {
		case e.event != e.r.event:
		case e.what == "start":
			w.start(e.r)
		default:
			w.stop(e.r, e.what == "end")
		}
	}
	if w.done != len(jobs) {
		w.t.Errorf("%d of %d jobs have ended", w.done, len(jobs))
	}
	return w
}

// turn issues the forecast of the day, and begins the round of the hour.
func (w *world) turn() {
	if w.forecast == nil {
		return
	}
	day := w.now.Truncate(24 * time.Hour)
	if !day.Equal(w.issued) {
		w.issued, w.set = day, signal.Set{}
		w.set.Put(w.forecast(day))
	} else if !w.fresh || w.now.Sub(w.round) < time.Hour {
		return
	}
	w.round, w.fresh = w.now, false
	order := Order(w.now)
	all := slices.SortedFunc(maps.Keys(w.deferred), func(a, b *run) int { return order(a.w, b.w) })
	for _, r := range all {
		w.c.Unplan(r.planned)
	}
	for _, r := range all {
		w.replan(r, false)
	}
	w.relieve()
}

// replan plans a run anew that is not booked at that moment. Where it finds no
// place others have to make room, unless it has to.
func (w *world) replan(r *run, must bool) {
	d, moves := w.c.Replan(r.w, r.planned, w.now, w.set)
	if nowhere := len(d.Assignments) == 0 && d.Until.IsZero(); !moves || nowhere && !must {
		w.c.Plan(r.planned)
		return
	}
	r.planned = nil
	w.follow(r, d)
}

// relieve lets those make room who are planned where there is none.
func (w *world) relieve() {
	from, to, over := w.c.Overbooked("p", w.now)
	if !over {
		return
	}
	slack := func(r *run) time.Duration { return r.deadline.Sub(r.planned[len(r.planned)-1].End) }
	var all []*run
	for r := range w.deferred {
		if len(r.planned) > 0 && r.planned[0].Start.Before(to) && r.planned[len(r.planned)-1].End.After(from) {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b *run) int { return cmp.Or(cmp.Compare(slack(b), slack(a)), cmp.Compare(a.w.ID, b.w.ID)) })
	for _, r := range all {
		if from, to, over = w.c.Overbooked("p", w.now); !over {
			return
		}
		if r.planned[0].Start.Before(to) && r.planned[len(r.planned)-1].End.After(from) {
			w.c.Unplan(r.planned)
			w.replan(r, true)
		}
	}
}

func (w *world) start(r *run) {
	w.c.Unplan(r.planned)
	r.planned = nil
	if w.now.Add(r.left).After(r.deadline) {
		one := *r.w // late, and better than never
		one.Window = schedule.Window{}
		r.w = &one
	}
	w.follow(r, w.c.Place(r.w, w.now, w.set))
}

// follow does what was decided.
func (w *world) follow(r *run, d schedule.Decision) {
	delete(w.deferred, r)
	r.event++
	switch {
	case len(d.Assignments) > 0:
		if err := w.c.Take(d.Assignments); err != nil {
			w.t.Fatal(err)
		}
		w.use += r.cpus
		w.peak = max(w.peak, w.use)
		what, end := "end", w.now.Add(r.left)
		if len(d.Planned) > 0 && d.Assignments[0].End.Before(end) {
			what, end = "pause", d.Assignments[0].End
		}
		w.push(end, what, r)
		r.parts, r.planned = d.Assignments, d.Planned
		w.c.Plan(r.planned)
		w.relieve()
	case !d.Until.IsZero():
		r.planned, w.deferred[r], w.fresh = d.Planned, true, true
		w.push(d.Until, "start", r)
		w.c.Plan(r.planned)
	default:
		w.queue = append(w.queue, r)
	}
}

func (w *world) stop(r *run, ended bool) {
	began := r.parts[0].Start
	if err := w.c.Give(r.parts); err != nil {
		w.t.Fatal(err)
	}
	r.parts = nil
	w.use -= r.cpus
	mean, _ := w.truth.Mean(began, w.now)
	w.grams += mean * w.now.Sub(began).Hours() * float64(r.cpus)
	if ended {
		w.c.Unplan(r.planned)
		w.done++
		if w.now.After(r.deadline) {
			w.late++
		}
	} else {
		w.pauses++
		r.left -= max(0, w.now.Sub(began)-checkpoint)
		r.w = r.w.Left(r.w.Tasks[0].P95 - r.left)
		w.deferred[r] = true
		w.push(r.planned[0].Start, "start", r)
	}
	waiting := w.queue
	w.queue = nil
	for _, r := range waiting {
		w.start(r)
	}
}

// outcome is what shifting saves of the carbon of running at once.
type outcome struct {
	free, capped, kept     float64 // per cent
	peak, atOnce, freePeak int64
	late                   int
	pauses                 int
}

func (o outcome) String() string {
	return fmt.Sprintf("%5.2f %% (peak %d) without a cap, %5.2f %% (peak %d) under %d: %6.2f %% kept, %d late, %d pauses", o.free, o.freePeak, o.capped, o.peak, o.atOnce, o.kept, o.late, o.pauses)
}

func shifted(t testing.TB, jobs []job, values []float64, forecast func(time.Time) *signal.Series, interruptible bool) (o outcome) {
	base := newWorld(t, values, boundless, nil).run(jobs, false)
	free := newWorld(t, values, boundless, forecast).run(jobs, interruptible)
	under := newWorld(t, values, base.peak, forecast).run(jobs, interruptible)
	o = outcome{free: 100 * (1 - free.grams/base.grams), capped: 100 * (1 - under.grams/base.grams), peak: under.peak, atOnce: base.peak, freePeak: free.peak, late: under.late, pauses: under.pauses}
	o.kept = 100 * o.capped / o.free
	return o
}

// TestShiftingKeepsItsSavingUnderACap reaches 95 % of what shifting saves without
// a cap, with the capacity that running at once needs at most.
func TestShiftingKeepsItsSavingUnderACap(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute")
	}
	values := intensity(t, "DE-LU")
	jobs := azure(t, 2)
	o := shifted(t, jobs, values, func(now time.Time) *signal.Series { return hourly(now, values) }, false)
	t.Log(o)
	if o.kept < 95 || o.peak > o.atOnce || o.late > len(jobs)/1000 {
		t.Errorf("%v; want 95 %% kept, and at most one job in a thousand late", o)
	}
}

// TestShiftingByZone measures the tables of docs/bench/schedule.md.
func TestShiftingByZone(t *testing.T) {
	if !*carbonTable {
		t.Skip("minutes; asked for by -carbon")
	}
	mixes := map[string]func(testing.TB) []job{
		"next_workday": func(testing.TB) []job { return trainings(50, nextWorkday) },
		"semi_weekly":  func(testing.TB) []job { return trainings(50, semiWeekly) },
		"azure":        func(t testing.TB) []job { return azure(t, 2) },
	}
	for mix, jobs := range mixes {
		for _, zone := range []string{"DE-LU", "IN-WE", "JP-TK", "KR", "SG"} {
			for _, forecast := range []string{"truth", "noise"} {
				for _, interruptible := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/%s/%s/interruptible=%v", mix, zone, forecast, interruptible), func(t *testing.T) {
						values := intensity(t, zone)
						issue := func(now time.Time) *signal.Series { return hourly(now, values) }
						if forecast == "noise" {
							issue = noisy(values)
						}
						t.Log(shifted(t, jobs(t), values, issue, interruptible))
					})
				}
			}
		}
	}
}
