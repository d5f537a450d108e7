package storetest

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"

	"github.com/songhua-io/hub/internal/telemetry"
)

const (
	second = time.Second
	day    = 24 * time.Hour
)

func readYourCommit(b *bench) {
	id := b.engine.Series(metric("temperature", "probe-1"))
	var want []sample
	for i := range 300 {
		s := b.at(time.Duration(i)*second, float64(i)/4)
		b.take(id, s)
		want = append(want, s)
		if i%50 == 0 {
			b.holds("temperature", "probe-1", want...)
		}
	}
	b.holds("temperature", "probe-1", want...)
}

func redelivery(b *bench) {
	id := b.engine.Series(metric("temperature", "probe-1"))
	samples := []sample{b.at(0, 1), b.at(10*second, 2), b.at(20*second, 3), b.at(30*second, 4)}
	b.take(id, samples...)
	b.take(id, samples...)
	b.take(id, samples[1], samples[3], samples[1], samples[0])
	late := b.at(-time.Hour, 5)
	b.take(id, late, late)
	b.take(id, late)
	b.take(id, append([]sample{late}, samples...)...)
	b.holds("temperature", "probe-1", append([]sample{late}, samples...)...)
	b.reopen()
	b.take(b.engine.Series(metric("temperature", "probe-1")), append(samples, late)...)
	b.holds("temperature", "probe-1", append([]sample{late}, samples...)...)
}

func conflictAt(indexes ...int) []telemetry.Refusal {
	var rs []telemetry.Refusal
	for _, i := range indexes {
		rs = append(rs, telemetry.Refusal{Index: i, Reason: telemetry.ReasonConflict})
	}
	return rs
}

func conflict(b *bench) {
	id := b.engine.Series(metric("temperature", "probe-1"))
	first := []sample{b.at(0, 1), b.at(10*second, 2), b.at(20*second, 3)}
	behind := b.at(-time.Minute, 7)
	b.take(id, first...)
	b.take(id, behind)
	for range 2 {
		b.refuses(b.commit(id, b.at(20*second, 30)), conflictAt(0)...)
		b.refuses(b.commit(id, b.at(30*second, 4), b.at(0, 10), b.at(10*second, 2), b.at(-time.Minute, 70)), conflictAt(1, 3)...)
		b.holds("temperature", "probe-1", append(append([]sample{behind}, first...), b.at(30*second, 4))...)
		b.reopen()
		id = b.engine.Series(metric("temperature", "probe-1"))
	}
}

func conflictWithin(b *bench) {
	id := b.engine.Series(metric("temperature", "probe-1"))
	b.refuses(b.commit(id, b.at(0, 1), b.at(0, 2), b.at(0, 1)), conflictAt(1)...)
	b.refuses(b.commit(id, b.at(10*second, 1), b.at(5*second, 2), b.at(10*second, 3), b.at(5*second, 4), b.at(5*second, 2)), conflictAt(2, 3)...)

	one, two := write(id, b.at(20*second, 1), b.at(-second, 2)), write(id, b.at(-second, 3), b.at(20*second, 9), b.at(21*second, 5))
	if err := b.engine.Commit([]*telemetry.Write{one, two}); err != nil {
		b.Fatal(err)
	}
	b.refuses(one.Refused)
	b.refuses(two.Refused, conflictAt(0, 1)...)
	b.holds("temperature", "probe-1", b.at(-second, 2), b.at(0, 1), b.at(5*second, 2), b.at(10*second, 1), b.at(20*second, 1), b.at(21*second, 5))
}

func conflictAnywhere(b *bench) {
	id := b.engine.Series(metric("soil", "probe-1"))
	b.take(id, b.at(0, 0), b.at(-45*day, 4), b.at(second, math.NaN()))
	b.refuses(b.commit(id, b.at(-45*day, 40)), conflictAt(0)...)
	b.refuses(b.commit(id, b.at(0, math.Copysign(0, -1)), b.at(second, 1)), conflictAt(0, 1)...)
	b.engine.Forget([]telemetry.SeriesID{id})
	id = b.engine.Series(metric("soil", "probe-1"))
	b.refuses(b.commit(id, b.at(0, 99), b.at(10*second, 7)), conflictAt(0)...)
	b.holds("soil", "probe-1", b.at(-45*day, 4), b.at(0, 0), b.at(second, math.NaN()), b.at(10*second, 7))
}

