package spool

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func open(t testing.TB, dir string, change ...func(*Config)) *Spool {
	t.Helper()
	cfg := Config{Dir: dir, MaxBytes: MinBytes}
	for _, f := range change {
		f(&cfg)
	}
	s, err := Open(cfg, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t testing.TB, s *Spool, i int) uint64 {
	t.Helper()
	return putData(t, s, i, fmt.Appendf(nil, "block %d", i))
}

func putData(t testing.TB, s *Spool, i int, data []byte) uint64 {
	t.Helper()
	seq, err := s.Append(Block{Samples: 2, From: int64(i) * 10, To: int64(i)*10 + 5, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

// take returns the numbers of the next n blocks of the lane, or all there are.
func take(t testing.TB, s *Spool, lane Lane, n int) (seqs []uint64) {
	t.Helper()
	for len(seqs) < n {
		b, ok, err := s.Take(lane)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		seqs = append(seqs, b.Seq)
	}
	return seqs
}

func ack(t testing.TB, s *Spool, seqs ...uint64) {
	t.Helper()
	for _, seq := range seqs {
		if err := s.Ack(seq); err != nil {
			t.Fatal(err)
		}
	}
}

func numbers(from, to uint64) (n []uint64) {
	for i := from; i <= to; i++ {
		n = append(n, i)
	}
	return n
}

func expect[T any](t testing.TB, what string, want, got T) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s: %s", what, d)
	}
}

func TestABlockStaysUntilItIsAcknowledged(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 10 {
		put(t, s, i)
	}
	expect(t, "live", numbers(1, 10), take(t, s, Live, 99))
	ack(t, s, 1, 2, 3, 7)
	s.Release(5)
	s.Release(4)
	expect(t, "released", []uint64{4, 5}, take(t, s, History, 99))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer s.Close()
	b, ok, err := s.Take(History)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	expect(t, "block", Block{Seq: 4, Samples: 2, From: 30, To: 35, Data: []byte("block 3")}, b)
	expect(t, "after reopening", []uint64{5, 6, 8, 9, 10}, take(t, s, History, 99))
	expect(t, "stats", uint64(6), s.Stats().Blocks)
	expect(t, "next number", 11, put(t, s, 10))
	expect(t, "live", []uint64{11}, take(t, s, Live, 99))
}

func TestTheNewestGoesFirstAfterAnOutage(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	for i := range 200 {
		put(t, s, i)
	}
	expect(t, "live", []uint64{200}, take(t, s, Live, 99))
	put(t, s, 200)
	expect(t, "history", numbers(1, 3), take(t, s, History, 3))
	expect(t, "live", []uint64{201}, take(t, s, Live, 99))
	expect(t, "history", numbers(4, 199), take(t, s, History, 999))
}

func TestDeliveredSegmentsLeaveTheDisk(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	data := make([]byte, 512<<10)
	for i := range 20 {
		putData(t, s, i, data)
	}
	if n := segments(t, dir); n < 3 {
		t.Fatalf("%d segments", n)
	}
	ack(t, s, take(t, s, Live, 99)...)
	expect(t, "segments", 1, segments(t, dir))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer s.Close()
	expect(t, "stats", Stats{Bytes: s.Stats().Bytes}, s.Stats())
	expect(t, "number", 21, putData(t, s, 1, nil))
}

func segments(t testing.TB, dir string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

func TestAFullSpoolLosesTheOldestAndSaysSo(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	data := make([]byte, 1<<20)
	const n = 40
	for i := range n {
		putData(t, s, i, data)
		if s.Stats().Bytes > MinBytes {
			t.Fatalf("%d bytes", s.Stats().Bytes)
		}
	}
	left := take(t, s, History, 99)
	left = append(left, take(t, s, Live, 99)...)
	st := s.Stats()
	expect(t, "every block is left or lost", uint64(n), uint64(len(left))+st.LostBlocks)
	expect(t, "the oldest are lost", numbers(st.LostBlocks+1, n), left)
	var sum Loss
	for _, l := range s.Losses() {
		expect(t, "reason", ReasonFull, l.Reason)
		sum.merge(l)
	}
	expect(t, "ledger", Loss{Blocks: st.LostBlocks, Samples: 2 * st.LostBlocks, To: int64(st.LostBlocks-1)*10 + 5, From: sum.From}, sum)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer s.Close()
	expect(t, "stats after reopening", [2]uint64{st.LostBlocks, st.LostSamples}, [2]uint64{s.Stats().LostBlocks, s.Stats().LostSamples})
	for _, l := range s.Losses() {
		if err := s.Reported(l); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, "reported", 0, len(s.Losses()))
	expect(t, "the sum stays", st.LostSamples, s.Stats().LostSamples)
}

func TestWhatIsUnderWayIsNotDropped(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	data := make([]byte, 1<<20)
	for i := range 4 {
		putData(t, s, i, data)
	}
	expect(t, "live", []uint64{1}, take(t, s, Live, 1))
	for i := range 30 {
		putData(t, s, i, data)
	}
	for _, l := range s.Losses() {
		if l.From <= 5 {
			t.Errorf("lost what was under way: %+v", l)
		}
	}
	ack(t, s, 1)
}

func TestOldBlocksGo(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	s, err := Open(Config{Dir: t.TempDir(), MaxBytes: MinBytes, MaxAge: time.Hour}, slog.New(slog.DiscardHandler), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	put(t, s, 1)
	put(t, s, 2)
	now = now.Add(61 * time.Minute)
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	put(t, s, 3)
	expect(t, "ledger", []Loss{{Reason: ReasonAge, Blocks: 2, Samples: 4, From: 10, To: 25}}, s.Losses())
	expect(t, "left", []uint64{3}, append(take(t, s, History, 9), take(t, s, Live, 9)...))
}

func TestARefusedBlockIsALoss(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	put(t, s, 1)
	b, _, err := s.Take(Live)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Refuse(b); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, "ledger", []Loss{{Reason: ReasonRefused, Blocks: 1, Samples: 2, From: 10, To: 15}}, s.Losses())
	expect(t, "left", nil, take(t, s, History, 9))
}

func TestDamageOnTheDiskCostsOnlyWhatItHit(t *testing.T) {
	for name, c := range map[string]struct {
		at   int64 // within the third record
		left []uint64
		loss Loss
	}{
		"data":   {recordHeader, []uint64{1, 2, 4, 5}, Loss{Reason: ReasonDamaged, Blocks: 1, Samples: 2, From: 20, To: 25}},
		"header": {8, []uint64{1, 2}, Loss{Reason: ReasonDamaged, Blocks: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			for i := range 5 {
				put(t, s, i)
			}
			path := s.active().path
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := open(t, dir).Close(); err != nil { // seals the segment
				t.Fatal(err)
			}
			flip(t, path, segmentHeader+2*(recordHeader+7)+c.at)
			s = open(t, dir)
			defer s.Close()
			expect(t, "left", c.left, take(t, s, History, 9))
			expect(t, "ledger", []Loss{c.loss}, s.Losses())
			expect(t, "a new block is taken", uint64(6), put(t, s, 6))
		})
	}
}

func flip(t testing.TB, path string, at int64) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 0x40
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestATornTailIsCutOff(t *testing.T) {
	for _, tail := range []string{"", "x", strings.Repeat("\x00", 4096), strings.Repeat("torn", 1000)} {
		dir := t.TempDir()
		s := open(t, dir)
		put(t, s, 1)
		path := s.active().path
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(tail); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir)
		expect(t, "number", 2, put(t, s, 2))
		expect(t, "left", []uint64{1}, take(t, s, History, 9))
		expect(t, "nothing is lost", 0, len(s.Losses()))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestADamagedStateOnlyDeliversTwice(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 3 {
		put(t, s, i)
	}
	ack(t, s, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "state")
	flip(t, path, stateHeader+1)
	flip(t, path, stateHalf+stateHeader+1)
	s = open(t, dir)
	defer s.Close()
	expect(t, "left", numbers(1, 3), take(t, s, History, 9))
	expect(t, "lost", 0, len(s.Losses()))
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer s.Close()
	_, err := Open(Config{Dir: dir, MaxBytes: MinBytes}, slog.New(slog.DiscardHandler), time.Now)
	if err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Error(err)
	}
}

func TestBlocksOfManyGoroutinesShareAnFsync(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				if _, err := s.Append(Block{Samples: 1, Data: fmt.Appendf(nil, "%d/%d", g, i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var got []uint64
	for len(got) < 400 {
		more := append(take(t, s, Live, 999), take(t, s, History, 999)...)
		ack(t, s, more...)
		if got = append(got, more...); len(more) == 0 {
			<-s.Wake()
		}
	}
	wg.Wait()
	slices.Sort(got)
	expect(t, "each once", numbers(1, 400), got)
}

func TestInspectChangesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 5 {
		put(t, s, i)
	}
	ack(t, s, 1)
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	r, err := Inspect(dir)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "report", Report{Segments: 1, Bytes: s.Stats().Bytes, Blocks: 4, Samples: 8, From: 10, To: 45}, r)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Inspect(t.TempDir()); err == nil {
		t.Error("an empty directory passes for a spool")
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := open(b, b.TempDir(), func(c *Config) { c.MaxBytes = 1 << 30 })
			defer s.Close()
			each(b, writers, func(data []byte) error {
				_, err := s.Append(Block{Samples: 60, Data: data})
				return err
			})
		})
	}
}

// each shares b.N calls of f with a 1,000-byte block among the writers.
func each(b *testing.B, writers int, f func(data []byte) error) {
	data := bytes.Repeat(binary.LittleEndian.AppendUint64(nil, rand.Uint64()), 125)
	b.SetBytes(int64(len(data)))
	b.ResetTimer()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := w; i < b.N; i += writers {
				if err := f(data); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
