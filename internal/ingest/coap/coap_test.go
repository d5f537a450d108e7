package coap_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/message/pool"
	"github.com/plgd-dev/go-coap/v3/udp"
	"github.com/plgd-dev/go-coap/v3/udp/client"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/ingest/coap"
	"github.com/songhua-io/hub/internal/ingest/doortest"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

// house is a hub with the CoAP door on a socket of this machine.
type house struct {
	*doortest.Hub
	door *coap.Door
	addr string
}

func open(tb testing.TB, cfg coap.Config) *house { return openWith(tb, cfg, ingest.DefaultConfig()) }

func openWith(tb testing.TB, cfg coap.Config, bounds ingest.Config, quotas ...func(*quota.Config)) *house {
	tb.Helper()
	hub := doortest.Start(tb, bounds, quotas...)
	door := coap.New(cfg, coap.Deps{Pipeline: hub.Pipeline, Gate: hub, Mail: &hub.Mail, Quotas: hub.Quotas, Log: hub.Log, Clock: time.Now, Metrics: hub.Metrics})
	conn := listen(tb)
	h := &house{hub, door, conn.LocalAddr().String()}
	h.run(tb, func(ctx context.Context) error { return door.Serve(ctx, conn) })
	hub.Register("t1", telemetry.KindSensor)
	hub.Register("t2", telemetry.KindSensor)
	hub.Register("gw", telemetry.KindGateway)
	hub.Allow("gw", "t1")
	hub.Allow("gw", "ghost")
	return h
}

func listen(tb testing.TB) *net.UDPConn {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		tb.Fatal(err)
	}
	return conn
}

// run serves until the test ends.
func (h *house) run(tb testing.TB, serve func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx) }()
	tb.Cleanup(func() {
		h.Release()
		cancel()
		if err := <-ended; err != nil {
			tb.Errorf("door ended: %v", err)
		}
	})
}

func (h *house) dial(tb testing.TB, opts ...udp.Option) *client.Conn {
	tb.Helper()
	cc, err := udp.Dial(h.addr, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = cc.Close() })
	return cc
}

// patience is how long a test waits for what a machine that is busy with others does
// in its own time.
const patience = 2 * time.Minute

func within(tb testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	tb.Cleanup(cancel)
	return ctx
}

func token(device string) message.Option {
	return message.Option{ID: message.URIQuery, Value: []byte("token=" + doortest.Secret(device))}
}

// post sends a confirmable request and returns code and payload of its answer.
func post(tb testing.TB, cc *client.Conn, path string, format message.MediaType, body string, opts ...message.Option) (codes.Code, string, *pool.Message) {
	tb.Helper()
	resp, err := cc.Post(within(tb, patience), path, format, strings.NewReader(body), opts...)
	if err != nil {
		tb.Fatalf("%s: %v", path, err)
	}
	payload, err := resp.ReadBody()
	if err != nil {
		tb.Fatal(err)
	}
	return resp.Code(), string(payload), resp
}

func now() int64 { return time.Now().UnixMilli() }

func TestEveryFormatIsStoredBeforeItIsAnswered(t *testing.T) {
	h := open(t, coap.DefaultConfig())
	cc := h.dial(t)
	for _, c := range []struct {
		path   string
		format message.MediaType
		body   string
	}{
		{"/devices/t1/telemetry", 110, fmt.Sprintf(`[{"bn":"t1:","bt":%d,"n":"temperature","u":"Cel","v":21.5}]`, now()/1000)},
		{"/devices/t1/telemetry", message.AppJSON, fmt.Sprintf(`{"ts":%d,"pressure":1013}`, now())},
		{"/devices/t1/telemetry", message.TextPlain, fmt.Sprintf("air,room=a co2=400 %d", now()*1e6)},
		{"/devices/t1/telemetry", message.AppOctets, fmt.Sprintf(`{"ts":%d,"found":1}`, now())},
		{"/devices/t1/telemetry/influx", message.AppOctets, fmt.Sprintf("noise value=55 %d", now()*1e6)},
	} {
		if code, body, _ := post(t, cc, c.path, c.format, c.body, token("t1")); code != codes.Changed || body != "" {
			t.Errorf("%s: answered %v %s", c.body, code, body)
		}
	}
	want := map[string][]float64{
		"temperature{device=t1}": {21.5}, "pressure{device=t1}": {1013}, "air_co2{device=t1,room=a}": {400},
		"found{device=t1}": {1}, "noise{device=t1}": {55},
	}
	if diff := cmp.Diff(want, h.Values()); diff != "" {
		t.Error(diff)
	}
}

func TestAnswersOfTheContract(t *testing.T) {
	h := open(t, coap.DefaultConfig())
	cc := h.dial(t)
	good := `{"temperature":1}`
	for _, c := range []struct {
		name, path string
		format     message.MediaType
		body       string
		opts       []message.Option
		code       codes.Code
	}{
		{"no token", "/devices/t1/telemetry", 50, good, nil, codes.Unauthorized},
		{"wrong token", "/devices/t1/telemetry", 50, good, []message.Option{{ID: message.URIQuery, Value: []byte("token=guess")}}, codes.Unauthorized},
		{"another's path", "/devices/t2/telemetry", 50, good, []message.Option{token("t1")}, codes.Forbidden},
		{"a child that is not registered", "/devices/ghost/telemetry", 50, good, []message.Option{token("gw")}, codes.NotFound},
		{"unreadable", "/devices/t1/telemetry", 50, "{", []message.Option{token("t1")}, codes.BadRequest},
		{"all rejected", "/devices/t1/telemetry", 50, `{"ts":5,"temperature":1}`, []message.Option{token("t1")}, codes.BadRequest},
		{"unknown format", "/devices/t1/telemetry", message.AppXML, good, []message.Option{token("t1")}, codes.UnsupportedMediaType},
		{"V2X", "/devices/t1/v2x", 42, "00", []message.Option{token("t1")}, codes.UnsupportedMediaType},
		{"nothing there", "/sensors", 50, good, []message.Option{token("t1")}, codes.NotFound},
	} {
		code, body, _ := post(t, cc, c.path, c.format, c.body, c.opts...)
		if code != c.code || body == "" {
			t.Errorf("%s: answered %v %q, want %v", c.name, code, body, c.code)
		}
	}
	if h.Points() != 0 {
		t.Errorf("%d points were stored", h.Points())
	}
}

func TestALargeMessageComesInBlocks(t *testing.T) {
	h := open(t, coap.DefaultConfig())
	var lines bytes.Buffer
	at := now() * 1e6
	for i := range 3000 {
		fmt.Fprintf(&lines, "soil,probe=p%d moisture=%d %d\n", i%10, i, at-int64(i)*1e6)
	}
	if lines.Len() < 100<<10 {
		t.Fatalf("only %d bytes", lines.Len())
	}
	if code, body, _ := post(t, h.dial(t), "/devices/t1/telemetry", message.TextPlain, lines.String(), token("t1")); code != codes.Changed {
		t.Fatalf("answered %v %s", code, body)
	}
	if h.Points() != 3000 {
		t.Errorf("%d points were stored", h.Points())
	}
}
