package queue

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/songhua-io/hub/internal/store"
	"github.com/songhua-io/hub/internal/telemetry"
)

// known is what is remembered of a series: the reference that stands for it in
// the segment that is written, if it is of the present round.
type known struct {
	round uint32
	ref   uint32
}

// writer is what commits write with.
type writer struct {
	file *os.File
	size int64 // of the file
	// round names the references that hold: those of the segment, since the last
	// commit that failed.
	round uint32
	refs  uint32 // references given in the segment
	named int64  // bytes of labels in the segment

	// The frames of the commit under way, and the parts of the last of them.
	buf     []byte
	labels  []byte
	samples []byte
	n       uint32 // samples of the frame
	defined uint32 // labels of the frame
	first   uint32 // reference of the first of them
	course  course
	head    head
	before  []telemetry.Label
	spare   []telemetry.Label
}

// slack is how much older than Retention a point may be to be taken: what Oldest
// admitted at the door is taken here.
const slack = 24 * time.Hour

var errClosed = errors.New("queue is closed")

// Commit implements [store.Engine]. An error that wraps [store.ErrFull] says that
// the disk has no room: nothing was taken, and the queue goes on. It is not
// called beyond what was under way when the doors heed Full.
func (q *Queue) Commit(writes []*telemetry.Write) error {
	q.committing.Lock()
	defer q.committing.Unlock()
	switch {
	case q.closed:
		return fmt.Errorf("commit to %s: %w", q.cfg.Dir, errClosed)
	case q.failed != nil:
		return q.failed
	}
	begin := q.now()
	q.table.Begin()
	defer q.table.End()
	taken, err := q.take(writes, begin)
	switch {
	case errors.Is(err, store.ErrFull):
		return err
	case err != nil:
		q.failed = fmt.Errorf("%w: %w", store.ErrFailed, explain(q.cfg.Dir, err))
		return q.failed
	}
	q.metrics.commit.Observe(q.now().Sub(begin).Seconds())
	q.metrics.committed.Add(float64(taken))
	return nil
}

func (q *Queue) take(writes []*telemetry.Write, now time.Time) (samples uint64, err error) {
	if err := q.rotateFull(); err != nil {
		return 0, err
	}
	oldest := int64(-1 << 63)
	if q.cfg.Retention > 0 {
		oldest = now.Add(-q.cfg.Retention - slack).UnixMilli()
	}
	o := &q.out
	refs, named := o.refs, o.named
	o.buf = o.buf[:0]
	next := q.next // changed by commits alone
	o.begin(next, now.UnixMilli())
	for _, w := range writes {
		w.Refused, w.Repeated = w.Refused[:0], w.Repeated[:0]
		for i := range w.Points {
			p := &w.Points[i]
			if p.Time < oldest {
				w.Refused = append(w.Refused, telemetry.Refusal{Index: i, Reason: telemetry.ReasonTimePast})
				continue
			}
			s := q.table.Get(p.Series)
			if s == nil {
				return 0, fmt.Errorf("a point has the series id %#x, which was never given out or was forgotten", uint64(p.Series))
			}
			if s.State.round != o.round {
				s.State = known{o.round, o.define(s.Labels)}
			}
			o.samples = o.course.appendSample(o.samples, s.State.ref, p.Time, p.Value)
			if o.n++; o.n == frameSamples || len(o.samples)+len(o.labels) >= frameBytes {
				o.end()
				o.begin(o.head.end(), o.head.at)
			}
		}
	}
	o.end()
	if len(o.buf) == 0 {
		return 0, nil
	}
	if err := q.write(); err != nil {
		o.refs, o.named = refs, named
		o.round++
		return 0, err
	}
	return o.head.end() - next, nil
}

// begin begins a frame.
func (o *writer) begin(first uint64, at int64) {
	o.head = head{first: first, at: at}
	o.course = startOf(o.head)
	o.labels, o.samples, o.n, o.defined, o.first = o.labels[:0], o.samples[:0], 0, 0, o.refs
	o.before = o.before[:0]
}

// define gives a series the next reference.
func (o *writer) define(ls labels.Labels) uint32 {
	o.spare = o.spare[:0]
	ls.Range(func(l labels.Label) { o.spare = append(o.spare, telemetry.Label{Name: l.Name, Value: l.Value}) })
	o.labels = appendLabels(o.labels, o.before, o.spare)
	o.before, o.spare = o.spare, o.before
	o.defined++
	o.refs++
	return o.refs - 1
}

// end adds the frame to the buffer, unless it is empty.
func (o *writer) end() {
	o.head.samples = o.n
	if o.n == 0 {
		return
	}
	at := len(o.buf)
	o.buf = append(o.buf, make([]byte, frameHeader)...)
	o.buf = appendNumber(o.buf, o.defined)
	o.buf = appendNumber(o.buf, o.first)
	o.buf = append(append(o.buf, o.labels...), o.samples...)
	o.named += int64(len(o.labels))
	putHead(o.buf[at:], o.head, o.buf[at+frameHeader:])
}

// write makes the buffer durable and shows it to the reader.
func (q *Queue) write() error {
	o := &q.out
	if _, err := o.file.Write(o.buf); err != nil {
		if !isFull(err) {
			return err
		}
		// Nothing of it was promised, and what the disk took of it goes.
		if _, seek := o.file.Seek(o.size, 0); seek != nil {
			return errors.Join(err, seek)
		}
		if cut := o.file.Truncate(o.size); cut != nil {
			return errors.Join(err, cut)
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		q.tight = true
		q.measure()
		return fmt.Errorf("%w: %w", q.Full(), explain(q.cfg.Dir, err))
	}
	if err := q.sync(o.file); err != nil {
		return err
	}
	o.size += int64(len(o.buf))
	end := o.head.end()
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.segments[len(q.segments)-1]
	s.end, s.size = end, o.size
	q.bytes += int64(len(o.buf))
	q.pending.Add(int64(end - q.next))
	q.next = end
	if q.bytes >= int64(q.cfg.MaxBytes) {
		q.measure()
	}
	q.signal()
	return nil
}

// rotateFull begins a new segment when the present one is as large as it should
// be. A queue that is full has more than one, or none could go.
func (q *Queue) rotateFull() error {
	if q.out.size < max(q.segment, min(labelShare*q.out.named, int64(q.cfg.MaxBytes)/4)) {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.rotate(); err != nil && !isFull(err) {
		return err // without room for another file the segment just grows
	}
	q.dropDone()
	return nil
}

// rotate begins a new segment. q.mu is held, or the queue is not in use yet.
func (q *Queue) rotate() error {
	s, f, err := createSegment(q.cfg.Dir, q.next, q.sync)
	if err != nil {
		return fmt.Errorf("begin segment: %w", err)
	}
	if q.out.file != nil {
		err = q.out.file.Close()
	}
	q.out.file, q.out.size, q.out.refs, q.out.named = f, s.size, 0, 0
	q.out.round++
	if n := len(q.segments); n > 0 && q.segments[n-1].first == s.first { // it was empty, and is the same file
		q.bytes -= q.segments[n-1].size
		q.segments = q.segments[:n-1]
	}
	q.segments = append(q.segments, s)
	q.bytes += s.size
	return err
}
