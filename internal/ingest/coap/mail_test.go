package coap_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/message/pool"
	"github.com/plgd-dev/go-coap/v3/udp/client"

	"github.com/songhua-io/hub/internal/ingest/coap"
	"github.com/songhua-io/hub/internal/ingest/doortest"
)

// observe registers for a resource and returns what comes.
func observe(t *testing.T, cc *client.Conn, path string, opts ...message.Option) (got chan string, cancel func()) {
	t.Helper()
	got = make(chan string, 100)
	o, err := cc.Observe(within(t, patience), path, func(m *pool.Message) {
		body := ""
		if m.Body() != nil {
			b, err := io.ReadAll(m.Body())
			if err != nil {
				body = err.Error()
			}
			body += string(b)
		}
		got <- body
	}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return got, func() {
		if err := o.Cancel(within(t, patience), opts...); err != nil {
			t.Error(err)
		}
	}
}

func expect(t *testing.T, got chan string, want string) {
	t.Helper()
	for {
		select {
		case s := <-got:
			if s == "" && want != "" {
				continue // the answer to the registration shows nothing yet
			}
			if s != want {
				t.Fatalf("shown %.80q, want %.80q", s, want)
			}
			return
		case <-time.After(patience):
			t.Fatalf("%.80q did not come", want)
		}
	}
}

func TestCommandsByObserve(t *testing.T) {
	h := open(t, coap.DefaultConfig())
	secured := h.secure(t, coap.Certificates{})
	over, err := dialDTLS(t, secured, psk("t1", doortest.Secret("t1")))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cc   *client.Conn
		opts []message.Option
	}{
		"plain": {h.dial(t), []message.Option{token("t1")}},
		"dtls":  {over, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, cancel := observe(t, c.cc, "/devices/t1/commands", c.opts...)
			long := strings.Repeat("x", 3000) // comes in blocks
			for i, text := range []string{"first", long, "third"} {
				id := fmt.Sprintf("%s-%d", name, i)
				h.Mail.Post("t1", id, text)
				expect(t, got, text)
				eventually(t, "the command is confirmed", func() bool { return h.Mail.Received("t1", id) })
			}
			for _, r := range []struct {
				path, body string
				want       codes.Code
			}{
				{"/devices/t1/commands/" + name + "-0/reply", `{"state":"done"}`, codes.Changed},
				{"/devices/t1/commands/" + name + "-0/reply", `{"result":"` + long + `"}`, codes.Changed},
				{"/devices/t1/commands/unknown/reply", `{}`, codes.NotFound},
				{"/devices/t1/commands/" + name + "-0/reply", "bad", codes.BadRequest},
				{"/devices/t2/commands/" + name + "-0/reply", "{}", codes.Forbidden},
				{"/devices/t1/config/reported", `{"version":1}`, codes.Changed},
				{"/devices/t1/config/reported", `bad`, codes.BadRequest},
			} {
				if code, body, _ := post(t, c.cc, r.path, message.AppJSON, r.body, c.opts...); code != r.want {
					t.Errorf("%s with %.20s: %v %s", r.path, r.body, code, body)
				}
			}
			if reply, report := h.Mail.Said("t1", name+"-0"); reply != `{"result":"`+long+`"}` || report != `{"version":1}` {
				t.Errorf("the hub heard %.40q, %q", reply, report)
			}
			cancel()
			eventually(t, "nobody listens", func() bool { return h.Mail.Listeners("t1") == 0 })
		})
	}
}

func TestWantedConfigurationByObserve(t *testing.T) {
	h := open(t, coap.DefaultConfig())
	cc := h.dial(t)
	first := `{"version":1,"config":{"a":"` + strings.Repeat("x", 2500) + `"}}`
	h.Mail.Want("t1", first)
	m, err := cc.Get(within(t, patience), "/devices/t1/config", token("t1"))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := m.ReadBody(); err != nil || string(b) != first {
		t.Errorf("GET shows %.60q, %v", b, err)
	}
	got, cancel := observe(t, cc, "/devices/t1/config", token("t1"))
	expect(t, got, first)
	for i := 2; i < 6; i++ {
		next := fmt.Sprintf(`{"version":%d,"config":{"a":%q}}`, i, strings.Repeat("y", i*400))
		h.Mail.Want("t1", next)
		expect(t, got, next)
	}
	cancel()
	eventually(t, "nobody observes", func() bool { return h.gauge(t, "hub_coap_observers") == 0 })
}

