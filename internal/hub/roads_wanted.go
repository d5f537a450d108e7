package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/command"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/road/dialect"
	"github.com/songhua-io/hub/internal/telemetry"
	"github.com/songhua-io/hub/internal/twin"
)

// steward is who asks units for what is wanted of them, in the record of commands.
const steward = "twin"

// Bounds of what units are asked for without a person.
const (
	stewardTTL = 10 * time.Minute
	// A unit that does not do what it is asked for is asked so often an hour.
	stewardTries = 3
	stewardEvery = time.Hour
	// stewardGrace is how long a unit may take to report what it has acknowledged.
	stewardGrace = time.Minute
)

// stewardship brings roadside units to what their twins want: it reports for them
// what they say of their configuration, and asks for what they lack.
type stewardship struct {
	commands *command.Ledger
	twins    *twin.Twins
	registry *registry.Registry
	// limits are what messages of a unit are bounded to for now, whatever is wanted.
	limits func(device string) map[road.Kind]float64
	clock  func() time.Time
	log    *slog.Logger

	seed  maphash.Seed
	locks [64]sync.Mutex // by device: one look at a unit at a time

	mu      sync.Mutex
	changed map[string]struct{}              // devices of which something else is wanted
	most    map[string]map[road.Kind]float64 // limits that are wanted, by device
	wake    chan struct{}
}

func newStewardship(h *hub) *stewardship {
	return &stewardship{
		commands: h.commands, twins: h.twins, registry: h.registry, clock: h.clock, log: h.log,
		limits: func(string) map[road.Kind]float64 { return nil },
		seed:   maphash.MakeSeed(), changed: map[string]struct{}{}, most: map[string]map[road.Kind]float64{}, wake: make(chan struct{}, 1),
	}
}

// want notes that something else is wanted of a device. It does not block.
func (s *stewardship) want(device string) {
	if d := s.registry.Device(device); d == nil || d.Kind != telemetry.KindRSU {
		return
	}
	s.mu.Lock()
	s.changed[device] = struct{}{}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// wantedLimits are the most messages a second that are wanted of a unit, by kind.
func (s *stewardship) wantedLimits(device string) map[road.Kind]float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most[device]
}

