package mqtt_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/ingest/doortest"
	"github.com/songhua-io/hub/internal/ingest/mqtt"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

// memory is a store, a directory, notes, a desk, a gate and a presence in
// memory, with the faults that a test sets.
type memory struct {
	mu       sync.Mutex
	ids      map[string]telemetry.SeriesID
	names    map[telemetry.SeriesID]string
	points   map[string]float64
	written  int // points committed, repetitions included
	devices  map[string]*device
	kept     []keptReject
	events   []string
	fail     error
	hold     chan struct{} // when set, a commit waits for it
	speakers map[string]bool
	mail     doortest.Mail
}

type device struct {
	about  *telemetry.Device
	secret string
	done   chan struct{}
}

type keptReject struct {
	Device  string
	Payload string
	Reason  telemetry.Reason
	Stage   telemetry.Stage
}

func newMemory(ids ...string) *memory {
	m := &memory{
		ids: map[string]telemetry.SeriesID{}, names: map[telemetry.SeriesID]string{}, points: map[string]float64{},
		devices: map[string]*device{}, speakers: map[string]bool{},
	}
	for _, id := range ids {
		m.register(id)
	}
	return m
}

func (m *memory) register(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.devices[id] = &device{
		about:  &telemetry.Device{ID: id, Kind: telemetry.KindSensor},
		secret: "secret-of-" + id,
		done:   make(chan struct{}),
	}
}

func (m *memory) revoke(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.devices[id].done)
	delete(m.devices, id)
}

func (m *memory) Series(labels []telemetry.Label) telemetry.SeriesID {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := ""
	for _, l := range labels {
		name += l.Name + "=" + l.Value + " "
	}
	id, ok := m.ids[name]
	if !ok {
		id = telemetry.SeriesID(len(m.ids) + 1)
		m.ids[name], m.names[id] = id, name
	}
	return id
}

func (m *memory) Forget([]telemetry.SeriesID) {}

func (m *memory) Commit(writes []*telemetry.Write) error {
	if m.hold != nil {
		<-m.hold
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	for _, w := range writes {
		for i, p := range w.Points {
			m.written++
			key := fmt.Sprintf("%s@%d", m.names[p.Series], p.Time)
			if v, ok := m.points[key]; ok && math.Float64bits(v) != math.Float64bits(p.Value) {
				w.Refused = append(w.Refused, telemetry.Refusal{Index: i, Reason: telemetry.ReasonConflict})
				continue
			}
			m.points[key] = p.Value
		}
	}
	return nil
}

func (m *memory) Oldest(now time.Time) time.Time { return now.Add(-400 * 24 * time.Hour) }

func (m *memory) Device(id string) *telemetry.Device {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.devices[id]; d != nil {
		return d.about
	}
	return nil
}

func (m *memory) PutStates(context.Context, []ingest.StateChange) (map[int]telemetry.Reject, error) {
	return nil, nil
}
func (m *memory) PutUnits(context.Context, map[string]string) error { return nil }
func (m *memory) PSK(string, netip.Addr) ([]byte, error)            { return nil, ingest.ErrUnauthorized }
func (m *memory) MayHear(p *ingest.Peer, device string) bool        { return m.MaySpeak(p, device) }
func (m *memory) MaySpeak(p *ingest.Peer, device string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.speakers[p.Device.ID+">"+device]
}
func (m *memory) Connected(device, door string) { m.note("connected " + device + " " + door) }
func (m *memory) Left(device, door string, how ingest.Leaving) {
	m.note("left " + device + " " + string(how))
}

func (m *memory) note(event string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, event)
}

func (m *memory) Keep(_ time.Time, msg *ingest.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range msg.Rejects {
		m.kept = append(m.kept, keptReject{msg.Device, string(msg.Payload), r.Reason, r.Stage})
	}
}

func (m *memory) Authenticate(_ context.Context, c ingest.Credentials) (*ingest.Peer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.devices[c.ID]
	if d == nil || c.Certificate == nil && string(c.Secret) != d.secret {
		return nil, fmt.Errorf("%w: device %q", ingest.ErrUnauthorized, c.ID)
	}
	return &ingest.Peer{Device: d.about, Done: d.done}, nil
}

