package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// BlocksIn returns the blocks at a path: itself, or the folders in it that are
// blocks, in the order of their names, which is that in which they were made.
func BlocksIn(path string) (all []string, err error) {
	isBlock := func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, "meta.json"))
		return err == nil
	}
	if isBlock(path) {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if dir := filepath.Join(path, e.Name()); e.IsDir() && isBlock(dir) {
			all = append(all, dir)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s is no block of Prometheus and holds none: none has a meta.json", path)
	}
	return all, nil
}

// block is a block of a Prometheus TSDB. A mark counts its series, in the order of
// their labels, and the samples of the one that is open.
type block struct {
	b     *tsdb.Block
	q     storage.Querier
	set   storage.SeriesSet
	it    chunkenc.Iterator
	o     Options
	at    Mark
	open  bool // a series is, whose samples follow
	named bool
	// Of the series that is open.
	device, metric string
	tags           []string
	number         int // in the part; -1: not yet
}

// openBlock reads no series again that lies before a mark, and of the one at it
// only samples.
func openBlock(path string, o Options, at Mark) (source, error) {
	b, err := tsdb.OpenBlock(nil, path, nil, tsdb.DefaultPostingsDecoderFactory)
	if err != nil {
		return nil, fmt.Errorf("block %s: %w", path, err)
	}
	q, err := tsdb.NewBlockQuerier(b, math.MinInt64, math.MaxInt64)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("block %s: %w", path, err), b.Close())
	}
	f := &block{b: b, q: q, o: o}
	f.set = q.Select(context.Background(), true, nil, labels.MustNewMatcher(labels.MatchRegexp, metricLabel, ".+"))
	for f.at.Offset < at.Offset {
		if !f.set.Next() {
			return nil, errors.Join(fmt.Errorf("block %s has %d series, fewer than were imported: it is another", path, f.at.Offset), f.set.Err(), f.close())
		}
		f.at.Offset++
	}
	if at.Line > 0 {
		if !f.enter() {
			return nil, errors.Join(fmt.Errorf("block %s has %d series, fewer than were imported: it is another", path, f.at.Offset), f.set.Err(), f.close())
		}
		for f.at.Line < at.Line && f.it.Next() != chunkenc.ValNone {
			f.at.Line++
		}
	}
	return f, nil
}

func (f *block) mark() Mark { return f.at }

func (f *block) begin() { f.number = -1 }

func (f *block) close() error { return errors.Join(f.q.Close(), f.b.Close()) }

// enter opens the next series.
func (f *block) enter() bool {
	if !f.set.Next() {
		return false
	}
	s := f.set.At()
	f.it = s.Iterator(f.it)
	f.device, f.metric, f.tags = named(s.Labels(), &f.o, f.tags[:0])
	f.open, f.named, f.number = true, f.device != "", -1
	return true
}

// next adds one sample.
func (f *block) next(p *Part) error {
	if !f.open && !f.enter() {
		if err := f.set.Err(); err != nil {
			return fmt.Errorf("%w; check the block", err)
		}
		return io.EOF
	}
	line := f.at.Offset + 1
	if !f.named {
		p.fault(line, "series %d has no label %q that names the device; say which label does with --device-from, or whose all are with --device", line, f.o.DeviceFrom)
		f.leave()
		return nil
	}
	if f.number < 0 && !p.fits(line, f.device, f.metric, f.tags) {
		f.leave()
		return nil
	}
	kind := f.it.Next()
	f.at.Line++
	switch kind {
	case chunkenc.ValNone:
		if err := f.it.Err(); err != nil {
			return fmt.Errorf("series %d: %w; check the block", line, err)
		}
		f.leave()
	case chunkenc.ValFloat:
		ms, v := f.it.At()
		if f.number < 0 {
			f.number = p.seriesOf(f.device, f.metric, f.tags)
		}
		p.add(f.number, ms, v, line)
	default:
		p.fault(line, "%s of %s is a native histogram at %d ms, which is not stored", f.metric, f.device, f.it.AtT())
	}
	return nil
}

func (f *block) leave() { f.open, f.at = false, Mark{f.at.Offset + 1, 0} }
