package ingest_test

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/telemetry"
)

// ended returns the series that end with a stale marker.
func (s *shelf) ended() (n int, names string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, v := range s.points {
		if telemetry.IsStaleMarker(v) {
			n, names = n+1, names+key+"\n"
		}
	}
	return n, names
}

func TestDevicesThatEndTogetherShareACommit(t *testing.T) {
	const n = 500
	s := newShelf()
	p, _ := start(t, ingest.DefaultConfig(), s)
	var all []ingest.Ending
	for i := range n {
		id := fmt.Sprintf("d%d", i)
		s.register(&telemetry.Device{ID: id, Kind: telemetry.KindSensor})
		send(t, p, id, fmt.Sprintf(`{"ts": %d, "a": 1, "b": 2}`, noon.UnixMilli()))
		all = append(all, ingest.Ending{Device: id})
	}
	before := s.commits
	if err := p.End(all...); err != nil {
		t.Fatal(err)
	}
	if ends, _ := s.ended(); ends != 2*n || s.commits != before+1 {
		t.Errorf("%d series ended by %d commits; want %d by 1", ends, s.commits-before, 2*n)
	}
}

// The death of a unit behind an edge node ends what that unit reported, and
// nothing else; that of the node itself is seen by those who watch.
func TestDeathsThatAMessageTellsOf(t *testing.T) {
	s := newShelf(soilProbe())
	p, _ := start(t, ingest.DefaultConfig(), s)
	speak := func(unit string, died bool, metrics ...string) {
		t.Helper()
		var d ingest.Delivery
		m := d.Add("t1", codec.Sparkplug, []byte("x"))
		m.Decode = func(b *telemetry.Batch, in codec.Input) error {
			for _, name := range metrics {
				mark := b.Mark()
				if unit != "" {
					b.AddTag([]byte("sparkplug_device"), []byte(unit))
				}
				b.Samples = append(b.Samples, telemetry.Sample{Metric: []byte(name), Time: in.Now, Value: 1, Tags: b.EndTags(mark)})
			}
			d.Messages[0].Died, d.Messages[0].Unit = died, unit
			return nil
		}
		if err := p.Ingest(&d); err != nil || d.Messages[0].Accepted != len(metrics) {
			t.Fatalf("%v, %+v", err, d.Messages[0])
		}
	}
	speak("", false, "temp")
	speak("plc", false, "speed", "torque")
	speak("plc2", false, "speed")
	speak("plc", true)
	if n, names := s.ended(); n != 2 || strings.Count(names, "{sparkplug_device plc}") != 2 {
		t.Errorf("%d series ended:\n%s", n, names)
	}
	if seen, _ := p.Seen("t1"); seen.Died.UnixMilli() != 0 {
		t.Errorf("with its unit the node died at %s", seen.Died)
	}
	speak("", true)
	if seen, _ := p.Seen("t1"); !seen.Died.Equal(noon) {
		t.Errorf("the node died at %s", seen.Died)
	}
}

func TestALearnedPeriodIsFollowedOnAfterARestart(t *testing.T) {
	s := newShelf(soilProbe())
	p := ingest.New(ingest.DefaultConfig(), ingest.Deps{
		Store: s, Directory: s, Notes: s, Desk: s, Quotas: allowed(), Period: func(string) time.Duration { return time.Hour },
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Clock: func() time.Time { return noon }, Metrics: prometheus.NewRegistry(),
	})
	run(t, p)
	period := func() time.Duration { seen, _ := p.Seen("t1"); return seen.Period }
	for ago := 100; ago > 0; ago-- {
		send(t, p, "t1", fmt.Sprintf(`{"ts": %d, "a": 1}`, noon.Add(-time.Duration(ago)*time.Minute).UnixMilli()))
		if ago == 100 && period() != time.Hour {
			t.Errorf("after the first report the period is %s", period())
		}
	}
	if got := period(); got > 55*time.Minute {
		t.Errorf("a device that reports every minute now still has period %s", got)
	}
}
