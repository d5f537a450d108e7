package traffic

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/simulate/roads"
)

// SipHash-2-4 as OpenSSL has it.
func TestIDsAreHashedBySipHash(t *testing.T) {
	k := key{0x0706050403020100, 0x0f0e0d0c0b0a0908}
	if got := k.hash(0x0807060504030201, 0x1122334455667788, 1); got != 0xb23f8b307972bb91 {
		t.Errorf("%x", got)
	}
}

// bsm is a vehicle of itself, so many metres south of node 1 and heading for it.
func bsm(at time.Time, id uint64, left float64) *road.Message {
	p := road.Participant{Type: road.Motor, HasID: true, Self: true, Source: 1, At: at, Lat: 43.86 - left/metresPerDegree, Lon: 125.3,
		Speed: 10, Heading: 0, Acceleration: math.NaN(), Length: 5}
	binary.BigEndian.PutUint64(p.ID[:], id)
	return &road.Message{Kind: road.KindBSM, At: at, Participants: []road.Participant{p}}
}

// northward is a map of node 1, to which a road of 300 m leads from node 2 in the
// south.
func northward(at time.Time) *road.Message {
	line := []road.Position{{Lat: 43.86 - 300.0/metresPerDegree, Lon: 125.3}, {Lat: 43.86, Lon: 125.3}}
	return &road.Message{Kind: road.KindMap, At: at, Nodes: []road.Node{{ID: road.NodeID{ID: 1}, At: line[1],
		Links: []road.Link{{From: road.NodeID{ID: 2}, Width: 7, Limit: math.NaN(), Points: line}}}}}
}

// told gives messages to a board, each with a hash of its own.
type told struct {
	t     *testing.T
	board *Board
	n     uint64
	log   []byte
}

func newTold(t *testing.T, change func(*Config)) *told {
	c := newPlayer(t).board.cfg
	if change != nil {
		change(&c)
	}
	return &told{t: t, board: New(c)}
}

func (b *told) say(unit string, m *road.Message) {
	b.n++
	b.log = take(b.t, b.board, &Arrival{Unit: unit, Message: m, Hash: b.n, Received: m.At, Live: true}, b.log)
}

// minute closes all and returns the unit's minute of a time.
func (b *told) minute(unit string, at time.Time) Minute {
	for _, m := range minutes(b.board, at.Add(time.Hour)) {
		if m.Unit == unit && m.Start.Equal(at.Truncate(time.Minute)) {
			return m
		}
	}
	b.t.Fatalf("no minute %v of %s", at, unit)
	return Minute{}
}

func defectsOf(p *player, metric, tag string) map[string]float64 {
	all := map[string]float64{}
	for _, m := range p.minutes {
		if v := sampleOf(m, metric, tag); v > 0 {
			all[m.Unit] += v
		}
	}
	return all
}

// TestDefectsOfIDsAreCounted plays a unit whose vehicles never change their ids
// and one whose vehicles have none; the others are sound.
func TestDefectsOfIDsAreCounted(t *testing.T) {
	p := newPlayer(t)
	w := play(roads.Config{Seed: 5, Units: 4, Vehicles: 5, Connected: 1, Start: noon, Faulty: map[int]roads.Fault{0: roads.FixedID, 3: roads.ZeroID}}, 16*time.Minute,
		func(at time.Time, u roads.Uplink) {
			if u.Message == "BSM" {
				p.take(at, u.Unit, u.Payload)
			}
		}, p.close)
	faults := map[string][]string{}
	for _, u := range p.board.all() {
		for _, f := range u.idFaults() {
			faults[u.id] = append(faults[u.id], string(f.Check))
			if !strings.HasPrefix(f.EN, strconv.FormatInt(f.Count, 10)) || !strings.HasPrefix(f.ZH, strconv.FormatInt(f.Count, 10)) || f.Since.After(f.Last) {
				t.Errorf("%+v", f)
			}
		}
	}
	if got := fmt.Sprint(faults); got != "map[R000001:[fixed_id] R000004:[zero_id]]" {
		t.Error(got)
	}
	p.close(w.Now().Add(time.Hour))
	fixed, zero := defectsOf(p, "rsu_id_defects", "defect=fixed"), defectsOf(p, "rsu_id_defects", "defect=zero")
	if len(fixed) != 1 || fixed["R000001"] < 5 || fixed["R000001"] > 20 { // of 20 vehicles
		t.Errorf("fixed: %v", fixed)
	}
	if len(zero) != 1 || zero["R000004"] < 1000 {
		t.Errorf("zero: %v", zero)
	}
}

