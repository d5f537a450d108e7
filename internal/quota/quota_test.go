package quota

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// address is the n-th of a stranger's addresses.
func address(n int) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 0x0a000000+uint32(n))))
}

func with(change func(*Config)) *Quotas {
	cfg := DefaultConfig()
	change(&cfg)
	return New(cfg, noon, prometheus.NewRegistry())
}

func TestABurstGoesThroughAndThenOneAfterTheOther(t *testing.T) {
	s := NewSketch(Rate{3, 3 * time.Minute}, noon)
	a, b := s.Name("a"), s.Name("b")
	for i := range 3 {
		if wait := s.Take(a, noon); wait != 0 {
			t.Errorf("time %d waits %s", i, wait)
		}
	}
	if wait := s.Take(a, noon); wait != time.Minute || s.Wait(a, noon) != wait {
		t.Errorf("the fourth waits %s", wait)
	}
	if wait := s.Take(b, noon); wait != 0 {
		t.Errorf("another waits %s", wait)
	}
	if wait := s.Take(a, noon.Add(time.Minute)); wait != 0 {
		t.Errorf("a minute later it waits %s", wait)
	}
	if wait := s.Take(a, noon.Add(time.Minute)); wait == 0 {
		t.Error("a minute later it may twice")
	}
	if wait := s.Take(a, noon.Add(-24*time.Hour)); wait == 0 {
		t.Error("a clock that was set back lets it through")
	}
}

func TestWhatIsTooMuchIsOwed(t *testing.T) {
	var m Meter
	q := with(func(c *Config) { c.Device.BytesPerSecond = 1000 })
	if over := q.Messages(&m, "t1", nil, 1, 10_000, noon); over != nil {
		t.Fatalf("the first: %v", over)
	}
	over := q.Messages(&m, "t1", nil, 1, 1, noon)
	if over == nil || over.Policy.Name() != "device-bytes" || over.After < 8*time.Second || over.After > 9*time.Second {
		t.Fatalf("the second: %v", over)
	}
	if over := q.Messages(&m, "t1", nil, 1, 1, noon.Add(over.After-time.Millisecond)); over == nil {
		t.Error("before its time it is let through")
	}
	if over := q.Messages(&m, "t1", nil, 1, 1, noon.Add(over.After)); over != nil {
		t.Errorf("at its time: %v", over)
	}
}

func TestAFloodOfAddressesShutsFewOut(t *testing.T) {
	q := with(func(c *Config) { c.Address.FailuresPerMinute = 1 })
	for i := range 20_000 {
		_ = q.Failed(address(i), fmt.Sprint(i), MQTT, noon)
	}
	shut := 0
	for i := range 1000 {
		if q.Suspect(address(1_000_000+i), noon) {
			shut++
		}
	}
	if shut > 20 {
		t.Errorf("20,000 addresses that erred shut out %d of 1,000 others", shut)
	}
	for i := range 20_000 {
		if !q.Suspect(address(i), noon) {
			t.Fatalf("address %d erred, and is not known for it", i)
		}
	}
}

func TestAnAddressThatErredIsToldButItsNeighboursGetIn(t *testing.T) {
	q := with(func(c *Config) { c.Address.FailuresPerMinute = 30 })
	from := address(1)
	told := 0
	for range 50 {
		if q.Attempt(from, "t1", MQTT, noon) != nil {
			told++
		} else if q.Failed(from, "t1", MQTT, noon) != nil {
			t.Error("the address is out before the pair")
		}
	}
	if told != 30 {
		t.Errorf("about one device it erred %d times", 50-told)
	}
	if over := q.Attempt(from, "t2", MQTT, noon); over != nil {
		t.Errorf("another device of the address: %v", over)
	}
	if over := q.Attempt(address(2), "t1", MQTT, noon); over != nil {
		t.Errorf("the device from elsewhere: %v", over)
	}
	var over *Exceeded
	for i := range 20 {
		over = q.Failed(from, fmt.Sprint(i), MQTT, noon)
	}
	if over == nil || !over.Arriving() || over.After > 2*time.Second || !strings.Contains(over.Error(), "quotas.address.failures_per_minute") || !strings.Contains(over.ZH(), "请在") {
		t.Errorf("the address: %v", over)
	}
	if n := testutil.ToFloat64(q.addr.failures.refused[MQTT]); n != 40 {
		t.Errorf("%v are counted", n)
	}
}

