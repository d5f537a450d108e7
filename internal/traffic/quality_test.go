package traffic

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/road/dialect"
	"github.com/songhua-io/hub/internal/simulate/roads"
)

// playing is a world whose messages a board takes.
type playing struct {
	t       testing.TB
	world   *roads.World
	board   *Board
	set     *dialect.Set
	frames  dialect.Frames
	live    bool
	record  []byte
	log     []byte             // all records, when it is not nil
	totals  map[string]float64 // of all minutes: unit, metric and tags
	times   map[string]int     // that each was told
	refused map[string]int
}

func newPlaying(t testing.TB, c roads.Config) *playing {
	t.Helper()
	set, err := dialect.Load()
	if err != nil {
		t.Fatal(err)
	}
	return &playing{t: t, world: roads.New(c), board: New(Config{MaxUnits: 100, MaxNodes: 8, MaxLinks: 64, MaxEvents: 32}), set: set, live: true,
		totals: map[string]float64{}, times: map[string]int{}, refused: map[string]int{}}
}

// run lets time pass, and closes minutes on the way.
func (p *playing) run(d time.Duration) {
	p.t.Helper()
	for end := p.world.Now().Add(d); p.world.Now().Before(end); {
		p.world.Step(p.take)
		if now := p.world.Now(); now.Nanosecond() == 0 {
			p.close(now)
		}
	}
}

func (p *playing) close(now time.Time) {
	p.board.Close(now, func(m Minute) {
		for _, s := range m.Samples {
			k := fmt.Sprint(m.Unit, " ", s.Metric, s.Tags)
			p.totals[k] += s.Value
			p.times[k]++
		}
		p.log = append(p.log, p.board.Written(m, nil)...)
	})
}

func (p *playing) take(u roads.Uplink) {
	p.t.Helper()
	if a := p.arrival(u, p.world.Now().Add(40*time.Millisecond)); a != nil {
		p.give(a)
	}
}

func (p *playing) give(a *Arrival) {
	p.t.Helper()
	var err error
	if p.record, err = p.board.Take(a, p.record[:0]); err != nil {
		var refused *Refused
		if !errors.As(err, &refused) {
			p.t.Fatal(err)
		}
		p.refused[fmt.Sprint(a.Unit, " ", refused.Reason)]++
		return
	}
	if p.log != nil {
		p.log = append(p.log, p.record...)
	}
}

func (p *playing) arrival(u roads.Uplink, received time.Time) *Arrival {
	p.t.Helper()
	h := fnv.New64a()
	h.Write([]byte(u.Message))
	h.Write(u.Payload)
	a := &Arrival{Unit: u.Unit, Raw: u.Payload, Hash: h.Sum64(), Received: received, Live: p.live}
	if u.Payload[0] != '{' {
		m, err := p.frames.Read(u.Payload, received)
		if err != nil {
			p.t.Fatal(err)
		}
		a.Message = m
		return a
	}
	r, ok := p.set.Route("V2X.RSU." + u.Unit + "." + u.Message + ".UP")
	if !ok {
		p.t.Fatal(u.Message)
	}
	m, findings, err := p.set.ReadJSON(r, u.Payload, received)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, f := range findings {
		zh, en := f.Text()
		p.board.Found(u.Unit, m.Kind, string(f.Code), f.Path, zh, en, received)
	}
	a.Message = m
	return a
}

// total is the sum of a metric of a unit over all minutes, of those whose tags
// hold all that is asked for.
func (p *playing) total(unit, metric string, tags ...string) (sum float64) {
	for k, v := range p.totals {
		if !strings.HasPrefix(k, unit+" "+metric+"[") {
			continue
		}
		if !slices.ContainsFunc(tags, func(tag string) bool { return !strings.Contains(k, tag) }) {
			sum += v
		}
	}
	return sum
}

