package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/store"
	"github.com/songhua-io/hub/internal/store/disk"
	"github.com/songhua-io/hub/internal/telemetry"
)

// sink is a destination that keeps what it is sent as a server does: the same
// series and time again takes the place of what was there.
type sink struct {
	// fault is asked before each request; nil takes everything.
	fault func(batch []Series) error

	mu      sync.Mutex
	rows    map[string]map[int64]uint64 // bits by time, by labels
	order   map[string][]int64          // times as they came
	samples int
}

func newSink() *sink { return &sink{rows: map[string]map[int64]uint64{}, order: map[string][]int64{}} }

func nameOf(labels []telemetry.Label) string { return fmt.Sprint(labels) }

func (s *sink) Send(ctx context.Context, batch []Series) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var refused *Refused
	if s.fault != nil {
		if err := s.fault(batch); err != nil && !errors.As(err, &refused) {
			return err
		}
	}
	for i, series := range batch {
		if len(series.Points) == 0 {
			return errors.New("a series without points")
		}
		name := nameOf(series.Labels)
		if s.rows[name] == nil {
			s.rows[name] = map[int64]uint64{}
		}
		for j, p := range series.Points {
			if refused != nil && slices.ContainsFunc(refused.Points, func(r RefusedPoint) bool { return r.Series == i && r.Point == j }) {
				continue
			}
			s.rows[name][p.Time] = math.Float64bits(p.Value)
			s.order[name] = append(s.order[name], p.Time)
			s.samples++
		}
	}
	if refused != nil {
		return refused
	}
	return nil
}

func (s *sink) got(labels []telemetry.Label) map[int64]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows[nameOf(labels)]
}

func (s *sink) total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.samples
}

// rig is a queue under test and what is behind it.
type rig struct {
	*Queue
	t      testing.TB
	dir    string
	to     Destination
	cfg    Config
	poison Poison
	on     ground
	stop   func()
}

func newRig(t testing.TB, to Destination, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, to: to, dir: t.TempDir(), cfg: DefaultConfig(), stop: func() {}}
	r.on = ground{disk.Sync, 64 << 10, 0}
	r.poison = func([]Poisoned) error {
		return errors.New("nothing should be refused")
	}
	r.cfg.BatchWait = 5 * time.Millisecond
	for _, c := range change {
		c(&r.cfg)
	}
	r.open()
	t.Cleanup(r.close)
	return r
}

func (r *rig) open() {
	r.t.Helper()
	r.cfg.Dir = r.dir
	q, err := tryOpen(r)
	if err != nil {
		r.t.Fatal(err)
	}
	q.sleep = func(ctx context.Context, _ time.Duration) bool { // as fast as the disk lets it
		select {
		case <-ctx.Done():
			return false
		case <-time.After(time.Millisecond):
			return true
		}
	}
	r.Queue = q
}

func tryOpen(r *rig) (*Queue, error) {
	return open(r.cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), r.to, r.poison, r.on)
}

func floatBits(v float64) uint64 { return math.Float64bits(v) }

// start forwards until stop.
func (r *rig) start() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	q := r.Queue
	go func() { ended <- q.Run(ctx) }()
	r.stop = func() {
		r.t.Helper()
		cancel()
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
		r.stop = func() {}
	}
}

func (r *rig) close() {
	r.t.Helper()
	r.stop()
	if err := r.Queue.Close(); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) reopen() {
	r.t.Helper()
	r.close()
	r.open()
}

func (r *rig) settle() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := r.Settle(ctx); err != nil {
		r.t.Fatal(err)
	}
}

func labelsOf(i int) []telemetry.Label {
	return []telemetry.Label{
		{Name: "__name__", Value: fmt.Sprintf("metric_%d", i%20)}, {Name: "device", Value: fmt.Sprintf("probe-%06d", i/20)},
		{Name: "kind", Value: "sensor"}, {Name: "region", Value: "220100"}, {Name: "site", Value: fmt.Sprintf("site-%d", i/20%97)},
	}
}

