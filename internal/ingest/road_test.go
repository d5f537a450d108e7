package ingest_test

import (
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

// crossing takes V2X messages: "bad" is refused, "old" is history.
type crossing struct {
	mu           sync.Mutex
	seen, synced int
	last         ingest.RoadMessage
	fail         error
}

func (c *crossing) Observe(o *ingest.RoadMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen++
	c.last = *o
	if string(o.Payload) == "bad" {
		o.Rejects = append(o.Rejects, telemetry.Reject{Index: 0, Stage: telemetry.StageObserve, Reason: telemetry.ReasonWindowClosed, Detail: "the minute is over"})
		return
	}
	o.Taken, o.Live, o.At = 1, string(o.Payload) != "old", o.Received
}

func (c *crossing) Sync() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.synced = c.seen
	return c.fail
}

func rsu() *telemetry.Device {
	return &telemetry.Device{ID: "r1", Kind: telemetry.KindRSU, Period: time.Minute}
}

func roadPipeline(t *testing.T, s *shelf, roads ingest.Roads, quotas ...func(*quota.Config)) *ingest.Pipeline {
	t.Helper()
	p := ingest.New(ingest.DefaultConfig(), ingest.Deps{
		Store: s, Directory: s, Notes: s, Desk: s, Roads: roads, Quotas: allowed(quotas...),
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Clock: func() time.Time { return noon }, Metrics: prometheus.NewRegistry(),
	})
	run(t, p)
	return p
}

// sendV2X sends V2X messages of devices in one delivery.
func sendV2X(p *ingest.Pipeline, devices []string, payloads ...string) ([]ingest.Message, error) {
	var d ingest.Delivery
	for i, body := range payloads {
		d.Add(devices[i%len(devices)], codec.V2X, []byte(body)).Topic = "V2X/RSU/HB/UP"
	}
	err := p.Ingest(&d)
	return d.Messages, err
}

// A V2X message is identified, observed and synced before it is answered, and its
// bytes come to no desk.
func TestV2XIsSyncedBeforeItIsAnswered(t *testing.T) {
	s, roads := newShelf(rsu(), &telemetry.Device{ID: "off", Disabled: true}), &crossing{}
	p := roadPipeline(t, s, roads)
	all, err := sendV2X(p, []string{"r1", "r1", "off", "nobody"}, "good", "bad", "good", "good")
	if err != nil || !all[0].Done || all[0].Accepted != 1 || all[1].Accepted != 0 {
		t.Fatalf("%v %+v", err, all)
	}
	if roads.seen != 2 || roads.synced != 2 {
		t.Errorf("%d were observed and %d synced, want the 2 of the device that is in use", roads.seen, roads.synced)
	}
	for i, want := range []telemetry.Reason{"", telemetry.ReasonWindowClosed, telemetry.ReasonDeviceDisabled, telemetry.ReasonUnknownDevice} {
		if got := all[i].Rejects; want == "" && len(got) != 0 || want != "" && (len(got) != 1 || got[0].Reason != want) {
			t.Errorf("message %d: %v, want %q", i, got, want)
		}
	}
	if slices.ContainsFunc(s.payloads, func(p string) bool { return p != "" }) || len(s.kept) != 3 {
		t.Errorf("the desk has %q, %v", s.payloads, s.kept)
	}
	if roads.last.LiveFor != 150*time.Second || roads.last.Topic != "V2X/RSU/HB/UP" || !roads.last.Received.Equal(noon) {
		t.Errorf("it was observed as %+v", roads.last)
	}
	s.register(&telemetry.Device{ID: "secret", Grade: telemetry.Important})
	if all, err := sendV2X(p, []string{"secret"}, "good"); err != nil || len(all[0].Rejects) != 1 || all[0].Rejects[0].Reason != telemetry.ReasonGradeUnsupported || roads.seen != 2 {
		t.Errorf("of grade important: %v, %v, %d observed", all[0].Rejects, err, roads.seen)
	}
	send(t, p, "r1", `{"a": 1}`)
	if roads.seen != 2 {
		t.Error("telemetry is observed as V2X")
	}
	if _, err := sendV2X(roadPipeline(t, s, nil), []string{"r1"}, "good"); err != nil || s.kept[len(s.kept)-1].Reason != telemetry.ReasonUnsupported {
		t.Errorf("a hub that takes no V2X says %v, %v", err, s.kept)
	}
}

