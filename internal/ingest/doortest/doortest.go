// Package doortest is a pipeline with everything behind it in memory, for the
// tests of the doors: what a door acknowledged can be looked up point by point.
package doortest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Hub is a running pipeline whose store, directory, notes, desk and gate are
// maps. Its clock is the machine's.
type Hub struct {
	Pipeline *ingest.Pipeline
	Metrics  *prometheus.Registry
	Quotas   *quota.Quotas
	Log      *slog.Logger
	Mail     Mail

	mu      sync.Mutex
	devices map[string]*telemetry.Device
	secrets map[string]string // secret → device
	peers   map[string]*peer
	speaks  map[string]bool               // "gateway device"
	ids     map[string]telemetry.SeriesID // by labels
	names   map[telemetry.SeriesID]series // of ids that were not given back
	lastID  telemetry.SeriesID
	points  map[point]float64
	states  map[string]string
	kept    []Kept
	hold    chan struct{}
	fault   error
	commits int
	keys    int
}

// series is one under an id: its labels, and its name as tests read it.
type series struct{ labels, name string }

type point struct {
	name string
	time int64
}

type peer struct {
	ingest.Peer
	done chan struct{}
}

// Kept is a message that came to the desk.
type Kept struct {
	Device  string
	Payload string
	Rejects []telemetry.Reject
}

// Start runs a pipeline until the test ends, with the default quotas changed.
func Start(tb testing.TB, cfg ingest.Config, quotas ...func(*quota.Config)) *Hub {
	tb.Helper()
	return StartOn(tb, cfg, nil, quotas...)
}

// StartOn is Start with a store of the caller's.
func StartOn(tb testing.TB, cfg ingest.Config, store ingest.Store, quotas ...func(*quota.Config)) *Hub {
	tb.Helper()
	allowed := quota.DefaultConfig()
	for _, change := range quotas {
		change(&allowed)
	}
	h := &Hub{
		Metrics: prometheus.NewRegistry(), Log: Quiet(),
		devices: map[string]*telemetry.Device{}, secrets: map[string]string{}, peers: map[string]*peer{}, speaks: map[string]bool{},
		ids: map[string]telemetry.SeriesID{}, names: map[telemetry.SeriesID]series{}, points: map[point]float64{}, states: map[string]string{},
	}
	h.Quotas = quota.New(allowed, time.Now(), h.Metrics)
	if store == nil {
		store = h
	}
	h.Pipeline = ingest.New(cfg, ingest.Deps{
		Store: store, Directory: h, Notes: h, Desk: h, Quotas: h.Quotas, Log: h.Log, Clock: time.Now, Metrics: h.Metrics,
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Pipeline.Run(ctx) }()
	tb.Cleanup(func() {
		h.Release()
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, h.fault) {
			tb.Errorf("pipeline ended: %v", err)
		}
	})
	return h
}

// Quiet is a log that nobody reads.
func Quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// Secret is the secret of a registered device.
func Secret(device string) string { return "secret-of-" + device }

// Register adds a device whose secret is Secret(id).
func (h *Hub) Register(id string, kind telemetry.Kind) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := &telemetry.Device{ID: id, Kind: kind, Region: "220100"}
	h.devices[id] = d
	h.secrets[Secret(id)] = id
	h.renew(d)
}

// renew makes a fresh peer of a device. The caller holds mu.
func (h *Hub) renew(d *telemetry.Device) {
	done := make(chan struct{})
	h.peers[d.ID] = &peer{Peer: ingest.Peer{Device: d, Gateway: d.Kind == telemetry.KindGateway, Done: done}, done: done}
}

// Allow lets a gateway speak for a device, registered or not.
func (h *Hub) Allow(gateway, device string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.speaks[gateway+" "+device] = true
}

// Revoke takes a device's secret away and ends its peers.
func (h *Hub) Revoke(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.secrets, Secret(id))
	close(h.peers[id].done)
	delete(h.peers, id)
}

// Authenticate implements ingest.Gate.
func (h *Hub) Authenticate(_ context.Context, c ingest.Credentials) (*ingest.Peer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id, ok := c.ID, c.Proven
	switch {
	case c.Certificate != nil:
		id, ok = c.Certificate.Subject.CommonName, true
	case !c.Proven:
		id, ok = h.secrets[string(c.Secret)]
		ok = ok && (c.ID == "" || c.ID == id)
	}
	if p := h.peers[id]; ok && p != nil {
		return &p.Peer, nil
	}
	return nil, fmt.Errorf("no device has these credentials: %w", ingest.ErrUnauthorized)
}

