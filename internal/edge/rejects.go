package edge

import (
	"log/slog"
	"sync"

	"github.com/songhua-io/hub/internal/edge/uplink"
)

// maxReasons bounds the reasons that are told apart; the hub has some twenty.
const maxReasons = 64

// rejects counts what the hub did not store, and says once why. It is safe for
// use by several goroutines.
type rejects struct {
	log *slog.Logger

	mu      sync.Mutex
	total   uint64
	reasons map[string]struct{} // those that were logged
}

func newRejects(log *slog.Logger) *rejects {
	return &rejects{log: log, reasons: map[string]struct{}{}}
}

func (r *rejects) add(told uplink.Rejects) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total += uint64(told.Total)
	for _, one := range told.Listed {
		if _, said := r.reasons[one.Reason]; !said && len(r.reasons) < maxReasons {
			r.reasons[one.Reason] = struct{}{}
			r.log.Warn("samples_rejected", "stage", one.Stage, "reason", one.Reason, "detail", one.Detail)
		}
	}
}

func (r *rejects) count() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total
}
