package hub

import (
	"encoding/base64"
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/registry"
)

var updateThings = flag.Bool("update-sensorthings", false, "write what the SensorThings API answers to testdata/sensorthings.golden")

// TestSensorThingsAnswersAsWritten asks a hub for every line of a file that begins
// with GET and compares the answers with what stands there.
func TestSensorThingsAnswersAsWritten(t *testing.T) {
	const file = "testdata/sensorthings.golden"
	h := whole(t, t.TempDir())
	h.give(t, `
id: songhua/air@1
names: {zh: 空气站, en: Air station}
kind: sensor
metrics:
  - {name: temperature, unit: Cel, min: -50, max: 60, step: 0.1, semantic: "http://vocab.nerc.ac.uk/collection/P07/current/CFSN0023/"}
  - {name: humidity, unit: "%RH"}`)
	lat, lon := 43.88, 125.32
	if _, err := h.registry.PutSite(t.Context(), registry.Site{ID: "plant-a", ZH: "甲厂", EN: "Plant A", Region: "220100", Lat: &lat, Lon: &lon}, 0); err != nil {
		t.Fatal(err)
	}
	secret := h.register(t, registry.Spec{ID: "air-1", Model: "songhua/air@1", Site: "plant-a", Region: "220100", Period: time.Minute, Tags: map[string]string{"floor": "2"}})
	other := h.register(t, registry.Spec{ID: "m-1", Kind: "meter", Region: "220200", Lat: &lat, Lon: &lon})
	begin := time.Now().UTC().Truncate(time.Hour).Add(-2 * time.Hour)
	said := []string{"$BASE", h.at.HTTP}
	for i := range 4 {
		at := begin.Add(time.Duration(i) * time.Minute)
		said = append(said, fmt.Sprintf("$T%d", i), at.Format("2006-01-02T15:04:05.000Z"), fmt.Sprintf("$M%d", i), fmt.Sprint(at.UnixMilli()))
		h.post(t, "air-1", secret, fmt.Sprintf(`{"ts": %d, "temperature": %v, "humidity": %d}`, at.UnixMilli(), 20.5+float64(i), 40+i))
		h.post(t, "m-1", other, fmt.Sprintf(`{"ts": %d, "tags": {"phase": "a"}, "power": %d}`, at.UnixMilli(), 100*i))
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// The hub writes presence of its own while the test runs.
	token := h.token(t, access.Token{Name: "harvester", Role: access.Reader})
	wire, shown := strings.NewReplacer(said...), strings.NewReplacer(reversed(said)...)
	got := ""
	for line := range strings.Lines(string(text)) {
		path, isRequest := strings.CutPrefix(line, "GET ")
		if !isRequest {
			if strings.HasPrefix(line, "#") {
				got += line
			}
			continue
		}
		path = strings.ReplaceAll(wire.Replace(strings.TrimSpace(path)), " ", "%20")
		code, body := h.ask(t, token, http.MethodGet, "/sensorthings/v1.1/"+path, nil)
		got += line + fmt.Sprint(code) + " " + shown.Replace(goesOn.ReplaceAllStringFunc(strings.TrimSpace(body), readable)) + "\n"
	}
	if *updateThings {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got != string(text) && !*updateThings {
		want := strings.Split(string(text), "\n")
		for i, line := range strings.Split(got, "\n") {
			if i >= len(want) || line != want[i] {
				t.Errorf("line %d:\n%s\nis wanted, and it is\n%s", i+1, append(want, "")[min(i, len(want))], line)
			}
		}
		t.Log("look at the difference, and write the file anew with -update-sensorthings")
	}
}

// goesOn is what a nextLink goes on behind: a key in base 64.
var goesOn = regexp.MustCompile(`skiptoken=[\w-]+`)

func readable(s string) string {
	name, key, _ := strings.Cut(s, "=")
	plain, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil {
		return s
	}
	return name + "=<" + string(plain) + ">"
}

func reversed(pairs []string) []string {
	out := make([]string, len(pairs))
	for i := 0; i < len(pairs); i += 2 {
		out[i], out[i+1] = pairs[i+1], pairs[i]
	}
	return out
}

// TestSensorThingsEndsWithTheToken: a request of a revoked token is refused.
func TestSensorThingsEndsWithTheToken(t *testing.T) {
	h := whole(t, t.TempDir())
	token := h.token(t, access.Token{Name: "harvester", Role: access.Reader})
	if code, text := h.ask(t, token, http.MethodGet, "/sensorthings/v1.1/Things", nil); code != 200 {
		t.Fatal(code, text)
	}
	if err := h.tokens.Revoke(t.Context(), "harvester"); err != nil {
		t.Fatal(err)
	}
	if code, text := h.ask(t, token, http.MethodGet, "/sensorthings/v1.1/Things", nil); code != 401 {
		t.Error(code, text)
	}
	for _, method := range []string{http.MethodPost, http.MethodPatch, http.MethodDelete} {
		if code, _ := h.ask(t, token, method, "/sensorthings/v1.1/Things", nil); code != 405 {
			t.Errorf("%s is %d", method, code)
		}
	}
}