// PSK implements ingest.Gate.
func (h *Hub) PSK(id string, _ netip.Addr) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keys++
	if h.secrets[Secret(id)] == "" {
		return nil, ingest.ErrUnauthorized
	}
	return []byte(Secret(id)), nil
}

// Keys returns how often a key was asked for.
func (h *Hub) Keys() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.keys
}

// Deny takes back what Allow gave.
func (h *Hub) Deny(gateway, device string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.speaks, gateway+" "+device)
}

// MayHear implements ingest.Gate.
func (h *Hub) MayHear(p *ingest.Peer, device string) bool { return h.MaySpeak(p, device) }

// MaySpeak implements ingest.Gate.
func (h *Hub) MaySpeak(p *ingest.Peer, device string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return device == p.Device.ID || p.Gateway && h.speaks[p.Device.ID+" "+device]
}

// Device implements ingest.Directory.
func (h *Hub) Device(id string) *telemetry.Device {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.devices[id]
}

// Series implements ingest.Store.
func (h *Hub) Series(labels []telemetry.Label) telemetry.SeriesID {
	h.mu.Lock()
	defer h.mu.Unlock()
	var name string
	var rest []string
	for _, l := range labels {
		switch l.Name {
		case "__name__":
			name = l.Value
		case "kind", "region", "site":
		default:
			rest = append(rest, l.Name+"="+l.Value)
		}
	}
	key := fmt.Sprint(labels)
	id, ok := h.ids[key]
	if !ok {
		h.lastID++
		id = h.lastID
		h.ids[key], h.names[id] = id, series{key, name + "{" + strings.Join(rest, ",") + "}"}
	}
	return id
}

// Forget implements ingest.Store. A commit of a point under one of the ids
// fails from here on.
func (h *Hub) Forget(ids []telemetry.SeriesID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		delete(h.ids, h.names[id].labels)
		delete(h.names, id)
	}
}

// Oldest implements ingest.Store.
func (h *Hub) Oldest(now time.Time) time.Time { return now.Add(-400 * 24 * time.Hour) }

// Hold makes commits wait until Release.
func (h *Hub) Hold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hold = make(chan struct{})
}

// Release lets commits go on.
func (h *Hub) Release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hold != nil {
		close(h.hold)
		h.hold = nil
	}
}

// Break makes every commit fail from here on.
func (h *Hub) Break(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fault = err
}

// Commit implements ingest.Store.
func (h *Hub) Commit(writes []*telemetry.Write) error {
	h.mu.Lock()
	hold := h.hold
	h.mu.Unlock()
	if hold != nil {
		<-hold
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.commits++
	if h.fault != nil {
		return h.fault
	}
	for _, w := range writes {
		for i, p := range w.Points {
			s, known := h.names[p.Series]
			if !known {
				return fmt.Errorf("a point has the series id %d, which was never given out or was given back", p.Series)
			}
			at := point{s.name, p.Time}
			if v, ok := h.points[at]; ok && math.Float64bits(v) != math.Float64bits(p.Value) {
				w.Refused = append(w.Refused, telemetry.Refusal{Index: i, Reason: telemetry.ReasonConflict})
				continue
			}
			h.points[at] = p.Value
		}
	}
	return nil
}

// PutStates implements ingest.Notes.
func (h *Hub) PutStates(_ context.Context, changes []ingest.StateChange) (map[int]telemetry.Reject, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range changes {
		h.states[c.Device+"/"+c.Name] = c.Value
	}
	return nil, nil
}

// PutUnits implements ingest.Notes.
func (h *Hub) PutUnits(context.Context, map[string]string) error { return nil }

// Keep implements ingest.Desk.
func (h *Hub) Keep(_ time.Time, m *ingest.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept = append(h.kept, Kept{m.Device, string(m.Payload), slices.Clone(m.Rejects)})
}

// Desk returns what came to the desk.
func (h *Hub) Desk() []Kept {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.kept)
}

// Values returns what is stored, as "metric{device=…,tag=…}" → values in the
// order of their times.
func (h *Hub) Values() map[string][]float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := make([]point, 0, len(h.points))
	for p := range h.points {
		at = append(at, p)
	}
	slices.SortFunc(at, func(a, b point) int { return int(a.time - b.time) })
	values := map[string][]float64{}
	for _, p := range at {
		values[p.name] = append(values[p.name], h.points[p])
	}
	return values
}

// States returns the states noted, as "device/name" → value.
func (h *Hub) States() map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	states := map[string]string{}
	for k, v := range h.states {
		states[k] = v
	}
	return states
}

// Points returns how many points are stored.
func (h *Hub) Points() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.points)
}

// Commits returns how many commits were made.
func (h *Hub) Commits() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.commits
}
