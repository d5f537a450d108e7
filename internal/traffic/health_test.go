package traffic

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/road"
)

func nothing() *road.Status {
	s := noStatus()
	return &s
}

// What a unit says of itself becomes series, and a whole in the view.
func TestRunningInfo(t *testing.T) {
	s := newStage(t)
	running := nothing()
	running.Load, running.Cores, running.Received = 0.42, []float64{12.5, 8}, 33000
	running.Memory, running.Disk = road.Space{Total: 2048, Used: 512}, road.Space{}
	s.says(road.Message{Kind: road.KindRunning, Count: -1, At: noon, Status: running}, noon)
	base := nothing()
	base.Firmware, base.Devices = "2.1.0", []road.Device{{ID: "sig-1", Type: "signal", Powered: 1, Runs: 1, Network: 2}, {ID: "cam-1", Runs: 2}, {ID: "cam-2", Powered: 3}}
	s.says(road.Message{Kind: road.KindBase, Count: -1, At: noon, Status: base}, noon)
	late := nothing()
	late.Firmware = "1.0.0"
	s.live = false
	s.says(road.Message{Kind: road.KindBase, Count: -1, At: noon.Add(-time.Minute), Status: late}, noon)
	v, _ := s.b.Unit("r1")
	if v.Status.Firmware != "2.1.0" || v.Status.Load != 0.42 || len(v.Status.Devices) != 3 {
		t.Errorf("status %+v", v.Status)
	}
	got := s.samples()
	for k, want := range map[string]float64{
		"rsu_load[]": 0.42, "rsu_cpu_used_ratio[{core 0}]": 0.125, "rsu_cpu_used_ratio[{core 1}]": 0.08, "rsu_memory_used_ratio[]": 0.25,
		"rsu_network_received_bytes_per_second[]": 33000, "rsu_devices[{state ok}]": 1, "rsu_devices[{state offline}]": 1, "rsu_devices[{state power}]": 1,
	} {
		if got[k] != want {
			t.Errorf("%s is %v, not %v", k, got[k], want)
		}
	}
	if v, there := got["rsu_disk_used_ratio[]"]; there {
		t.Errorf("a disk of nothing is %v full", v)
	}
}

// Faults of radio and GNSS have names, and end.
func TestModuleFaults(t *testing.T) {
	s := newStage(t)
	state := func(at time.Time, faults map[string]int) {
		is := nothing()
		is.Faults = faults
		s.says(road.Message{Kind: road.KindDiagnostic, Count: -1, At: at, Status: is}, at)
	}
	state(noon, map[string]int{"ltev": 54})
	state(noon.Add(3*time.Second), map[string]int{"ltev": 54})
	s.wants("module ×2: LTE-V2X radio: neither sends nor receives (code 54)")
	state(noon.Add(61*time.Second), map[string]int{})
	s.wants()
	var told []float64
	for _, m := range minutes(s.b, noon.Add(time.Hour)) {
		for _, one := range m.Samples {
			if one.Metric == "rsu_module_fault" && cmp.Equal(one.Tags, []Tag{{"module", "ltev"}, {"fault", "both"}}) {
				told = append(told, one.Value)
			}
		}
	}
	if !cmp.Equal(told, []float64{1, 0}) {
		t.Errorf("by minute %v", told)
	}
}

// Kinds that a unit once sent are zero while it lives without them.
func TestSilentKindsAreZero(t *testing.T) {
	s := newStage(t)
	s.says(road.Message{Kind: road.KindRSI, Count: -1, At: noon}, noon)
	for i := range 3 {
		at := noon.Add(time.Duration(i) * time.Minute)
		s.says(road.Message{Kind: road.KindHeartbeat, Count: -1, At: at}, at)
	}
	var got []string
	for _, m := range minutes(s.b, noon.Add(time.Hour)) {
		for _, one := range m.Samples {
			if one.Metric == "rsu_messages" {
				got = append(got, fmt.Sprint(m.Start.Minute(), one.Tags[0].Value, one.Value))
			}
		}
	}
	if want := "0rsi1 0heartbeat1 1rsi0 1heartbeat1 2rsi0 2heartbeat1"; strings.Join(got, " ") != want {
		t.Errorf("%v, not %s", got, want)
	}
}

