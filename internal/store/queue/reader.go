package queue

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/songhua-io/hub/internal/telemetry"
)

// reader goes through the segments, from where the shards are, behind the
// commits. Only what is durable is read.
type reader struct {
	q *Queue
	window
	from   uint64 // samples below are forwarded
	first  uint64 // of the open segment; 0 while none is
	at     int64  // offset of the next frame
	next   uint64 // number of its first sample
	file   *os.File
	series []reading // by reference in the segment
}

// reading is a series in the open segment; labels are nil when it is not known.
type reading struct {
	labels []telemetry.Label
	lane   uint32
	slot   uint32 // in the batch
	batch  uint64
}

// errNothing says that all that is durable was read.
var errNothing = errors.New("nothing to read")

// frame returns the next frame, or errNothing. The body is valid until the next
// call. What is damaged is counted as lost and got over.
func (r *reader) frame() (head, []byte, error) {
	for {
		s, sealed, err := r.segment()
		if err != nil {
			return head{}, nil, err
		}
		if r.at >= s.size && !sealed || r.next >= s.end && !sealed {
			return head{}, nil, errNothing
		}
		h, body, at, err := r.window.frame(r.at, s.size, r.next)
		switch {
		case err == io.EOF:
			// Nothing sound follows in this segment.
			r.lost(s.end, "no frame")
			r.at = s.size
			if sealed {
				if err := r.leave(s.end); err != nil {
					return head{}, nil, err
				}
			}
			continue
		case err != nil && !errors.Is(err, errDamaged):
			return head{}, nil, explain(r.q.cfg.Dir, err)
		}
		r.lost(h.first, "no frame")
		r.at = at + frameHeader + int64(h.length)
		if body == nil {
			r.lost(h.end(), "the checksum of a frame is wrong")
			continue
		}
		r.next = h.end()
		return h, body, nil
	}
}

// segment returns the segment that holds the next sample, opened, and whether
// nothing more is written to it.
func (r *reader) segment() (s segment, sealed bool, err error) {
	r.q.mu.Lock()
	all := r.q.segments
	at := 0
	for at < len(all)-1 && all[at].end <= r.next {
		at++
	}
	if r.first != 0 { // it is left at its end, not before
		for i := range all {
			if all[i].first == r.first {
				at = i
			}
		}
	}
	s, sealed = *all[at], at < len(all)-1
	r.q.mu.Unlock()
	if s.first == r.first {
		return s, sealed, nil
	}
	if err := r.close(); err != nil {
		return s, false, err
	}
	if r.file, err = os.Open(s.path); err != nil {
		return s, false, explain(r.q.cfg.Dir, err)
	}
	r.first, r.at, r.series = s.first, int64(segmentHeader), nil
	r.window = window{file: r.file, buf: r.window.buf[:0]}
	if s.first < r.next {
		return s, sealed, r.skipTo(s)
	}
	return s, sealed, nil
}

// skipTo goes over the frames that are forwarded already. Their labels are those
// of samples behind them.
func (r *reader) skipTo(s segment) error {
	target := r.next
	r.next = s.first
	for r.next < target {
		h, body, at, err := r.window.frame(r.at, s.size, r.next)
		if err == io.EOF || err == nil && h.end() > target {
			break
		}
		if err != nil && !errors.Is(err, errDamaged) {
			return explain(r.q.cfg.Dir, err)
		}
		if body != nil {
			if _, err := r.define(body); err != nil {
				r.q.log.Error("queue_labels_damaged", "segment", filepath.Base(s.path), "offset", at, "error", err)
			}
		}
		r.at, r.next = at+frameHeader+int64(h.length), h.end()
	}
	return nil
}

// leave closes the segment.
func (r *reader) leave(end uint64) error {
	r.next, r.first, r.series = max(r.next, end), 0, nil
	return r.close()
}

func (r *reader) close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

// lost goes on with the sample to, and counts those before it.
func (r *reader) lost(to uint64, why string) {
	if after := max(r.next, r.from); to > after {
		r.q.lose(after, to-after, r.file.Name(), r.at, why)
	}
	r.next = max(r.next, to)
}

// lose counts samples from a number on. Those that were counted before the shards
// went back do not count again.
func (q *Queue) lose(from, samples uint64, file string, offset int64, why string) {
	q.pending.Add(-int64(samples))
	q.mu.Lock()
	counted := from < q.farthest
	q.mu.Unlock()
	if counted {
		return
	}
	q.metrics.lost.Add(float64(samples))
	q.log.Error("queue_damaged", "segment", filepath.Base(file), "offset", offset, "lost_samples", samples, "error", why)
}

// define takes the labels that a frame begins with, and returns the samples
// behind them.
func (r *reader) define(body []byte) (samples []byte, err error) {
	n, body, err := nextNumber(body)
	if err != nil {
		return nil, err
	}
	first, body, err := nextNumber(body)
	if err != nil || n > uint64(len(body)) || first+n > 1<<32 {
		return nil, errDamaged
	}
	if n == 0 {
		return body, nil
	}
	// References between are of damaged frames: nobody knows them.
	if gap := int64(first) - int64(len(r.series)); gap > 0 && gap <= 1<<24 {
		r.series = append(r.series, make([]reading, gap)...)
	} else if gap != 0 {
		r.series = r.series[:min(first, uint64(len(r.series)))]
		if gap > 0 {
			return nil, fmt.Errorf("%w: %d series before it are missing", errDamaged, gap)
		}
	}
	var before []telemetry.Label
	for range n {
		if before, body, err = nextLabels(body, before); err != nil {
			return nil, err
		}
		r.series = append(r.series, reading{labels: before, lane: laneOf(before, len(r.q.lanes))})
	}
	return body, nil
}

// laneOf divides series among shards.
func laneOf(labels []telemetry.Label, lanes int) uint32 {
	h := uint64(14695981039346656037) // FNV-1a
	for _, l := range labels {
		for _, s := range [...]string{l.Name, l.Value} {
			for i := range len(s) {
				h = (h ^ uint64(s[i])) * 1099511628211
			}
			h = (h ^ 0xff) * 1099511628211
		}
	}
	return uint32((h >> 32) % uint64(lanes))
}
