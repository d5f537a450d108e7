package remotewrite

import (
	"context"
	"log/slog"
	"testing"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/hubtest/engine"
	"github.com/songhua-io/hub/internal/store"
	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/store/storetest"
)

// open runs an engine of a server with its queue in dir until it is closed.
func open(t testing.TB, dir string, s *server, poison queue.Poison, change ...func(*queue.Config)) *running {
	t.Helper()
	waiting := queue.DefaultConfig()
	waiting.Dir, waiting.BatchWait = dir, 10*time.Millisecond
	for _, f := range change {
		f(&waiting)
	}
	if poison == nil {
		poison = func(all []queue.Poisoned) error {
			for _, p := range all {
				t.Logf("%v at %d is refused as %s: %s", p.Labels, p.Point.Time, p.Reason, p.Detail)
			}
			return nil
		}
	}
	e, err := Open(s.cfg, waiting, slog.New(slog.DiscardHandler), prom.NewRegistry(), poison)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Engine: e, stop: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- e.Run(ctx) }()
	return r
}

// running is an engine that runs.
type running struct {
	*Engine
	stop  func()
	ended chan error
	over  bool
}

func (r *running) Close() error {
	if r.over {
		return nil
	}
	r.over = true
	r.stop()
	if err := <-r.ended; err != nil {
		return err
	}
	return r.Queue.Close()
}

var _ store.Engine = (*Engine)(nil)

func TestPromisesOfAnEngine(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	t.Run("victoria-metrics", func(t *testing.T) {
		storetest.Run(t, fresh(startVictoria), append([]storetest.Lack{
			{Promise: "every bit of a value comes back", Why: "VictoriaMetrics keeps decimals of about 15 digits, in blocks of one exponent, and no NaN but stale markers: NaN is refused to the desk, -0 becomes 0"},
		}, overwritten("VictoriaMetrics keeps the greater of two values of one time")...)...)
	})
	t.Run("prometheus", func(t *testing.T) {
		storetest.Run(t, fresh(startPatient), overwritten("Prometheus refuses another value of the newest time of a series, which comes back too late for the device and goes to the desk; an older one is kept beside the first, and which of them is read is not said")...)
	})
}

// overwritten are promises of an engine that is not asked before a commit returns.
func overwritten(why string) (lacks []storetest.Lack) {
	for _, p := range []string{"another value of a stored time is refused", "another value within one commit is refused", "another value is refused however late and however alike"} {
		lacks = append(lacks, storetest.Lack{Promise: p, Why: why})
	}
	return lacks
}

// fresh opens engines of which each directory has a server of its own.
func fresh(start func(testing.TB, ...func(*Config)) *server) storetest.Open {
	servers := map[string]*server{}
	return func(t *testing.T, dir string) store.Engine {
		s := servers[dir]
		if s == nil {
			s = start(t)
			servers[dir] = s
		}
		return open(t, dir, s, nil)
	}
}

// startPatient is a prometheus that takes samples of every age.
func startPatient(t testing.TB, _ ...func(*Config)) *server {
	t.Helper()
	s := engine.PrometheusWithin(t, 11*365*24*time.Hour)
	return &server{s, client(t, s.URL+"/api/v1/write", s.URL), false}
}
