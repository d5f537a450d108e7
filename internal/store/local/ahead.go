package local

import (
	"math"

	"github.com/prometheus/prometheus/tsdb"
)

// ahead reports whether a block must not be compacted yet: it was made of
// out-of-order points and reaches beyond what the head has put into blocks.
//
// Merged with a block of in-order points it would lose the mark of where it
// comes from (tsdb.CompactBlockMetas), and its end would count as the time up to
// which the log is in blocks: after a crash the replay would leave out points of
// that time which are in the log alone. Without any in-order block the merged
// block keeps the mark.
func (p *part) ahead(meta *tsdb.BlockMeta) bool {
	db := p.opened.Load()
	if db == nil {
		return true // still opening
	}
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
