package roads

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/codec/v2x"
	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/road/dialect"
)

var noon = time.Date(2026, 12, 31, 23, 58, 0, 0, time.UTC) // across New Year

func play(t testing.TB, c Config, d time.Duration, see func(*World, Uplink)) *World {
	t.Helper()
	w := New(c)
	for end := w.Now().Add(d); w.Now().Before(end); {
		w.Step(func(u Uplink) { see(w, u) })
	}
	return w
}

func TestTheSameSeedSaysTheSame(t *testing.T) {
	sum := func(seed uint64) string {
		h := sha256.New()
		w := play(t, Config{Seed: seed, Units: 9, Vehicles: 8, Connected: 0.5, Start: noon}, time.Minute, func(_ *World, u Uplink) { fmt.Fprint(h, u.Unit, u.Message, u.Payload) })
		if err := w.Truth().Write(h); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%x", h.Sum(nil))
	}
	if a, b := sum(1), sum(1); a != b {
		t.Error("two plays of one seed differ")
	}
	if sum(1) == sum(2) {
		t.Error("two seeds are alike")
	}
}

// reader reads what units send, as a hub does.
type reader struct {
	set    *dialect.Set
	frames dialect.Frames
}

func newReader(t testing.TB) *reader {
	t.Helper()
	set, err := dialect.Load()
	if err != nil {
		t.Fatal(err)
	}
	return &reader{set: set}
}

// read hands over the messages of an uplink, in which nothing is to be wrong.
func (r *reader) read(t testing.TB, u Uplink, now time.Time, see func(*road.Message)) {
	t.Helper()
	frame := func(data []byte) {
		m, err := r.frames.Read(data, now.Add(40*time.Millisecond))
		if err != nil {
			t.Fatalf("%s on %s: %v", u.Message, u.Topic, err)
		}
		see(m)
	}
	route, known := r.set.Route(u.Topic)
	own, device := strings.CutPrefix(u.Topic, "devices/"+u.Unit+"/v2x/")
	switch {
	case !known && !device:
		t.Fatalf("topic %s is nobody's", u.Topic)
	case u.Payload[0] == '{':
		m, findings, err := r.set.ReadJSON(route, u.Payload, now)
		if err != nil || len(findings) > 0 || m.Unit != u.Unit {
			t.Fatalf("%s: %s of %s: %v %v", u.Topic, u.Payload, m.Unit, err, findings)
		}
		see(m)
	case own == "framed" || known && (u.Message == "BSM" || route.Profile.ID == "huawei"):
		f, err := v2x.ReadFramed(u.Payload, u.Message == "BSM")
		for err == nil {
			var data []byte
			if data, err = f.Next(); data == nil {
				break
			}
			frame(data)
		}
		if err != nil || f.Trailing() > 0 || string(f.RSU[:7]) != u.Unit {
			t.Fatalf("%s on %s: %v, %d octets behind", u.Message, u.Topic, err, f.Trailing())
		}
	default:
		frame(u.Payload)
	}
}

