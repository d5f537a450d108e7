// Package simulate makes fleets of sensors, roadside units and nodes in Jilin
// province whose readings are a pure function of seed and time, and reports
// for them through the hub's own doors: a client like any other.
package simulate

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"
)

// Config says how large a fleet is and from which seed it grows. The same
// Config gives the same devices and the same events. Roadside units are those of
// package roads, and no part of a Fleet.
type Config struct {
	Seed                 uint64
	Sensors, RSUs, Nodes int
	// Start is when the fleet begins to report. Counters stand at a few days'
	// worth by then, and for StartGrace after it no device is away.
	Start time.Time
}

// StartGrace is how long after Config.Start every device reports, so that a
// fleet is complete before the first of its devices goes away.
const StartGrace = 3 * time.Minute

// Device is one simulated device: what the registry is told of it, and the
// door and format by which it reports.
type Device struct {
	ID           string
	Kind         string // sensor, rsu or node
	Model        string // soil, air, water, light, road, node
	Site, Region string
	Lat, Lon     float64
	Period       time.Duration
	NameEN       string
	NameZH       string
	Tags         map[string]string
	Door         Door
	Format       Format

	key    uint64 // of all its noise
	start  time.Time
	phase  time.Duration // of its reports within the period
	hello  time.Duration // from the start to its very first report
	read   func(d *Device, t time.Time, out []Reading) []Reading
	gpus   int
	clock  bool // runs ahead from time to time, beyond what a hub accepts
	garble bool // cuts a message short from time to time
}

// Door is the transport by which a device reports.
type Door string

// The doors.
const (
	MQTT Door = "mqtt"
	CoAP Door = "coap"
	HTTP Door = "http"
)

// Reading is one value that a device measured.
type Reading struct {
	Metric string
	Unit   string // SenML unit symbol (RFC 8428 section 12.1, RFC 8798)
	Tag    Tag    // at most one; the zero Tag is none
	Time   int64  // milliseconds since the Unix epoch
	Value  float64
}

// Tag is a label of a reading.
type Tag struct{ Name, Value string }

// Event is what one device does at one moment.
type Event struct {
	Device   *Device
	At       time.Time
	Readings []Reading // in time order; history first after a gap
	Leaves   bool      // it goes away without a word
	Returns  bool      // it is back
	Garbled  bool      // its message arrives cut short
}

// Fleet is a set of devices and the queue of what they do next. It is used by
// one goroutine.
type Fleet struct {
	Devices []*Device

	due    dueHeap
	away   map[*Device]bool
	missed map[*Device][]time.Time // measured without a link, to be sent later
}

// maxMissed bounds the reports that a device without a link remembers.
const maxMissed = 240

// New returns the fleet of a Config.
func New(c Config) *Fleet {
	f := &Fleet{away: map[*Device]bool{}, missed: map[*Device][]time.Time{}}
	rng := rand.New(rand.NewPCG(c.Seed, 0x50))
	for i := range c.Sensors {
		f.add(newSensor(c, rng, i))
	}
	for i := range c.Nodes {
		f.add(newNode(c, rng, i))
	}
	f.addMishaps()
	heap.Init(&f.due)
	return f
}

func (f *Fleet) add(d *Device) {
	f.Devices = append(f.Devices, d)
	f.due = append(f.due, due{d.start.Add(d.hello), len(f.due), d})
}

// addMishaps gives one air station a clock that runs ahead and another a
// modem that cuts messages short.
func (f *Fleet) addMishaps() {
	n := 0
	for _, d := range f.Devices {
		if d.Model != "air" || d.Door != MQTT {
			continue
		}
		n++
		d.clock, d.garble = n == 3, n == 5
		if n == 5 {
			return
		}
	}
}

// Next returns what happens next. Events come in the order of At and never
// end; a fleet without devices gives the zero Event.
func (f *Fleet) Next() Event {
	for len(f.due) > 0 {
		at, d := f.due[0].at, f.due[0].dev
		f.due[0].at = d.after(at)
		heap.Fix(&f.due, 0)
		if e, ok := f.event(d, at); ok {
			return e
		}
	}
	return Event{}
}

// after returns the time of the report that follows the one at t. The first
// report comes soon after the start, the others in the rhythm of the period.
func (d *Device) after(t time.Time) time.Time {
	if regular := d.start.Add(d.phase); t.Before(regular) {
		return regular
	}
	return t.Add(d.Period)
}

func (f *Fleet) event(d *Device, at time.Time) (Event, bool) {
	e := Event{Device: d, At: at}
	switch d.absence(at) {
	case present:
	case unlinked:
		if m := f.missed[d]; len(m) < maxMissed {
			f.missed[d] = append(m, at)
		}
		fallthrough
	default:
		e.Leaves = !f.away[d]
		f.away[d] = true
		return e, e.Leaves
	}
	e.Returns = f.away[d]
	for _, t := range f.missed[d] {
		e.Readings = d.Read(t, e.Readings)
	}
	delete(f.away, d)
	delete(f.missed, d)
	e.Readings = d.Read(at, e.Readings)
	e.Garbled = d.garbled(at)
	if d.clockAhead(at) {
		shift(e.Readings, wrongClock)
	}
	return e, true
}

// Read appends what the device measures at t, faults included, to out.
func (d *Device) Read(t time.Time, out []Reading) []Reading {
	from := len(out)
	out = d.read(d, t, out)
	d.disturb(t, out[from:])
	ms := t.UnixMilli()
	for i := from; i < len(out); i++ {
		out[i].Time, out[i].Value = ms, round(out[i].Value)
	}
	return out
}

// Present reports whether the device measures anything that reaches the hub,
// at once or later, at t.
func (d *Device) Present(t time.Time) bool { return d.absence(t) != unpowered }

func shift(rs []Reading, by time.Duration) {
	for i := range rs {
		rs[i].Time += by.Milliseconds()
	}
}

// due is when a device reports next; ties go by the order of creation.
type due struct {
	at    time.Time
	order int
	dev   *Device
}

type dueHeap []due

func (h dueHeap) Len() int { return len(h) }
func (h dueHeap) Less(i, j int) bool {
	if c := h[i].at.Compare(h[j].at); c != 0 {
		return c < 0
	}
	return h[i].order < h[j].order
}
func (h dueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)   { *h = append(*h, x.(due)) }
func (h *dueHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// newDevice returns what all kinds have in common, at a site that has the role.
func newDevice(c Config, rng *rand.Rand, model string, number int) *Device {
	p := placeFor(model, rng)
	en, zh := modelNames(model)
	d := &Device{
		ID: fmt.Sprintf("%s-%03d", model, number+1), Model: model,
		Site: p.site, Region: p.region,
		Lat: round4(p.lat + rng.NormFloat64()*0.008), Lon: round4(p.lon + rng.NormFloat64()*0.011),
		NameEN: fmt.Sprintf("%s %d, %s", en, number+1, p.en),
		NameZH: fmt.Sprintf("%s%s %d 号", p.zh, zh, number+1),
		key:    rng.Uint64(), start: c.Start.Truncate(time.Second),
	}
	d.Tags = map[string]string{"model": model, "name_en": d.NameEN, "name_zh": d.NameZH}
	return d
}

// setPeriod spreads the reports of equal devices over their period.
func (d *Device) setPeriod(p time.Duration, rng *rand.Rand) {
	d.Period = p
	d.phase = time.Duration(rng.Int64N(int64(p/time.Second))) * time.Second
	d.hello = min(d.phase, time.Duration(rng.Int64N(15))*time.Second)
}
