package local

import (
	"math"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"
)

// stored is a block as retention sees it.
type stored struct {
	id    ulid.ULID
	end   int64 // milliseconds; its samples are older
	bytes int64
	spent bool // replaced or emptied: goes in any case
}

// expired returns the blocks that go: those that ended before oldest, and,
// oldest first, as many as it takes to get all blocks and the logs under
// maxBytes (0: no bound).
func expired(blocks []stored, oldest, logBytes, maxBytes int64) map[ulid.ULID]bool {
	gone := map[ulid.ULID]bool{}
	slices.SortFunc(blocks, func(a, b stored) int {
		if a.end != b.end {
			if a.end < b.end {
				return -1
			}
			return 1
		}
		return a.id.Compare(b.id)
	})
	total := logBytes
	for _, b := range blocks {
		total += b.bytes
	}
	for _, b := range blocks {
		if b.spent || b.end <= oldest || maxBytes > 0 && total > maxBytes {
			gone[b.id] = true
			total -= b.bytes
		}
	}
	return gone
}

func storedBlocks(blocks []*tsdb.Block) []stored {
	all := make([]stored, len(blocks))
	for i, b := range blocks {
		m := b.Meta()
		all[i] = stored{m.ULID, m.MaxTime, b.Size(), m.Compaction.Deletable}
	}
	return all
}

func (d *DB) recentOptions() *tsdb.Options {
	o := options(2*time.Hour, d.cfg.OutOfOrderWindow)
	o.BlocksToDelete = func(own []*tsdb.Block) map[ulid.ULID]struct{} {
		return d.expiredOf(own, d.late.Load())
	}
	return o
}

// lateOptions: late data is thin and spread over a year, so its blocks are
// long. Its window is the whole of what is kept: whatever order late points
// come in, the part takes them.
func (d *DB) lateOptions() *tsdb.Options {
	o := options(day, d.cfg.Retention+2*slack)
	o.NewCompactorFunc = spreadOver(o.MaxBlockDuration, func(end int64) bool {
		late := d.late.Load() // whose head keeps a day and a half, and ends with a whole day
		return late == nil || late.fresh() || end > late.db.Head().MaxTime()-3*day.Milliseconds()
	})
	o.BlocksToDelete = func(own []*tsdb.Block) map[ulid.ULID]struct{} {
		return d.expiredOf(own, d.recent)
	}
	return o
}

// expiredOf applies retention to all blocks and returns those of one part, of
// which the caller holds the list. The other part, or the one that is being
// opened, may be nil.
func (d *DB) expiredOf(own []*tsdb.Block, other *part) map[ulid.ULID]struct{} {
	all := storedBlocks(own)
	logs, newest := int64(0), int64(math.MinInt64)
	for _, b := range all {
		newest = max(newest, b.end)
	}
	if other != nil {
		all = append(all, storedBlocks(other.db.Blocks())...)
	}
	for _, p := range []*part{d.recent, d.late.Load()} {
		if p != nil {
			logs += p.db.Head().Size()
			if t, ok := p.newest(); ok {
				newest = max(newest, t)
			}
		}
	}
	if newest == math.MinInt64 {
		return nil
	}
	gone := expired(all, newest-(d.cfg.Retention+slack).Milliseconds(), logs, d.cfg.MaxBytes)
	d.noteGone(all, gone)
	mine := map[ulid.ULID]struct{}{}
	for _, b := range own {
		if id := b.Meta().ULID; gone[id] {
			mine[id] = struct{}{}
		}
	}
	return mine
}
