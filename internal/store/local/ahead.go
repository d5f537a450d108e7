package local

import (
	"math"

	"github.com/prometheus/prometheus/tsdb"
)

// apart keeps blocks out of a compaction: all while the part is still opening.
// Those that are ahead it has planned apart from the others, by the planner's
// own means for blocks that must not be mixed (tsdb.LeveledCompactor plans blocks
// of chosen series by themselves); to leave them out would end the planner's look
// at the first of them, and all that were written later would never be merged.
// Merged among themselves they stay of out-of-order points. The hint is in this
// copy of the meta alone: a compaction reads the files.
func (p *part) apart(meta *tsdb.BlockMeta) (leaveOut bool) {
	db := p.opened.Load()
	if db == nil {
		return true
	}
	if reachesAhead(db, meta) {
		meta.Compaction.SetSelectedSeries()
	}
	return false
}

// reachesAhead reports whether a block must not be merged with others yet: it was made of
// out-of-order points and reaches beyond what the head has put into blocks.
//
// Merged with a block of in-order points it would lose the mark of where it
// comes from (tsdb.CompactBlockMetas), and its end would count as the time up to
// which the log is in blocks: after a crash the replay would leave out points of
// that time which are in the log alone. Without any in-order block the merged
// block keeps the mark.
func reachesAhead(db *tsdb.DB, meta *tsdb.BlockMeta) bool {
	if !meta.Compaction.FromOutOfOrder() {
		return false
	}
	inOrder := int64(math.MinInt64)
	for _, b := range db.Blocks() {
		if m := b.Meta(); !m.Compaction.FromOutOfOrder() {
			inOrder = max(inOrder, m.MaxTime)
		}
	}
	return inOrder != math.MinInt64 && meta.MaxTime > inOrder
}
