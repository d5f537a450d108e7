package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"
	"github.com/prometheus/prometheus/tsdb/tombstones"
)

// block verifies one block: each file by its checksums, the index against the
// chunks, and both against the counts of meta.json.
func (v *verifier) block(ctx context.Context, dir string) {
	metaFile := filepath.Join(dir, "meta.json")
	meta, err := readMeta(metaFile, filepath.Base(dir))
	if err != nil {
		v.damaged(metaFile, -1, err)
	}
	if _, _, err := tombstones.ReadTombstones(dir); err != nil {
		v.damaged(filepath.Join(dir, tombstones.TombstonesFilename), -1, err)
	}
	chunkDir := filepath.Join(dir, "chunks")
	names, _, err := numbered(chunkDir)
	if err != nil {
		v.damaged(chunkDir, -1, err)
	}
	for _, name := range names {
		v.chunkSegment(filepath.Join(chunkDir, name))
	}
	found, whole := v.index(ctx, filepath.Join(dir, "index"), chunkDir)
	if meta != nil && whole && found != meta.Stats {
		v.damaged(metaFile, -1, fmt.Errorf("it counts %s, the block has %s", counts(meta.Stats), counts(found)))
	}
}

func counts(s tsdb.BlockStats) string {
	return fmt.Sprintf("%d series, %d chunks, %d samples", s.NumSeries, s.NumChunks, s.NumSamples)
}

func readMeta(file, id string) (*tsdb.BlockMeta, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var meta tsdb.BlockMeta
	if err := json.Unmarshal(text, &meta); err != nil {
		return nil, err
	}
	switch {
	case meta.Version != 1:
		return nil, fmt.Errorf("version %d is not 1", meta.Version)
	case meta.ULID.String() != id:
		return nil, fmt.Errorf("it names block %s", meta.ULID)
	case meta.MinTime >= meta.MaxTime:
		return nil, fmt.Errorf("its time range %d to %d is empty", meta.MinTime, meta.MaxTime)
	}
	// Only the counts that the files themselves show.
	meta.Stats = tsdb.BlockStats{NumSeries: meta.Stats.NumSeries, NumChunks: meta.Stats.NumChunks, NumSamples: meta.Stats.NumSamples}
	return &meta, nil
}

// index verifies an index and that each series' chunks are where it says. It
// returns what the block holds, and whether everything could be read.
func (v *verifier) index(ctx context.Context, file, chunkDir string) (found tsdb.BlockStats, whole bool) {
	defer func() {
		// The reader trusts lengths that it finds in the file.
		if r := recover(); r != nil {
			v.damaged(file, -1, fmt.Errorf("unreadable: %v", r))
			whole = false
		}
	}()
	ir, err := index.NewFileReader(file, index.DecodePostingsRaw)
	if err != nil {
		v.damaged(file, -1, err)
		return found, false
	}
	defer ir.Close()
	cr, err := chunks.NewDirReader(chunkDir, chunkenc.NewPool())
	if err != nil {
		v.damaged(chunkDir, -1, err)
		return found, false
	}
	defer cr.Close()
	whole = v.postings(ctx, file, ir)
	all, err := ir.Postings(ctx, "", "")
	if err != nil {
		v.damaged(file, -1, fmt.Errorf("postings of all series: %w", err))
		return found, false
	}
	w := walk{verifier: v, file: file, chunkDir: chunkDir, index: ir, chunks: cr}
	for all.Next() && ctx.Err() == nil {
		w.series(all.At())
	}
	if err := errors.Join(all.Err(), ctx.Err()); err != nil {
		v.damaged(file, -1, err)
		return found, false
	}
	return w.found, whole && !w.faults
}

// postings verifies the list of every label pair.
func (v *verifier) postings(ctx context.Context, file string, ir *index.Reader) bool {
	names, err := ir.LabelNames(ctx)
	if err != nil {
		v.damaged(file, -1, fmt.Errorf("label names: %w", err))
		return false
	}
	whole := true
	for _, name := range names {
		values, err := ir.LabelValues(ctx, name, nil)
		if err != nil {
			v.damaged(file, -1, fmt.Errorf("values of label %s: %w", name, err))
			whole = false
		}
		for _, value := range values {
			p, err := ir.Postings(ctx, name, value)
			for err == nil && p.Next() {
			}
			if err == nil {
				err = p.Err()
			}
			if err != nil {
				v.damaged(file, -1, fmt.Errorf("postings of %s=%q: %w", name, value, err))
				whole = false
			}
		}
	}
	return whole
}

// walk goes through the series of one block.
type walk struct {
	*verifier
	file, chunkDir string
	index          *index.Reader
	chunks         *chunks.Reader
	builder        labels.ScratchBuilder
	metas          []chunks.Meta
	it             chunkenc.Iterator
	found          tsdb.BlockStats
	faults         bool
}

func (w *walk) fault(file string, offset int64, err error) {
	w.damaged(file, offset, err)
	w.faults = true
}

func (w *walk) series(ref storage.SeriesRef) {
	w.found.NumSeries++
	if err := w.index.Series(ref, &w.builder, &w.metas); err != nil {
		w.fault(w.file, int64(ref)*16, fmt.Errorf("series: %w", err)) // a reference counts 16-byte units
		return
	}
	for _, m := range w.metas {
		w.found.NumChunks++
		segment, offset := chunks.BlockChunkRef(m.Ref).Unpack()
		file := filepath.Join(w.chunkDir, fmt.Sprintf("%06d", segment+1))
		chk, _, err := w.chunks.ChunkOrIterable(m)
		if err != nil {
			w.fault(file, int64(offset), fmt.Errorf("chunk of series %s: %w", w.builder.Labels(), err))
			continue
		}
		if err := w.samples(chk, m); err != nil {
			w.fault(file, int64(offset), fmt.Errorf("chunk of series %s: %w", w.builder.Labels(), err))
		}
	}
}

// samples verifies that a chunk's samples rise within the times that the index gives.
func (w *walk) samples(chk chunkenc.Chunk, m chunks.Meta) error {
	w.it = chk.Iterator(w.it)
	last, n := m.MinTime-1, 0
	for ; w.it.Next() != chunkenc.ValNone; n++ {
		t := w.it.AtT()
		if t <= last || t > m.MaxTime {
			return fmt.Errorf("time %d does not lie after %d and up to %d", t, last, m.MaxTime)
		}
		last = t
	}
	if err := w.it.Err(); err != nil {
		return err
	}
	if n != chk.NumSamples() {
		return fmt.Errorf("it has %d samples, its head says %d", n, chk.NumSamples())
	}
	w.found.NumSamples += uint64(n)
	return nil
}
