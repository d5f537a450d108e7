package plan

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/signal"
	"github.com/songhua-io/hub/internal/telemetry"
)

var update = flag.Bool("update", false, "write what was decided into testdata")

// TestScenarios reads testdata/*.txt: facilities, pools, forecasts and workloads
// with a clock, and below each line, indented, what was decided and why.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("go test -run Scenarios -update writes what was decided; wanted (-), got (+):\n%s", d)
			}
		})
	}
}

// stage is the state of a scenario.
type stage struct {
	t       *testing.T
	out     strings.Builder
	network schedule.Network
	c       *Cluster
	signals signal.Set
	now     time.Time
	demand  []Demand
	taken   map[string][]schedule.Assignment
	facil   map[string]schedule.Facility
	waits   map[string]*waits
	rivals
}

// waits is what is planned of a workload.
type waits struct {
	w       *schedule.Workload
	planned []schedule.Assignment
}

func play(t *testing.T, script string) string {
	s := &stage{t: t, signals: signal.Set{}, now: day, taken: map[string][]schedule.Assignment{}, facil: map[string]schedule.Facility{}, waits: map[string]*waits{}, rivals: newRivals()}
	for _, line := range strings.Split(strings.TrimRight(script, "\n"), "\n") {
		if strings.HasPrefix(line, "    ") {
			continue // what was decided before
		}
		s.out.WriteString(line + "\n")
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			s.do(line)
		}
	}
	return s.out.String()
}

var day = time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)

func (s *stage) say(format string, args ...any) { fmt.Fprintf(&s.out, "    "+format+"\n", args...) }

// line is a command: words, and values by key.
type line struct {
	t     *testing.T
	words []string
	by    map[string]string
}

func (l line) num(key string) float64 {
	if l.by[key] == "" {
		return 0
	}
	v, err := strconv.ParseFloat(l.by[key], 64)
	if err != nil {
		l.t.Fatalf("%s: %v", key, err)
	}
	return v
}

func (l line) list(key string) []string {
	if l.by[key] == "" {
		return nil
	}
	return strings.Split(l.by[key], ",")
}

func (l line) dur(key string) time.Duration {
	if l.by[key] == "" {
		return 0
	}
	d, err := time.ParseDuration(l.by[key])
	if err != nil {
		l.t.Fatalf("%s: %v", key, err)
	}
	return d
}

// clock reads 08:30, or 1d08:30 of the next day.
func (s *stage) clock(v string) time.Time {
	days := 0
	if d, rest, ok := strings.Cut(v, "d"); ok {
		days, _ = strconv.Atoi(d)
		v = rest
	}
	at, err := time.Parse("15:04", v)
	if err != nil {
		s.t.Fatal(err)
	}
	return day.AddDate(0, 0, days).Add(time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute)
}

func (s *stage) cluster() *Cluster {
	if s.c == nil {
		s.c = NewCluster(&s.network)
	}
	return s.c
}