// TestNewSeriesAreOfWhoSendsThem: a token and an address that begin too many are
// told when to come again, and devices of others begin theirs.
func TestNewSeriesAreOfWhoSendsThem(t *testing.T) {
	q := with(func(c *Config) {
		c.Token = TokenConfig{Connections: 1, CallsPerSecond: 1, PlacementCallsPerSecond: 1, SeriesPerHour: 60}
		c.Address.SeriesPerHour = 100
	})
	gateway, other, device := q.Sender(HTTP, "gw", address(1)), q.Sender(HTTP, "other", address(1)), q.Sender(MQTT, "", address(2))
	begin := func(s *Sender, n int, now time.Time) (over *Exceeded) {
		for range n {
			if over = q.NewSeries(s, now); over != nil {
				return over
			}
		}
		return nil
	}
	if over := begin(&gateway, 60, noon); over != nil {
		t.Fatal(over)
	}
	over := q.NewSeries(&gateway, noon)
	if over == nil || over.Policy.Name() != "token-series" || over.After != time.Minute || !strings.Contains(over.Error(), "token gw has used up its quota of series (quotas.token.series_per_hour); try again in 1m0s") {
		t.Fatalf("the 61st: %v", over)
	}
	if over := q.NewSeries(&gateway, noon.Add(over.After)); over != nil {
		t.Errorf("at its time: %v", over)
	}
	if over := begin(&other, 60, noon); over == nil || over.Policy.Name() != "address-series" {
		t.Errorf("100 of one address: %v", over)
	}
	if over := begin(&device, 100, noon); over != nil {
		t.Errorf("another address: %v", over)
	}
	if over := begin(nil, 1000, noon); over != nil {
		t.Errorf("the hub itself: %v", over)
	}
	if over := q.Messages(&Meter{}, "t1", &gateway, 1, 1, noon); over != nil {
		t.Errorf("its messages have no bound: %v", over)
	}
	if left := q.Standing(&Meter{}, &gateway, noon); left.Policy.Of != Device {
		t.Errorf("what is nearest to its end: %+v", left)
	}
}

func TestConnectionsOfAddressesThatErred(t *testing.T) {
	q := with(func(c *Config) { c.Address.FailuresPerMinute = 1 })
	_ = q.Failed(address(1), "", MQTTS, noon)
	begun, over := 0, 0
	for range 1000 {
		e := q.Enter(address(1), MQTT, noon)
		switch {
		case e == nil:
			continue
		case e.Over == nil:
			begun++
		case e.Over.Policy.Name() == "address-failures" && e.Over.Arriving():
			over++
		}
		e.Leave()
	}
	if begun != suspects.N || over != told.N {
		t.Errorf("%d connections began, %d were told to wait", begun, over)
	}
	if e := q.Enter(address(2), MQTTS, noon); e == nil || e.Over != nil {
		t.Error("another address is shut out")
	}
	if e := q.Enter(address(1), MQTT, noon.Add(time.Second)); e == nil || e.Over != nil {
		t.Error("a second later none may begin")
	}
}

func TestConnectionsOfAnAddress(t *testing.T) {
	q := with(func(c *Config) { c.Address.Connections = 2 })
	a, b := q.Enter(address(1), MQTT, noon), q.Enter(address(1), HTTP, noon)
	var told []*Entry
	for range 1000 {
		if e := q.Enter(address(1), MQTT, noon); e != nil {
			if e.Over == nil || e.Over.Policy.Name() != "address-connections" || e.Over.Arriving() {
				t.Fatalf("over its quota: %v", e.Over)
			}
			told = append(told, e)
		}
	}
	if len(told) != maxWaiting {
		t.Errorf("%d connections wait to be told", len(told))
	}
	if e := q.Enter(address(1), MQTTS, noon); e != nil {
		t.Error("an encrypted connection costs a handshake to be told")
	}
	if e := q.Enter(address(2), MQTT, noon); e == nil || e.Over != nil {
		t.Error("another address is refused")
	}
	for _, e := range append(told, a, a) {
		e.Leave()
	}
	if e := q.Enter(address(1), MQTT, noon); e == nil || e.Over != nil {
		t.Error("there is no room again")
	}
	b.Leave()
}

func TestNewConnectionsOfAnAddress(t *testing.T) {
	q := with(func(c *Config) { c.Address.ConnectionsPerSecond = 2 })
	for i := range 20 {
		e := q.Enter(address(1), MQTT, noon)
		if e == nil || e.Over != nil {
			t.Fatalf("connection %d: %v", i, e)
		}
		e.Leave()
	}
	e := q.Enter(address(1), MQTT, noon)
	if e == nil || e.Over == nil || !e.Over.Arriving() || e.Over.After != time.Second/2 {
		t.Fatalf("the 21st: %+v", e)
	}
	if e := q.Enter(address(1), MQTT, noon.Add(e.Over.After)); e == nil || e.Over != nil {
		t.Error("at its time it is refused")
	}
}

func TestConnectionsOfADevice(t *testing.T) {
	q := with(func(c *Config) { c.Device.Connections = 1 })
	a, b := q.Enter(address(1), MQTT, noon), q.Enter(address(2), CoAPS, noon)
	if over := a.As("t1", false); over != nil {
		t.Fatal(over)
	}
	over := b.As("t1", false)
	if over == nil || over.Policy.Name() != "device-connections" || over.Arriving() {
		t.Fatalf("a second: %v", over)
	}
	if over := q.Within(WebSocket).As("t1", true); over != nil {
		t.Errorf("one that takes the place of another: %v", over)
	}
	a.Leave()
	a.Leave()
	if over := b.As("t2", false); over != nil {
		t.Errorf("of another device: %v", over)
	}
}