// mean is that of a metric of a unit over all minutes that have it.
func (p *playing) mean(unit, metric string) float64 {
	n := 0
	for k, times := range p.times {
		if strings.HasPrefix(k, unit+" "+metric+"[") {
			n += times
		}
	}
	return p.total(unit, metric) / float64(n)
}

func (p *playing) found(unit string, c Check) int {
	return int(p.total(unit, "rsu_check_faults", "{check "+string(c)+"}"))
}

func long(short, whole time.Duration) time.Duration {
	if testing.Short() {
		return short
	}
	return whole
}

// An hour of a world without faults raises none.
func TestSoundUnitsRaiseNoAlarm(t *testing.T) {
	if testing.Short() {
		t.Skip("an hour of nine units; make test")
	}
	p := newPlaying(t, roads.Config{Seed: 11, Units: 9, Vehicles: 6, Connected: 0.3, Start: noon})
	p.run(time.Hour)
	units := p.board.Units()
	if len(units) != 9 || len(p.refused) > 0 {
		t.Fatalf("%d units, refused %v", len(units), p.refused)
	}
	for _, u := range units {
		for _, c := range Checks {
			if n := p.found(u.Unit, c); n != 0 {
				t.Errorf("%s: %s found %d times", u.Unit, c, n)
			}
		}
		for _, f := range u.Faults {
			t.Errorf("%s: %s", u.Unit, f.EN)
		}
		if len(u.Deviations) > 0 {
			t.Errorf("%s deviates: %v", u.Unit, u.Deviations)
		}
		if u.Beat != time.Minute || u.Offset != -40*time.Millisecond || u.Rates[road.KindMap] != 1 || u.Rates[road.KindSPAT] < 4.9 || u.Status.Limits["spat"] != 5 || len(u.Nodes) != 1 {
			t.Errorf("%s: beat %v, offset %v, rates %v, limits %v, nodes %v", u.Unit, u.Beat, u.Offset, u.Rates, u.Status.Limits, u.Nodes)
		}
		if c := p.mean(u.Unit, "signal_continuity_ratio"); c != 1 {
			t.Errorf("%s: continuity %v", u.Unit, c)
		}
		if lost := p.total(u.Unit, "rsu_messages_lost"); lost != 0 {
			t.Errorf("%s lost %v", u.Unit, lost)
		}
	}
	crossings := p.board.Intersections()
	if len(crossings) != 9 {
		t.Fatalf("%d intersections", len(crossings))
	}
	for _, x := range crossings {
		if len(x.Faults) > 0 || len(x.Phases) != 2 || x.Status != road.StatusFixedTime {
			t.Errorf("%+v", x)
		}
		for _, ph := range x.Phases {
			if off := (ph.Cycle - time.Minute).Abs(); off > 200*time.Millisecond || math.Abs(ph.Greens-25.0/60) > 0.005 || ph.Since.IsZero() || ph.End.Before(x.At) {
				t.Errorf("%s: phase %+v", x.Unit, ph)
			}
		}
	}
}

