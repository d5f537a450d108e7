package local

import (
	"context"
	"time"

	"github.com/prometheus/prometheus/tsdb"
)

const (
	supervise = time.Minute // between looks at what is to be compacted
	settleOld = time.Hour   // between turns of late points into blocks
)

// Run compacts and applies retention until ctx ends. It fails when the disk is
// nearly full, before the TSDB runs into it. A compaction that fails is logged,
// counted and tried again: the logs keep what it would have moved.
func (d *DB) Run(ctx context.Context) error {
	tick := time.NewTicker(supervise)
	defer tick.Stop()
	settled := time.Now()
	for {
		if err := d.checkSpace(); err != nil {
			return explain(d.cfg.Dir, err)
		}
		d.compact(ctx, d.recent, (*tsdb.DB).Compact)
		if late := d.late.Load(); late != nil {
			d.compact(ctx, late, (*tsdb.DB).Compact)
			if time.Since(settled) >= settleOld {
				// The TSDB turns out-of-order points into blocks only after the
				// head moved on, which the late part's may never do.
				d.compact(ctx, late, (*tsdb.DB).CompactOOOHead)
				settled = time.Now()
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (d *DB) compact(ctx context.Context, p *part, step func(*tsdb.DB, context.Context) error) {
	d.steady.Lock()
	defer d.steady.Unlock()
	if p == d.recent {
		d.setCompacting(true)
		defer d.setCompacting(false)
	}
	err := step(p.db, ctx)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		d.metrics.compactions.WithLabelValues("failed").Inc()
		d.log.Error("compaction failed", "dir", p.dir, "error", err)
	default:
		d.metrics.compactions.WithLabelValues("done").Inc()
	}
}

// setCompacting waits for the look-ups that read the head's chunks directly.
func (d *DB) setCompacting(on bool) {
	d.gate.Lock()
	d.compacting = on
	d.gate.Unlock()
}
