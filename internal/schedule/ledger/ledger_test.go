package ledger

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/schedule"
)

// hub is a ledger that runs, as the hub has it.
type hub struct {
	*Ledger
	db    *records.DB
	stop  context.CancelFunc
	ended chan error // of Run
}

func (h *hub) close(tb testing.TB) {
	h.stop()
	<-h.ended
	if err := h.db.Close(); err != nil {
		tb.Error(err)
	}
}

func prepare(tb testing.TB, path string, alter ...func(*Config, *Deps)) *hub {
	tb.Helper()
	db, err := records.Open(context.Background(), path)
	if err != nil {
		tb.Fatal(err)
	}
	cfg := DefaultConfig()
	deps := Deps{Records: db, Log: slog.New(slog.DiscardHandler), Clock: time.Now, Metrics: prometheus.NewRegistry()}
	for _, f := range alter {
		f(&cfg, &deps)
	}
	l, err := Open(context.Background(), cfg, deps)
	if err != nil {
		tb.Fatal(err)
	}
	return &hub{Ledger: l, db: db, ended: make(chan error, 1)}
}

func (h *hub) run() *hub {
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	go func() { h.ended <- h.Run(ctx) }()
	return h
}

// open opens a ledger and runs it until the test ends.
func open(tb testing.TB, path string, alter ...func(*Config, *Deps)) *hub {
	tb.Helper()
	h := prepare(tb, path, alter...).run()
	tb.Cleanup(func() { h.close(tb) })
	return h
}

func facility(id string) schedule.Facility {
	return schedule.Facility{ID: id, Region: "220100", SecurityGrade: 2, PUE: schedule.PUE{Constant: 1.2}, State: schedule.Ready}
}

// workload is one task "main" of so many members, of 1 CPU each.
func workload(name string, members int) schedule.Workload {
	return schedule.Workload{Tenant: "default", Name: name, Gang: schedule.GangAll, Shape: schedule.AnyShape, Objective: schedule.Balanced,
		Tasks: []schedule.Task{{Name: "main", Min: members, Max: members, Use: schedule.Vector{schedule.CPUMilli: 1000, schedule.MemoryMiB: 2048}, P50: time.Hour, P95: 2 * time.Hour}}}
}
