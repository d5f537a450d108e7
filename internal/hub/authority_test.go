package hub

import (
	"slices"
	"testing"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/config"
)

func TestMetricsAreOpenOnlyWhereNobodyElseReachesThem(t *testing.T) {
	for _, c := range []struct {
		http, https string
		action      access.Action
	}{
		{"127.0.0.1:8080", "127.0.0.1:8443", ""},
		{"127.0.0.1:8080", config.Off, ""},
		{"127.0.0.1:8080", ":8443", access.ReadHub},
		{":8080", config.Off, access.ReadHub},
	} {
		h := &hub{}
		h.cfg.Listen.HTTP, h.cfg.Listen.HTTPS = c.http, c.https
		if r := h.metricsRoute(); r.Action != c.action || r.Own != (c.action == "") {
			t.Errorf("%s and %s: %q, own %v", c.http, c.https, r.Action, r.Own)
		}
	}
}

func TestTheHubsNamesAreThoseOfItsEncryptedDoors(t *testing.T) {
	got := hosts(config.Listen{HTTP: "10.0.0.1:80", HTTPS: "hub.example:8443", MQTTS: "[::]:8883", CoAPS: config.Off})
	if len(got) != 2 || got[0] != "hub.example" || slices.Contains(got, "::") {
		t.Errorf("%q", got)
	}
}
