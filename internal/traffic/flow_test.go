package traffic

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/road/dialect"
	"github.com/songhua-io/hub/internal/simulate/roads"
)

// player gives frames to a board and keeps the minutes that close.
type player struct {
	t       testing.TB
	board   *Board
	frames  dialect.Frames
	seed    maphash.Seed
	minutes map[string]Minute // by unit and begin
	again   int               // messages that came before
	log     []byte
	logs    bool
}

func newPlayer(t testing.TB) *player {
	c := Config{MaxUnits: 100, MaxNodes: 10, MaxLinks: 100, MaxEvents: 100, MaxTracks: 1000, MaxIDs: 10_000, Random: evenKeys()}
	return &player{t: t, board: New(c), seed: maphash.MakeSeed(), minutes: map[string]Minute{}}
}

// evenKeys makes keys that are the same in each run.
func evenKeys() func([]byte) {
	n := uint64(0)
	return func(p []byte) {
		for ; len(p) >= 8; p = p[8:] {
			n++
			binary.LittleEndian.PutUint64(p, n*0x9e3779b97f4a7c15)
		}
	}
}

func (p *player) take(now time.Time, unit string, payload []byte) {
	m, err := p.frames.Read(payload, now)
	if err != nil {
		p.t.Fatal(err)
	}
	record, err := p.board.Take(&Arrival{Unit: unit, Message: m, Hash: maphash.Bytes(p.seed, payload), Received: now, Live: true}, nil)
	if err != nil {
		p.t.Fatal(unit, m.Kind, err)
	}
	if len(record) == 0 {
		p.again++
	}
	if p.logs {
		p.log = append(p.log, record...)
	}
}

func (p *player) close(now time.Time) {
	var all []Minute
	p.board.Close(now, func(m Minute) { all = append(all, m) })
	for _, m := range all {
		p.minutes[m.Unit+m.Start.Format(time.RFC3339)] = m
		if record := p.board.Written(m, nil); p.logs {
			p.log = append(p.log, record...)
		}
	}
}

// play plays a world; see gets the frames that tell of participants and lanes.
func play(c roads.Config, length time.Duration, see func(now time.Time, u roads.Uplink), tick func(now time.Time)) *roads.World {
	w := roads.New(c)
	for end := w.Now().Add(length); w.Now().Before(end); {
		w.Step(func(u roads.Uplink) {
			if u.Message == "BSM" || u.Message == "RSM" || u.Message == "MAP" {
				see(w.Now(), u)
			}
		})
		if w.Now().Nanosecond() == 0 {
			tick(w.Now())
		}
	}
	return w
}

func sampleOf(m Minute, metric string, tags ...string) float64 {
	for _, s := range m.Samples {
		if s.Metric != metric {
			continue
		}
		var have []string
		for _, tag := range s.Tags {
			have = append(have, tag.Name+"="+tag.Value)
		}
		if !slices.ContainsFunc(tags, func(one string) bool { return !slices.Contains(have, one) }) {
			return s.Value
		}
	}
	return math.NaN()
}

// off is how a series differs from the truth.
type off struct {
	n          int
	sum, worst float64
}

func (o *off) add(d float64) {
	o.n++
	o.sum += math.Abs(d)
	o.worst = max(o.worst, math.Abs(d))
}

func (o *off) String() string {
	return fmt.Sprintf("%.4f on average, %.4f at worst of %d", o.sum/float64(o.n), o.worst, o.n)
}

// compared is a play against its truth.
type compared struct {
	links, passed, counted, wrong, excused int
	connected, spoke                       int
	speed, occupancy, queueMax, queueMean  off
}