// Where it stands, how often it sends, and how often it may are compared with what
// it is configured to.
func TestConfiguredAgainstMeasured(t *testing.T) {
	s := newStage(t)
	place := road.Position{Lat: 43.86, Lon: 125.3}
	s.b.cfg.Expect = func(string) Expected {
		return Expected{At: &place, Beat: 5 * time.Second, Limits: map[road.Kind]float64{road.KindSPAT: 2}}
	}
	info := nothing()
	info.At, info.Limits = road.Position{Lat: 43.865, Lon: 125.3}, map[string]float64{"rsm": 1, "spat": -1}
	s.says(road.Message{Kind: road.KindInfo, Count: -1, Status: info}, noon)
	for i := range 80 {
		at := noon.Add(time.Duration(i) * time.Second)
		s.shows(at, 0, time.Time{}, road.Red)
		for j := range 3 {
			s.says(road.Message{Kind: road.KindRSM, Count: -1, At: at}, at.Add(time.Duration(j)*time.Millisecond))
		}
		if i%10 == 0 {
			s.says(road.Message{Kind: road.KindHeartbeat, Count: -1, At: at}, at)
		}
	}
	s.wants("rate ×2: spat: 10 messages in 10 s where 20 should come, give or take a tenth",
		"limit ×4: rsm: 3.0 messages a second, its cap is 1.0",
		"heartbeat ×7: heartbeat every 10 s, 5 s configured",
		"position ×1: it reports a place 557 m from where it is registered, 50 m are allowed")
	if v, _ := s.b.Unit("r1"); !slices.ContainsFunc(v.Deviations, func(d Deviation) bool {
		return d.Kind == road.KindRSM && d.Code == "limit" && d.Count == 4 && d.EN == "rsm: 3.0 messages a second, its cap is 1.0"
	}) {
		t.Errorf("%+v", v.Deviations)
	}
	for i := range 3 {
		at := noon.Add(time.Duration(75+5*i) * time.Second)
		s.says(road.Message{Kind: road.KindHeartbeat, Count: -1, At: at}, at)
	}
	if got := strings.Join(s.faults(), " "); strings.Contains(got, "heartbeat") {
		t.Errorf("the period is right again, and %s", got)
	}
	info.At = place
	s.says(road.Message{Kind: road.KindInfo, Count: -1, Status: info}, noon.Add(80*time.Second))
	if v, _ := s.b.Unit("r1"); v.OffBy != 0 || len(v.Faults) != 2 {
		t.Errorf("%v m, %v", v.OffBy, v.Faults)
	}
	if v, _ := s.b.Unit("r1"); v.Rates[road.KindRSM] != 3 || math.Abs(v.Rates[road.KindHeartbeat]-0.2) > 1e-9 {
		t.Errorf("rates %v", v.Rates)
	}
}

// What is wanted of a unit bounds it, whatever it says that it is configured for,
// and so does what it says where that is less.
func TestWhatIsWantedIsTheCap(t *testing.T) {
	s := newStage(t)
	s.b.cfg.Expect = func(string) Expected {
		return Expected{Limits: map[road.Kind]float64{road.KindRSM: 2, road.KindBSM: Unlimited, road.KindSPAT: 0}}
	}
	info := nothing()
	info.Limits = map[string]float64{"rsm": 1000, "bsm": 7}
	s.says(road.Message{Kind: road.KindInfo, Count: -1, Status: info}, noon)
	for i := range 61 {
		at := noon.Add(time.Duration(i) * time.Second)
		for j := range 3 {
			s.says(road.Message{Kind: road.KindRSM, Count: -1, At: at}, at.Add(time.Duration(j)*time.Millisecond))
		}
		s.shows(at, 0, time.Time{}, road.Red)
	}
	s.wants("limit ×6: spat: 1.0 messages a second, its cap is 0.0")
	m := minutes(s.b, noon.Add(time.Hour))
	last := m[len(m)-1]
	for kind, want := range map[string]float64{"rsm": 2, "bsm": 7, "spat": 0} {
		if got := sampleOf(last, "rsu_message_rate_limit", "type="+kind); got != want {
			t.Errorf("the cap of %s is %v, not %v", kind, got, want)
		}
	}
}

// A link that holds messages back and gives them out at once is no wrong rate.
func TestBurstsAreNoWrongRate(t *testing.T) {
	s := newStage(t)
	for i := range 1800 {
		at := noon.Add(time.Duration(i) * 100 * time.Millisecond)
		received := at
		if i/100%6 == 3 {
			received = at.Truncate(time.Minute).Add(40 * time.Second) // the fourth window of a minute comes with the fifth
		}
		s.hash++
		x := road.Intersection{Node: crossing, At: at, Phases: []road.Phase{{ID: 1, Light: road.Red}}}
		m := road.Message{Kind: road.KindSPAT, Count: i % 128, At: at, Signals: []road.Intersection{x}}
		if _, err := s.b.Take(&Arrival{Unit: "r1", Message: &m, Hash: s.hash, Received: received, Live: true}, nil); err != nil {
			t.Fatal(err)
		}
	}
	s.wants()
}

