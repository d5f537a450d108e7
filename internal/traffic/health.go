package traffic

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// Bounds of what a unit says of itself.
const (
	maxCores    = 64
	maxDevices  = 64
	maxName     = 64 // octets of a name or a version
	positionOff = 50.0
)

// health is what a unit says of itself, and how it behaves.
type health struct {
	status   road.Status
	statusAt map[road.Kind]time.Time // of what came last of each kind
	offBy    float64                 // metres from where it was registered; NaN: not known
	sends    uint32                  // kinds that it has once sent, by part
	begun    int64                   // the newest minute whose zeros are written
	reported map[Cell]struct{}       // faults of modules that were reported once
	rates    rates
	offsets  offsets
	beats    beats
	counters [maxKinds]*counter
}

// statusOf takes what a unit says of itself. What is older than what is known goes
// to its minute only.
func (u *unit) statusOf(b *Board, a *Arrival, at time.Time) {
	m := a.Message
	s := m.Status
	switch m.Kind {
	case road.KindRunning:
		u.running(s, at)
	case road.KindDiagnostic:
		u.modules(b, a, s, at)
	}
	if at.Before(u.statusAt[m.Kind]) {
		return
	}
	if u.statusAt == nil {
		u.statusAt = map[road.Kind]time.Time{}
	}
	u.statusAt[m.Kind] = at
	u.merge(m.Kind, s)
	if m.Kind == road.KindBase {
		u.devices(at)
	}
	u.position(b, a, at)
	u.tellStatus()
}

// merge takes what a message says and keeps what it does not speak of.
func (u *unit) merge(kind road.Kind, s *road.Status) {
	k := &u.status
	for _, f := range []struct{ to, from *string }{{&k.Name, &s.Name}, {&k.Version, &s.Version}, {&k.Hardware, &s.Hardware}, {&k.Firmware, &s.Firmware},
		{&k.State, &s.State}, {&k.ESN, &s.ESN}, {&k.IMEI, &s.IMEI}, {&k.ETag, &s.ETag}} {
		if text := clip(*f.from, maxName); text != "" && text != *f.to {
			*f.to = strings.Clone(text)
		}
	}
	if !math.IsNaN(s.At.Lat) && !math.IsNaN(s.At.Lon) && s.At != (road.Position{}) {
		k.At, k.Elevation = s.At, s.Elevation
	}
	switch kind {
	case road.KindBase:
		k.Devices = nil
		for _, d := range s.Devices[:min(len(s.Devices), maxDevices)] {
			d.ID, d.Type = strings.Clone(clip(d.ID, maxName)), strings.Clone(clip(d.Type, maxName))
			k.Devices = append(k.Devices, d)
		}
	case road.KindRunning:
		k.Load, k.Memory, k.Disk, k.Received, k.Sent = s.Load, s.Memory, s.Disk, s.Received, s.Sent
		k.Cores = slices.Clone(s.Cores[:min(len(s.Cores), maxCores)])
	case road.KindDiagnostic:
		k.Faults = map[string]int{}
		for name, code := range s.Faults {
			k.Faults[modules[moduleOf(name)]] = code
		}
	}
	if s.Limits != nil {
		k.Limits = few(s.Limits)
	}
	if s.Counts != nil {
		k.Counts = few(s.Counts)
	}
}

// few copies what is there of the kinds.
func few[V any](of map[string]V) map[string]V {
	out := map[string]V{}
	for _, kind := range kinds {
		if v, ok := of[kind]; ok {
			out[kind] = v
		}
	}
	return out
}

// clip cuts a text at a rune.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}

// running adds what a unit says of its machine.
func (u *unit) running(s *road.Status, at time.Time) {
	is := func(c Cell, v float64) {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			u.add(at, c, v)
		}
	}
	is(Cell{Series: UnitLoad}, s.Load)
	for core, percent := range s.Cores[:min(len(s.Cores), maxCores)] {
		is(Cell{Series: CoreUse, A: uint32(core)}, percent/100)
	}
	is(Cell{Series: MemoryUse}, s.Memory.Used/s.Memory.Total)
	is(Cell{Series: DiskUse}, s.Disk.Used/s.Disk.Total)
	is(Cell{Series: NetReceived}, s.Received)
	is(Cell{Series: NetSent}, s.Sent)
}