// compare compares the minutes of all links but those of the begin and the end.
func (p *player) compare(w *roads.World, from, until time.Time) (c compared) {
	truth := w.Truth().Flows
	of := func(k roads.FlowKey, by int64) roads.Flow {
		k.Minute += by
		if f := truth[k]; f != nil {
			return *f
		}
		return roads.Flow{}
	}
	for k := range truth {
		start := time.Unix(k.Minute*60, 0).UTC()
		if start.Before(from) || !start.Before(until) {
			continue
		}
		f := of(k, 0)
		m, ok := p.minutes[fmt.Sprintf("R%06d", k.To)+start.Format(time.RFC3339)]
		if !ok {
			p.t.Fatalf("no minute %v of unit %d", start, k.To)
		}
		tags := []string{fmt.Sprintf("from=2201.%d", k.From), fmt.Sprintf("to=2201.%d", k.To)}
		sensor := append(tags, "source=sensor")
		n := sampleOf(m, "road_vehicles", append(sensor, "type=motor")...)
		c.links++
		c.passed += f.Vehicles
		c.connected += f.Connected
		if v := sampleOf(m, "road_vehicles", append(tags, "source=vehicle", "type=motor")...); !math.IsNaN(v) {
			c.spoke += int(v)
		}
		if math.IsNaN(n) { // nobody was in sight for all of the minute
			n = 0
			if f.Vehicles > 0 {
				p.t.Errorf("%v: %d passed, and no sensor saw the link", k, f.Vehicles)
			}
		}
		c.counted += int(n)
		if d := int(n) - f.Vehicles; d != 0 {
			// Only one that passed within a tick of the begin or end may be in the
			// minute beside.
			if d > of(k, -1).Edge+of(k, 1).Edge || -d > f.Edge {
				c.wrong++
			} else {
				c.excused += max(d, -d)
			}
		} else if f.Vehicles > 0 && f.Edge == 0 {
			c.speed.add(sampleOf(m, "road_speed_mean", sensor...) - f.SpeedSum/float64(f.Vehicles))
		}
		if o := sampleOf(m, "road_occupancy", sensor...); !math.IsNaN(o) {
			c.occupancy.add(o - f.Occupied.Seconds()/60)
			c.queueMax.add(sampleOf(m, "road_queue_length_max", sensor...) - f.QueueMax)
			c.queueMean.add(sampleOf(m, "road_queue_length_mean", sensor...) - f.QueueSum/12)
		}
	}
	return c
}

// TestFlowsAreTheTruth plays nine units, in order, and for a while shuffled within
// the lateness with a third of the messages coming twice: the minutes are the same,
// and they are the truth.
func TestFlowsAreTheTruth(t *testing.T) {
	if testing.Short() {
		t.Skip("an hour of nine units, twice; make test")
	}
	const length = 61 * time.Minute
	inOrder, shuffled := newPlayer(t), newPlayer(t)
	rng := rand.New(rand.NewPCG(1, 2))
	type late struct {
		unit    string
		payload []byte
	}
	const ticks = 200 // 20 s: a time in the minute is resolved within 25 s
	var later [ticks + 1][]late
	now := 0
	deliver := func(at time.Time) {
		slot := &later[now%len(later)]
		rng.Shuffle(len(*slot), func(i, j int) { (*slot)[i], (*slot)[j] = (*slot)[j], (*slot)[i] })
		for _, l := range *slot {
			shuffled.take(at, l.unit, l.payload)
		}
		*slot = (*slot)[:0]
		now++
	}
	start := noon.Add(-2 * time.Minute)
	shuffle := start.Add(max(length/4, 4*time.Minute))
	var last time.Time
	w := play(roads.Config{Seed: 11, Units: 9, Vehicles: 10, Connected: 0.4, Start: start}, length, func(at time.Time, u roads.Uplink) {
		for ; !last.IsZero() && last.Before(at); last = last.Add(roads.Tick) {
			deliver(last)
		}
		last = at
		inOrder.take(at, u.Unit, u.Payload)
		if at.Before(start.Add(90 * time.Second)) { // maps come first, and somebody on each link
			shuffled.take(at, u.Unit, u.Payload)
			return
		}
		if at.After(shuffle) {
			return
		}
		l := late{u.Unit, slices.Clone(u.Payload)}
		times := 1
		if rng.IntN(3) == 0 {
			times = 2
		}
		for range times {
			slot := &later[(now+rng.IntN(ticks))%len(later)]
			*slot = append(*slot, l)
		}
	}, func(at time.Time) {
		inOrder.close(at)
		shuffled.close(at)
	})
	end := w.Now()
	for range later {
		deliver(end)
	}
	for _, p := range []*player{inOrder, shuffled} {
		p.close(end.Add(10 * time.Minute))
	}

	from, until := start.Add(2*time.Minute), end.Add(-time.Minute)
	c := inOrder.compare(w, from, until)
	t.Logf("%d minutes of links, %d vehicles; %d are a minute beside for passing at its edge; %d of %d connected told it themselves", c.links, c.passed, c.excused, c.spoke, c.connected)
	t.Logf("speed: %s m/s; occupancy: %s; longest queue: %s m; mean queue: %s m", &c.speed, &c.occupancy, &c.queueMax, &c.queueMean)
	if c.wrong > 0 || c.passed < 20*int(length/time.Minute) || c.counted != c.passed && c.excused == 0 {
		t.Errorf("%d minutes differ from the truth; %d counted, %d passed", c.wrong, c.counted, c.passed)
	}
	c.bounds(t)
	if shuffled.again < 1000 {
		t.Errorf("only %d messages came twice", shuffled.again)
	}
	same := 0
	for k, m := range shuffled.minutes {
		if m.Start.Before(shuffle.Add(-time.Minute)) {
			same++
			if diff := cmp.Diff(ofRoads(inOrder.minutes[k]), ofRoads(m)); diff != "" {
				t.Fatalf("shuffled tells something else of %s: %s", k, diff)
			}
		}
	}
	if same < 9 {
		t.Errorf("%d minutes compared", same)
	}
}

