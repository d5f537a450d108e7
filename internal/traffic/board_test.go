package traffic

import (
	"errors"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/road"
)

var noon = time.Date(2026, 7, 1, 4, 0, 0, 0, time.UTC)

func newBoard() *Board { return New(Config{MaxUnits: 10, MaxNodes: 10, MaxLinks: 100, MaxEvents: 100}) }

func heartbeat(unit string, at time.Time, hash uint64) *Arrival {
	return &Arrival{Unit: unit, Message: &road.Message{Kind: road.KindHeartbeat, Count: -1, At: at}, Raw: make([]byte, 10), Hash: hash, Received: at, Live: true}
}

func take(t *testing.T, b *Board, a *Arrival, record []byte) []byte {
	t.Helper()
	record, err := b.Take(a, record)
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func minutes(b *Board, now time.Time) (all []Minute) {
	b.Close(now, func(m Minute) { all = append(all, m) })
	return all
}

func value(m Minute, metric string) float64 {
	i := slices.IndexFunc(m.Samples, func(s Sample) bool { return s.Metric == metric })
	if i < 0 {
		return -1
	}
	return m.Samples[i].Value
}

// A minute closes when the unit's own time is past it, counts each message once,
// and does not open again.
func TestMinutesCloseByEventTime(t *testing.T) {
	b := newBoard()
	take(t, b, heartbeat("r1", noon, 1), nil)
	take(t, b, heartbeat("r1", noon.Add(time.Second), 2), nil)
	if again := take(t, b, heartbeat("r1", noon, 1), nil); len(again) != 0 {
		t.Errorf("a message that came before adds % x", again)
	}
	if got := minutes(b, noon.Add(59*time.Second)); len(got) != 0 {
		t.Fatalf("%v is over too early", got)
	}
	take(t, b, heartbeat("r1", noon.Add(91*time.Second), 3), nil)
	got := minutes(b, noon.Add(91*time.Second))
	if len(got) != 1 || !got[0].Start.Equal(noon) || value(got[0], "rsu_messages") != 2 || value(got[0], "rsu_bytes") != 20 {
		t.Fatalf("closed %v", got)
	}
	b.Written(got[0], nil)
	var refused *Refused
	if _, err := b.Take(heartbeat("r1", noon.Add(2*time.Second), 4), nil); !errors.As(err, &refused) || refused.Reason != WindowClosed {
		t.Errorf("a minute that is written takes %v", err)
	}
}

// History that comes late opens minutes of its own, and they close by silence.
func TestLateHistoryHasItsMinutes(t *testing.T) {
	b := newBoard()
	take(t, b, heartbeat("r1", noon, 1), nil)
	old := heartbeat("r1", noon.Add(-3*time.Hour), 2)
	old.Received, old.Live = noon, false
	take(t, b, old, nil)
	if got := minutes(b, noon.Add(time.Second)); len(got) != 0 {
		t.Fatalf("%v is over, and more of it may come", got)
	}
	if got := minutes(b, noon.Add(2*time.Minute)); len(got) != 2 || !got[0].Start.Equal(noon.Add(-3*time.Hour)) {
		t.Fatalf("closed %v", got)
	}
	older := heartbeat("r1", noon.Add(-25*time.Hour), 3)
	older.Received = noon
	if _, err := b.Take(older, nil); err == nil {
		t.Error("a minute of yesterday opens")
	}
}

// A message from far ahead does not shut the minutes of now, and a record of no
// time there can be is none.
func TestMinutesAheadAreRefused(t *testing.T) {
	b := newBoard()
	far := heartbeat("r1", noon.Add(13*time.Hour), 1)
	far.Received = noon
	var refused *Refused
	if _, err := b.Take(far, nil); !errors.As(err, &refused) || refused.Reason != TimeUnresolved {
		t.Errorf("%v", err)
	}
	near := heartbeat("r1", noon.Add(11*time.Hour), 2)
	near.Received = noon
	take(t, b, near, nil)
	take(t, b, heartbeat("r1", noon, 3), nil)
	for _, m := range []int64{math.MaxInt64, -1} {
		for _, record := range [][]byte{appendEnd(appendHead(nil, "r1", 1, m)), appendWritten(nil, "r1", m), appendEnd(appendCell(appendHead(nil, "r1", 4, 5), m, Cell{Series: Bytes}, 1))} {
			if err := b.Apply(record); !errors.Is(err, ErrRecord) {
				t.Errorf("minute %d: %v", m, err)
			}
		}
	}
}

// Records, and snapshots, make another board tell the same.
func TestRecordsBringMinutesBack(t *testing.T) {
	b := newBoard()
	var log []byte
	for i := range 100 {
		log = take(t, b, heartbeat([]string{"r1", "r2"}[i%2], noon.Add(time.Duration(i)*time.Second), uint64(i)), log)
	}
	for _, m := range minutes(b, noon.Add(99*time.Second)) {
		log = b.Written(m, log)
	}
	replayed, copied := newBoard(), newBoard()
	if err := replayed.Apply(log); err != nil {
		t.Fatal(err)
	}
	if err := b.Snapshot(copied.Apply); err != nil {
		t.Fatal(err)
	}
	later := noon.Add(time.Hour)
	want := minutes(b, later)
	for name, other := range map[string]*Board{"log": replayed, "snapshot": copied} {
		other.Restored(noon)
		if again := take(t, other, heartbeat("r2", noon.Add(99*time.Second), 99), nil); len(again) != 0 {
			t.Errorf("%s: a message that came before adds % x", name, again)
		}
		if diff := cmp.Diff(want, minutes(other, later), cmp.AllowUnexported(Minute{})); diff != "" || len(want) == 0 {
			t.Errorf("%s tells something else:\n%s", name, diff)
		}
	}
}

func FuzzApply(f *testing.F) {
	record, err := newBoard().Take(heartbeat("r1", noon, 1), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(record)
	status, b := nothing(), newBoard()
	status.Firmware = "2.1.0"
	for i, m := range []*road.Message{{Kind: road.KindBase, At: noon, Status: status}, {Kind: road.KindRSI, At: noon, Events: []road.Event{works("7", 0, noon)}}} {
		if record, err = b.Take(&Arrival{Unit: "r1", Message: m, Hash: uint64(i), Received: noon, Live: true}, nil); err != nil {
			f.Fatal(err)
		}
		f.Add(record)
	}
	if record, err = newBoard().Take(&Arrival{Unit: "r1", Message: threeRoads(noon), Hash: 2, Received: noon}, nil); err != nil {
		f.Fatal(err)
	}
	f.Add(record)
	f.Add(appendEnd(appendHead(nil, "r1", 1, math.MaxInt64)))
	f.Fuzz(func(t *testing.T, record []byte) {
		if err := newBoard().Apply(record); err != nil && !errors.Is(err, ErrRecord) {
			var refused *Refused
			if !errors.As(err, &refused) {
				t.Fatal(err)
			}
		}
	})
}

// Units that speak at once, while minutes close and people look, share keys and
// ids.
func TestUnitsSpeakAtOnce(t *testing.T) {
	b := newBoard()
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			unit := string(rune('a' + i))
			for n := range 500 {
				at := noon.Add(time.Duration(n) * 20 * time.Second) // beyond an hour: keys turn
				for hash, m := range []*road.Message{northward(at), bsm(at, uint64(n%7), 35), bsm(at.Add(time.Second), uint64(n%7), 25)} {
					if _, err := b.Take(&Arrival{Unit: unit, Message: m, Hash: uint64(n*4 + hash), Received: at, Live: true}, nil); err != nil {
						t.Error(err)
						return
					}
				}
				if n%10 == 0 {
					b.Close(noon, func(m Minute) { b.Written(m, nil) }) // those that the unit is past
					b.Links()
				}
			}
		})
	}
	all.Wait()
}
