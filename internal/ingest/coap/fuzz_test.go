package coap

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	gocoap "github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/udp/coder"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/ingest/doortest"
	"github.com/songhua-io/hub/internal/telemetry"
)

func newTestDoor(tb testing.TB, cfg Config) (*Door, *doortest.Hub) {
	hub := doortest.Start(tb, ingest.DefaultConfig())
	hub.Register("t1", telemetry.KindSensor)
	return New(cfg, Deps{Pipeline: hub.Pipeline, Gate: hub, Mail: &hub.Mail, Quotas: hub.Quotas, Log: hub.Log, Clock: time.Now, Metrics: hub.Metrics}), hub
}

// corpus is datagrams of every kind, whole and broken.
func corpus() [][]byte {
	post := []byte("\x44\x02\x00\x07toto\xb7devices\x02t1\x09telemetry\x11\x32\x3d\x05token=secret-of-t1\xff{\"a\":1}")
	all := [][]byte{
		post, {0x40, 0, 0, 1}, {0x40, 1, 0, 1, 0xff}, {0x60, 0, 0, 1}, {0x70, 0, 0, 1}, {0x49, 1, 0, 1}, {0x80, 1, 0, 1}, {}, {0x40},
		[]byte("\x40\x01\x00\x01\xbb.well-known\x04core"),
		[]byte("\x40\x01\x00\x01\xbb.well-known\x04core\xc1\x02"),
		[]byte("\x40\x02\x00\x01\xb7devices\x02t1\x09telemetry\xd1\x03\x0e\xff0123456789abcdef"),
		[]byte("\x40\x02\x00\x01\xb7devices\x02t1\x03v2x"),
		[]byte("\x40\x01\x00\x01\xe0\x00\x00"), []byte("\x40\x01\x00\x01\xd0"), []byte("\x40\x01\x00\x01\x0f\xff\xff"),
		bytes.Repeat([]byte{0x40, 1, 0, 1, 0xb1, 'a'}, 50),
	}
	for i := range post {
		all = append(all, post[:i])
	}
	return all
}

// Whatever a stranger sends: the door does not fall over, keeps nothing of it,
// and answers at most three times as much.
func FuzzStrangers(f *testing.F) {
	for _, b := range corpus() {
		f.Add(b)
	}
	door, hub := newTestDoor(f, DefaultConfig())
	hub.Revoke("t1")
	burst := door.newBurst(1)
	f.Fuzz(func(t *testing.T, b []byte) {
		x := &burst.exchanges[0]
		x.from, x.datagram = endpoint{addr: netip.MustParseAddrPort("127.0.0.1:40000")}, b
		burst.handle(1)
		if len(x.out) > amplification*len(b) {
			t.Errorf("% x of %d bytes was answered with %d", b, len(b), len(x.out))
		}
		if transfers, _ := door.transfers.size(); door.memory.size() != 0 || transfers != 0 || hub.Commits() != 0 {
			t.Errorf("% x left something behind", b)
		}
	})
}

// Where go-coap's decoder reads a message too, both read the same.
func FuzzParse(f *testing.F) {
	for _, b := range corpus() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m message
		if m.parse(b) != wellFormed || m.code == empty {
			return
		}
		theirs := gocoap.Message{Options: make(gocoap.Options, 0, 64)}
		if _, err := coder.DefaultCoder.Decode(b, &theirs); err != nil {
			return // go-coap is stricter with the values of single options
		}
		if uint8(theirs.Type) != m.kind || uint8(theirs.Code) != uint8(m.code) || theirs.MessageID != int32(m.id) ||
			!bytes.Equal(theirs.Token, m.token) || !bytes.Equal(theirs.Payload, m.payload) {
			t.Errorf("% x: go-coap reads %+v, the door %+v", b, theirs, m)
		}
		depth := 0
		for _, o := range theirs.Options {
			if o.ID == optUriPath {
				if depth < maxSegments && !bytes.Equal(o.Value, m.path[depth]) {
					t.Errorf("% x: segment %d is %q and %q", b, depth, o.Value, m.path[depth])
				}
				depth++
			}
		}
	})
}

