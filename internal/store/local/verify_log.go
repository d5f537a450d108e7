package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// log verifies the segments and checkpoints of a write-ahead log.
func (v *verifier) log(ctx context.Context, dir string) error {
	checkpoints, err := subfolders(dir, func(name string) bool {
		return strings.HasPrefix(name, "checkpoint.") && !strings.HasSuffix(name, ".tmp")
	})
	if err != nil {
		return err
	}
	for _, c := range checkpoints {
		if err := v.segments(ctx, filepath.Join(dir, c), false); err != nil {
			return err
		}
	}
	return v.segments(ctx, dir, true)
}

func (v *verifier) segments(ctx context.Context, dir string, live bool) error {
	names, numbers, err := numbered(dir)
	if err != nil {
		return err
	}
	for i, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		file := filepath.Join(dir, name)
		if i > 0 && numbers[i] != numbers[i-1]+1 {
			v.damaged(file, -1, fmt.Errorf("the segment before it, %08d, is missing", numbers[i]-1))
		}
		v.segment(file, live && i == len(names)-1)
	}
	return nil
}

// segment verifies the records of one segment: records do not cross segments.
func (v *verifier) segment(file string, last bool) {
	s, err := wlog.OpenReadSegment(file)
	if err != nil {
		v.damaged(file, -1, err)
		return
	}
	in := wlog.NewSegmentBufReader(s)
	defer in.Close()
	r := wlog.NewReader(in)
	d := recordReader{dec: record.NewDecoder(nil, slog.New(slog.DiscardHandler))}
	for r.Next() {
		if err := d.read(r.Record()); err != nil {
			v.damaged(file, r.Offset(), err)
			return
		}
	}
	var damage *wlog.CorruptionErr
	switch err := r.Err(); {
	case errors.As(err, &damage) && last:
		v.damaged(file, damage.Offset, fmt.Errorf("%w; in the newest segment this is where a crash cut the log, and the next start repairs it", damage.Err))
	case errors.As(err, &damage):
		v.damaged(file, damage.Offset, fmt.Errorf("%w; the next start drops what follows in the log: keep a copy before it", damage.Err))
	case err != nil:
		v.damaged(file, -1, err)
	}
}

// recordReader decodes records into memory that it reuses.
type recordReader struct {
	dec     record.Decoder
	series  []record.RefSeries
	samples []record.RefSample
	markers []record.RefMmapMarker
}

func (d *recordReader) read(rec []byte) (err error) {
	switch kind := d.dec.Type(rec); kind {
	case record.Series:
		d.series, err = d.dec.Series(rec, d.series[:0])
	case record.Samples, record.SamplesV2:
		d.samples, err = d.dec.Samples(rec, d.samples[:0])
	case record.MmapMarkers:
		d.markers, err = d.dec.MmapMarkers(rec, d.markers[:0])
	case record.Unknown:
		err = errors.New("record of unknown type")
	}
	return err
}