func outOfOrder(b *bench) {
	id := b.engine.Series(metric("temperature", "probe-1"))
	other := b.engine.Series(metric("temperature", "probe-2"))
	b.take(id, b.at(0, 0))
	b.take(other, b.at(0, 0))
	// 401 points, each 37 places after the one before: no two in order stay neighbours.
	want := []sample{b.at(0, 0)}
	for i := range 401 {
		want = append([]sample{b.at(-time.Duration(i+1)*time.Minute, float64(i))}, want...)
	}
	for i := range 401 {
		at := i * 37 % 401
		b.take(id, b.at(-time.Duration(at+1)*time.Minute, float64(at)))
	}
	b.holds("temperature", "probe-1", want...)
	b.holds("temperature", "probe-2", b.at(0, 0))
	b.reopen()
	b.holds("temperature", "probe-1", want...)
}

func late(b *bench) {
	id := b.engine.Series(metric("soil", "probe-1"))
	b.take(id, b.at(0, 1))
	b.take(id, b.at(-45*day, 4), b.at(-20*day, 2))
	b.take(id, b.at(-31*day, 3), b.at(-59*day, 5))
	want := []sample{b.at(-59*day, 5), b.at(-45*day, 4), b.at(-31*day, 3), b.at(-20*day, 2), b.at(0, 1)}
	b.holds("soil", "probe-1", want...)
	b.take(id, want...)
	b.reopen()
	b.holds("soil", "probe-1", want...)
}

func past(b *bench) {
	id := b.engine.Series(metric("soil", "probe-1"))
	b.take(id, b.at(0, 1))
	oldest := b.engine.Oldest(time.UnixMilli(b.now))
	if oldest.IsZero() || oldest.Unix() <= 0 {
		b.Skip("the engine keeps everything")
	}
	ancient := sample{oldest.Add(-90 * day).UnixMilli(), 0}
	kept := sample{oldest.Add(time.Hour).UnixMilli(), 0}
	b.refuses(b.commit(id, ancient, kept), telemetry.Refusal{Index: 0, Reason: telemetry.ReasonTimePast})
	b.holds("soil", "probe-1", kept, b.at(0, 1))
}

func future(b *bench) {
	id := b.engine.Series(metric("soil", "probe-1"))
	b.take(id, b.at(10*time.Minute, 2), b.at(0, 1))
	b.holds("soil", "probe-1", b.at(0, 1), b.at(10*time.Minute, 2))
}

func bits(b *bench) {
	id := b.engine.Series(metric("odd", "probe-1"))
	values := []float64{0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), math.NaN(), math.Float64frombits(value.StaleNaN),
		math.MaxFloat64, math.SmallestNonzeroFloat64, 0.1, -273.15}
	var want []sample
	for i, v := range values {
		want = append(want, b.at(time.Duration(i)*second, v))
	}
	b.take(id, want...)
	b.holds("odd", "probe-1", want...)
	b.take(id, want...)
	b.reopen()
	b.holds("odd", "probe-1", want...)
}

func identity(b *bench) {
	one := b.engine.Series(metric("temperature", "probe-1"))
	labels := metric("temperature", "probe-1")
	if again := b.engine.Series(labels); again != one {
		b.Errorf("the same labels gave the ids %#x and %#x", one, again)
	}
	labels[1].Value = "probe-2" // labels are not kept
	if other := b.engine.Series(labels); other == one {
		b.Errorf("other labels gave the same id %#x", one)
	}
	if again := b.engine.Series(metric("temperature", "probe-1")); again != one {
		b.Errorf("the same labels gave the ids %#x and %#x", one, again)
	}
	wide := append(metric("temperature", "probe-1"), telemetry.Label{Name: "zone", Value: "a"})
	if b.engine.Series(wide) == one {
		b.Error("more labels gave the same id")
	}
}

