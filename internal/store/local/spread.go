package local

import (
	"context"
	"log/slog"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// spread is a compactor for points that are thin and far apart. The TSDB turns
// out-of-order points into one block for each of its short ranges from the oldest
// to the newest, and reads all series for each; spread makes one block for all the
// ranges of a long one, width, and none for those behind it in the same pass.
type spread struct {
	tsdb.Compactor

	width int64 // ms, a multiple of the TSDB's range
	// ahead reports whether a block that ends at a time may reach beyond the in-order
	// blocks to come: it could not be merged (reachesAhead), so its points go into short
	// ones.
	ahead func(end int64) bool

	// last is the range that was asked for last, of which points, and up to where
	// they are in blocks.
	last struct {
		points chunks.ChunkDiskMapperRef
		maxt   int64
		done   int64
	}
}

func spreadOver(width int64, ahead func(int64) bool) tsdb.NewCompactorFunc {
	return func(ctx context.Context, r prometheus.Registerer, l *slog.Logger, ranges []int64, pool chunkenc.Pool, opts *tsdb.Options) (tsdb.Compactor, error) {
		c, err := tsdb.NewLeveledCompactorWithOptions(ctx, r, l, ranges, pool, tsdb.LeveledCompactorOptions{
			MaxBlockChunkSegmentSize: opts.MaxBlockChunkSegmentSize, EnableOverlappingCompaction: opts.EnableOverlappingCompaction, BlockExcludeFilter: opts.BlockCompactionExcludeFunc,
			PD: opts.PostingsDecoderFactory, UseUncachedIO: opts.UseUncachedIO,
		})
		return &spread{Compactor: c, width: width, ahead: ahead}, err
	}
}

// Write implements tsdb.Compactor. A pass asks for ranges one behind the other, of
// the same points; any other call begins a pass, so that one that failed and is
// made again leaves nothing out.
func (s *spread) Write(dest string, b tsdb.BlockReader, mint, maxt int64, base *tsdb.BlockMeta) ([]ulid.ULID, error) {
	points, late := b.(*tsdb.OOOCompactionHead)
	if !late {
		return s.Compactor.Write(dest, b, mint, maxt, base)
	}
	if s.last.points != points.LastMmapRef() || s.last.maxt != mint {
		s.last.points, s.last.done = points.LastMmapRef(), mint
	}
	s.last.maxt = maxt
	if maxt <= s.last.done {
		return nil, nil
	}
	end := (mint/s.width + 1) * s.width
	if mint < 0 || s.ahead(end) {
		end = maxt
	}
	made, err := s.Compactor.Write(dest, points.CloneForTimeRange(mint, end-1), mint, end, base)
	if err != nil {
		s.last.maxt = 0 // the next call begins a pass
		return nil, err
	}
	s.last.done = end
	return made, nil
}