func (s *stage) do(text string) {
	l := line{t: s.t, by: map[string]string{}}
	for _, w := range strings.Fields(text) {
		if k, v, ok := strings.Cut(w, "="); ok {
			l.by[k] = v
		} else {
			l.words = append(l.words, w)
		}
	}
	name := ""
	if len(l.words) > 1 {
		name = l.words[1]
	}
	switch l.words[0] {
	case "tiers":
		s.network.Tiers = schedule.DefaultTiers
	case "link":
		s.network.Links = append(s.network.Links, schedule.Link{From: name, To: l.words[2], Way: schedule.Way{
			RoundTripMillis: l.num("ms"), GbitPerSecond: l.num("gbit"), CostPerGB: l.num("yuan"), KWhPerGB: l.num("kwh")}})
	case "facility":
		s.facility(name, l)
	case "pool":
		s.pool(name, l)
	case "remove":
		s.cluster().RemovePool(name)
	case "demand":
		s.demand = append(s.demand, Demand{Use: l.use(), Accelerators: l.accelerators(), Weight: l.num("weight")})
		s.cluster().SetDemand(s.demand)
	case "carbon", "price":
		s.series(signal.Kind(l.words[0]), name, l)
	case "at":
		s.now = s.clock(name)
	case "live":
		s.cluster().SetLive(name, Live{Wait: l.dur("wait"), FailuresPerHour: l.num("failures"), At: s.now})
	case "observe":
		if !s.cluster().Observe(name, l.words[2], 0, l.vector(), s.now) {
			s.t.Fatalf("%s: no such node", text)
		}
	case "place":
		s.place(name, l)
	case "beyond":
		s.cluster().SetBeyond(map[string]float64{name: l.num("share")})
	case "queue":
		s.nominal[name] = l.vector()
	case "preempt":
		s.preempt(name, l)
	case "replan":
		s.replan(s.waits[name])
	case "overbooked":
		if from, to, over := s.cluster().Overbooked(name, s.now); over {
			s.say("more is planned than there is from %s to %s", hhmm(from), hhmm(to))
		} else {
			s.say("there is room for all that is planned")
		}
	case "explain":
		s.decision(s.cluster().Explain(s.workload(name, l), s.now, s.signals))
	case "give":
		if err := s.cluster().Give(s.taken[name]); err != nil {
			s.t.Fatal(err)
		}
		delete(s.taken, name)
	case "capacity":
		for _, k := range s.cluster().Capacities(s.now) {
			s.say("%s: %d nodes, leased %v; free %v; on one node at most %v", k.Pool, k.Nodes, k.Leased, k.Free, k.Largest)
		}
	default:
		s.t.Fatalf("%q is no command", l.words[0])
	}
}

func (s *stage) facility(id string, l line) {
	f, there := s.facil[id]
	if !there {
		f = schedule.Facility{ID: id, Region: "220100", SecurityGrade: 3, MaxDataGrade: telemetry.Important, GridZone: "CN-JL", State: schedule.Ready, PUE: schedule.PUE{Constant: 1.3}}
	}
	for k, v := range l.by {
		switch k {
		case "region":
			f.Region = v
		case "grade":
			f.SecurityGrade = int(l.num(k))
		case "data":
			g, err := telemetry.ParseGrade(v)
			if err != nil {
				s.t.Fatal(err)
			}
			f.MaxDataGrade = g
		case "zone":
			f.GridZone = v
		case "pue":
			f.PUE.Constant = l.num(k)
		case "green":
			f.GreenShare = l.num(k)
		case "cap_w":
			f.PowerCapW = int64(l.num(k))
		case "state":
			f.State = schedule.FacilityState(v)
		default:
			s.t.Fatalf("facility: %q is no key", k)
		}
	}
	if errs := f.Check(""); errs != nil {
		s.t.Fatal(errs)
	}
	s.facil[id] = f
	s.cluster().SetFacility(&f)
}

func (s *stage) pool(id string, l line) {
	p := &schedule.Pool{ID: id, Facility: l.by["in"], Arch: "amd64", Engine: schedule.EngineAgent, Labels: map[string]string{},
		Rate: schedule.Rate{CPU: l.num("rate_cpu"), Accelerator: l.num("rate_device")}}
	if m := l.by["model"]; m != "" {
		p.Accelerator = &schedule.Accelerator{Vendor: "nvidia", Model: m, MemoryMiB: int64(l.num("device_mib")), Shareable: l.by["share"] != "no"}
	}
	if a := l.by["arch"]; a != "" {
		p.Arch = a
	}
	for k, v := range l.by {
		if label, ok := strings.CutPrefix(k, "label."); ok {
			p.Labels[label] = v
		}
	}
	for i := range int(l.num("nodes")) {
		u := l.use()
		p.Nodes = append(p.Nodes, schedule.Node{ID: fmt.Sprintf("n%d", i+1), CPUMilli: u[schedule.CPUMilli], MemoryMiB: u[schedule.MemoryMiB], DiskGiB: u[schedule.DiskGiB],
			Accelerators: int(l.num("devices"))})
	}
	if errs := p.Check(""); errs != nil {
		s.t.Fatal(errs)
	}
	if err := s.cluster().SetPool(p); err != nil {
		s.t.Fatal(err)
	}
}

// use reads cpu (cores), mem (GiB) and disk (GiB).
func (l line) use() schedule.Vector {
	return schedule.Vector{schedule.CPUMilli: int64(l.num("cpu") * 1000), schedule.MemoryMiB: int64(l.num("mem") * 1024), schedule.DiskGiB: int64(l.num("disk"))}
}

