// Package quota bounds what one device, one token and one address may ask of
// the hub, and says when to come again. It decides and keeps count, and knows
// nothing of doors, packets or devices: the time is an argument, and memory is
// bounded however many strangers come.
//
// What is counted by the second is a token bucket. A registered device has its
// own (Meter); addresses and tokens, of which there may be any number, share
// the fixed memory of a Sketch. What is counted at once (connections) is exact.
// Nothing on the way of a message allocates or takes a lock.
package quota

import (
	"cmp"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// window is what a quota by the second is taken over: so much may come at once.
const window = 2 * time.Second

// arrivals is the same for new connections, so that all devices behind one
// address may come back at once when the hub was away.
const arrivals = 10 * time.Second

// pairFailures is how often one address may err about one device. The device is
// not shut out: others of its address, and it from others, are not meant.
var pairFailures = Rate{20, time.Minute}

// crowded is when to come again where too many connections are open: that
// depends on others.
const crowded = 10 * time.Second

// maxWaiting is how many connections over their quota may be open to be told
// so. Those beyond are closed without a word.
const maxWaiting = 64

// told is how many connections over their quota are told so: more a second are
// closed without a word, since to tell costs three times as much.
var told = Rate{200, window}

// suspects is how many connections an address may open that erred too often:
// enough for the devices of its neighbours, too few to keep the hub busy.
var suspects = Rate{40, window}

// Quotas are the quotas of a hub. All methods may be called from any goroutine.
type Quotas struct {
	cfg   Config
	start time.Time
	seed  maphash.Seed

	device struct{ connections, messages, bytes, samples, series, calls Policy }
	token  struct{ connections, calls, placements, messages, bytes, series Policy }
	addr   struct{ connections, arrivals, failures, calls, messages, bytes, series Policy }

	tokens    struct{ calls, placements, messages, bytes, series *Sketch }
	addresses struct{ arrivals, failures, suspects, pairs, calls, messages, bytes, series *Sketch }
	hearing   *Sketch // calls of devices
	tell      *Limiter
	nobody    Sender

	mu      sync.Mutex // guards all below; taken once per connection
	open    map[netip.Prefix]int
	devices map[string]int
	calling map[string]int // calls under way, by token
	waiting int
}

// New returns quotas whose buckets are all full. Start is a reading of the
// clock that the methods' times come from.
func New(cfg Config, start time.Time, reg prometheus.Registerer) *Quotas {
	q := &Quotas{tell: NewLimiter(told, start), cfg: cfg, start: start, seed: maphash.MakeSeed(), open: map[netip.Prefix]int{}, devices: map[string]int{}, calling: map[string]int{}}
	second := func(n int) Rate { return Rate{int(window/time.Second) * n, window} }
	d, t, a := cfg.Device, cfg.Token, cfg.Address
	q.device.connections = Policy{Of: Device, What: "connections", Key: "connections", Rate: Rate{N: d.Connections}}
	q.device.messages = Policy{Of: Device, What: "messages", Key: "messages_per_second", Rate: second(d.MessagesPerSecond)}
	q.device.bytes = Policy{Of: Device, What: "bytes", Key: "bytes_per_second", Rate: second(d.BytesPerSecond)}
	q.device.samples = Policy{Of: Device, What: "samples", Key: "samples_per_second", Rate: second(d.SamplesPerSecond)}
	q.device.series = Policy{Of: Device, What: "series", Key: "series", Rate: Rate{N: d.Series}}
	q.device.calls = Policy{Of: Device, What: "calls", Key: "calls_per_second", Rate: second(d.CallsPerSecond)}
	q.token.connections = Policy{Of: Token, What: "connections", Key: "connections", Rate: Rate{N: t.Connections}}
	q.token.calls = Policy{Of: Token, What: "calls", Key: "calls_per_second", Rate: second(t.CallsPerSecond)}
	q.token.placements = Policy{Of: Token, What: "placements", Key: "placement_calls_per_second", Rate: second(t.PlacementCallsPerSecond)}
	q.token.messages = Policy{Of: Token, What: "messages", Key: "messages_per_second", Rate: second(t.MessagesPerSecond)}
	q.token.bytes = Policy{Of: Token, What: "bytes", Key: "bytes_per_second", Rate: second(t.BytesPerSecond)}
	q.token.series = Policy{Of: Token, What: "series", Key: "series_per_hour", Rate: Rate{t.SeriesPerHour, time.Hour}}
	q.addr.series = Policy{Of: Address, What: "series", Key: "series_per_hour", Rate: Rate{a.SeriesPerHour, time.Hour}}
	q.addr.connections = Policy{Of: Address, What: "connections", Key: "connections", Rate: Rate{N: a.Connections}}
	q.addr.arrivals = Policy{Of: Address, What: "arrivals", Key: "connections_per_second", Rate: Rate{int(arrivals/time.Second) * a.ConnectionsPerSecond, arrivals}}
	q.addr.failures = Policy{Of: Address, What: "failures", Key: "failures_per_minute", Rate: Rate{a.FailuresPerMinute, time.Minute}}
	q.addr.calls = Policy{Of: Address, What: "calls", Key: "calls_per_second", Rate: second(a.CallsPerSecond)}
	q.addr.messages = Policy{Of: Address, What: "messages", Key: "messages_per_second", Rate: second(a.MessagesPerSecond)}
	q.addr.bytes = Policy{Of: Address, What: "bytes", Key: "bytes_per_second", Rate: second(a.BytesPerSecond)}
	q.tokens.calls, q.tokens.messages, q.tokens.bytes = NewSketch(q.token.calls.Rate, start), NewSketch(q.token.messages.Rate, start), NewSketch(q.token.bytes.Rate, start)
	q.addresses.arrivals, q.addresses.failures, q.addresses.pairs = NewSketch(q.addr.arrivals.Rate, start), NewSketch(q.addr.failures.Rate, start), NewSketch(pairFailures, start)
	q.hearing = NewSketch(q.device.calls.Rate, start)
	q.tokens.placements = NewSketch(q.token.placements.Rate, start)
	q.tokens.series, q.addresses.series = NewSketch(q.token.series.Rate, start), NewSketch(q.addr.series.Rate, start)
	q.addresses.suspects = NewSketch(suspects, start)
	q.addresses.calls, q.addresses.messages, q.addresses.bytes = NewSketch(q.addr.calls.Rate, start), NewSketch(q.addr.messages.Rate, start), NewSketch(q.addr.bytes.Rate, start)
	for _, p := range q.policies() {
		p.flow = p.Rate.flow()
	}
	q.register(reg)
	return q
}

// policies lists every quota that refuses by itself.
func (q *Quotas) policies() []*Policy {
	return []*Policy{
		&q.device.connections, &q.device.messages, &q.device.bytes, &q.device.samples, &q.device.series, &q.device.calls,
		&q.token.connections, &q.token.calls, &q.token.placements, &q.token.messages, &q.token.bytes, &q.token.series,
		&q.addr.connections, &q.addr.arrivals, &q.addr.failures, &q.addr.calls, &q.addr.messages, &q.addr.bytes, &q.addr.series,
	}
}

// Attempt returns an error when an address erred too often about a device, or
// about what names none: nothing that it shows is to be looked at.
func (q *Quotas) Attempt(from netip.Addr, device string, door Door, now time.Time) *Exceeded {
	if device == "" {
		return nil
	}
	after := q.addresses.pairs.Wait(q.pair(from, device), now)
	return q.addr.failures.refuse(door, from.String(), after)
}

// Failed counts an attempt that showed what is no secret, token or certificate,
// and returns an error when the address erred too often. What is right is taken
// of such an address all the same: it may be many devices behind one.
func (q *Quotas) Failed(from netip.Addr, device string, door Door, now time.Time) *Exceeded {
	if device != "" {
		q.addresses.pairs.Take(q.pair(from, device), now)
	}
	after := q.addresses.failures.Take(q.address(from), now)
	return q.addr.failures.refuse(door, from.String(), after)
}

// Suspect reports whether an address erred too often.
func (q *Quotas) Suspect(from netip.Addr, now time.Time) bool {
	return q.addresses.failures.Wait(q.address(from), now) > 0
}

// Call counts a call of the API: of a token, or of the address of a caller that
// has none. Standing is what is left.
func (q *Quotas) Call(token string, from netip.Addr, door Door, now time.Time) (Standing, *Exceeded) {
	policy, sketch, key, name := &q.token.calls, q.tokens.calls, q.name(token), token
	if token == "" {
		policy, sketch, key, name = &q.addr.calls, q.addresses.calls, q.address(from), from.String()
	}
	over := policy.refuse(door, name, sketch.Take(key, now))
	return sketch.standing(policy, key, now), over
}

// Hear counts a call by which a device, or the token that speaks for it, asks for
// what the hub has to say, answers, or reports its configuration.
func (q *Quotas) Hear(device, token string, from netip.Addr, door Door, now time.Time) (Standing, *Exceeded) {
	if token != "" {
		return q.Call(token, from, door, now)
	}
	key := q.name(device)
	over := q.device.calls.refuse(door, device, q.hearing.Take(key, now))
	return q.hearing.standing(&q.device.calls, key, now), over
}

// Begin counts a call of a token as under way until Done; nobody's calls are
// counted by their connections alone.
func (q *Quotas) Begin(token string, door Door) *Exceeded {
	if token == "" {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.calling[token] >= q.cfg.Token.Connections {
		return q.token.connections.refuse(door, token, crowded)
	}
	q.calling[token]++
	return nil
}

// Done ends a call that Begin let in.
func (q *Quotas) Done(token string) {
	if token == "" {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.calling[token]--; q.calling[token] == 0 {
		delete(q.calling, token)
	}
}

// Place counts a call by which a token of role scheduler places work, which no
// other call of it is counted with.
func (q *Quotas) Place(token string, door Door, now time.Time) (Standing, *Exceeded) {
	key := q.name(token)
	over := q.token.placements.refuse(door, token, q.tokens.placements.Take(key, now))
	return q.tokens.placements.standing(&q.token.placements, key, now), over
}

// Series is how many series a device may have.
func (q *Quotas) Series() int { return q.cfg.Device.Series }

// NewSeries counts a series that the sender of a device's message begins, or returns
// which quota is used up and counts nothing. A nil sender is nobody.
func (q *Quotas) NewSeries(s *Sender, now time.Time) *Exceeded {
	if s == nil || s.token|s.address == 0 {
		return nil
	}
	if wait := q.tokens.series.Wait(s.token, now); s.token != 0 && wait > 0 {
		return q.token.series.refuse(s.Door, s.name, wait)
	}
	if wait := q.addresses.series.Wait(s.address, now); s.address != 0 && wait > 0 {
		return q.addr.series.refuse(s.Door, s.from.String(), wait)
	}
	if s.token != 0 {
		q.tokens.series.Charge(s.token, 1, now)
	}
	if s.address != 0 {
		q.addresses.series.Charge(s.address, 1, now)
	}
	return nil
}

// RefusedSeries counts a sample of a device that has as many series as it may.
func (q *Quotas) RefusedSeries(s *Sender) {
	if s == nil {
		s = &q.nobody
	}
	q.device.series.refused[s.Door].Inc()
}

func (q *Quotas) address(a netip.Addr) Key {
	origin := Origin(a).Addr().As16()
	return Key(cmp.Or(maphash.Bytes(q.seed, origin[:]), 1))
}

func (q *Quotas) name(s string) Key { return Key(cmp.Or(maphash.String(q.seed, s), 1)) }

func (q *Quotas) pair(from netip.Addr, device string) Key {
	return q.address(from)*0x9e3779b97f4a7c15 ^ q.name(device)
}
