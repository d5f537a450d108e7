package ingest_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

// shelf is a store, a directory, notes and a desk in memory, with the faults
// that a test sets.
type shelf struct {
	mu      sync.Mutex
	ids     map[string]telemetry.SeriesID
	names   map[telemetry.SeriesID]string // of ids that were not given back
	lastID  telemetry.SeriesID
	points  map[string]float64
	devices map[string]*telemetry.Device
	states  map[string]string
	units   map[string]string
	refuse  map[string]telemetry.Reject // states by "device/name"
	puts    [][]ingest.StateChange      // calls of PutStates
	noting  chan struct{}               // when set, PutStates waits for it
	kept    []telemetry.Reject
	// payloads are what the desk got besides.
	payloads []string
	forgot   int
	noted    int // calls of PutUnits
	commits  int
	fail     error
	gate     chan struct{} // when set, a commit waits for it
}

func newShelf(devices ...*telemetry.Device) *shelf {
	s := &shelf{
		ids: map[string]telemetry.SeriesID{}, names: map[telemetry.SeriesID]string{}, points: map[string]float64{},
		devices: map[string]*telemetry.Device{}, states: map[string]string{}, units: map[string]string{},
	}
	for _, d := range devices {
		s.devices[d.ID] = d
	}
	return s
}

func (s *shelf) Series(labels []telemetry.Label) telemetry.SeriesID {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.IsSortedFunc(labels, func(a, b telemetry.Label) int { return cmp.Compare(a.Name, b.Name) }) {
		panic("labels are not sorted")
	}
	name := fmt.Sprint(labels)
	id, ok := s.ids[name]
	if !ok {
		s.lastID++
		id = s.lastID
		s.ids[name], s.names[id] = id, name
	}
	return id
}

func (s *shelf) Forget(ids []telemetry.SeriesID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgot += len(ids)
	for _, id := range ids {
		delete(s.ids, s.names[id])
		delete(s.names, id)
	}
}

func (s *shelf) Commit(writes []*telemetry.Write) error {
	if s.gate != nil {
		<-s.gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commits++
	if s.fail != nil {
		return s.fail
	}
	for _, w := range writes {
		for i, p := range w.Points {
			name, known := s.names[p.Series]
			if !known {
				return fmt.Errorf("series id %d was given back", p.Series)
			}
			key := fmt.Sprintf("%s@%d", name, p.Time)
			if v, ok := s.points[key]; ok && math.Float64bits(v) != math.Float64bits(p.Value) {
				w.Refused = append(w.Refused, telemetry.Refusal{Index: i, Reason: telemetry.ReasonConflict})
				continue
			}
			s.points[key] = p.Value
		}
	}
	return nil
}

func (s *shelf) Oldest(now time.Time) time.Time { return now.Add(-400 * 24 * time.Hour) }

func (s *shelf) Device(id string) *telemetry.Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.devices[id]
}

func (s *shelf) register(d *telemetry.Device) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.devices[d.ID] = d
}

func (s *shelf) remove(device string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.devices, device)
}

func (s *shelf) PutStates(_ context.Context, changes []ingest.StateChange) (map[int]telemetry.Reject, error) {
	if s.noting != nil {
		<-s.noting
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puts = append(s.puts, slices.Clone(changes))
	refused := map[int]telemetry.Reject{}
	for i, c := range changes {
		name := c.Device + "/" + c.Name
		if r, no := s.refuse[name]; no {
			refused[i] = r
			continue
		}
		s.states[name] = c.Value
	}
	return refused, s.fail
}

func (s *shelf) PutUnits(_ context.Context, units map[string]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noted++
	for m, u := range units {
		s.units[m] = u
	}
	return nil
}

func (s *shelf) Keep(_ time.Time, m *ingest.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, m.Rejects...)
	s.payloads = append(s.payloads, string(m.Payload))
}

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// start runs a pipeline over s until the test ends and returns what its Run
// returned.
func start(t testing.TB, cfg ingest.Config, s *shelf, quotas ...func(*quota.Config)) (*ingest.Pipeline, func() error) {
	t.Helper()
	return startAt(t, cfg, s, func() time.Time { return noon }, quotas...)
}