// A device that restarts begins to observe from another port each time: the
// registrations that it left behind do not keep it out, and revocation ends
// them all.
func TestObserversAreBoundedAndEndWithTheirDevice(t *testing.T) {
	h := open(t, coap.DefaultConfig())
	for range 10 {
		observe(t, h.dial(t), "/devices/t1/commands", token("t1"))
	}
	if n := h.Mail.Listeners("t1"); n != 4 {
		t.Errorf("%d registrations are held", n)
	}
	h.Revoke("t1")
	eventually(t, "nobody listens", func() bool { return h.Mail.Listeners("t1") == 0 })
	if m, err := h.dial(t).Get(within(t, patience), "/devices/t2/commands", token("t2")); err != nil || m.Code() != codes.BadRequest {
		t.Errorf("without Observe: %v, %v", m, err)
	}
	if m, err := h.dial(t).Get(within(t, patience), "/devices/t2/commands", token("gw")); err != nil || m.Code() != codes.Forbidden {
		t.Errorf("another's commands: %v, %v", m, err)
	}
}

// A device that is taken from its gateway is observed there no more.
func TestAGatewayObservesItsListedDevicesAlone(t *testing.T) {
	h := open(t, coap.DefaultConfig())
	got, _ := observe(t, h.dial(t), "/devices/t1/commands", token("gw"))
	h.Mail.Post("t1", "c-1", "for its gateway")
	expect(t, got, "for its gateway")
	eventually(t, "it is confirmed", func() bool { return h.Mail.Received("t1", "c-1") })
	h.Deny("gw", "t1")
	h.Mail.Post("t1", "c-2", "for t1 alone")
	eventually(t, "the gateway does not listen", func() bool { return h.Mail.Listeners("t1") == 0 })
	own, _ := observe(t, h.dial(t), "/devices/t1/commands", token("t1"))
	expect(t, own, "for t1 alone")
	select {
	case s := <-got:
		t.Errorf("the gateway heard %q", s)
	default:
	}
}

// A reset tells that nobody observes any more (RFC 7641 section 3.6), and the
// command that it was about goes to the next who does.
func TestAResetEndsAnObservation(t *testing.T) {
	h := open(t, coap.DefaultConfig())
	raw, err := net.Dial("udp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	get := []byte{0x41, 1, 0, 1, 9, 0x60} // confirmable GET, token 9, Observe 0
	for i, s := range []string{"devices", "t1", "commands"} {
		delta := byte(0x50)
		if i > 0 {
			delta = 0
		}
		get = append(append(get, delta|byte(len(s))), s...)
	}
	query := "token=" + doortest.Secret("t1")
	get = append(append(get, 0x4d, byte(len(query)-13)), query...)
	if _, err := raw.Write(get); err != nil {
		t.Fatal(err)
	}
	read := func() []byte {
		b := make([]byte, 1500)
		if err := raw.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		n, err := raw.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return b[:n]
	}
	if b := read(); b[0]>>4&3 != 2 || b[1] != 2<<5|5 {
		t.Fatalf("registration answered % x", b)
	}
	h.Mail.Post("t1", "c-1", "go")
	b := read()
	if b[0]>>4&3 != 0 || b[1] != 2<<5|5 || !bytes.HasSuffix(b, []byte("\xffgo")) || b[4] != 9 {
		t.Fatalf("notification % x", b)
	}
	if _, err := raw.Write([]byte{0x70, 0, b[2], b[3]}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the registration is gone", func() bool { return h.Mail.Listeners("t1") == 0 })
	if h.Mail.Received("t1", "c-1") {
		t.Error("a reset counts as a confirmation")
	}
	got, _ := observe(t, h.dial(t), "/devices/t1/commands", token("t1"))
	expect(t, got, "go")
}

func TestLibcoapObserves(t *testing.T) {
	h := open(t, coap.DefaultConfig())
	h.Mail.Want("t1", `{"version":1}`)
	shown := make(chan string, 1)
	go func() {
		shown <- libcoap(t, "coap-client-notls", "-m", "get", "-s", "3", "-B", "20", fmt.Sprintf("coap://%s/devices/t1/config?token=%s", h.addr, doortest.Secret("t1")))
	}()
	eventually(t, "coap-client observes", func() bool { return h.gauge(t, "hub_coap_observers") == 1 })
	h.Mail.Want("t1", `{"version":2}`)
	if s := <-shown; !strings.Contains(s, `{"version":1}`) || !strings.Contains(s, `{"version":2}`) {
		t.Errorf("coap-client shows %s", s)
	}
}
