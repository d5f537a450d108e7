package edge

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/authority"
)

// issuer is the authority of a hub.
func issuer(t *testing.T) *authority.Authority {
	t.Helper()
	a, err := authority.Open(authority.Options{Dir: t.TempDir(), Config: authority.DefaultConfig(), Log: slog.New(slog.DiscardHandler),
		Clock: time.Now, Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, a *authority.Authority, csr string) credentials {
	t.Helper()
	req, err := authority.ParseRequest([]byte(csr))
	if err != nil {
		t.Fatal(err)
	}
	issued, err := a.Issue(t.Context(), "n1", req, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return credentials{Device: "n1", Certificate: string(issued.PEM), NotAfter: issued.NotAfter, CA: string(a.Root())}
}

// enrolled returns a renewer whose files are there.
func enrolled(t *testing.T, a *authority.Authority) *renewer {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Device, cfg.Data = "n1", t.TempDir()
	id := identityIn(cfg.Data)
	csr, err := id.request()
	if err != nil {
		t.Fatal(err)
	}
	if err := id.put(issue(t, a, csr)); err != nil {
		t.Fatal(err)
	}
	cfg.Uplink.TLS.CA, cfg.Uplink.TLS.Certificate, cfg.Uplink.TLS.Key = id.ca, id.certificate, id.key
	cfg.Uplink.Renew, cfg.Uplink.Secret = "http://127.0.0.1:1", "s"
	r, err := newRenewer(cfg, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestARenewalThatIsAnsweredWronglyChangesNothing(t *testing.T) {
	a := issuer(t)
	r := enrolled(t, a)
	stranger, err := identityIn(t.TempDir()).request()
	if err != nil {
		t.Fatal(err)
	}
	var answer func(w http.ResponseWriter, csr string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var in struct{ CSR string }
		if err := json.NewDecoder(req.Body).Decode(&in); err != nil || req.URL.Path != "/api/v1/renew" || req.Header.Get("Authorization") != "Bearer s" {
			t.Errorf("asked %s %v, %v", req.URL, req.Header, err)
		}
		answer(w, in.CSR)
	}))
	defer server.Close()
	r.hub = server.URL
	before, err := os.ReadFile(r.files.certificate)
	if err != nil {
		t.Fatal(err)
	}
	for says, with := range map[string]func(w http.ResponseWriter, csr string){
		"it is full": func(w http.ResponseWriter, _ string) {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"detail": "it is full"}`)
		},
		"is no hub":   func(w http.ResponseWriter, _ string) { fmt.Fprint(w, `{}`) },
		"another key": func(w http.ResponseWriter, _ string) { _ = json.NewEncoder(w).Encode(issue(t, a, stranger)) },
	} {
		answer = with
		if err := r.renew(t.Context()); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
		if now, err := os.ReadFile(r.files.certificate); err != nil || string(now) != string(before) {
			t.Errorf("%s: the certificate changed, %v", says, err)
		}
	}
	answer = func(w http.ResponseWriter, csr string) { _ = json.NewEncoder(w).Encode(issue(t, a, csr)) }
	if err := r.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now, err := os.ReadFile(r.files.certificate); err != nil || string(now) == string(before) {
		t.Errorf("the certificate is the same, %v", err)
	}
}

func TestRenewalsAreSpreadBeforeTwoThirdsOfACertificatesTime(t *testing.T) {
	a := issuer(t)
	waits := map[time.Duration]bool{}
	for range 5 {
		r := enrolled(t, a)
		wait, err := r.due()
		if err != nil || wait < 17*24*time.Hour || wait > 20*24*time.Hour {
			t.Errorf("it is due in %s, %v", wait, err)
		}
		waits[wait.Round(time.Minute)] = true
		later := time.Now().Add(21 * 24 * time.Hour)
		r.now = func() time.Time { return later }
		if wait, err := r.due(); err != nil || wait != 0 {
			t.Errorf("three weeks later it is due in %s, %v", wait, err)
		}
	}
	if len(waits) < 2 {
		t.Error("five that enrolled together renew together")
	}
}

func TestOnlyTheAgentsOwnAuthorityFileIsWritten(t *testing.T) {
	a := issuer(t)
	r := enrolled(t, a)
	if r.files.ca == "" {
		t.Error("the file that the enrolment wrote is not kept up to date")
	}
	theirs := filepath.Join(t.TempDir(), "ca.pem")
	cfg := DefaultConfig()
	cfg.Device, cfg.Data = "n1", t.TempDir()
	cfg.Uplink.TLS.CA, cfg.Uplink.TLS.Certificate, cfg.Uplink.TLS.Key = theirs, r.files.certificate, r.files.key
	other, err := newRenewer(cfg, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := other.files.request()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.files.put(issue(t, a, csr)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(theirs); err == nil {
		t.Error("a file that somebody else keeps was written")
	}
}

func TestAddressesOfRenewals(t *testing.T) {
	const certificate = "tls: {certificate: c.pem, key: k.pem}"
	for text, says := range map[string]string{
		certificate + ", renew: \"https://hub.example:8443\"":           "",
		"secret: s, renew: \"https://hub.example:8443\"":                "nothing to renew",
		certificate + ", renew: \"http://127.0.0.1:8080\"":              "no secret to show instead",
		certificate + ", secret: s, renew: \"http://127.0.0.1:8080\"":   "",
		certificate + ", secret: s, renew: \"http://hub.example:8080\"": "clear text",
		certificate + ", renew: hub.example":                            "no address of a hub",
	} {
		_, faults := ParseConfig([]byte("device: n1\nuplink: {" + text + "}\n"))
		if (says == "") != (len(faults) == 0) || len(faults) > 0 && !strings.Contains(faults[0].Error(), says) {
			t.Errorf("%s: %v", text, faults)
		}
	}
}
