package local

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

func TestAStoreSaysThatItsDiskIsNearlyFullAndThatItIsClosed(t *testing.T) {
	c := DefaultConfig()
	c.Dir = t.TempDir()
	reg := prometheus.NewRegistry()
	d, err := Open(t.Context(), c, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	d.free = func(string) (uint64, error) { return low, nil }
	if err := d.Ready(); err != nil {
		t.Error(err)
	}
	d.free = func(string) (uint64, error) { return low - 1, nil }
	if err := d.Ready(); err == nil || !strings.Contains(err.Error(), "nearly full") {
		t.Errorf("nearly full: %v", err)
	}
	families, err := reg.Gather()
	i := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "hub_store_free_bytes" })
	if err != nil || i < 0 || families[i].GetMetric()[0].GetGauge().GetValue() != low-1 {
		t.Errorf("hub_store_free_bytes is %d of %v, %v", i, families, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Ready(); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("closed: %v", err)
	}
}