// modules adds the faults that a unit reports of its radio and GNSS, and that
// those it once reported are gone.
func (u *unit) modules(b *Board, a *Arrival, s *road.Status, at time.Time) {
	now := map[Cell]struct{}{}
	for name, code := range s.Faults {
		if code == 0 {
			continue
		}
		c := Cell{Series: ModuleFault, Part: faultOf(code), A: moduleOf(name)}
		now[c] = struct{}{}
		u.find(b, a, at, CheckModule, 1, finding{word: modules[c.A], is: float64(code)})
	}
	if u.reported == nil {
		u.reported = map[Cell]struct{}{}
	}
	maps.Copy(u.reported, now)
	for c := range u.reported {
		_, is := now[c]
		u.add(at, c, map[bool]float64{true: 1}[is])
	}
	if len(now) == 0 && a.Live {
		u.sound(CheckModule, road.NodeID{})
	}
}

// devices adds how many devices behind the unit are in each state.
func (u *unit) devices(at time.Time) {
	var n [8]float64
	for i := range u.status.Devices {
		n[deviceState(&u.status.Devices[i])]++
	}
	for state := range deviceStates {
		u.add(at, Cell{Series: Devices, Part: uint8(state)}, n[state])
	}
}

// position compares where the unit says that it is with where it was registered.
func (u *unit) position(b *Board, a *Arrival, at time.Time) {
	m := a.Message
	if m.Status == nil || math.IsNaN(m.Status.At.Lat) || math.IsNaN(m.Status.At.Lon) || m.Status.At == (road.Position{}) {
		return
	}
	e := u.expected(b)
	if e.At == nil {
		u.offBy = math.NaN()
		return
	}
	u.offBy = metres(*e.At, m.Status.At)
	u.add(at, Cell{Series: PositionError}, u.offBy)
	if u.offBy > positionOff {
		u.find(b, a, at, CheckPosition, 1, finding{is: u.offBy, want: positionOff})
	} else {
		u.sound(CheckPosition, road.NodeID{})
	}
}

// begin writes the zeros of a minute in which the unit lives, before anything is
// counted in it.
func (u *unit) begin(b *Board, a *Arrival, at time.Time) {
	if m := minuteOf(at); !a.Live || m <= u.begun {
		return
	} else {
		u.begun = m
	}
	for part := range kinds {
		if u.sends&(1<<part) == 0 {
			continue
		}
		u.add(at, Cell{Series: Messages, Part: uint8(part)}, 0)
		if countable(road.Kind(kinds[part])) {
			u.add(at, Cell{Series: Lost, Part: uint8(part)}, 0)
		}
	}
	for part := range Checks {
		u.add(at, Cell{Series: CheckFaults, Part: uint8(part)}, 0)
	}
	e := u.expected(b)
	for part, kind := range kinds {
		if limit, ok := u.cap(&e, road.Kind(kind)); ok {
			u.add(at, Cell{Series: RateLimit, Part: uint8(part)}, limit)
		}
	}
	if p := u.status.At; !math.IsNaN(p.Lat) && !math.IsNaN(p.Lon) && p != (road.Position{}) {
		u.add(at, Cell{Series: Latitude}, p.Lat)
		u.add(at, Cell{Series: Longitude}, p.Lon)
	}
	u.add(at, Cell{Series: DeviationsOf}, float64(u.deviating))
	u.tellDeviations(a.Received)
	u.deviating = 0
	u.align(b, a, at)
	u.eventMinute(b, at)
}

// wireStatus is what lasts of a status, as it stands in documents.
type wireStatus struct {
	Name      string             `json:"name,omitempty"`
	Version   string             `json:"version,omitempty"`
	Hardware  string             `json:"hardware,omitempty"`
	Firmware  string             `json:"firmware,omitempty"`
	State     string             `json:"state,omitempty"`
	ESN       string             `json:"esn,omitempty"`
	IMEI      string             `json:"imei,omitempty"`
	ETag      string             `json:"etag,omitempty"`
	At        *wirePosition      `json:"at,omitempty"`
	Elevation *float64           `json:"elevation,omitempty"`
	Devices   []wireDevice       `json:"devices,omitempty"`
	Faults    map[string]int     `json:"faults,omitempty"`
	Limits    map[string]float64 `json:"limits,omitempty"`
	Sends     uint32             `json:"sends,omitempty"`
}