// TestWhatIsSentIsTheTruth reads all messages, in whatever form they are, and
// counts, from the tracks of RSM alone, who passes the detectors: as many as truly
// did.
func TestWhatIsSentIsTheTruth(t *testing.T) {
	type track struct {
		unit string
		n    uint16
	}
	type way struct{ from, to uint16 }
	reads := newReader(t)
	net := newNet(9, func() time.Duration { return 0 })
	last := map[track]float64{} // metres to the node, at the last sight
	flows, kinds := map[way]int{}, map[string]int{}
	c := Config{Seed: 7, Units: 9, Vehicles: 10, Connected: 0.4, Start: noon, Speech: map[int]Speech{1: Framed, 2: TITS, 4: OpenV2X, 5: Huawei}}
	w := play(t, c, 4*time.Minute, func(w *World, u Uplink) {
		reads.read(t, u, w.Now(), func(m *road.Message) {
			kinds[string(m.Kind)+" of "+string(c.Speech[indexOf(t, u.Unit)])]++
			if m.Kind != road.KindMap && m.Kind != road.KindRSI && m.Kind != road.KindInfo && !m.At.Equal(w.Now()) {
				t.Fatalf("%s at %v, not %v", u.Message, m.At, w.Now())
			}
			if m.Kind != road.KindRSM {
				return
			}
			for _, p := range m.Participants {
				for _, l := range net[indexOf(t, u.Unit)].in {
					if l == nil || math.Abs(p.Heading-l.way.heading()) > 0.01 {
						continue
					}
					lat, lon := l.place(l.length)
					left := (lat-p.Lat)*metresPerDegree*l.dy + (lon-p.Lon)*metresPerDegree*cosOrigin*l.dx
					k := track{u.Unit, p.Track}
					if was, ok := last[k]; ok && was > Detector && left <= Detector {
						flows[way{l.from.id, l.to.id}]++
					}
					last[k] = left
				}
			}
		})
	})
	truth := map[way]int{}
	for k, f := range w.Truth().Flows {
		truth[way{k.From, k.To}] += f.Vehicles
	}
	all, off := 0, 0
	for k, n := range truth {
		all += n
		if d := flows[k] - n; d < 0 || d > 0 {
			off++
			if d < -1 || d > 0 { // one may pass in the last tick, after the last RSM
				t.Errorf("%v: %d seen, %d passed", k, flows[k], n)
			}
		}
	}
	if all < 100 || off > 3 {
		t.Errorf("%d passed, %d links differ", all, off)
	}
	for i := range c.Units {
		for _, k := range []road.Kind{road.KindBSM, road.KindRSM, road.KindSPAT, road.KindMap, road.KindInfo, road.KindHeartbeat} {
			if of := string(k) + " of " + string(c.Speech[i]); kinds[of] == 0 {
				t.Errorf("no %s: %v", of, kinds)
			}
		}
	}
}

func indexOf(t testing.TB, name string) int {
	var n int
	if _, err := fmt.Sscanf(name, "R%06d", &n); err != nil {
		t.Fatal(err)
	}
	return n - 1
}

// goes reports whether a light lets traffic go.
func goes(l road.Light) bool { return l >= road.FlashingGreen && l <= road.ProtectedGreen }

// TestSignalsAreLegal: green, yellow, red, and never two greens that conflict;
// a faulty unit shows its fault, and only that one.
func TestSignalsAreLegal(t *testing.T) {
	illegal := func(f Fault) (skipped, conflicts int) {
		var frames dialect.Frames
		last := map[string]road.Light{}
		play(t, Config{Seed: 3, Units: 4, Vehicles: 1, Start: noon, Faulty: map[int]Fault{0: f}}, 3*time.Minute, func(w *World, u Uplink) {
			if u.Message != "SPAT" {
				return
			}
			m, err := frames.Read(u.Payload, w.Now())
			if err != nil {
				t.Fatal(err)
			}
			greens := 0
			for _, p := range m.Signals[0].Phases {
				k := fmt.Sprint(u.Unit, p.ID)
				if goes(last[k]) && p.Light == road.Red {
					skipped++
				}
				last[k] = p.Light
				if goes(p.Light) {
					greens++
				}
			}
			if greens > 1 {
				conflicts++
			}
		})
		return skipped, conflicts
	}
	if s, c := illegal(Sound); s != 0 || c != 0 {
		t.Errorf("sound: %d without yellow, %d conflicts", s, c)
	}
	if s, c := illegal(NoYellow); s == 0 || c != 0 {
		t.Errorf("no yellow: %d without yellow, %d conflicts", s, c)
	}
	if _, c := illegal(BothGreen); c == 0 {
		t.Error("both green: no conflict")
	}
}

// TestVehiclesKeepApart: nobody drives through another, and ids change.
func TestVehiclesKeepApart(t *testing.T) {
	var frames dialect.Frames
	ids := map[[8]byte]bool{}
	w := play(t, Config{Seed: 5, Units: 16, Vehicles: 12, Connected: 1, Start: noon}, 6*time.Minute, func(w *World, u Uplink) {
		for _, l := range w.links {
			for i := 1; i < len(l.cars); i++ {
				if l.cars[i-1].s-l.cars[i-1].length < l.cars[i].s {
					t.Fatalf("at %v two are in one place", w.Now())
				}
			}
		}
		if u.Message == "BSM" {
			m, err := frames.Read(u.Payload, w.Now())
			if err != nil {
				t.Fatal(err)
			}
			ids[m.Participants[0].ID] = true
		}
	})
	if n := 16 * 12; len(ids) < n || len(ids) > 3*n {
		t.Errorf("%d ids of %d vehicles", len(ids), n)
	}
	var out bytes.Buffer
	if err := w.Truth().Write(&out); err != nil || !strings.Contains(out.String(), `"mean_speed":`) {
		t.Error(out.String(), err)
	}
}

