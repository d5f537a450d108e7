package ingest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/ingest"
)

func TestBoundsThatMakeNoSenseAreNamed(t *testing.T) {
	if err := ingest.DefaultConfig().Check(); err != nil {
		t.Fatal(err)
	}
	cfg := ingest.DefaultConfig()
	cfg.SamplesPerSecond, cfg.SeriesPerDevice, cfg.FutureSkew = 0, -5, -time.Second
	cfg.Windows = map[string]ingest.Window{"sensor": {Future: 8760 * time.Hour, Past: -time.Hour}, "toaster": {}}
	err := cfg.Check()
	if err == nil {
		t.Fatal("all of it was taken")
	}
	for _, key := range []string{"samples_per_second is 0", "series_per_device is -5", "future_skew is -1s", "windows.sensor.future is 8760h", "windows.sensor.past is -1h", "windows.toaster"} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("%q is not named in:\n%v", key, err)
		}
	}
}