func forget(b *bench) {
	const n = 3000
	name := func(round, i int) string { return fmt.Sprintf("probe-%d-%d", round, i) }
	for round := range 3 {
		var ids []telemetry.SeriesID
		seen := map[telemetry.SeriesID]bool{}
		for i := range n {
			id := b.engine.Series(metric("temperature", name(round, i)))
			if seen[id] {
				b.Fatalf("two series have the id %#x", id)
			}
			seen[id] = true
			ids = append(ids, id)
		}
		w := &telemetry.Write{}
		for i, id := range ids {
			w.Points = append(w.Points, telemetry.Point{Series: id, Time: b.now, Value: float64(i)})
		}
		if err := b.engine.Commit([]*telemetry.Write{w}); err != nil {
			b.Fatal(err)
		}
		b.refuses(w.Refused)
		b.engine.Forget(ids[:n/2])
		b.engine.Forget(ids[:n/2]) // twice is once
	}
	for round := range 3 {
		for _, i := range []int{0, 1, n / 2, n - 1} {
			b.holds("temperature", name(round, i), b.at(0, float64(i)))
		}
	}
	id := b.engine.Series(metric("temperature", name(0, 0)))
	b.take(id, b.at(0, 0), b.at(second, 7))
	b.holds("temperature", name(0, 0), b.at(0, 0), b.at(second, 7))
}

func manySeries(b *bench) {
	const n = 5000
	for round := range 2 {
		var writes []*telemetry.Write
		for i := range n {
			id := b.engine.Series(metric("load", fmt.Sprintf("node-%04d", i)))
			writes = append(writes, write(id, b.at(time.Duration(round)*second, float64(i))))
		}
		if err := b.engine.Commit(writes); err != nil {
			b.Fatal(err)
		}
	}
	got := b.read(labels.MustNewMatcher(labels.MatchEqual, "__name__", "load"))
	if len(got) != n {
		b.Fatalf("%d series are stored, want %d", len(got), n)
	}
	for i := range n {
		b := *b
		name := fmt.Sprintf(`{__name__="load", device="node-%04d"}`, i)
		if s := got[name]; len(s) != 2 || s[0] != b.at(0, float64(i)) || s[1] != b.at(second, float64(i)) {
			b.Fatalf("%s holds %v", name, s)
		}
	}
}

func reopening(b *bench) {
	var want []sample
	for round := range 4 {
		id := b.engine.Series(metric("temperature", "probe-1"))
		for i := range 200 {
			s := b.at(time.Duration(200*round+i)*second, float64(i))
			want = append(want, s)
		}
		b.take(id, want[200*round:]...)
		b.holds("temperature", "probe-1", want...)
		b.reopen()
		b.holds("temperature", "probe-1", want...)
	}
}

func concurrency(b *bench) {
	const workers, rounds = 4, 60
	commits := make(chan *telemetry.Write)
	done := make(chan struct{})
	var finders, reader sync.WaitGroup
	for w := range workers {
		finders.Go(func() {
			for i := range rounds {
				// Half of the series are shared by all workers.
				id := b.engine.Series(metric("load", fmt.Sprintf("node-%d-%d", w*(i%2), i/2)))
				commits <- write(id, b.at(time.Duration(i)*second, 1))
			}
		})
	}
	reader.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				b.read(labels.MustNewMatcher(labels.MatchEqual, "__name__", "load"))
			}
		}
	})
	go func() { finders.Wait(); close(commits) }()
	for w := range commits {
		if err := b.engine.Commit([]*telemetry.Write{w}); err != nil {
			b.Error(err)
		}
		b.refuses(w.Refused)
	}
	close(done)
	reader.Wait()
	got := b.read(labels.MustNewMatcher(labels.MatchEqual, "__name__", "load"))
	if want := rounds/2 + (workers-1)*rounds/2; len(got) != want {
		b.Errorf("%d series are stored, want %d", len(got), want)
	}
}

func closed(b *bench) {
	id := b.engine.Series(metric("temperature", "probe-1"))
	b.take(id, b.at(0, 1))
	b.close()
	if err := b.engine.Commit([]*telemetry.Write{write(id, b.at(second, 2))}); err == nil {
		b.Error("a closed engine took a commit")
	}
	if err := b.engine.Close(); err != nil {
		b.Errorf("second close: %v", err)
	}
}

func empty(b *bench) {
	if err := b.engine.Commit(nil); err != nil {
		b.Error(err)
	}
	if err := b.engine.Commit([]*telemetry.Write{{}, {}}); err != nil {
		b.Error(err)
	}
	id := b.engine.Series(metric("temperature", "probe-1"))
	w := write(id, b.at(0, 1))
	w.Refused = append(w.Refused, telemetry.Refusal{Index: 9, Reason: telemetry.ReasonConflict}) // of an earlier use
	if err := b.engine.Commit([]*telemetry.Write{{}, w}); err != nil {
		b.Error(err)
	}
	b.refuses(w.Refused)
}