// TestEventsFollowEachOther: an event ends and another one begins; all that is told
// is true when it is told.
func TestEventsFollowEachOther(t *testing.T) {
	c := Config{Seed: 1, Units: 1, Start: noon}
	for len(New(c).Truth().Events) == 0 { // one unit in five tells of events
		c.Seed++
	}
	reads := newReader(t)
	told := map[string]bool{}
	w := play(t, c, 80*time.Minute, func(w *World, u Uplink) {
		if u.Message != "RSI" {
			return
		}
		reads.read(t, u, w.Now(), func(m *road.Message) {
			e := m.Events[0]
			if told[e.ID] = true; w.Now().Before(e.Start) || !w.Now().Before(e.End) || math.IsNaN(e.At.Lat) {
				t.Errorf("at %v the unit tells of %+v", w.Now(), e)
			}
		})
	})
	if n := len(w.Truth().Events); n < 3 || len(told) < n-1 {
		t.Errorf("%d events, and %v were told", n, told)
	}
}

// TestIncidentsHappen as often as there is time for them, and the same each time;
// who stands is seen to stand, and who strays to come nearer to where the link begins.
func TestIncidentsHappen(t *testing.T) {
	run := func() (string, *Truth) {
		var out bytes.Buffer
		sights := map[int]int{}
		w := play(t, Config{Seed: 9, Units: 4, Vehicles: 8, Start: noon, Faulty: map[int]Fault{0: BrokenDown, 2: WrongWay}}, 20*time.Minute, func(w *World, u Uplink) {
			i := w.units[indexOf(t, u.Unit)].incident
			if u.Message != "RSM" || i == nil || i.truth == nil {
				return
			}
			sights[i.truth.Type]++
			var frame v2x.MessageFrame
			if _, _, err := frame.Decode(slices.Clone(u.Payload)); err != nil {
				t.Fatal(err)
			}
			for _, p := range frame.RsmFrame.Participants {
				if i.broken != nil && p.PtcId == i.broken.track && p.Speed != 0 || i.wrong != nil && p.PtcId == i.wrong.track && p.Heading != v2x.Heading(i.on.way.turned(2).heading()*80) {
					t.Fatalf("%+v is seen as %+v", *i.truth, p)
				}
			}
		})
		if err := w.Truth().Write(&out); err != nil || sights[stopped] < 100 || sights[wrongWay] < 50 {
			t.Errorf("%v, %v", err, sights)
		}
		return out.String(), w.Truth()
	}
	first, truth := run()
	if second, _ := run(); first != second || !strings.Contains(first, `"incident":903`) || !strings.Contains(first, `"incident":904`) {
		t.Error("two plays of one seed differ, or the truth lacks incidents")
	}
	kinds := map[int]int{}
	for _, i := range truth.Incidents {
		kinds[i.Type]++
		if d := i.End.Sub(i.Start); !i.End.IsZero() && i.Type == stopped && d < 4*time.Minute {
			t.Errorf("%+v", *i)
		}
	}
	if kinds[stopped] < 2 || kinds[wrongWay] < 3 {
		t.Errorf("%v", kinds)
	}
}

// BenchmarkStep is a tick, 100 ms, of so many units with eight vehicles each.
func BenchmarkStep(b *testing.B) {
	for _, units := range []int{1000, 10_000} {
		b.Run(fmt.Sprint(units), func(b *testing.B) {
			w := New(Config{Seed: 1, Units: units, Vehicles: 8, Connected: 0.3, Start: noon})
			n := 0
			for b.Loop() {
				w.Step(func(Uplink) { n++ })
			}
			var memory runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&memory)
			b.ReportMetric(float64(n)/float64(b.N), "messages")
			b.ReportMetric(float64(memory.HeapAlloc)/1e6, "MB")
			runtime.KeepAlive(w)
		})
	}
}