func (l line) vector() schedule.Vector {
	v := l.use()
	v[schedule.AcceleratorMilli] = int64(l.num("device_milli"))
	return v
}

func (l line) accelerators() *schedule.Accelerators {
	if l.by["devices"] == "" && l.by["milli"] == "" {
		return nil
	}
	a := &schedule.Accelerators{Count: 1, Milli: schedule.DeviceMilli, Models: l.list("models"), MemoryMiB: int64(l.num("device_mib"))}
	if n := int(l.num("devices")); n > 0 {
		a.Count = n
	}
	if n := int64(l.num("milli")); n > 0 {
		a.Milli = n
	}
	for k := range l.by {
		if m, ok := strings.CutPrefix(k, "speed."); ok {
			if a.Speed == nil {
				a.Speed = map[string]float64{}
			}
			a.Speed[m] = l.num(k)
		}
	}
	return a
}

// series reads from=06:00 hours=400,300,…
func (s *stage) series(kind signal.Kind, zone string, l line) {
	n := &signal.Series{Kind: kind, Zone: zone, Issued: s.now}
	if v := l.by["issued"]; v != "" {
		n.Issued = s.clock(v)
	}
	at := s.clock(l.by["from"])
	for _, v := range l.list("hours") {
		x, err := strconv.ParseFloat(v, 64)
		if err != nil {
			s.t.Fatal(err)
		}
		n.Steps = append(n.Steps, signal.Step{Start: at, End: at.Add(time.Hour), Value: x, Low: x, High: x})
		at = at.Add(time.Hour)
	}
	next := signal.Set{}
	for k, v := range s.signals {
		next[k] = v
	}
	next.Put(n)
	s.signals = next
}

func (s *stage) workload(name string, l line) *schedule.Workload {
	w := &schedule.Workload{ID: name, Tenant: "default", Name: name, Gang: schedule.GangAll, Shape: schedule.AnyShape, Objective: schedule.Balanced}
	if v := l.by["gang"]; v != "" {
		w.Gang = schedule.Gang(v)
	}
	if v := l.by["shape"]; v != "" {
		w.Shape = schedule.Shape(v)
	}
	for _, o := range schedule.Objectives {
		if o.Name == l.by["objective"] {
			w.Objective = o
		}
	}
	t := schedule.Task{Name: "main", Min: 1, Max: 1, Use: l.use(), Accelerators: l.accelerators(), P50: l.dur("p50"), P95: l.dur("p95"),
		Checkpoint: l.dur("checkpoint"), Interruptible: l.by["checkpoint"] != ""}
	if n := int(l.num("count")); n > 0 {
		t.Min, t.Max = n, n
	}
	if n := int(l.num("min")); n > 0 {
		t.Min = n
	}
	if t.P50 == 0 {
		t.P50 = time.Hour
	}
	if t.P95 == 0 {
		t.P95 = t.P50
	}
	w.Tasks = []schedule.Task{t}
	if v := l.by["from"]; v != "" {
		w.Latency = &schedule.Latency{FromRegion: v, MaxMillis: l.num("ms")}
	}
	if v := l.num("data_gib"); v > 0 {
		w.Data = []schedule.Dataset{{ID: "d", At: l.list("data_at"), ReadGiB: v, Copy: l.by["copy"] == "yes"}}
	}
	w.Security.MinGrade = int(l.num("grade"))
	if v := l.by["data"]; v != "" {
		g, err := telemetry.ParseGrade(v)
		if err != nil {
			s.t.Fatal(err)
		}
		w.Security.DataGrade = g
	}
	if v := l.by["earliest"]; v != "" {
		w.Window.Earliest = s.clock(v)
	}
	if v := l.by["deadline"]; v != "" {
		w.Window.Deadline = s.clock(v)
	}
	w.Window.Deferrable = l.by["deferrable"] == "yes"
	w.Affinity = schedule.Affinity{Facilities: l.list("facilities"), NotFacilities: l.list("not_facilities"), Regions: l.list("regions"), Archs: l.list("archs")}
	for k, v := range l.by {
		if label, ok := strings.CutPrefix(k, "label."); ok {
			if w.Affinity.Labels == nil {
				w.Affinity.Labels = map[string]string{}
			}
			w.Affinity.Labels[label] = v
		}
	}
	w.Priority = int(l.num("priority"))
	if v := l.by["queue"]; v != "" {
		w.Tenant = v
	}
	w.Budget = schedule.Budget{Money: l.num("money"), CarbonKg: l.num("carbon_kg")}
	if errs := w.Check(""); errs != nil {
		s.t.Fatal(errs)
	}
	return w
}