func startAt(t testing.TB, cfg ingest.Config, s *shelf, clock func() time.Time, quotas ...func(*quota.Config)) (*ingest.Pipeline, func() error) {
	t.Helper()
	p := ingest.New(cfg, ingest.Deps{
		Store: s, Directory: s, Notes: s, Desk: s, Quotas: allowed(quotas...),
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Clock: clock, Metrics: prometheus.NewRegistry(),
	})
	return p, run(t, p)
}

// allowed are the default quotas, changed.
func allowed(quotas ...func(*quota.Config)) *quota.Quotas {
	cfg := quota.DefaultConfig()
	for _, change := range quotas {
		change(&cfg)
	}
	return quota.New(cfg, noon, prometheus.NewRegistry())
}

// samplesPerSecond is the quota of samples.
func samplesPerSecond(n int) func(*quota.Config) {
	return func(q *quota.Config) { q.Device.SamplesPerSecond = n }
}

// unbounded are quotas that no benchmark reaches.
func unbounded(q *quota.Config) {
	q.Device = quota.DeviceConfig{Connections: 1, MessagesPerSecond: 1 << 30, BytesPerSecond: 1 << 32, SamplesPerSecond: 1 << 32, Series: 1000}
}

// run runs a pipeline until the test ends and returns what its Run returned.
func run(t testing.TB, p *ingest.Pipeline) func() error {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	stop := sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = stop() })
	return stop
}

func soilProbe() *telemetry.Device {
	return &telemetry.Device{ID: "t1", Kind: telemetry.KindSensor, Site: "plant-a", Region: "220100"}
}

func send(t testing.TB, p *ingest.Pipeline, device, body string) ingest.Message {
	t.Helper()
	var d ingest.Delivery
	d.Add(device, codec.Auto, []byte(body))
	if err := p.Ingest(&d); err != nil {
		t.Fatalf("Ingest(%s): %v", body, err)
	}
	return d.Messages[0]
}

func TestASampleIsStoredUnderTheLabelsOfTheRegistry(t *testing.T) {
	s := newShelf(soilProbe())
	p, _ := start(t, ingest.DefaultConfig(), s)

	m := send(t, p, "t1", `{"ts": 1764000000000, "tags": {"room": "a", "device": "forged", "region": "999999"}, "temperature": 21.5}`)
	if m.Accepted != 1 || len(m.Rejects) != 0 {
		t.Fatalf("accepted %d, rejects %v", m.Accepted, m.Rejects)
	}
	want := map[string]float64{"[{__name__ temperature} {device t1} {kind sensor} {region 220100} {room a} {site plant-a}]@1764000000000": 21.5}
	if diff := gocmp.Diff(want, s.points); diff != "" {
		t.Error(diff)
	}
}

