// Package storetest holds every time-series engine to the promises of
// store.Engine by one suite.
package storetest

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/songhua-io/hub/internal/store"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Open opens an engine that keeps its state in dir, with a retention of at
// least 60 days. It is called again with the same dir after Close.
type Open func(t *testing.T, dir string) store.Engine

// Run runs the suite, each promise with an engine of its own. What the engine
// lacks must indeed be lacking.
func Run(t *testing.T, open Open, lacks ...Lack) {
	for _, l := range lacks {
		if !slices.ContainsFunc(promises, func(p promise) bool { return p.name == l.Promise }) {
			t.Errorf("lack of %q: there is no such promise; promises in this package has their names", l.Promise)
		}
	}
	for _, c := range promises {
		t.Run(c.name, func(t *testing.T) {
			b := &bench{TB: t, t: t, open: open, dir: t.TempDir(), now: time.Now().UnixMilli()}
			b.reopen()
			if at := slices.IndexFunc(lacks, func(l Lack) bool { return l.Promise == c.name }); at >= 0 {
				lacks[at].confirm(b, c.check)
				return
			}
			c.check(b)
		})
	}
}

// promises is what every engine must keep.
var promises = []promise{
	{"a commit is readable when it returns", readYourCommit},
	{"redelivery changes nothing", redelivery},
	{"another value of a stored time is refused", conflict},
	{"another value within one commit is refused", conflictWithin},
	{"another value is refused however late and however alike", conflictAnywhere},
	{"points out of order are stored", outOfOrder},
	{"late points are stored", late},
	{"points before the retention are refused", past},
	{"points slightly ahead are stored", future},
	{"every bit of a value comes back", bits},
	{"the same labels are the same series", identity},
	{"forgotten ids are reused safely", forget},
	{"many series keep apart", manySeries},
	{"what was stored is there after reopening", reopening},
	{"series, commits and queries run side by side", concurrency},
	{"a closed engine refuses", closed},
	{"empty writes are nothing", empty},
}

type promise struct {
	name  string
	check func(*bench)
}

// bench is an engine under test and the moment that its points count from.
type bench struct {
	testing.TB            // who is told of what is wrong
	t          *testing.T // who is told when the engine does not open
	open       Open
	dir        string
	engine     store.Engine
	isOpen     bool
	now        int64 // milliseconds since the Unix epoch
}

func (b *bench) reopen() {
	b.Helper()
	b.close()
	b.engine = b.open(b.t, b.dir)
	b.isOpen = true
	b.Cleanup(b.close)
}

func (b *bench) close() {
	b.Helper()
	if !b.isOpen {
		return
	}
	b.isOpen = false
	if err := b.engine.Close(); err != nil {
		b.Errorf("close: %v", err)
	}
}

// sample is a stored value as the suite compares it: bit by bit.
type sample struct {
	Time int64
	Bits uint64
}

// at returns the sample v at a number of milliseconds from the bench's now.
func (b *bench) at(offset time.Duration, v float64) sample {
	return sample{b.now + offset.Milliseconds(), math.Float64bits(v)}
}

func metric(name, device string) []telemetry.Label {
	return []telemetry.Label{{Name: "__name__", Value: name}, {Name: "device", Value: device}}
}

func write(id telemetry.SeriesID, samples ...sample) *telemetry.Write {
	w := &telemetry.Write{}
	for _, s := range samples {
		w.Points = append(w.Points, telemetry.Point{Series: id, Time: s.Time, Value: math.Float64frombits(s.Bits)})
	}
	return w
}

// commit commits the samples of one series and returns what was refused.
func (b *bench) commit(id telemetry.SeriesID, samples ...sample) []telemetry.Refusal {
	b.Helper()
	w := write(id, samples...)
	if err := b.engine.Commit([]*telemetry.Write{w}); err != nil {
		b.Fatalf("commit: %v", err)
	}
	return w.Refused
}

// take commits samples of which none may be refused.
func (b *bench) take(id telemetry.SeriesID, samples ...sample) {
	b.Helper()
	b.refuses(b.commit(id, samples...))
}

func (b *bench) refuses(got []telemetry.Refusal, want ...telemetry.Refusal) {
	b.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		b.Errorf("refused points differ (-want +got):\n%s", diff)
	}
}

// stored returns everything stored of the series with these labels, by label text.
func (b *bench) read(matchers ...*labels.Matcher) map[string][]sample {
	b.Helper()
	if s, ok := b.engine.(store.Settler); ok {
		ctx, stop := context.WithTimeout(context.Background(), time.Minute)
		defer stop()
		if err := s.Settle(ctx); err != nil {
			b.Fatalf("settle: %v", err)
		}
	}
	q, err := b.engine.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		b.Fatalf("querier: %v", err)
	}
	defer q.Close()
	all := map[string][]sample{}
	set := q.Select(context.Background(), true, nil, matchers...)
	for set.Next() {
		name := set.At().Labels().String()
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			t, v := it.At()
			all[name] = append(all[name], sample{t, math.Float64bits(v)})
		}
		if it.Err() != nil {
			b.Fatalf("read %s: %v", name, it.Err())
		}
	}
	if set.Err() != nil {
		b.Fatalf("select: %v", set.Err())
	}
	return all
}

// holds fails unless exactly these samples are stored of a device's metric.
func (b *bench) holds(name, device string, want ...sample) {
	b.Helper()
	got := b.read(labels.MustNewMatcher(labels.MatchEqual, "__name__", name), labels.MustNewMatcher(labels.MatchEqual, "device", device))
	text := fmt.Sprintf("{__name__=%q, device=%q}", name, device)
	if diff := cmp.Diff(map[string][]sample{text: want}, got, cmpopts.EquateEmpty()); diff != "" {
		b.Errorf("stored samples differ (-want +got):\n%s", diff)
	}
}
