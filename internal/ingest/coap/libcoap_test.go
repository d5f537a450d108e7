package coap_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/ingest/coap"
	"github.com/songhua-io/hub/internal/ingest/doortest"
)

// libcoap runs a client of libcoap3-bin and returns what it printed.
func libcoap(t *testing.T, program string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is needed: install the Debian package libcoap3-bin", program)
		}
		t.Skipf("%s is not installed; it is in the Debian package libcoap3-bin", program)
	}
	out, err := exec.CommandContext(t.Context(), path, append([]string{"-B", "20"}, args...)...).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v", program, err)
	}
	return string(out)
}

// linesFile is line protocol of n samples, about 40 bytes each.
func linesFile(t *testing.T, n int) string {
	t.Helper()
	var b bytes.Buffer
	at := now()
	for i := range n {
		fmt.Fprintf(&b, "soil_%d,probe=p%d moisture=%d %d\n", n, i%10, i, (at-int64(i))*1e6)
	}
	path := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLibcoapClients(t *testing.T) {
	h := open(t, coap.DefaultConfig())
	secure := h.secure(t, coap.Certificates{})
	plain := "coap://" + h.addr + "/devices/t1/telemetry?token=" + doortest.Secret("t1")

	t.Run("resources", func(t *testing.T) {
		if out := libcoap(t, "coap-client-notls", "-m", "get", "coap://"+h.addr+"/.well-known/core"); !strings.Contains(out, `rt="telemetry";if="hub.report";ct="110 112 50 0"`) {
			t.Errorf("printed %q", out)
		}
	})
	t.Run("one message", func(t *testing.T) {
		before := h.Points()
		out := libcoap(t, "coap-client-notls", "-m", "post", "-t", "50", "-e", `{"temperature":21}`, plain)
		if h.Points() != before+1 || strings.TrimSpace(out) != "" {
			t.Errorf("%d points, printed %q", h.Points()-before, out)
		}
	})
	t.Run("a wrong token", func(t *testing.T) {
		before := h.Points()
		if out := libcoap(t, "coap-client-notls", "-m", "post", "-t", "50", "-e", `{"temperature":21}`, plain+"x"); h.Points() != before || !strings.Contains(out, "4.01") {
			t.Errorf("%d points, printed %q", h.Points()-before, out)
		}
	})
	t.Run("blocks", func(t *testing.T) {
		before := h.Points()
		out := libcoap(t, "coap-client-notls", "-m", "post", "-t", "0", "-f", linesFile(t, 3000), plain)
		if h.Points() != before+3000 {
			t.Errorf("%d points, printed %q", h.Points()-before, out)
		}
	})
	for i, program := range []string{"coap-client-openssl", "coap-client-gnutls"} {
		t.Run(program, func(t *testing.T) {
			before := h.Points()
			out := libcoap(t, program, "-u", "t1", "-k", doortest.Secret("t1"), "-m", "post", "-t", "0", "-f", linesFile(t, 500+i),
				"coaps://"+secure+"/devices/t1/telemetry")
			if h.Points() != before+500+i {
				t.Errorf("%d points, printed %q", h.Points()-before, out)
			}
			if out := libcoap(t, program, "-B", "3", "-u", "t1", "-k", "guess", "-m", "post", "-t", "0", "-e", "a value=1",
				"coaps://"+secure+"/devices/t1/telemetry"); h.Points() != before+500+i {
				t.Errorf("a wrong key got in: %q", out)
			}
		})
	}
}