// remember keeps the limits that are wanted of a unit.
func (s *stewardship) remember(device string, w *dialect.Wanted) {
	most := map[road.Kind]float64{}
	if w != nil {
		for _, kind := range []road.Kind{road.KindBSM, road.KindRSM, road.KindSPAT} {
			if limit, ok := w.UpLimit(kind); ok {
				most[kind] = limit
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(most) == 0 {
		delete(s.most, device)
		return
	}
	s.most[device] = most
}

// recall reads the limits that are wanted of all units, when the hub starts.
func (s *stewardship) recall(ctx context.Context) error {
	const atOnce = 1000
	for after := ""; ; {
		ids, err := s.twins.Devices(ctx, after, atOnce)
		if err != nil {
			return err
		}
		for _, id := range ids {
			after = id
			if d := s.registry.Device(id); d == nil || d.Kind != telemetry.KindRSU {
				continue
			}
			if err := s.recallUnit(ctx, id); err != nil {
				return err
			}
		}
		if len(ids) < atOnce {
			return nil
		}
	}
}

func (s *stewardship) recallUnit(ctx context.Context, device string) error {
	lock := s.lock(device)
	lock.Lock()
	defer lock.Unlock()
	t, err := s.twins.Get(ctx, device)
	if err != nil {
		return err
	}
	if w, err := wantedOf(t.Wanted.Config); err == nil { // else settle says so
		s.remember(device, w)
	}
	return nil
}

func (s *stewardship) lock(device string) *sync.Mutex {
	return &s.locks[maphash.String(s.seed, device)%uint64(len(s.locks))]
}

// run asks units for what is newly wanted of them, until ctx ends.
func (s *stewardship) run(ctx context.Context) error {
	if err := s.recall(ctx); err != nil && ctx.Err() == nil {
		s.log.Error("wanted_limits_not_known", "error", err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
		s.mu.Lock()
		all := s.changed
		s.changed = map[string]struct{}{}
		s.mu.Unlock()
		for device := range all {
			s.settle(ctx, device, nil)
		}
	}
}

// unitReported takes what a roadside unit says of its configuration (INFO). It
// returns when the report is durable; what fails is logged, and the next INFO
// comes to the same.
func (s *stewardship) unitReported(ctx context.Context, device string, st *road.Status) {
	if st != nil && len(st.Config) > 0 {
		s.settle(ctx, device, st)
	}
}

// failed takes that a unit could not do what it was asked for.
func (s *stewardship) failed(ctx context.Context, c command.Command) {
	if c.Actor == steward {
		s.settle(ctx, c.Device, nil)
	}
}

// settle compares what is wanted of a unit with what it reports: now, or last.
func (s *stewardship) settle(ctx context.Context, device string, st *road.Status) {
	lock := s.lock(device)
	lock.Lock()
	defer lock.Unlock()
	if err := s.compare(ctx, device, st); err != nil && ctx.Err() == nil {
		s.log.Error("unit_not_settled", "device", device, "error", err)
	}
}

func (s *stewardship) compare(ctx context.Context, device string, st *road.Status) error {
	t, err := s.twins.Get(ctx, device)
	if err != nil {
		return err
	}
	wanted, err := wantedOf(t.Wanted.Config)
	if err != nil {
		return err
	}
	s.remember(device, wanted)
	config := t.Reported.Config
	if st != nil {
		config = withPart(config, dialect.Reported(st, wanted))
	}
	report := unitReport{Version: t.Wanted.Version, Config: config}
	var asks []command.Request
	if wanted != nil {
		if report.Version, report.Errors, asks, err = s.judge(ctx, device, wanted, partOf(config), t); err != nil {
			return err
		}
	}
	if st != nil || len(report.Errors) > 0 {
		if err := s.report(ctx, device, report, t.Reported); err != nil {
			return err
		}
	}
	for _, r := range asks {
		if _, err := s.commands.Issue(ctx, device, r); err != nil {
			return fmt.Errorf("ask for what is wanted: %w", err)
		}
	}
	return nil
}

// judge says what a unit lacks and whether to ask for it, and which version it
// can be said to have.
func (s *stewardship) judge(ctx context.Context, device string, wanted *dialect.Wanted, reported json.RawMessage, t twin.Twin) (version int64, faults []twin.Fault, asks []command.Request, err error) {
	version = t.Wanted.Version
	if config, piece := wanted.Lacks(reported); config == nil && piece == nil {
		return version, nil, nil, nil
	}
	asked, err := s.commands.List(ctx, command.Filter{Device: device}, "", 100)
	if err != nil {
		return 0, nil, nil, err
	}
	asked = slices.DeleteFunc(asked, func(c command.Command) bool { return c.Actor != steward || c.Created.Before(t.Wanted.At) })
	wanted.Cap(s.limits(device))
	config, piece := wanted.Lacks(reported)
	for _, lack := range []struct {
		order dialect.Order
		is    any
		there bool
	}{{dialect.OrderConfig, config, config != nil}, {dialect.OrderMap, piece, piece != nil}} {
		if !lack.there {
			continue
		}
		name := orderPrefix + string(lack.order)
		of := s.progress(name, asked)
		if of.fault != nil {
			faults = append(faults, *of.fault)
		}
		if of.pending { // it has not said that it has this version
			version = min(version, t.Reported.Version)
		}
		if of.ask {
			params, err := json.Marshal(lack.is)
			if err != nil {
				return 0, nil, nil, err
			}
			asks = append(asks, command.Request{Name: name, Params: params, TTL: stewardTTL, Actor: steward})
		}
	}
	return version, faults, asks, nil
}

// progress is how far a unit is with something that it lacks.
type progress struct {
	pending, ask bool
	fault        *twin.Fault
}

// progress looks at the commands that asked for it, the newest first.
func (s *stewardship) progress(name string, asked []command.Command) (p progress) {
	now := s.clock()
	tries := 0
	var newest *command.Command
	for i, c := range asked {
		if c.Name != name {
			continue
		}
		if newest == nil {
			newest = &asked[i]
		}
		if now.Sub(c.Created) < stewardEvery {
			tries++
		}
	}
	p.ask = tries < stewardTries
	switch {
	case newest == nil:
		p.pending = true
	case !newest.State.Ended():
		p.pending, p.ask = true, false
	case newest.State == command.Done && now.Sub(newest.Ended) < stewardGrace:
		p.pending, p.ask = true, false
	case newest.State == command.Failed && newest.Reason == command.ByDevice:
		p.fault = &twin.Fault{Path: dialect.WantedKey, Message: fmt.Sprintf("%s: %.1000s", name, newest.Result)}
		p.ask = p.ask && now.Sub(newest.Ended) >= stewardGrace
	case newest.State != command.Done: // it expired, or was taken back
		p.pending = true
	}
	return p
}

// unitReport is a report as devices make it (twin.Twins.Report).
type unitReport struct {
	Version int64           `json:"version"`
	Config  json.RawMessage `json:"config,omitempty"`
	Errors  []twin.Fault    `json:"errors,omitempty"`
}

// report puts a unit's report into its twin, unless it says what it said before.
func (s *stewardship) report(ctx context.Context, device string, r unitReport, before twin.Reported) error {
	if !before.At.IsZero() && r.Version == before.Version && bytes.Equal(r.Config, before.Config) && slices.Equal(r.Errors, before.Faults) {
		return nil
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return s.twins.Report(ctx, device, text)
}

// partOf is the part of a configuration that is about a unit; nil for none.
func partOf(config json.RawMessage) json.RawMessage {
	var parts map[string]json.RawMessage
	if len(config) == 0 || json.Unmarshal(config, &parts) != nil {
		return nil
	}
	return parts[dialect.WantedKey]
}

// withPart replaces that part.
func withPart(config, part json.RawMessage) json.RawMessage {
	parts := map[string]json.RawMessage{}
	if len(config) > 0 && json.Unmarshal(config, &parts) != nil {
		return config
	}
	parts[dialect.WantedKey] = part
	text, err := json.Marshal(parts)
	if err != nil {
		panic(err) // its parts are JSON
	}
	return text
}

// wantedOf reads what is wanted of a unit; nil when nothing is.
func wantedOf(config json.RawMessage) (*dialect.Wanted, error) {
	part := partOf(config)
	if part == nil || string(part) == "null" {
		return nil, nil
	}
	return dialect.ReadWanted(part)
}

// unitConfig reports why a unit may not be given a configuration.
func (c checks) unitConfig(device *telemetry.Device, doc json.RawMessage) error {
	if device == nil || device.Kind != telemetry.KindRSU {
		return nil
	}
	w, err := wantedOf(doc)
	if err != nil {
		return fmt.Errorf("wanted configuration of roadside unit %q %w: %w", device.ID, twin.ErrInvalid, err)
	}
	if w != nil && w.Piece != nil && len(w.Piece.Map) > command.MaxParams-1024 {
		return fmt.Errorf("wanted configuration of roadside unit %q %w: %s.map has %d bytes, and a command holds %d; give the unit a smaller slice", device.ID, twin.ErrInvalid, dialect.WantedKey, len(w.Piece.Map), command.MaxParams-1024)
	}
	return nil
}