func (m *memory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.points)
}

func (m *memory) happened(event string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.events, event)
}

func (m *memory) rejects() []keptReject {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.kept)
}

// hub is the MQTT doors with the real pipeline above memory.
type hub struct {
	*memory
	server   *mqtt.Server
	pipeline *ingest.Pipeline
	metrics  *prometheus.Registry
	address  string
	stop     func() // ends the doors, then the pipeline
}

type setting func(*mqtt.Config, *ingest.Config, *mqtt.Deps)

func newServer(t testing.TB, m *memory, settings ...setting) (*mqtt.Server, *ingest.Pipeline, *prometheus.Registry) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	reg := prometheus.NewRegistry()
	cfg, icfg := mqtt.DefaultConfig(), ingest.DefaultConfig()
	deps := mqtt.Deps{Gate: m, Presence: m, Mail: &m.mail, Log: log, Clock: time.Now, Metrics: reg}
	for _, set := range settings {
		set(&cfg, &icfg, &deps)
	}
	if deps.Quotas == nil {
		deps.Quotas = allowed()
	}
	p := ingest.New(icfg, ingest.Deps{Store: m, Directory: m, Notes: m, Desk: m, Quotas: deps.Quotas, Log: log, Clock: time.Now, Metrics: reg})
	deps.Refuse = p.Refuse
	if deps.Ingest == nil {
		deps.Ingest = p.Ingest
	}
	s, err := mqtt.New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	return s, p, reg
}

// allowed are the default quotas, changed.
func allowed(quotas ...func(*quota.Config)) *quota.Quotas {
	cfg := quota.DefaultConfig()
	for _, change := range quotas {
		change(&cfg)
	}
	return quota.New(cfg, time.Now(), prometheus.NewRegistry())
}

// within changes the quotas.
func within(quotas ...func(*quota.Config)) setting {
	return func(_ *mqtt.Config, _ *ingest.Config, d *mqtt.Deps) { d.Quotas = allowed(quotas...) }
}

// tooFast refuses what comes of a device for some time.
func tooFast(device string, after time.Duration) error {
	return &quota.Exceeded{Policy: &quota.Policy{Of: quota.Device, What: "samples"}, Name: device, After: after}
}

func start(t testing.TB, m *memory, settings ...setting) *hub {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, m, l, settings...)
}

func startOn(t testing.TB, m *memory, l net.Listener, settings ...setting) *hub {
	t.Helper()
	s, p, reg := newServer(t, m, settings...)
	h := &hub{memory: m, server: s, pipeline: p, metrics: reg, address: l.Addr().String()}
	ctx, cancel := context.WithCancel(context.Background())
	store, closeStore := context.WithCancel(context.Background())
	var doors, pipe sync.WaitGroup
	doors.Go(func() {
		if err := s.Serve(ctx, l); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	doors.Go(func() { s.Run(ctx) })
	pipe.Go(func() {
		if err := p.Run(store); err != nil && m.fail == nil {
			t.Errorf("pipeline: %v", err)
		}
	})
	h.stop = sync.OnceFunc(func() {
		cancel()
		doors.Wait()
		closeStore()
		pipe.Wait()
	})
	t.Cleanup(h.stop)
	return h
}

// metric returns the sum of a counter or gauge over its labels.
func (h *hub) metric(t testing.TB, name string) float64 {
	t.Helper()
	families, err := h.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, v := range f.GetMetric() {
				sum += v.GetCounter().GetValue() + v.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// patience is how long a test waits for what a machine that is busy with others does
// in its own time.
const patience = 2 * time.Minute

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if holds() {
			return
		}
		<-time.After(5 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

var errDisk = errors.New("input/output error")

func line(metric string, value int, ms int64) []byte {
	return fmt.Appendf(nil, "%s value=%d %d", metric, value, ms*1_000_000)
}