// put commits points of the series i.
func (r *rig) put(i int, points ...telemetry.Point) {
	r.t.Helper()
	w, id := &telemetry.Write{}, r.Series(labelsOf(i))
	for _, p := range points {
		p.Series = id
		w.Points = append(w.Points, p)
	}
	if err := r.Commit([]*telemetry.Write{w}); err != nil {
		r.t.Fatal(err)
	}
	if len(w.Refused) > 0 {
		r.t.Fatalf("refused: %v", w.Refused)
	}
}

func at(i int, v float64) telemetry.Point {
	return telemetry.Point{Time: 1_764_000_000_000 + int64(i)*1000, Value: v}
}

func expect[T comparable](t testing.TB, what string, want, got T) {
	t.Helper()
	if want != got {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestCommittedPointsArrive(t *testing.T) {
	to := newSink()
	r := newRig(t, to)
	r.start()
	values := []float64{0, math.Copysign(0, -1), 21.5, -273.15, 0.1, math.NaN(), math.Inf(1), math.Inf(-1), telemetry.StaleMarker(), math.MaxFloat64, 1e15, 1 << 53, 0.1 + 0.2, float64(float32(21.53)), 1e-7, 123456789.123456}
	for i, v := range values {
		r.put(i%3, at(i, v))
	}
	r.settle()
	for i, v := range values {
		if got, ok := to.got(labelsOf(i % 3))[at(i, v).Time]; !ok || got != math.Float64bits(v) {
			t.Errorf("%v arrived as %v, %v", v, math.Float64frombits(got), ok)
		}
	}
	expect(t, "samples", len(values), to.total())
	expect(t, "waiting", 0, r.pending.Load())
}

func TestWhatWaitsIsForwardedByTheNextProcess(t *testing.T) {
	to := newSink()
	r := newRig(t, to)
	for round := range 4 {
		for i := range 100 {
			r.put(i, at(round, float64(i)))
		}
		r.reopen()
	}
	expect(t, "waiting", 400, r.pending.Load())
	r.start()
	r.settle()
	expect(t, "samples", 400, to.total())
	r.reopen()
	expect(t, "waiting after all is sent", 0, r.pending.Load())
	r.start()
	r.settle()
	expect(t, "samples after another start", 400, to.total())
	files, _ := filepath.Glob(filepath.Join(r.dir, "*"+segmentSuffix))
	expect(t, "segments left", 1, len(files))
}

func TestAnotherNumberOfShardsLosesNothing(t *testing.T) {
	to := newSink()
	r := newRig(t, to, func(c *Config) { c.BatchSamples = 7 })
	for _, shards := range []int{3, 1, 8, 2} {
		r.close()
		r.cfg.Shards = shards
		r.open()
		for i := range 300 {
			r.put(i, at(shards, float64(i)))
		}
		r.start()
		for to.total() < 100 { // some of it
			runtime.Gosched()
		}
	}
	r.settle()
	for i := range 300 {
		expect(t, "points of a series", 4, len(to.got(labelsOf(i))))
	}
}

func TestASeriesStaysInOrder(t *testing.T) {
	to := newSink()
	tries := 0
	to.fault = func([]Series) error {
		if tries++; tries%3 != 0 {
			return errors.New("not now")
		}
		return nil
	}
	r := newRig(t, to, func(c *Config) { c.BatchSamples = 5 })
	r.start()
	for i := range 500 {
		r.put(i%10, at(i, 1))
	}
	r.settle()
	for i := range 10 {
		if got := to.order[nameOf(labelsOf(i))]; !slices.IsSorted(got) || len(got) != 50 {
			t.Errorf("series %d came as %v", i, got)
		}
	}
}

func TestPoisonGoesToTheDeskAndTheRestArrives(t *testing.T) {
	to := newSink()
	to.fault = func(batch []Series) error {
		var r Refused
		for i, s := range batch {
			for j, p := range s.Points {
				if p.Value == 13 {
					r.Points = append(r.Points, RefusedPoint{Series: i, Point: j, Reason: telemetry.ReasonConflict, Detail: "field type"})
				}
			}
		}
		if len(r.Points) > 0 {
			return fmt.Errorf("write: %w", &r)
		}
		return nil
	}
	r := newRig(t, to)
	var mu sync.Mutex
	var poisoned []string
	r.Queue.poison = func(all []Poisoned) error {
		mu.Lock()
		defer mu.Unlock()
		for _, p := range all {
			poisoned = append(poisoned, fmt.Sprintf("%s %d %s %s", p.Labels[1].Value, p.Point.Time, p.Reason, p.Detail))
		}
		return nil
	}
	r.start()
	for i := range 20 {
		r.put(i, at(i, float64(i)), at(i+1, 1))
	}
	r.settle()
	expect(t, "samples", 39, to.total())
	expect(t, "poisoned", "probe-000000 1764000013000 conflict field type", strings.Join(poisoned, "; "))
}

func TestAFullQueueSaysSoAndComesRight(t *testing.T) {
	to := newSink()
	down := true
	to.fault = func([]Series) error {
		if down {
			return errors.New("connection refused")
		}
		return nil
	}
	r := newRig(t, to, func(c *Config) { c.MaxBytes = 1 << 20 })
	r.start()
	points := make([]telemetry.Point, 1<<10)
	for i := range points {
		points[i] = at(i, math.Pi*float64(i)) // 8 bytes each
	}
	committed := 0
	for r.Full() == nil {
		r.put(committed%50, points...)
		committed++
	}
	if err := r.Full(); !errors.Is(err, store.ErrFull) || !strings.Contains(err.Error(), "at most 1MiB") {
		t.Error(err)
	}
	r.put(0, points...) // what was under way is taken
	committed++
	to.mu.Lock()
	down = false
	to.mu.Unlock()
	r.settle()
	if err := r.Full(); err != nil {
		t.Error(err)
	}
	expect(t, "samples", committed<<10, to.total())
	if r.bytes > 2*r.segment {
		t.Errorf("%d bytes are left", r.bytes)
	}
}

// TestAQueueFullOfLabelsComesRight: what is written to cannot go, so it is never
// all of the queue.
func TestAQueueFullOfLabelsComesRight(t *testing.T) {
	to := newSink()
	r := newRig(t, to, func(c *Config) { c.MaxBytes = 1 << 20 })
	n := 0
	for ; r.Full() == nil; n++ {
		r.put(n, at(n, 1))
	}
	r.start()
	r.settle()
	if err := r.Full(); err != nil {
		t.Error(err)
	}
	expect(t, "samples", n, to.total())
}

func TestTooOldPointsAreRefused(t *testing.T) {
	r := newRig(t, newSink(), func(c *Config) { c.Retention = 24 * time.Hour })
	now := time.Now()
	w := &telemetry.Write{Points: []telemetry.Point{
		{Series: r.Series(labelsOf(1)), Time: now.Add(-49 * time.Hour).UnixMilli()}, {Series: r.Series(labelsOf(1)), Time: r.Oldest(now).UnixMilli()},
	}}
	if err := r.Commit([]*telemetry.Write{w}); err != nil {
		t.Fatal(err)
	}
	if len(w.Refused) != 1 || w.Refused[0] != (telemetry.Refusal{Index: 0, Reason: telemetry.ReasonTimePast}) {
		t.Errorf("%v", w.Refused)
	}
}

func TestAfterAFailedFsyncNothingIsTaken(t *testing.T) {
	to := newSink()
	r := newRig(t, to)
	var fail atomic.Bool
	r.close()
	r.on.sync = func(f *os.File) error {
		if fail.Load() && filepath.Ext(f.Name()) == segmentSuffix {
			return os.NewSyscallError("fdatasync", syscall.EIO)
		}
		return disk.Sync(f)
	}
	r.open()
	r.start()
	r.put(1, at(1, 1))
	fail.Store(true)
	w := []*telemetry.Write{{Points: []telemetry.Point{{Series: r.Series(labelsOf(1)), Time: at(2, 0).Time}}}}
	if err := r.Commit(w); !errors.Is(err, store.ErrFailed) || !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	fail.Store(false) // a disk that seems well again is trusted no more
	if err := r.Commit(w); !errors.Is(err, store.ErrFailed) {
		t.Error(err)
	}
	r.settle()
	expect(t, "samples", 1, to.total())
}

func TestASecondProcessIsRefused(t *testing.T) {
	r := newRig(t, newSink())
	_, err := tryOpen(r)
	if err == nil || !strings.Contains(err.Error(), "another process uses it") {
		t.Error(err)
	}
}
