package ledger

import (
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// replan lets a workload wait for another time or place. Who watches learns that
// it moved, and why.
func (t *txn) replan(r *record, m *Move) {
	same := func(a, b schedule.Assignment) bool {
		return a.Pool == b.Pool && a.Start.Equal(b.Start) && a.End.Equal(b.End)
	}
	if r.Until.Equal(m.Decision.Until) && slices.EqualFunc(r.Planned, m.Decision.Planned, same) {
		return
	}
	t.event(schedule.Event{Kind: schedule.OfWorkload, Object: r.ID, Tenant: r.Tenant, From: string(r.State), To: string(r.State), Reason: m.Reason})
	r.Reason = m.Reason
}

// worked is what of the work that runs is kept when it is taken back: what came
// before its last checkpoint.
func (b *book) worked(r *record, now time.Time) time.Duration {
	if !r.Workload.Splits() {
		return 0
	}
	i := slices.IndexFunc(r.Leases, func(l schedule.Lease) bool { return l.State.Live() })
	if i < 0 || len(r.Leases[i].Parts) == 0 {
		return 0
	}
	t, speed := &r.Workload.Tasks[0], 1.0
	if p := b.pools[r.Leases[i].Parts[0].Pool]; p != nil {
		speed = t.SpeedOn(p.Accelerator)
	}
	return max(0, time.Duration(float64(now.Sub(r.Since))*speed)-t.Checkpoint)
}
