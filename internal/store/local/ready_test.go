package local

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestAStoreSaysThatItsDiskIsNearlyFullAndThatItIsClosed(t *testing.T) {
	c := DefaultConfig()
	c.Dir = t.TempDir()
	d, err := Open(t.Context(), c, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
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
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Ready(); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("closed: %v", err)
	}
}