type wireDevice struct {
	ID      string `json:"id"`
	Type    string `json:"type,omitempty"`
	Powered int    `json:"powered,omitempty"`
	Runs    int    `json:"runs,omitempty"`
	Network int    `json:"network,omitempty"`
}

type wirePosition struct {
	Lat float64 `json:"lat"`
	Lon float64 `json:"lon"`
}

func wirePlace(p road.Position) *wirePosition {
	if math.IsNaN(p.Lat) || math.IsNaN(p.Lon) {
		return nil
	}
	return &wirePosition{p.Lat, p.Lon}
}

func (p *wirePosition) place() road.Position {
	if p == nil {
		return road.Position{Lat: math.NaN(), Lon: math.NaN()}
	}
	return road.Position{Lat: p.Lat, Lon: p.Lon}
}

// wireNumber is a number as JSON has it, which has no NaN.
func wireNumber(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

func number(v *float64) float64 {
	if v == nil {
		return math.NaN()
	}
	return *v
}

// documentStatus is the kind of documents that hold a status.
const documentStatus = 's'

// tellStatus keeps what lasts of the status as a document.
func (u *unit) tellStatus() {
	s := &u.status
	w := wireStatus{Name: s.Name, Version: s.Version, Hardware: s.Hardware, Firmware: s.Firmware, State: s.State, ESN: s.ESN, IMEI: s.IMEI, ETag: s.ETag,
		At: wirePlace(s.At), Elevation: wireNumber(s.Elevation), Faults: s.Faults, Limits: s.Limits, Sends: u.sends}
	for _, d := range s.Devices {
		w.Devices = append(w.Devices, wireDevice(d))
	}
	text, err := json.Marshal(w)
	if err != nil { // limits that are no number
		return
	}
	u.tell(documentStatus, "", text)
}

func readStatus(_ *Board, u *unit, _ string, text []byte) error {
	if len(text) == 0 {
		return nil
	}
	var w wireStatus
	if err := json.Unmarshal(text, &w); err != nil {
		return err
	}
	s := &u.status
	*s = noStatus()
	s.Name, s.Version, s.Hardware, s.Firmware, s.State, s.ESN, s.IMEI, s.ETag = w.Name, w.Version, w.Hardware, w.Firmware, w.State, w.ESN, w.IMEI, w.ETag
	s.At, s.Elevation, s.Faults, s.Limits = w.At.place(), number(w.Elevation), w.Faults, w.Limits
	for _, d := range w.Devices {
		s.Devices = append(s.Devices, road.Device(d))
	}
	u.sends |= w.Sends
	return nil
}

// noStatus is that of a unit that said nothing of itself.
func noStatus() road.Status {
	nan := math.NaN()
	return road.Status{At: road.Position{Lat: nan, Lon: nan}, Elevation: nan, Load: nan, Received: nan, Sent: nan, Memory: road.Space{Total: nan, Used: nan}, Disk: road.Space{Total: nan, Used: nan}}
}

// Units are all units by name.
func (b *Board) Units() (all []UnitView) {
	now := b.now()
	for _, u := range b.all() {
		all = append(all, u.view(now))
	}
	return all
}

// Unit is one unit; false where it never said anything.
func (b *Board) Unit(id string) (UnitView, bool) {
	u := b.known(id)
	if u == nil {
		return UnitView{}, false
	}
	return u.view(b.now()), true
}

func (u *unit) view(now time.Time) UnitView {
	u.mu.Lock()
	defer u.mu.Unlock()
	v := UnitView{Unit: u.id, Status: u.status, Heard: u.heard, Beat: u.beats.period(), Offset: u.offsets.now(), OffBy: u.offBy, Rates: u.rates.at(now),
		Faults: u.faultsOf(now, nil), Deviations: u.deviationsOf()}
	s := &v.Status
	s.Devices, s.Cores = slices.Clone(s.Devices), slices.Clone(s.Cores)
	s.Faults, s.Counts, s.Limits = maps.Clone(s.Faults), maps.Clone(s.Counts), maps.Clone(s.Limits)
	for id := range u.maps {
		v.Nodes = append(v.Nodes, id)
	}
	slices.SortFunc(v.Nodes, func(a, b road.NodeID) int { return int(nodeCell(a)) - int(nodeCell(b)) })
	return v
}