func TestTokensAndAddressesHaveQuotasOfMessages(t *testing.T) {
	q := with(func(c *Config) { c.Token.MessagesPerSecond, c.Address.BytesPerSecond = 10, 100 })
	for _, c := range []struct {
		name, token string
		want        string
	}{{"a token", "gw", "token-messages"}, {"an address", "", "address-bytes"}} {
		s := q.Sender(HTTP, c.token, address(len(c.token)))
		var meters [100]Meter // each device sends one
		var over *Exceeded
		for i := range meters {
			if over = q.Messages(&meters[i], "d", &s, 1, 4, noon); over != nil {
				break
			}
		}
		if over == nil || over.Policy.Name() != c.want {
			t.Fatalf("%s: %v", c.name, over)
		}
		var fresh Meter
		if over := q.Messages(&fresh, "d", &s, 1, 4, noon.Add(over.After)); over != nil {
			t.Errorf("%s, at its time: %v", c.name, over)
		}
		if other := q.Sender(HTTP, c.token+"2", address(99)); q.Messages(&Meter{}, "d", &other, 1, 4, noon) != nil {
			t.Errorf("%s: another is held back", c.name)
		}
	}
}

func TestCallsAndTheirHeaderFields(t *testing.T) {
	q := with(func(c *Config) { c.Token.CallsPerSecond, c.Address.CallsPerSecond = 2, 1 })
	left, over := q.Call("ops", address(1), HTTP, noon)
	policy, limit := left.Fields()
	if over != nil || policy != `"token-calls";q=4;w=2` || limit != `"token-calls";r=3;t=1` {
		t.Errorf("%v %s %s", over, policy, limit)
	}
	for range 3 {
		_, over = q.Call("", address(1), HTTP, noon)
	}
	header := map[string][]string{}
	over.Set(header)
	if fmt.Sprint(header) != `map[Ratelimit:["address-calls";r=0;t=1] Ratelimit-Policy:["address-calls";q=2;w=2] Retry-After:[1]]` {
		t.Errorf("%v", header)
	}
	if _, over := q.Call("", address(1), HTTP, noon.Add(time.Second)); over != nil {
		t.Errorf("after a second: %v", over)
	}
	var err error = over
	if e := (*Exceeded)(nil); !errors.As(err, &e) {
		t.Error("it is no error")
	}
}

func TestPlacementsAndOtherCallsOfASchedulerAreTwoQuotas(t *testing.T) {
	q := with(func(c *Config) { c.Token.CallsPerSecond, c.Token.PlacementCallsPerSecond = 1, 2 })
	for n := range 5 {
		left, over := q.Place("s1", HTTP, noon)
		if policy, _ := left.Fields(); (over != nil) != (n == 4) || policy != `"token-placements";q=4;w=2` {
			t.Errorf("placement %d: %v, %s", n, over, policy)
		}
	}
	for n := range 3 {
		if _, over := q.Call("s1", address(1), HTTP, noon); (over != nil) != (n == 2) {
			t.Errorf("call %d: %v", n, over)
		}
	}
	if _, over := q.Place("s2", HTTP, noon); over != nil {
		t.Errorf("another is held back: %v", over)
	}
}

func TestWhatIsNearestToItsEndIsTold(t *testing.T) {
	q := with(func(c *Config) {
		c.Device = DeviceConfig{Connections: 1, MessagesPerSecond: 100, BytesPerSecond: 1000, SamplesPerSecond: 100, Series: 1, CallsPerSecond: 1}
	})
	var m Meter
	_ = q.Messages(&m, "t1", nil, 10, 1000, noon)
	policy, limit := q.Standing(&m, &Sender{}, noon).Fields()
	if policy != `"device-bytes";q=2000;w=2;qu="content-bytes"` || limit != `"device-bytes";r=1000;t=1` {
		t.Errorf("%s %s", policy, limit)
	}
}

func TestOneSubscriberIsOneAddress(t *testing.T) {
	for a, b := range map[string]string{"192.0.2.1": "::ffff:192.0.2.1", "2001:db8::1": "2001:db8::ffff:1", "fe80::1": "fe80::1%eth0"} {
		if Origin(netip.MustParseAddr(a)) != Origin(netip.MustParseAddr(b)) {
			t.Errorf("%s and %s are two", a, b)
		}
	}
	if Origin(netip.MustParseAddr("192.0.2.1")) == Origin(netip.MustParseAddr("192.0.2.2")) {
		t.Error("two are one")
	}
}

func BenchmarkMessages(b *testing.B) {
	q := with(func(c *Config) {
		c.Device = DeviceConfig{Connections: 1, MessagesPerSecond: 1 << 30, BytesPerSecond: 1 << 30, SamplesPerSecond: 1 << 30, Series: 1, CallsPerSecond: 1}
	})
	var m Meter
	s := q.Sender(MQTT, "", address(1))
	b.ReportAllocs()
	for b.Loop() {
		if over := q.Messages(&m, "t1", &s, 1, 40, noon); over != nil {
			m = Meter{}
		}
		q.Samples(&m, 1, noon)
	}
}

func BenchmarkFailed(b *testing.B) {
	q := with(func(*Config) {})
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		_ = q.Failed(address(i), "t1", MQTT, noon)
	}
}