// Each fault of the simulator raises its check, as often as the unit was at fault.
func TestFaultsAreFound(t *testing.T) {
	faulty := map[int]roads.Fault{0: roads.ClockSkew, 1: roads.Lossy, 3: roads.NoYellow, 4: roads.BothGreen, 5: roads.StaleEvent, 6: roads.StuckCounter, 7: roads.Misspelled, 8: roads.SlowBeat}
	p := newPlaying(t, roads.Config{Seed: 4, Units: 9, Vehicles: 6, Connected: 0.2, Start: noon, Faulty: faulty})
	p.run(long(20*time.Minute, 35*time.Minute))
	p.close(p.world.Now().Add(3 * time.Minute)) // what is open, too
	name := p.world.Names()
	truth := func(i int) *roads.TrueUnit { return p.world.Truth().Units[name[i]] }
	about := func(what string, got, want, slack int) {
		t.Helper()
		if want == 0 || got > want+slack || got < want-slack {
			t.Errorf("%s: %d, truly %d", what, got, want)
		}
	}
	exactly := func(what string, got, want int) { t.Helper(); about(what, got, want, 0) }

	// A fault is found by its own checks; what else each may raise follows from it.
	may := map[int][]Check{
		0: {CheckClock}, 1: {CheckLoss, CheckRate}, 2: {}, 3: {CheckTransition}, 4: {CheckTransition, CheckConflict, CheckCountdown},
		5: {CheckPastEnd}, 6: {CheckCounter}, 7: {}, 8: {CheckBeat},
	}
	for i, checks := range may {
		for _, c := range Checks {
			if n := p.found(name[i], c); (n > 0) != slices.Contains(checks, c) && !(c == CheckRate && i == 1) {
				t.Errorf("%s (%q): %s found %d times", name[i], faulty[i], c, n)
			}
		}
	}
	exactly("skipped yellow", p.found(name[3], CheckTransition), truth(3).SkippedYellow)
	exactly("skipped yellow in the series", int(p.total(name[3], "signal_illegal_transitions")), truth(3).SkippedYellow)
	exactly("both green skips yellow", p.found(name[4], CheckTransition), truth(4).SkippedYellow)
	exactly("conflicts", p.found(name[4], CheckConflict), truth(4).Conflicts)
	about("seconds of conflict", int(p.total(name[4], "signal_conflict_seconds")), truth(4).Conflicts*10, truth(4).Conflicts)
	exactly("events past their end", p.found(name[5], CheckPastEnd), truth(5).PastEnd)
	about("stuck counter", p.found(name[6], CheckCounter), truth(6).Sent["RSM"]+truth(6).Changes, truth(6).Sent["RSM"]/20)
	exactly("slow beats", p.found(name[8], CheckBeat), truth(8).Sent["HB"]-1)
	for _, kind := range []string{"rsm", "spat", "map"} {
		up := strings.ToUpper(kind)
		about("lost "+kind, int(p.total(name[1], "rsu_messages_lost", "{type "+kind+"}")), truth(1).Lost[up], 3) // those before the first, or after the last, nobody misses
	}
	if c := p.mean(name[1], "signal_continuity_ratio"); math.Abs(c-0.9) > 0.02 {
		t.Errorf("continuity of one that loses a tenth: %v", c)
	}
	skewed, _ := p.board.Unit(name[0])
	if off := skewed.Offset + 90*time.Second; off.Abs() > time.Second || !slices.ContainsFunc(skewed.Deviations, func(d Deviation) bool { return d.Code == "time" && d.Kind == road.KindRSM }) {
		t.Errorf("clock: %v, %v", skewed.Offset, skewed.Deviations)
	}
	spelled, _ := p.board.Unit(name[7])
	if n := len(spelled.Deviations); n != 8 || spelled.Deviations[2].Count < 20 {
		t.Errorf("misspelled: %v", spelled.Deviations)
	}
	slow, _ := p.board.Unit(name[8])
	if len(slow.Deviations) != 1 || slow.Deviations[0].EN != "heartbeat every 180 s, 60 s configured" || slow.Beat != 3*time.Minute {
		t.Errorf("slow: %v", slow.Deviations)
	}
	p.evidence(name[3], CheckTransition)
}

// evidence checks that raw messages of a check can be read, and are few.
func (p *playing) evidence(unit string, c Check) {
	p.t.Helper()
	all := p.board.Evidence(unit, c)
	if len(all) == 0 || len(all) > evidenceEach {
		p.t.Fatalf("%d messages are kept", len(all))
	}
	for _, e := range all {
		if m, err := p.frames.Read(e.Raw, e.At); err != nil || m.Kind != e.Kind {
			p.t.Errorf("evidence % x: %v", e.Raw, err)
		}
	}
	v, _ := p.board.Unit(unit)
	if len(v.Faults) != 1 || !v.Faults[0].Evidence || v.Faults[0].Check != c || v.Faults[0].ZH == "" {
		p.t.Errorf("faults %+v", v.Faults)
	}
	p.board.Close(p.world.Now().Add(evidenceAge+time.Minute), func(Minute) {})
	if all := p.board.Evidence(unit, c); len(all) != 0 || p.board.evidence.Load() != 0 {
		p.t.Errorf("%d messages are kept for long, %d octets", len(all), p.board.evidence.Load())
	}
}

