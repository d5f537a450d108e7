package source

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/songhua-io/hub/internal/edge/backoff"
	"github.com/songhua-io/hub/internal/telemetry"
)

const noLimit = 1 << 20

func never(error) bool { return false }

func keep(context.Context, Record) error { return nil }

func TestASourceThatFailsIsStartedAgainWithGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var starts []time.Time
		s := Supervise("bad", Func(func(context.Context, Put) error {
			starts = append(starts, time.Now())
			if len(starts) == 12 {
				cancel()
			}
			if len(starts)%2 == 0 {
				panic("a bug of one source")
			}
			return errors.New("no answer")
		}), noLimit, slog.New(slog.DiscardHandler), time.Now)
		if err := s.Run(ctx, keep, never); err != nil {
			t.Fatal(err)
		}
		pause := backoff.First
		for i := 1; i < len(starts); i++ {
			if d := starts[i].Sub(starts[i-1]); d < pause/2 || d > pause*3/2 {
				t.Errorf("pause %d is %s, want about %s", i, d, pause)
			}
			pause = min(2*pause, backoff.Most)
		}
		st := s.Status()
		if st.Up || st.Failures != 11 || st.Err == nil {
			t.Errorf("%+v", st)
		}
	})
}

func TestASourceIsUpWhenAllOfItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		next := make(chan Record)
		s := Supervise("bus", Func(func(ctx context.Context, put Put) error {
			for {
				select {
				case r := <-next:
					if err := put(ctx, r); err != nil {
						return err
					}
				case <-ctx.Done():
					return nil
				}
			}
		}), noLimit, slog.New(slog.DiscardHandler), time.Now)
		done := make(chan error)
		go func() { done <- s.Run(ctx, keep, never) }()
		step := func(r Record, up bool) {
			t.Helper()
			next <- r
			synctest.Wait()
			if s.Status().Up != up {
				t.Errorf("%+v", s.Status())
			}
		}
		one := []telemetry.Sample{{Metric: []byte("a")}}
		step(Record{Samples: one}, true)
		step(Record{Samples: one, Faults: []error{errors.New("unit 2 is dead")}}, false)
		if st := s.Status(); st.Samples != 2 || !strings.Contains(st.Err.Error(), "unit 2") {
			t.Errorf("%+v", st)
		}
		step(Record{Samples: one}, true)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestAnErrorThatConcernsTheAgentEndsIt(t *testing.T) {
	broken := errors.New("the disk is gone")
	s := Supervise("any", Func(func(ctx context.Context, put Put) error { return put(ctx, Record{}) }), noLimit, slog.New(slog.DiscardHandler), time.Now)
	put := func(context.Context, Record) error { return broken }
	if err := s.Run(t.Context(), put, func(err error) bool { return errors.Is(err, broken) }); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func TestTagsOfTheConfigYieldToTheSamplesOwn(t *testing.T) {
	var got []telemetry.Tag
	put := Tagged(func(_ context.Context, r Record) error { got = r.Samples[0].Tags; return nil }, map[string]string{"rack": "a1", "room": "x"})
	own := []telemetry.Tag{{Name: []byte("room"), Value: []byte("own")}}
	if err := put(t.Context(), Record{Samples: []telemetry.Sample{{Tags: own}}}); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || string(got[0].Value) != "own" || string(got[1].Name) != "rack" || len(own) != 1 {
		t.Errorf("%q", got)
	}
}

func TestTheListOfMetricsIsInTheDocs(t *testing.T) {
	got, err := os.ReadFile("../../../docs/formats/agent-metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, MetricsDoc()) {
		t.Error("docs/formats/agent-metrics.md is not what the table says; run go generate ./internal/edge/source")
	}
}