// A delivery that is tried again is observed with the time when it was first.
func TestV2XIsObservedAgainAsOfTheFirstTime(t *testing.T) {
	s, roads := newShelf(rsu()), &crossing{}
	var passed atomic.Int64
	clock := func() time.Time { return noon.Add(time.Duration(passed.Load())) }
	p := ingest.New(ingest.DefaultConfig(), ingest.Deps{
		Store: s, Directory: s, Notes: s, Desk: s, Roads: roads, Quotas: allowed(),
		Log: slog.New(slog.DiscardHandler), Clock: clock, Metrics: prometheus.NewRegistry(),
	})
	run(t, p)
	var d ingest.Delivery
	m := d.Add("r1", codec.V2X, []byte("good"))
	m.Packet, m.Again = 7, true
	for range 2 {
		if err := p.Ingest(&d); err != nil || roads.last.Packet != 7 || !roads.last.Again || !roads.last.First.Equal(noon) || !roads.last.Received.Equal(clock()) {
			t.Errorf("%v: it was observed as %+v", err, roads.last)
		}
		d.Messages[0].Done = false // as if the store had been busy
		passed.Add(int64(time.Second))
	}
}

// After a failed sync nothing is acknowledged any more.
func TestAfterAFailedSyncNothingIsAcknowledged(t *testing.T) {
	s, roads := newShelf(rsu(), soilProbe()), &crossing{fail: errors.New("the disk has failed")}
	p := roadPipeline(t, s, roads)
	if all, err := sendV2X(p, []string{"r1"}, "good"); !errors.Is(err, roads.fail) || all[0].Done {
		t.Errorf("%v, done %v", err, all[0].Done)
	}
	var d ingest.Delivery
	d.Add("t1", codec.JSON, []byte(`{"a": 1}`))
	if err := p.Ingest(&d); !errors.Is(err, roads.fail) || d.Messages[0].Done {
		t.Errorf("telemetry after it: %v", err)
	}
}

// V2X that is no history is a sign of life, however often it comes; samples that
// the hub derives of it are none, and no quota counts them.
func TestWhatTheHubDerivesIsNoSignOfLife(t *testing.T) {
	s, roads := newShelf(rsu()), &crossing{}
	p := roadPipeline(t, s, roads, func(q *quota.Config) { q.Device.MessagesPerSecond, q.Device.SamplesPerSecond = 1, 1 })
	derive := func(n int) ingest.Message {
		t.Helper()
		var d ingest.Delivery
		for i := range n {
			m := d.Add("r1", codec.Traffic, nil)
			m.Derived = true
			m.Decode = func(b *telemetry.Batch, _ codec.Input) error {
				b.Samples = append(b.Samples, telemetry.Sample{Metric: []byte("rsu_messages"), Unit: []byte("1"), Time: noon.Add(time.Duration(i-n) * time.Minute).UnixMilli(), Value: 7})
				return nil
			}
		}
		if err := p.Ingest(&d); err != nil || d.Messages[n-1].Accepted != 1 {
			t.Fatalf("%v %+v", err, d.Messages[n-1])
		}
		return d.Messages[n-1]
	}
	derive(100)
	if seen, heard := p.Seen("r1"); heard {
		t.Errorf("derived samples are heard: %+v", seen)
	}
	if s.units["rsu_messages"] != "1" || len(s.points) != 100 {
		t.Errorf("units %v, %d points", s.units, len(s.points))
	}
	if _, err := sendV2X(p, []string{"r1"}, "old"); err != nil {
		t.Fatal(err)
	}
	if seen, _ := p.Seen("r1"); seen.LastReceived.UnixMilli() != 0 {
		t.Errorf("history is a sign of life: %+v", seen)
	}
	if _, err := sendV2X(p, []string{"r1"}, "good"); err != nil && !errors.As(err, new(*quota.Exceeded)) {
		t.Fatal(err)
	}
	s.register(&telemetry.Device{ID: "r1", Kind: telemetry.KindRSU, Disabled: true})
	derive(1) // of what was acknowledged before
	if seen, _ := p.Seen("r1"); !seen.LastReceived.Equal(noon) || seen.Period != 0 || !seen.LastEvent.Equal(noon) {
		t.Errorf("seen %+v", seen)
	}
}
