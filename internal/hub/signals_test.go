package hub

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/schedule/signal"
	"github.com/songhua-io/hub/internal/schedule/signal/source"
)

// TestForecastsAreFetched: from another hub, which speaks the WebApi of the
// Carbon Aware SDK, and from what a device has measured.
func TestForecastsAreFetched(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Hour)
	first := everyDoor(t, t.TempDir(), func(*config.Config) {})
	body := fmt.Appendf(nil, `{"issued_at": %q, "unit": "g/kWh", "points": [{"start": %q, "end": %q, "value": 412}, {"start": %q, "end": %q, "value": 120}]}`,
		now.Format(time.RFC3339), now.Format(time.RFC3339), now.Add(time.Hour).Format(time.RFC3339), now.Add(time.Hour).Format(time.RFC3339), now.Add(2*time.Hour).Format(time.RFC3339))
	if code, text := first.ask(t, first.token(t, access.Token{Name: "boss", Role: access.Admin}), http.MethodPut, "/api/v1/signals/carbon/cn-jl", body); code != http.StatusOK {
		t.Fatal(code, text)
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(first.token(t, access.Token{Name: "reads", Role: access.Reader})), 0o600); err != nil {
		t.Fatal(err)
	}
	h := everyDoor(t, t.TempDir(), func(c *config.Config) {
		c.Signals = []source.Config{
			{Kind: "carbon", Zone: "CN-JL", CarbonAware: first.at.HTTP, Location: "cn-jl", TokenFile: token, Every: 10 * time.Second},
			{Kind: "price", Zone: "CN-JL", Query: `tariff{device="meter"} / 1000`, Shift: time.Hour, Every: 10 * time.Second},
		}
	})
	h.register(t, registry.Spec{ID: "meter"})
	var d ingest.Delivery
	for at := now.Add(-2 * time.Hour); at.Before(time.Now()); at = at.Add(time.Minute) {
		d.Add("meter", codec.JSON, fmt.Appendf(nil, `{"ts": %d, "tariff": 480}`, at.UnixMilli()))
	}
	if err := h.pipeline.Ingest(&d); err != nil {
		t.Fatal(err)
	}
	soon(t, "both forecasts are there", func() bool {
		all := h.scheduler.Signals()
		carbon, _ := all.Of(signal.Carbon, "CN-JL").At(now.Add(90 * time.Minute))
		price, _ := all.Of(signal.Price, "CN-JL").At(time.Now().Add(30 * time.Minute))
		return carbon.Value == 120 && price.Value == 0.48
	})
}
