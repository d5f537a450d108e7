package remotewrite

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/telemetry"
)

// A server that is killed and stalled while it is written to has everything in
// the end, and nothing twice.
func TestNothingIsLostOrTwiceWhenAServerIsKilledAndStalled(t *testing.T) {
	everyServer(t, func(t *testing.T, s *server) {
		l := &load{t: t, s: s, e: open(t, t.TempDir(), s, nil, func(c *queue.Config) { c.BatchSamples = 500 })}
		defer l.e.Close() //nolint:errcheck // a test
		l.open()
		for range 3 {
			l.commit(40)
			s.Kill() // with what it has just taken
			l.commit(20)
			l.standsStill()
			s.Restart()
			l.commit(20)
		}
		for range 2 {
			l.commit(20)
			s.Stop()
			l.commit(40)
			l.standsStill()
			s.Cont()
			l.commit(20)
		}
		l.settle()
		l.allThere()

		// Nothing is sent after this kill, so only the clock shows it.
		l.commit(20)
		l.settle()
		s.Kill()
		s.Restart()
		l.settle()
		l.allThere()
	}, func(c *Config) { c.Timeout = 2 * time.Second })
}

// The hub is killed too: what was sent and not yet noted is sent again.
func TestASecondHubSendsWhatTheFirstHadUnderWay(t *testing.T) {
	everyServer(t, func(t *testing.T, s *server) {
		dir := t.TempDir()
		l := &load{t: t, s: s, e: open(t, dir, s, nil, func(c *queue.Config) { c.BatchSamples = 500 })}
		l.open()
		for range 4 {
			l.commit(60)
			if err := l.e.Close(); err != nil {
				t.Fatal(err)
			}
			l.e = open(t, dir, s, nil, func(c *queue.Config) { c.BatchSamples = 500 })
			l.open()
		}
		defer l.e.Close() //nolint:errcheck // a test
		l.settle()
		l.allThere()
	})
}

// load commits points of some series, one second apart.
type load struct {
	t   *testing.T
	s   *server
	e   *running
	ids []telemetry.SeriesID
	n   int // points of each series
}

const loadSeries = 50

var loadBegin = time.Now().Add(-2 * time.Hour).UnixMilli()

func (l *load) open() {
	l.ids = nil
	for i := range loadSeries {
		l.ids = append(l.ids, l.e.Series(metric("load", fmt.Sprintf("node-%02d", i))))
	}
}

// commit commits rounds of 50 points of each series.
func (l *load) commit(rounds int) {
	l.t.Helper()
	for range rounds {
		w := &telemetry.Write{}
		for range 5 {
			for _, id := range l.ids {
				w.Points = append(w.Points, telemetry.Point{Series: id, Time: loadBegin + int64(l.n)*1000, Value: float64(l.n)})
			}
			l.n++
		}
		if err := l.e.Commit([]*telemetry.Write{w}); err != nil {
			l.t.Fatal(err)
		}
		if len(w.Refused) > 0 {
			l.t.Fatalf("refused: %v", w.Refused)
		}
	}
}

// standsStill fails when the engine says that a server without a pulse has all.
func (l *load) standsStill() {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 3*time.Second)
	defer cancel()
	if err := l.e.Settle(ctx); err == nil {
		l.t.Error("a server that does not run is said to have all")
	}
}

func (l *load) settle() {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 3*time.Minute)
	defer cancel()
	if err := l.e.Settle(ctx); err != nil {
		l.t.Fatalf("%v\n%s", err, l.s.Output())
	}
}

// allThere compares what is read, and what the server itself counts.
func (l *load) allThere() {
	l.t.Helper()
	all := stored(l.t, l.e, 0, time.Now().UnixMilli(), named("load"))
	if len(all) != loadSeries {
		l.t.Errorf("%d series, want %d", len(all), loadSeries)
	}
	for name, got := range all {
		for i, s := range got {
			if s != at(loadBegin+int64(i)*1000, float64(i)) {
				l.t.Fatalf("%s: point %d is %v: lost or twice", name, i, s)
			}
		}
		if len(got) != l.n {
			l.t.Errorf("%s: %d points, want %d", name, len(got), l.n)
		}
	}
	if got := l.counted(); got != l.n*loadSeries {
		l.t.Errorf("the server counts %d points, want %d", got, l.n*loadSeries)
	}
}

func (l *load) counted() (n int) {
	l.t.Helper()
	if _, err := fmt.Sscan(ask(l.t, l.s.URL, `sum(count_over_time({__name__="load"}[3h]))`, time.Now()), &n); err != nil {
		l.t.Fatal(err)
	}
	return n
}