// A counter tells what is lost, also of a unit that passes on every second message.
func TestMessageCounters(t *testing.T) {
	for _, c := range []struct {
		name       string
		count      func(i int) int // of the message; -1: it is lost
		lost       float64
		faults     []string
		everyOther bool
	}{
		{name: "none lost", count: func(i int) int { return i % 128 }},
		{name: "one in a hundred and more", count: func(i int) int {
			if i%100 == 50 {
				return -1
			}
			return i % 128
		}, lost: 5},
		{name: "one in ten", count: func(i int) int {
			if i%10 == 5 {
				return -1
			}
			return i % 128
		}, lost: 49, faults: []string{"loss ×38: rsm: the counter leaves out 12 messages, 9.4% of its last round"}},
		{name: "every second", count: func(i int) int { return 2 * i % 128 }},
		{name: "every second, and three of them lost", count: func(i int) int {
			if i >= 100 && i < 103 {
				return -1
			}
			return 2 * i % 128
		}, lost: 3, faults: []string{"loss ×3: rsm: the counter leaves out 3 messages, 2.3% of its last round"}},
		{name: "every second from the middle on", count: func(i int) int {
			if i > 240 && i%2 == 1 {
				return -1
			}
			return i % 128
		}, lost: 7, faults: []string{"loss ×7: rsm: the counter leaves out 7 messages, 5.5% of its last round"}}, // until that is its way
		{name: "it stands still", count: func(int) int { return 7 }, faults: []string{"counter ×489: rsm: the content changes and the counter stays at 7"}},
	} {
		s := newStage(t)
		for i := range 490 {
			at := noon.Add(time.Duration(i) * 100 * time.Millisecond)
			if n := c.count(i); n >= 0 {
				s.says(road.Message{Kind: road.KindRSM, Count: n, At: at, Participants: []road.Participant{{Track: 1, HasTrack: true, At: at}}}, at)
			}
		}
		if got := strings.Join(s.faults(), "\n"); got != strings.Join(c.faults, "\n") {
			t.Errorf("%s: %s", c.name, got)
		}
		if got := s.samples()["rsu_messages_lost[{type rsm}]"]; got != c.lost {
			t.Errorf("%s: %v lost, not %v", c.name, got, c.lost)
		}
	}
}

// Deviations are counted by kind, code and field, and bounded.
func TestDeviationsAreBounded(t *testing.T) {
	b := newBoard()
	for i := range 200 {
		b.Found("r1", road.KindInfo, "spelled", fmt.Sprint("field", i), "字段", "field", noon.Add(time.Duration(i)*time.Second))
	}
	b.Found("r1", road.KindInfo, "spelled", "field0", "字段", "field", noon.Add(time.Hour))
	v, _ := b.Unit("r1")
	all := map[string]int64{}
	for _, d := range v.Deviations {
		all[d.Code+d.Path] = d.Count
	}
	if len(all) != maxDeviations || all["other"] != 200-maxDeviations+1 || all["spelledfield0"] != 2 {
		t.Errorf("%d kinds: %v", len(all), all)
	}
	// A restart knows them, and so does one from a snapshot.
	log := take(t, b, heartbeat("r1", noon.Add(2*time.Hour), 1), nil)
	replayed, copied := newBoard(), newBoard()
	if err := errors.Join(replayed.Apply(log), replayed.Apply(log), b.Snapshot(copied.Apply)); err != nil {
		t.Fatal(err)
	}
	for _, other := range []*Board{replayed, copied} {
		if is, _ := other.Unit("r1"); !slices.Equal(is.Deviations, v.Deviations) {
			t.Errorf("after a restart %v, not %v", is.Deviations, v.Deviations)
		}
	}
	// What is not found any more is forgotten.
	log = take(t, b, heartbeat("r1", noon.Add(deviationLife+3*time.Hour), 2), nil)
	if err := replayed.Apply(log); err != nil {
		t.Fatal(err)
	}
	for _, other := range []*Board{b, replayed} {
		if is, _ := other.Unit("r1"); len(is.Deviations) != 0 || len(other.known("r1").documents) != 0 {
			t.Errorf("it still has %v", is.Deviations)
		}
	}
}