func TestRejectsNameStageReasonAndValueAndKeepTheRest(t *testing.T) {
	cfg := ingest.DefaultConfig()
	cfg.MaxTags = 2
	disabled := soilProbe()
	disabled.ID, disabled.Disabled = "off", true
	secret := soilProbe()
	secret.ID, secret.Grade = "secret", telemetry.Important
	s := newShelf(soilProbe(), disabled, secret)
	p, _ := start(t, cfg, s, func(q *quota.Config) { q.Device.Series = 3 })
	future, past := noon.Add(11*time.Minute).UnixMilli(), noon.Add(-401*24*time.Hour).UnixMilli()

	for _, c := range []struct {
		name, device, body string
		accepted           int
		stage              telemetry.Stage
		reason             telemetry.Reason
		detail             string
	}{
		{"unknown device", "nobody", `{"a": 1}`, 0, telemetry.StageIdentify, telemetry.ReasonUnknownDevice, `"nobody"`},
		{"disabled device", "off", `{"a": 1}`, 0, telemetry.StageIdentify, telemetry.ReasonDeviceDisabled, `"off"`},
		{"important data", "secret", `{"a": 1}`, 0, telemetry.StageGrade, telemetry.ReasonGradeUnsupported, "important"},
		{"unreadable", "t1", `{"a": `, 0, telemetry.StageDecode, telemetry.ReasonMalformed, "byte"},
		{"future", "t1", fmt.Sprintf(`{"ts": %d, "a": 1}`, future), 0, telemetry.StageValidate, telemetry.ReasonTimeFuture, "2026-11-24T12:11"},
		{"past", "t1", fmt.Sprintf(`{"ts": %d, "a": 1}`, past), 0, telemetry.StageValidate, telemetry.ReasonTimePast, "2025-10"},
		{"too many tags", "t1", `{"tags": {"x": "1", "y": "2", "z": "3"}, "a": 1}`, 0, telemetry.StageValidate, telemetry.ReasonLabelLimit, "3 tags"},
		{"reserved tag name", "t1", `{"tags": {"__x": "1"}, "a": 1}`, 0, telemetry.StageValidate, telemetry.ReasonLabelInvalid, "__x"},
		{"control character", "t1", `{"a\u0001b": 1}`, 0, telemetry.StageValidate, telemetry.ReasonMetricInvalid, "UTF-8"},
		{"a fourth series", "t1", `{"a": 1, "b": 2, "c": 3, "d": 4}`, 3, telemetry.StageValidate, telemetry.ReasonSeriesLimit, `"d"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := send(t, p, c.device, c.body)
			if m.Accepted != c.accepted || len(m.Rejects) != 1 {
				t.Fatalf("accepted %d, want %d; rejects %v", m.Accepted, c.accepted, m.Rejects)
			}
			r := m.Rejects[0]
			if r.Stage != c.stage || r.Reason != c.reason || !strings.Contains(r.Detail, c.detail) {
				t.Errorf("reject %+v, want %s/%s with %q", r, c.stage, c.reason, c.detail)
			}
		})
	}
	if len(s.kept) != 10 {
		t.Errorf("the desk has %d rejects, want 10", len(s.kept))
	}
}

// The codecs hold the bounds that are configured, not their own.
func TestConfiguredBoundsHoldWhileDecoding(t *testing.T) {
	cfg := ingest.DefaultConfig()
	cfg.MaxNameBytes, cfg.MaxTags, cfg.MaxValueBytes = 2000, 60, 3000
	p, _ := start(t, cfg, newShelf(soilProbe()))
	tags := fmt.Sprintf(`"long": %q`, strings.Repeat("v", 3000))
	for i := range 59 {
		tags += fmt.Sprintf(`, "t%d": "x"`, i)
	}
	message := fmt.Sprintf(`{"tags": {%s}, %q: {"b": 1}}`, tags, strings.Repeat("a", 1998))
	if m := send(t, p, "t1", message); m.Accepted != 1 {
		t.Errorf("accepted %d, rejects %v", m.Accepted, m.Rejects)
	}
	in := p.Input([]byte("x"), "t1", 5)
	if in.MaxName != 2000 || in.MaxTags != 60 || in.MaxValue != 3000 || in.MaxSamples != cfg.MaxMessageSamples {
		t.Errorf("%+v", in)
	}
}

func TestAnotherValueForAStoredTimeIsAConflictAndTheFirstStays(t *testing.T) {
	s := newShelf(soilProbe())
	p, _ := start(t, ingest.DefaultConfig(), s)
	send(t, p, "t1", `{"ts": 1764000000000, "a": 1}`)
	if m := send(t, p, "t1", `{"ts": 1764000000000, "a": 1}`); m.Accepted != 1 || len(m.Rejects) != 0 {
		t.Errorf("redelivery: accepted %d, rejects %v", m.Accepted, m.Rejects)
	}
	m := send(t, p, "t1", `{"ts": 1764000000000, "a": 2, "b": 3}`)
	if m.Accepted != 1 || len(m.Rejects) != 1 || m.Rejects[0].Reason != telemetry.ReasonConflict {
		t.Errorf("accepted %d, rejects %v", m.Accepted, m.Rejects)
	}
}

func TestSamplesWithoutATimeInOneMillisecondAreDifferentSamples(t *testing.T) {
	s := newShelf(soilProbe())
	p, _ := start(t, ingest.DefaultConfig(), s)
	for i := range 5 {
		if m := send(t, p, "t1", fmt.Sprintf(`{"a": %d}`, i)); m.Accepted != 1 {
			t.Fatalf("sample %d: %v", i, m.Rejects)
		}
	}
	if len(s.points) != 5 {
		t.Errorf("%d points stored, want 5", len(s.points))
	}
}

func TestAllThatWaitShareOneCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(soilProbe())
		s.gate = make(chan struct{})
		p, _ := start(t, ingest.DefaultConfig(), s)
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() { send(t, p, "t1", fmt.Sprintf(`{"ts": %d, "a": 1}`, noon.UnixMilli()-int64(i))) })
		}
		synctest.Wait()
		close(s.gate)
		wg.Wait()
		if s.commits > 2 {
			t.Errorf("%d commits for 50 deliveries at once", s.commits)
		}
	})
}

func TestAfterAFailedCommitNothingIsAcknowledgedAndRunEnds(t *testing.T) {
	s := newShelf(soilProbe())
	s.fail = errors.New("disk is gone")
	p, stop := start(t, ingest.DefaultConfig(), s)
	var d ingest.Delivery
	d.Add("t1", codec.Auto, []byte(`{"a": 1}`))
	if err := p.Ingest(&d); err == nil || !strings.Contains(err.Error(), "disk is gone") {
		t.Fatalf("Ingest: %v", err)
	}
	if d.Messages[0].Accepted != 0 {
		t.Errorf("accepted %d after a failed commit", d.Messages[0].Accepted)
	}
	s.mu.Lock()
	s.fail = nil
	s.mu.Unlock()
	if err := p.Ingest(&d); err == nil {
		t.Error("a pipeline whose store failed took another delivery")
	}
	if err := stop(); err == nil || !strings.Contains(err.Error(), "disk is gone") {
		t.Errorf("Run: %v", err)
	}
}

// TestAStoreWithoutRoomIsBusyAndNotTheEnd: what it did not take is taken when it
// has room again.
func TestAStoreWithoutRoomIsBusyAndNotTheEnd(t *testing.T) {
	s := newShelf(soilProbe())
	s.fail = fmt.Errorf("%w: the disk has no room", ingest.ErrBusy)
	p, stop := start(t, ingest.DefaultConfig(), s)
	var d ingest.Delivery
	d.Add("t1", codec.Auto, fmt.Appendf(nil, `{"ts": %d, "a": 1}`, noon.UnixMilli()))
	if err := p.Ingest(&d); !errors.Is(err, ingest.ErrBusy) || strings.Contains(err.Error(), "disk") || d.Messages[0].Accepted != 0 {
		t.Fatalf("Ingest: %v, %d accepted", err, d.Messages[0].Accepted)
	}
	s.mu.Lock()
	s.fail = nil
	s.mu.Unlock()
	if err := p.Ingest(&d); err != nil || d.Messages[0].Accepted != 1 {
		t.Errorf("with room: %v, %d accepted", err, d.Messages[0].Accepted)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestShutdownAnswersWhatWaitsAndRefusesTheRest(t *testing.T) {
	s := newShelf(soilProbe())
	p, stop := start(t, ingest.DefaultConfig(), s)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			var d ingest.Delivery
			d.Add("t1", codec.Auto, fmt.Appendf(nil, `{"ts": %d, "a": 1}`, noon.UnixMilli()-int64(i)))
			switch err := p.Ingest(&d); {
			case err == nil && d.Messages[0].Accepted == 1:
			case errors.Is(err, ingest.ErrClosed):
			default:
				t.Errorf("neither stored nor refused: %v %v", err, d.Messages[0].Rejects)
			}
		})
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	var d ingest.Delivery
	d.Add("t1", codec.Auto, []byte(`{"a": 1}`))
	if err := p.Ingest(&d); !errors.Is(err, ingest.ErrClosed) {
		t.Errorf("Ingest after the end: %v", err)
	}
}

func TestADeviceThatSendsTooFastIsToldWhenToGoOn(t *testing.T) {
	s := newShelf(soilProbe())
	p, _ := start(t, ingest.DefaultConfig(), s, samplesPerSecond(10))
	var lines strings.Builder
	for i := range 30 {
		fmt.Fprintf(&lines, "m v=%d %d\n", i, noon.UnixNano()-int64(i)*1e6)
	}
	send(t, p, "t1", lines.String())
	var d ingest.Delivery
	d.Add("t1", codec.Auto, []byte(`{"a": 1}`))
	var rate *quota.Exceeded
	if err := p.Ingest(&d); !errors.As(err, &rate) || rate.After <= 0 || rate.Name != "t1" {
		t.Fatalf("Ingest: %v", err)
	}
}

func TestADeviceThatSendsTooFastHoldsBackNoOther(t *testing.T) {
	other := soilProbe()
	other.ID = "t2"
	s := newShelf(soilProbe(), other)
	now := noon
	p, _ := startAt(t, ingest.DefaultConfig(), s, func() time.Time { return now }, samplesPerSecond(10))
	var lines strings.Builder
	for i := range 30 {
		fmt.Fprintf(&lines, "m v=%d %d\n", i, noon.UnixNano()-int64(i)*1e6)
	}
	send(t, p, "t1", lines.String())

	var d ingest.Delivery
	for _, device := range []string{"t2", "t1", "nobody", "t1", "t2"} {
		d.Add(device, codec.Auto, []byte(`{"a": 1}`))
	}
	outcome := func() (done []bool) {
		for _, m := range d.Messages {
			done = append(done, m.Done)
			if m.Done == (m.Over != nil) {
				t.Errorf("done %v, but to be tried again after %v", m.Done, m.Over)
			}
		}
		return done
	}
	var rate *quota.Exceeded
	if err := p.Ingest(&d); !errors.As(err, &rate) || rate.Name != "t1" || rate.After != d.Messages[1].Over.After {
		t.Fatalf("Ingest: %v", err)
	}
	if diff := gocmp.Diff([]bool{true, false, true, false, true}, outcome()); diff != "" {
		t.Errorf("done (-want +got):\n%s", diff)
	}
	if m := d.Messages; m[0].Accepted != 1 || m[4].Accepted != 1 || m[2].Rejects[0].Reason != telemetry.ReasonUnknownDevice || m[1].Accepted+len(m[1].Rejects) != 0 {
		t.Errorf("%+v", m)
	}

	points, kept := len(s.points), len(s.kept)
	now = now.Add(rate.After)
	if err := p.Ingest(&d); err != nil {
		t.Fatalf("again: %v", err)
	}
	outcome()
	if len(s.points) != points+2 || len(s.kept) != kept {
		t.Errorf("%d points and %d rejects more than before, want 2 and none", len(s.points)-points, len(s.kept)-kept)
	}
}

func TestAChangeOfTheRegistryReachesTheNextSample(t *testing.T) {
	s := newShelf(soilProbe())
	p, _ := start(t, ingest.DefaultConfig(), s)
	send(t, p, "t1", `{"ts": 1764000000000, "a": 1}`)
	moved := soilProbe()
	moved.Site = "plant-b"
	s.register(moved)
	send(t, p, "t1", `{"ts": 1764000001000, "a": 1}`)
	if _, ok := s.points["[{__name__ a} {device t1} {kind sensor} {region 220100} {site plant-b}]@1764000001000"]; !ok {
		t.Errorf("points %v", s.points)
	}
	for range 3 {
		p.Sweep(noon)
	}
	if s.forgot != 1 {
		t.Errorf("%d series given back, want 1", s.forgot)
	}
}

func TestStatesAndUnitsAreNotedOnceAndLateStatesAreHistory(t *testing.T) {
	s := newShelf(soilProbe())
	p, _ := start(t, ingest.DefaultConfig(), s)
	send(t, p, "t1", `{"ts": 1764000002000, "firmware": "1.2"}`)
	commits := s.commits
	if m := send(t, p, "t1", `{"ts": 1764000002000, "firmware": "1.2"}`); m.Accepted != 1 {
		t.Errorf("repeated state: %+v", m)
	}
	send(t, p, "t1", `{"ts": 1764000001000, "firmware": "1.1"}`)
	if s.commits != commits || s.states["t1/firmware"] != "1.2" {
		t.Errorf("%d commits after %d, state %q", s.commits, commits, s.states["t1/firmware"])
	}
	send(t, p, "t1", `[{"n": "t", "u": "Cel", "v": 1, "t": 1764000000}]`)
	if s.units["t"] != "Cel" {
		t.Errorf("units %v", s.units)
	}
}

func TestAnOfflineDeviceEndsItsSeriesWhereItsSamplesEnd(t *testing.T) {
	s := newShelf(soilProbe())
	p, _ := start(t, ingest.DefaultConfig(), s)
	last := noon.Add(-time.Minute).UnixMilli()
	send(t, p, "t1", fmt.Sprintf(`{"ts": %d, "a": 1, "b": 2}`, last))
	if err := p.End(ingest.Ending{Device: "t1"}); err != nil {
		t.Fatal(err)
	}
	ends := 0
	for key, v := range s.points {
		if telemetry.IsStaleMarker(v) && strings.HasSuffix(key, fmt.Sprintf("@%d", last+1)) {
			ends++
		}
	}
	if ends != 2 {
		t.Errorf("%d series ended just after their last sample, want 2: %v", ends, s.points)
	}
	// What it measured while it was offline comes from its spool, at any time.
	if m := send(t, p, "t1", fmt.Sprintf(`{"ts": %d, "a": 3}`, noon.UnixMilli())); m.Accepted != 1 {
		t.Errorf("a sample at the time of the ending: %v", m.Rejects)
	}
}

func TestADeviceThatSentHistoryAloneEndsNothing(t *testing.T) {
	s := newShelf(soilProbe())
	p, _ := start(t, ingest.DefaultConfig(), s)
	send(t, p, "t1", fmt.Sprintf(`{"ts": %d, "a": 1}`, noon.Add(-time.Hour).UnixMilli()))
	if err := p.End(ingest.Ending{Device: "t1"}); err != nil {
		t.Fatal(err)
	}
	if len(s.points) != 1 {
		t.Errorf("points %v", s.points)
	}
}

func TestThePeriodOfADeviceIsLearnedFromItsCycle(t *testing.T) {
	s := newShelf(soilProbe())
	p, _ := start(t, ingest.DefaultConfig(), s)
	at := noon.Add(-3 * time.Hour).UnixMilli()
	report := func(ms int64) { send(t, p, "t1", fmt.Sprintf(`{"ts": %d, "m%d": 1}`, ms, ms%7)) }
	for range 60 {
		for metric := range int64(5) {
			report(at + metric*10)
		}
		at += 10_000
	}
	at += int64(time.Hour / time.Millisecond) // an outage is no period
	report(at)
	seen, ok := p.Seen("t1")
	if !ok || seen.Period < 9*time.Second || seen.Period > 10*time.Second {
		t.Errorf("learned %v of a cycle of 10 s", seen.Period)
	}
}

func BenchmarkIngest(b *testing.B) {
	for _, n := range []int{1, 20} {
		b.Run(fmt.Sprintf("samples=%d", n), func(b *testing.B) {
			s := newShelf(soilProbe())
			p := ingest.New(ingest.DefaultConfig(), ingest.Deps{
				Store: discard{}, Directory: s, Notes: s, Desk: s, Quotas: allowed(unbounded),
				Log: slog.Default(), Clock: time.Now, Metrics: prometheus.NewRegistry(),
			})
			go func() { _ = p.Run(b.Context()) }()
			body := []byte("[")
			for i := range n {
				body = fmt.Appendf(body, `{"n":"metric_%d","v":21.5,"t":%d}`, i, time.Now().Unix())
				body = append(body, ',')
			}
			body[len(body)-1] = ']'
			var d ingest.Delivery
			b.ReportAllocs()
			for b.Loop() {
				d.Reset()
				for range 50 {
					d.Add("t1", codec.SenML, body)
				}
				if err := p.Ingest(&d); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*50*n), "ns/sample")
		})
	}
}

// discard is a store that takes everything at once.
type discard struct{}

func (discard) Series(labels []telemetry.Label) telemetry.SeriesID {
	return telemetry.SeriesID(len(labels[0].Value))
}
func (discard) Forget([]telemetry.SeriesID)     {}
func (discard) Commit([]*telemetry.Write) error { return nil }
func (discard) Oldest(now time.Time) time.Time  { return now.Add(-time.Hour * 1000) }
