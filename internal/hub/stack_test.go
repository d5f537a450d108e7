package hub

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

func TestPartsStopInReverse(t *testing.T) {
	s := newStack(slog.New(slog.DiscardHandler))
	var order []string
	for _, name := range []string{"store", "ingest", "doors"} {
		s.onStop(name, func() error { order = append(order, name); return nil })
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.wait(ctx); err != nil {
		t.Fatal(err)
	}
	if want := []string{"doors", "ingest", "store"}; !slices.Equal(order, want) {
		t.Errorf("stopped %v, want %v", order, want)
	}
}

func TestAPartThatFailsStopsTheOthersAndIsNamed(t *testing.T) {
	s := newStack(slog.New(slog.DiscardHandler))
	stopped := false
	s.onStop("records", func() error { stopped = true; return nil })
	s.start("ingest", func(context.Context) error { return errors.New("fsync: input/output error") })
	err := s.wait(t.Context())
	if err == nil || !strings.Contains(err.Error(), "ingest: fsync: input/output error") {
		t.Errorf("wait: %v", err)
	}
	if !stopped {
		t.Error("records was not stopped")
	}
}
