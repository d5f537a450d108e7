package local_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/store"
	"github.com/songhua-io/hub/internal/store/local"
	"github.com/songhua-io/hub/internal/store/storetest"
)

func openAt(t testing.TB, dir string) *local.DB {
	t.Helper()
	cfg := local.DefaultConfig()
	cfg.Dir = dir
	db, err := local.Open(context.Background(), cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func TestEngine(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string) store.Engine { return openAt(t, dir) })
}