func (s *stage) place(name string, l line) {
	w := s.workload(name, l)
	d := s.cluster().Place(w, s.now, s.signals)
	s.decision(d)
	s.began(w, s.now, int(l.num("taken_back")))
	s.hold(&waits{w: w}, d)
}

// replan decides anew about what is deferred.
func (s *stage) replan(x *waits) {
	s.cluster().Unplan(x.planned)
	d, moves := s.cluster().Replan(x.w, x.planned, s.now, s.signals)
	if !moves {
		s.say("%s %s stays", hhmm(s.now), x.w.ID)
		s.cluster().Plan(x.planned)
		return
	}
	s.decision(d)
	s.hold(x, d)
}

// hold books what is planned, and takes what is to run.
func (s *stage) hold(x *waits, d schedule.Decision) {
	x.planned, s.waits[x.w.ID] = d.Planned, x
	s.taken[x.w.ID] = d.Assignments
	s.cluster().Plan(d.Planned)
	if err := s.cluster().Take(d.Assignments); err != nil {
		s.t.Fatal(err)
	}
}

func hhmm(t time.Time) string {
	if n := int(t.Sub(day) / (24 * time.Hour)); n > 0 {
		return fmt.Sprintf("%dd%s", n, t.Format("15:04"))
	}
	return t.Format("15:04")
}

func (s *stage) decision(d schedule.Decision) {
	switch {
	case !d.Until.IsZero():
		s.say("%s deferred until %s", hhmm(d.At), hhmm(d.Until))
	case len(d.Assignments) == 0:
		s.say("%s waits", hhmm(d.At))
	default:
		s.say("%s runs", hhmm(d.At))
	}
	for _, r := range d.Reasons {
		s.say("  because %s: %s", r.Code, r.Text().EN)
		s.say("          %s", r.Text().ZH)
	}
	for _, a := range d.Planned {
		s.say("  planned %s/%d at %s %s, %s to %s: %v", a.Task, a.Index, a.Facility, a.Pool, hhmm(a.Start), hhmm(a.End), a.Use)
	}
	for _, a := range d.Assignments {
		s.say("  %s/%d at %s %s %s devices %v, %s to %s: %v", a.Task, a.Index, a.Facility, a.Pool, a.Node, a.Devices, hhmm(a.Start), hhmm(a.End), a.Use)
	}
	if len(d.Assignments) > 0 {
		s.say("  %.3f kWh, %.3f kg CO2, %.2f yuan, %g GiB moved, work begins after %v, oldest live value %v", d.EnergyKWh, d.CarbonKg, d.Cost, d.TransferGiB, d.ExpectedWait, d.DataAge)
	}
	if len(d.Assignments) == 0 && d.EnergyKWh > 0 {
		s.say("  %.3f kWh, %.3f kg CO2, %.2f yuan, begins after %v", d.EnergyKWh, d.CarbonKg, d.Cost, d.ExpectedWait)
	}
	for _, x := range d.Scores {
		s.say("  score %-20s %10.4f %-7s %10.4f yuan", x.Scorer, x.Value, x.Unit, x.Cost)
	}
	for _, r := range d.RunnersUp {
		if r.Worse.Scorer == "" {
			s.say("  else %s %s: %.4f yuan, worse by nothing", r.Facility, r.Pool, r.Cost)
			continue
		}
		s.say("  else %s %s: %.4f yuan, worse by %s %.4f %s = %.4f yuan", r.Facility, r.Pool, r.Cost, r.Worse.Scorer, r.Worse.Value, r.Worse.Unit, r.Worse.Cost)
	}
	for _, r := range d.Refused {
		s.say("  not %s %s: %s: %s", r.Facility, r.Pool, r.Reason.Code, r.Reason.Text().EN)
		for _, c := range r.Change {
			s.say("      unless %s is %s, not %s", c.Key, c.To, c.From)
		}
	}
}
