package traffic

import (
	"encoding/binary"
	"math"
	"syscall"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// driver is one of those on the link of northward: each drives with 12 m/s over
// 240 m, 15 m behind the one before, and comes again as somebody else.
func driver(i int, at time.Time, seconds float64, self bool) road.Participant {
	whole, lap := math.Modf((seconds*12 + float64(i)*15) / 240)
	p := ptc(road.Motor, at, uint16(whole)*64+uint16(i), 240*(1-lap), 12)
	if self {
		p.Self, p.Source, p.HasID = true, 1, true
		binary.BigEndian.PutUint64(p.ID[:], uint64(p.Track)+1)
	}
	return p
}

// BenchmarkTake measures what a message costs, with the minutes that it opens and
// closes and its record. A unit sends ten messages a second.
func BenchmarkTake(b *testing.B) {
	spat := road.Message{Kind: road.KindSPAT, Signals: []road.Intersection{{Node: road.NodeID{ID: 1}}}}
	for i := range 8 {
		spat.Signals[0].Phases = append(spat.Signals[0].Phases, road.Phase{ID: uint8(i + 1), Light: road.Red, States: []road.PhaseState{{Light: road.Red}}})
	}
	for _, c := range []struct {
		name string
		make func(m *road.Message, n int, at time.Time, seconds float64)
	}{
		{"BSM", func(m *road.Message, n int, at time.Time, seconds float64) {
			m.Kind = road.KindBSM
			m.Participants = append(m.Participants[:0], driver(n%16, at, seconds, true))
		}},
		{"RSM of 16", func(m *road.Message, _ int, at time.Time, seconds float64) {
			m.Kind = road.KindRSM
			m.Participants = m.Participants[:0]
			for i := range 16 {
				m.Participants = append(m.Participants, driver(i, at, seconds, false))
			}
		}},
		{"SPAT", func(m *road.Message, _ int, at time.Time, _ float64) {
			*m = spat
			m.Signals[0].At = at
		}},
		{"MAP", func(m *road.Message, _ int, at time.Time, _ float64) { *m = *threeRoads(at) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			const ahead = 2000 // messages that are made before they are taken
			messages := make([]road.Message, ahead)
			board := New(Config{MaxUnits: 10, MaxNodes: 10, MaxLinks: 100, MaxEvents: 100, MaxTracks: 1000, MaxIDs: 10_000})
			if _, err := board.Take(&Arrival{Unit: "r1", Message: northward(noon), Hash: 1, Received: noon, Live: true}, nil); err != nil {
				b.Fatal(err)
			}
			var record []byte
			octets, used := 0, time.Duration(0)
			a := Arrival{Unit: "r1", Live: true}
			b.ReportAllocs()
			for n := 0; n < b.N; {
				b.StopTimer()
				for i := range messages {
					seconds := float64(n+i) / 10
					at := noon.Add(time.Duration(n+i) * 100 * time.Millisecond)
					c.make(&messages[i], n+i, at, seconds)
					messages[i].At = at
				}
				b.StartTimer()
				begin := processorTime(b)
				for i := range messages {
					if n++; n > b.N {
						break
					}
					a.Message, a.Hash, a.Received = &messages[i], uint64(n+1)*0x9e3779b97f4a7c15, messages[i].At
					var err error
					if record, err = board.Take(&a, record[:0]); err != nil {
						b.Fatal(err)
					}
					octets += len(record)
					if n%100 == 0 {
						board.Close(a.Received, func(m Minute) { record = board.Written(m, record) })
					}
				}
				used += processorTime(b) - begin
			}
			b.ReportMetric(float64(used)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(octets)/float64(b.N), "record-B/op")
		})
	}
}

// processorTime of this process: on a machine with other work the time of the
// clock says less.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