// ofRoads are the samples that no order of messages alters: those of roads, and how
// many there were. How they came is another thing.
func ofRoads(m Minute) (all []Sample) {
	for _, s := range m.Samples {
		if strings.HasPrefix(s.Metric, "road_") || s.Metric == "rsu_messages" || s.Metric == "rsu_late_observations" {
			all = append(all, s)
		}
	}
	return all
}

// bounds are what is promised of numbers that are no counts: speed is told five
// times a second, between which a vehicle may brake with 6 m/s²; queues are of a
// moment of one second, to a metre.
func (c *compared) bounds(t *testing.T) {
	t.Helper()
	for _, b := range []struct {
		name          string
		of            *off
		average, most float64
	}{
		{"mean speed, m/s", &c.speed, 0.1, 1.2},
		{"occupancy", &c.occupancy, 0.0002, 0.005},
		{"longest queue, m", &c.queueMax, 1.5, 15},
		{"mean queue, m", &c.queueMean, 1, 5},
	} {
		if b.of.n == 0 || b.of.sum/float64(b.of.n) > b.average || b.of.worst > b.most {
			t.Errorf("%s: %s off, %v and %v are promised", b.name, b.of, b.average, b.most)
		}
	}
}

// TestLossyUnitsAreNearTheTruth plays units that lose one message in ten: what is
// between two sights is interpolated, so that few are missed.
func TestLossyUnitsAreNearTheTruth(t *testing.T) {
	lossy := map[int]roads.Fault{}
	for i := range 9 {
		lossy[i] = roads.Lossy
	}
	length := 10 * time.Minute
	if testing.Short() {
		length = 5 * time.Minute
	}
	p := newPlayer(t)
	start := noon.Add(-2 * time.Minute)
	w := play(roads.Config{Seed: 13, Units: 9, Vehicles: 10, Connected: 0.4, Start: start, Faulty: lossy}, length, func(at time.Time, u roads.Uplink) { p.take(at, u.Unit, u.Payload) }, p.close)
	p.close(w.Now().Add(10 * time.Minute))
	c := p.compare(w, start.Add(2*time.Minute), w.Now().Add(-time.Minute))
	t.Logf("%d counted of %d, %d in the minute beside, %d minutes of %d differ; %d of %d connected; speed: %s m/s; occupancy: %s",
		c.counted, c.passed, c.excused, c.wrong, c.links, c.spoke, c.connected, &c.speed, &c.occupancy)
	if d := float64(c.passed-c.counted) / float64(c.passed); d < 0 || d > 0.005 || float64(c.wrong) > 0.01*float64(c.links) {
		t.Errorf("%d counted of %d", c.counted, c.passed)
	}
	if d := float64(c.connected-c.spoke) / float64(c.connected); d < 0 || d > 0.03 {
		t.Errorf("%d of %d told it themselves", c.spoke, c.connected)
	}
	c.bounds(t)
}