func TestPlainCoAPFromOtherMachinesIsRefused(t *testing.T) {
	ask := corpus()[0]
	for _, c := range []struct {
		from string
		open bool
		want code
	}{
		{"127.0.0.1:1", false, changed}, {"[::1]:1", false, changed}, {"[::ffff:127.0.0.1]:1", false, changed},
		{"192.0.2.1:1", false, forbidden}, {"[2001:db8::1]:1", false, forbidden}, {"192.0.2.1:1", true, changed},
	} {
		cfg := DefaultConfig()
		cfg.PlainBeyondLoopback = c.open
		door, hub := newTestDoor(t, cfg)
		burst := door.newBurst(1)
		x := &burst.exchanges[0]
		x.from, x.datagram = endpoint{addr: netip.MustParseAddrPort(c.from)}, ask
		burst.handle(1)
		if len(x.out) < 2 || code(x.out[1]) != c.want {
			t.Errorf("%s, open %v: answered % x, want %v", c.from, c.open, x.out, c.want)
		}
		if stored := hub.Points() == 1; stored != (c.want == changed) {
			t.Errorf("%s: stored %v", c.from, stored)
		}
	}
}

func TestMemoryIsBoundedAndForgets(t *testing.T) {
	m := newMemory(1000)
	now := time.Now()
	from := netip.MustParseAddrPort("127.0.0.1:1")
	print := func(i int) fingerprint { return m.fingerprint(from, []byte{byte(i), byte(i >> 8), byte(i >> 16)}) }
	for i := range 10_000 {
		if !m.begin(print(i), now) {
			t.Fatalf("datagram %d is known", i)
		}
		m.accepted(print(i))
	}
	if n := m.size(); n > 1000 {
		t.Errorf("%d are remembered", n)
	}
	if m.begin(print(9_999), now) || m.look(print(9_999)) == nil {
		t.Error("the newest is forgotten")
	}
	if m.fingerprint(from, []byte("a")) == m.fingerprint(netip.MustParseAddrPort("127.0.0.1:2"), []byte("a")) {
		t.Error("two senders share a datagram")
	}
	m.begin(print(20_000), now.Add(2*exchangeLifetime))
	m.begin(print(20_001), now.Add(4*exchangeLifetime))
	if m.look(print(9_999)) != nil {
		t.Error("one is remembered beyond its lifetime")
	}
}

// A burst of several senders is stored with one commit.
func TestABurstIsOneCommit(t *testing.T) {
	door, hub := newTestDoor(t, DefaultConfig())
	burst := door.newBurst(64)
	for i := range 64 {
		b := bytes.Clone(corpus()[0])
		b[3] = byte(i)
		burst.exchanges[i].from, burst.exchanges[i].datagram = endpoint{addr: netip.AddrPortFrom(netip.IPv6Loopback(), uint16(i+1))}, b
	}
	burst.handle(64)
	for i := range 64 {
		if out := burst.exchanges[i].out; len(out) < 4 || code(out[1]) != changed || out[3] != byte(i) {
			t.Errorf("datagram %d was answered % x", i, out)
		}
	}
	if hub.Commits() != 1 || hub.Points() != 64 {
		t.Errorf("%d commits of %d points", hub.Commits(), hub.Points())
	}
}

// A sender that goes silent within a message gives its memory back.
func TestTransfersOfSilentSendersAreForgotten(t *testing.T) {
	tr := newTransfers(DefaultConfig())
	now := time.Now()
	key := transferKey{from: netip.MustParseAddrPort("127.0.0.1:1"), sender: "t1", resource: "t1"}
	if _, a, _ := tr.add(key, block{set: true, more: true}, 0, make([]byte, 16), now); a.code != continues {
		t.Fatalf("answered %v", a.code)
	}
	tr.sweep(now.Add(transferIdle / 2))
	if n, bytes := tr.size(); n != 1 || bytes != 16 {
		t.Errorf("%d transfers of %d bytes", n, bytes)
	}
	tr.sweep(now.Add(2 * transferIdle))
	if n, bytes := tr.size(); n != 0 || bytes != 0 || len(tr.byAddr) != 0 {
		t.Errorf("%d transfers of %d bytes are left", n, bytes)
	}
}