// An id at three units within ten seconds is counted once, where it was third.
func TestAnIDAtManyUnitsIsCounted(t *testing.T) {
	b := newTold(t, nil)
	for i, unit := range []string{"r1", "r2", "r1", "r2", "r3", "r4", "r3"} {
		b.say(unit, bsm(noon.Add(time.Duration(i)*time.Second), 77, 200))
	}
	for i, unit := range []string{"r1", "r2", "r3", "r4"} { // one that drives
		b.say(unit, bsm(noon.Add(time.Duration(i)*11*time.Second), 78, 200))
	}
	for _, unit := range []string{"r1", "r2", "r3", "r4"} {
		want := math.NaN()
		if unit == "r3" {
			want = 1
		}
		b.t.Run(unit, func(t *testing.T) {
			var got float64 = math.NaN()
			for _, m := range minutes(b.board, noon.Add(time.Hour)) {
				if m.Unit == unit {
					got = sampleOf(m, "rsu_id_defects", "defect=shared")
				}
			}
			if got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
				t.Errorf("%v, not %v", got, want)
			}
		})
	}
}

// TestKeysAreDestroyed: a vehicle that passes while the key turns is counted once,
// and a minute later the key is gone.
func TestKeysAreDestroyed(t *testing.T) {
	b := newTold(t, nil)
	b.say("r1", northward(noon))
	b.say("r1", bsm(noon, 1, 290))
	first := b.board.keys.now
	at := noon.Add(keyLife - 500*time.Millisecond)
	b.say("r1", bsm(at, 42, 35))
	if b.board.keys.now != first {
		t.Fatal("the key has turned too early")
	}
	at = at.Add(time.Second)
	b.say("r1", bsm(at, 42, 25))
	if b.board.keys.now == first || b.board.keys.before != first {
		t.Fatal("the key has not turned")
	}
	if n := len(b.board.ids.young); n != 2 {
		t.Errorf("two ids are known as %d", n)
	}
	b.board.Close(at.Add(keyOverlap), func(Minute) {})
	if k := b.board.keys; k.before != (key{}) || k.overlaps || k.now == first {
		t.Error("the key of before is still there")
	}
	if got := sampleOf(b.minute("r1", at), "road_vehicles", "source=vehicle"); got != 1 {
		t.Errorf("%v passed", got)
	}
}

// TestNothingHasAnID looks for the ids that were said in all that a board tells.
func TestNothingHasAnID(t *testing.T) {
	p := newPlayer(t)
	p.logs = true
	var ids [][8]byte
	seen := map[[8]byte]bool{}
	w := play(roads.Config{Seed: 5, Units: 4, Vehicles: 5, Connected: 1, Start: noon, Faulty: map[int]roads.Fault{0: roads.FixedID}}, 2*time.Minute,
		func(at time.Time, u roads.Uplink) {
			p.take(at, u.Unit, u.Payload)
			if u.Message == "BSM" {
				if id := p.frames.Participants[0].ID; !seen[id] {
					seen[id] = true
					ids = append(ids, id)
				}
			}
		}, p.close)
	var out bytes.Buffer
	out.Write(p.log)
	if err := p.board.Snapshot(func(record []byte) error { out.Write(record); return nil }); err != nil {
		t.Fatal(err)
	}
	p.close(w.Now().Add(time.Hour))
	fmt.Fprintf(&out, "%+v %+v", p.minutes, p.board.Links())
	for _, u := range p.board.all() {
		fmt.Fprintf(&out, "%+v", u.idFaults())
	}
	all := out.Bytes()
	if len(ids) < 20 {
		t.Fatalf("%d ids", len(ids))
	}
	for _, id := range ids {
		for _, form := range [][]byte{id[:], []byte(hex.EncodeToString(id[:])), []byte(fmt.Sprint(id)), []byte(strconv.FormatUint(binary.BigEndian.Uint64(id[:]), 10)),
			binary.LittleEndian.AppendUint64(nil, binary.BigEndian.Uint64(id[:]))} {
			if bytes.Contains(all, form) {
				t.Errorf("id %x is told as %q", id, form)
			}
		}
	}
}

// What is more than the bounds is left out, and counted.
func TestTracksAndIDsAreBounded(t *testing.T) {
	b := newTold(t, func(c *Config) { c.MaxTracks, c.MaxIDs = 50, 30 })
	b.say("r1", northward(noon))
	for i := range uint64(200) {
		b.say("r1", bsm(noon.Add(time.Duration(i)*100*time.Millisecond), 1000+i, 200))
	}
	u := b.board.all()[0]
	if u.tracks.n > 50 || len(b.board.ids.young)+len(b.board.ids.old) > 60 {
		t.Errorf("%d tracks, %d and %d ids", u.tracks.n, len(b.board.ids.young), len(b.board.ids.old))
	}
	m := b.minute("r1", noon)
	if tracks, ids := sampleOf(m, "rsu_limit_hits", "limit=tracks"), sampleOf(m, "rsu_limit_hits", "limit=ids"); tracks != 150 || ids != 6 {
		t.Errorf("%v tracks and %v ids were left out", tracks, ids)
	}
}