// After a restart events and status are there again, and messages that come again,
// or come late, change nothing.
func TestRestartAndRedelivery(t *testing.T) {
	p := newPlaying(t, roads.Config{Seed: 4, Units: 9, Vehicles: 2, Start: noon, Faulty: map[int]roads.Fault{5: roads.StaleEvent}})
	p.log = []byte{}
	p.run(4 * time.Minute)
	var old []roads.Uplink
	p.world.Step(func(u roads.Uplink) {
		p.take(u)
		if u.Message == "RSM" || u.Message == "BSM" {
			return // which minute they are of is told by their arrival
		}
		old = append(old, roads.Uplink{Unit: u.Unit, Message: u.Message, Payload: slices.Clone(u.Payload)})
	})
	p.run(4 * time.Minute)
	now := p.world.Now()
	for name, from := range map[string]func(*Board) error{"log": func(b *Board) error { return b.Apply(p.log) }, "snapshot": func(b *Board) error { return p.board.Snapshot(b.Apply) }} {
		again := New(p.board.cfg)
		if err := from(again); err != nil {
			t.Fatal(name, err)
		}
		again.Restored(now)
		nan := cmp.Comparer(func(a, b float64) bool { return same(a, b) })
		told := cmp.FilterPath(func(path cmp.Path) bool { return path.Last().String() == ".Last" }, cmp.Comparer(func(a, b time.Time) bool { return a.Sub(b).Abs() <= eventTold }))
		if diff := cmp.Diff(p.board.Events(), again.Events(), nan, told); diff != "" || len(again.Events()) == 0 {
			t.Errorf("%s: events differ\n%s", name, diff)
		}
		again.Restored(now.Add(10 * time.Minute)) // nobody could tell while the hub was down
		if all := again.Events(); !slices.ContainsFunc(all, func(v EventView) bool { return v.Active }) {
			t.Errorf("%s: after a while %v", name, all)
		}
		again.Close(now.Add(13*time.Minute), func(Minute) {})
		for _, v := range again.Events() {
			if v.Active {
				t.Errorf("%s: nobody tells of %v", name, v)
			}
		}
		for i, u := range again.Units() {
			want := p.board.Units()[i].Status
			want.Load, want.Cores, want.Received, want.Sent = math.NaN(), nil, math.NaN(), math.NaN()
			want.Memory, want.Disk = noStatus().Memory, noStatus().Disk
			if diff := cmp.Diff(want, u.Status, nan); diff != "" || u.Status.ESN == "" {
				t.Errorf("%s: status differs\n%s", name, diff)
			}
		}
	}
	before, events := p.board.Intersections(), p.board.Events()
	p.live = false
	for _, u := range old {
		if a := p.arrival(u, now); a != nil {
			if record, err := p.board.Take(a, nil); err == nil && len(record) > 0 {
				t.Errorf("%s again adds % x", u.Message, record)
			}
			a.Hash++ // as if it had not come before
			p.give(a)
		}
	}
	if diff := cmp.Diff(before, p.board.Intersections()); diff != "" {
		t.Errorf("signals of the past change those of now\n%s", diff)
	}
	if diff := cmp.Diff(events, p.board.Events(), cmp.Comparer(same)); diff != "" {
		t.Errorf("events of the past change those of now\n%s", diff)
	}
	for _, u := range p.board.Units() {
		for _, f := range u.Faults {
			if f.Check != CheckPastEnd {
				t.Errorf("%s: %s", u.Unit, f.EN)
			}
		}
	}
}
