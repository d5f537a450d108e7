package spool

import (
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model is what a spool promises, in memory: which blocks wait, which are
// taken, and how many are lost.
type model struct {
	waiting map[uint64]bool
	taken   map[uint64]bool
	next    uint64

	delivered, refused uint64
}

func TestTheSpoolBehavesLikeItsModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		log := slog.New(slog.DiscardHandler)
		reopen := func() *Spool {
			s, err := Open(Config{Dir: dir, MaxBytes: MinBytes}, log, time.Now)
			if err != nil {
				rt.Fatal(err)
			}
			return s
		}
		s := reopen()
		m := model{waiting: map[uint64]bool{}, taken: map[uint64]bool{}, next: 1}
		blocks := map[uint64]Block{}
		settle := func(refuse bool) {
			if len(m.taken) == 0 {
				rt.Skip("nothing is taken")
			}
			seq := rapid.SampledFrom(slices.Sorted(maps.Keys(m.taken))).Draw(rt, "seq")
			dropped := s.done.has(seq) // by the bound, while it was under way
			err := error(nil)
			if refuse {
				err = s.Refuse(blocks[seq])
			} else {
				err = s.Ack(seq)
			}
			if err != nil {
				rt.Fatal(err)
			}
			delete(m.taken, seq)
			switch {
			case dropped:
			case refuse:
				m.refused++
			default:
				m.delivered++
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				size := rapid.SampledFrom([]int{0, 100, 300_000, 1 << 20}).Draw(rt, "size")
				n := rapid.IntRange(1, 8).Draw(rt, "n")
				group := slices.Repeat([]Block{{Samples: 1, From: 1, To: 2, Data: make([]byte, size)}}, n)
				last, err := s.Append(group...)
				if err != nil || last != m.next+uint64(n)-1 {
					rt.Fatal(last, m.next, err)
				}
				for ; m.next <= last; m.next++ {
					m.waiting[m.next] = true
				}
			},
			"take": func(rt *rapid.T) {
				lane := rapid.SampledFrom([]Lane{Live, History}).Draw(rt, "lane")
				b, ok, err := s.Take(lane)
				if err != nil {
					rt.Fatal(err)
				}
				if !ok {
					return
				}
				if !m.waiting[b.Seq] {
					rt.Fatalf("block %d does not wait", b.Seq)
				}
				delete(m.waiting, b.Seq)
				m.taken[b.Seq] = true
				b.Data = nil
				blocks[b.Seq] = b
			},
			"ack":    func(rt *rapid.T) { settle(false) },
			"refuse": func(rt *rapid.T) { settle(true) },
			"release": func(rt *rapid.T) {
				if len(m.taken) == 0 {
					rt.Skip("nothing is taken")
				}
				seq := rapid.SampledFrom(slices.Sorted(maps.Keys(m.taken))).Draw(rt, "seq")
				s.Release(seq)
				delete(m.taken, seq)
				m.waiting[seq] = true
			},
			"reopen": func(rt *rapid.T) {
				if err := s.Close(); err != nil {
					rt.Fatal(err)
				}
				s = reopen()
				for seq := range m.taken {
					m.waiting[seq] = true
				}
				clear(m.taken)
			},
			"": func(rt *rapid.T) {
				st := s.Stats()
				if st.Bytes > MinBytes {
					rt.Fatalf("%d bytes are more than the bound", st.Bytes)
				}
				if st.LostSamples != st.LostBlocks {
					rt.Fatalf("%d samples in %d blocks of one", st.LostSamples, st.LostBlocks)
				}
				for seq := range m.waiting {
					if s.done.has(seq) { // dropped by the bound
						delete(m.waiting, seq)
					}
				}
				for _, set := range []map[uint64]bool{m.waiting, m.taken} {
					for seq := range set {
						if !s.done.has(seq) {
							continue
						}
						if m.refused == st.LostBlocks {
							rt.Fatalf("block %d is gone and not in the ledger", seq)
						}
						if m.waiting[seq] {
							delete(m.waiting, seq)
						}
					}
				}
				if st.Blocks+st.LostBlocks+m.delivered != m.next-1 {
					rt.Fatalf("%d wait, %d lost, %d delivered, %d were appended", st.Blocks, st.LostBlocks, m.delivered, m.next-1)
				}
			},
		})
		if err := s.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}
