package http_test

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/prompb"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/ingest/doortest"
	"github.com/songhua-io/hub/internal/ingest/http"
	"github.com/songhua-io/hub/internal/telemetry"
)

// TestWhatTheDoorRefusesIsAReject sends what the door does not read, as a
// device that it knows and as a stranger.
func TestWhatTheDoorRefusesIsAReject(t *testing.T) {
	cfg := http.DefaultConfig()
	cfg.MaxBody, cfg.MaxDevices = 1<<20, 1
	h := open(t, cfg)
	const own = "/api/v1/devices/t1/telemetry"
	bomb := gzipped(t, make([]byte, 100<<20))
	torn := gzipped(t, []byte(`{"a":1}`))
	torn[len(torn)-8]++ // its checksum
	for _, c := range []struct {
		name, path, contentType, encoding string
		sender, device                    string
		body                              []byte
		code                              int
		reason                            telemetry.Reason
	}{
		{"a large body", own, "", "", "t1", "t1", make([]byte, 1<<20+1), 413, telemetry.ReasonTooLarge},
		{"a bomb", own, "", "gzip", "t1", "t1", bomb, 413, telemetry.ReasonDecompression},
		{"no gzip", own, "", "gzip", "t1", "t1", []byte("x"), 400, telemetry.ReasonMalformed},
		{"damaged gzip", own, "", "gzip", "t1", "t1", torn, 400, telemetry.ReasonMalformed},
		{"no zstd", own, "", "zstd", "t1", "t1", []byte("xxxxxxxxxx"), 400, telemetry.ReasonMalformed},
		{"a coding", own, "", "br", "t1", "t1", []byte("x"), 415, telemetry.ReasonUnsupported},
		{"a type", own, "image/png", "", "t1", "t1", []byte("x"), 415, telemetry.ReasonUnsupported},
		{"a format", own + "/xml", "", "", "t1", "t1", []byte("x"), 415, telemetry.ReasonUnsupported},
		{"V2X", "/api/v1/devices/t1/v2x", "", "", "t1", "t1", []byte("x"), 415, telemetry.ReasonUnsupported},
		{"of a gateway's child", own, "image/png", "", "gw", "t1", []byte("x"), 415, telemetry.ReasonUnsupported},
		{"many devices", "/api/v2/write", "", "", "gw", "gw", []byte("a,device=t1 v=1\na,device=t2 v=1"), 413, telemetry.ReasonTooLarge},
		{"remote write of a type", "/prometheus/api/v1/write", "text/plain", "", "t1", "t1", []byte("x"), 415, telemetry.ReasonUnsupported},
		{"OTLP of a type", "/prometheus/api/v1/otlp/v1/metrics", "text/plain", "", "t1", "t1", []byte("x"), 415, telemetry.ReasonUnsupported},
	} {
		before := len(h.Desk())
		a := h.post(t, c.path, doortest.Secret(c.sender), c.contentType, bytes.NewReader(c.body), "Content-Encoding", c.encoding)
		kept := h.Desk()[before:]
		if a.code != c.code || len(kept) != 1 || len(kept[0].Rejects) != 1 {
			t.Errorf("%s: answered %d %s, kept %v", c.name, a.code, a.body, kept)
			continue
		}
		r := kept[0].Rejects[0]
		if r.Detail == "" {
			t.Errorf("%s: the reject says nothing", c.name)
		}
		r.Detail = ""
		if diff := cmp.Diff(doortest.Kept{Device: c.device, Rejects: []telemetry.Reject{{Index: -1, Stage: telemetry.StageDoor, Reason: c.reason}}},
			doortest.Kept{Device: kept[0].Device, Payload: kept[0].Payload, Rejects: []telemetry.Reject{r}}); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		a = h.post(t, c.path, "guess", c.contentType, bytes.NewReader(c.body), "Content-Encoding", c.encoding)
		if n := len(h.Desk()) - before; a.code != 401 || n != 1 {
			t.Errorf("%s of a stranger: answered %d, kept %d", c.name, a.code, n-1)
		}
	}
}

// TestAFullHubSaysSo fills what waits for the store, and then the memory for
// bodies.
func TestAFullHubSaysSo(t *testing.T) {
	bounds := ingest.DefaultConfig()
	bounds.MaxPending = 1
	cfg := http.DefaultConfig()
	cfg.MaxMemory = 100 << 10
	h := openWith(t, cfg, bounds)
	h.Hold()
	first := make(chan answer, 1)
	go func() {
		first <- h.post(t, "/api/v1/devices/t2/telemetry", doortest.Secret("t2"), "application/json", strings.NewReader(`{"a":1}`))
	}()
	for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() {
		if families, err := h.Metrics.Gather(); err != nil || time.Now().After(deadline) {
			t.Fatalf("nothing waits for the store: %v", err)
		} else if i := indexOf(families, "hub_ingest_pending_samples"); i >= 0 && families[i].Metric[0].GetGauge().GetValue() > 0 {
			break
		}
	}
	for _, c := range []struct {
		path, contentType string
		body              io.Reader
		code              int
	}{
		{"/api/v1/devices/t1/telemetry", "application/json", strings.NewReader(`{"a":1}`), 429},
		{"/api/v1/devices/t1/telemetry", "application/json", strings.NewReader(fmt.Sprintf(`{"%s":1}`, strings.Repeat("x", 200<<10))), 429},
		{"/api/v2/write", "", strings.NewReader("a v=1"), 429},
	} {
		a := h.post(t, c.path, doortest.Secret("t1"), c.contentType, c.body)
		if a.code != c.code || a.header.Get("Retry-After") != "1" {
			t.Errorf("%s answered %d %s, Retry-After %q", c.path, a.code, a.body, a.header.Get("Retry-After"))
		}
	}
	// Prometheus would give up what is answered 429.
	a := h.write(t, "t1", version1, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{series1(1, now(), "__name__", "up")}})
	if a.code != 503 || a.header.Get("Retry-After") != "1" {
		t.Errorf("remote write answered %d %s, Retry-After %q", a.code, a.body, a.header.Get("Retry-After"))
	}
	h.Release()
	if a := <-first; a.code != 200 {
		t.Errorf("what waited was answered %d %s", a.code, a.body)
	}
	if kept := h.Desk(); len(kept) != 0 {
		t.Errorf("what may be sent again is no reject: %v", kept)
	}
}

func indexOf(families []*dto.MetricFamily, name string) int {
	return slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == name })
}
