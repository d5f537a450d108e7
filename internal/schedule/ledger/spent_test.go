package ledger

import (
	"math"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// What a workload was charged for and has not used, its tenant has again.
func TestWhatIsTakenFromABudget(t *testing.T) {
	now := time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		run  time.Duration // before it leaves; 0: it has not begun
		to   schedule.State
		want float64 // of 10
	}{
		"cancelled before it began": {0, schedule.Cancelled, 0},
		"preempted halfway":         {30 * time.Minute, schedule.Preempted, 5},
		"failed after its time":     {2 * time.Hour, schedule.Failed, 10},
		"succeeded early":           {time.Minute, schedule.Succeeded, 10},
	} {
		t.Run(name, func(t *testing.T) {
			var passed atomic.Int64
			path := filepath.Join(t.TempDir(), "r.db")
			h := prepare(t, path, func(_ *Config, d *Deps) {
				d.Clock = func() time.Time { return now.Add(time.Duration(passed.Load())) }
			}).run()
			h.declare(t, "f", "p", 2)
			if _, err := h.PutTenant(t.Context(), schedule.Tenant{ID: "default", Weight: 1, Budget: schedule.Budget{Money: 100}}); err != nil {
				t.Fatal(err)
			}
			w := workload("w", 1)
			part := at("f", "p", 0, 0, 1)
			part.Start, part.End = now, now.Add(time.Hour)
			d := decided(part)
			d.Cost, d.CarbonKg = 10, 1
			r := h.Submit(t.Context(), Move{New: &w, To: schedule.Reserved, Decision: d})[0]
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			got := r.Receipts[0]
			if s := h.spent(t); s.Money != 10 || s.CarbonKg != 1 || s.Month != "2026-11" || s.Tenant != "default" {
				t.Fatalf("spent %+v", s)
			}
			token := got.Grants[0].Token
			if c.run > 0 {
				h.report(t, token, schedule.Running)
				passed.Store(int64(c.run))
			}
			switch c.to {
			case schedule.Cancelled:
				if err := h.Cancel(t.Context(), got.ID); err != nil {
					t.Fatal(err)
				}
			case schedule.Preempted:
				if r := h.Submit(t.Context(), Move{Workload: got.ID, To: c.to})[0]; r.Err != nil {
					t.Fatal(r.Err)
				}
			default:
				h.report(t, token, c.to)
			}
			if s := h.spent(t); math.Abs(s.Money-c.want) > 1e-9 || math.Abs(s.CarbonKg-c.want/10) > 1e-9 {
				t.Errorf("spent %+v, want %v", s, c.want)
			}
			before := h.spent(t)
			h.close(t)
			h = prepare(t, path).run()
			if s := h.spent(t); s != before {
				t.Errorf("%+v after a restart, want %+v", s, before)
			}
			h.close(t)
		})
	}
}

func (h *hub) spent(t *testing.T) schedule.Spent {
	t.Helper()
	h.mu.RLock()
	defer h.mu.RUnlock()
	s := h.inventory().Spent
	if len(s) != 1 {
		t.Fatalf("%d tenants have spent something", len(s))
	}
	return s[0]
}
