package influx

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/telemetry"
)

var _ queue.Destination = (*Client)(nil)

// Send implements queue.Destination. A server that blames points does not always
// say which, nor that it has stored the others. So what it does not take whole is
// sent again in halves, down to the points that it takes in no company; everything
// else was in a request that it took.
func (c *Client) Send(ctx context.Context, batch []queue.Series) error {
	s := &sending{client: c, batch: batch, from: make([]int, len(batch)+1)}
	for i, series := range batch {
		s.from[i+1] = s.from[i] + len(series.Points)
	}
	s.timeless()
	if err := s.send(ctx, 0, s.from[len(batch)]); err != nil {
		return err
	}
	if err := s.doubted(); err != nil {
		return err
	}
	if len(s.refused) == 0 {
		return nil
	}
	slices.SortFunc(s.refused, func(a, b queue.RefusedPoint) int {
		return cmp.Or(a.Series-b.Series, a.Point-b.Point)
	})
	refused := &queue.Refused{Points: s.refused}
	c.log.Warn("influx_points_refused", "points", len(s.refused), "error", refused)
	return refused
}

// sending is a batch on its way, its points numbered one series after the other.
type sending struct {
	client  *Client
	batch   []queue.Series
	from    []int // number of the first point of each series, and how many there are
	refused []queue.RefusedPoint
	stored  bool   // the server has taken something
	doubt   *Error // the last answer that may be about something else than a point
	doubts  int
}

// maxDoubts is how many points are tried one by one, before anything was taken,
// with a server that may be blaming something else.
const maxDoubts = 8

// doubted is the error of a server that has taken nothing, for reasons of which it
// is not certain that they are of the points.
func (s *sending) doubted() error {
	if s.doubt == nil || s.stored {
		return nil
	}
	return s.doubt
}

// send sends the points from number lo to before hi.
func (s *sending) send(ctx context.Context, lo, hi int) error {
	if lo >= hi {
		return nil
	}
	body := bodies.Get().(*body)
	defer bodies.Put(body)
	n := s.encode(body, lo, hi)
	if n == 0 {
		return nil
	}
	err := s.client.write(ctx, body)
	var failed *Error
	switch {
	case err == nil:
		s.stored = true
		return nil
	case !errors.As(err, &failed) || !failed.splits():
		return err
	}
	why := failed.verdict
	if n > 1 && why.dropped != n {
		mid := lo + (hi-lo)/2
		if err := s.send(ctx, lo, mid); err != nil {
			return err
		}
		return s.send(ctx, mid, hi)
	}
	if failed.Status == http.StatusRequestEntityTooLarge {
		return err // one point is not too large; who says so is no InfluxDB
	}
	if !why.sure {
		s.doubt = failed
		if s.doubts++; s.doubts >= maxDoubts && !s.stored {
			return failed
		}
	}
	for at := lo; at < hi; at++ {
		if series := s.seriesOf(at); hasTime(s.batch[series].Points[at-s.from[series]].Time) {
			s.refuse(series, at-s.from[series], why.reason, failed.Text)
		}
	}
	return nil
}

func (s *sending) refuse(series, point int, reason telemetry.Reason, detail string) {
	s.refused = append(s.refused, queue.RefusedPoint{Series: series, Point: point, Reason: reason, Detail: detail})
}

// seriesOf is the series of the point with a number.
func (s *sending) seriesOf(at int) int { return sort.SearchInts(s.from, at+1) - 1 }

// encode writes the lines of points and returns how many there are: those of
// times that InfluxDB has not are left out.
func (s *sending) encode(b *body, lo, hi int) (n int) {
	b.lines = b.lines[:0]
	for i := s.seriesOf(lo); i < len(s.batch) && s.from[i] < hi; i++ {
		b.key = appendKey(b.key[:0], s.batch[i].Labels)
		points := s.batch[i].Points[max(0, lo-s.from[i]):min(len(s.batch[i].Points), hi-s.from[i])]
		for _, p := range points {
			if hasTime(p.Time) {
				b.lines = appendPoint(b.lines, b.key, p.Time, p.Value)
				n++
			}
		}
	}
	return n
}

// timeless refuses the points of times that InfluxDB has not.
func (s *sending) timeless() {
	for i, series := range s.batch {
		for j, p := range series.Points {
			if !hasTime(p.Time) {
				reason := telemetry.ReasonTimeFuture
				if p.Time < 0 {
					reason = telemetry.ReasonTimePast
				}
				s.refuse(i, j, reason, fmt.Sprintf("InfluxDB has no time %d ms: its times are those from 1677 to 2262", p.Time))
			}
		}
	}
}

// body is the memory of a request, used again.
type body struct {
	lines, key []byte
	packed     bytes.Buffer
	gzip       *gzip.Writer
}

var bodies = sync.Pool{New: func() any { return new(body) }}

// pack is the lines compressed.
func (b *body) pack() ([]byte, error) {
	b.packed.Reset()
	if b.gzip == nil {
		b.gzip, _ = gzip.NewWriterLevel(&b.packed, gzip.BestSpeed) // which is a level
	} else {
		b.gzip.Reset(&b.packed)
	}
	_, err := b.gzip.Write(b.lines)
	err = errors.Join(err, b.gzip.Close())
	return b.packed.Bytes(), err
}

// write has lines stored; nil when they are.
func (c *Client) write(ctx context.Context, b *body) error {
	content := b.lines
	if c.cfg.Gzip {
		var err error
		if content, err = b.pack(); err != nil {
			return err
		}
	}
	ctx, stop := context.WithTimeout(ctx, c.cfg.Timeout)
	defer stop()
	fault := c.post(ctx, c.writeURL, content, func(h http.Header) {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		if c.cfg.Gzip {
			h.Set("Content-Encoding", "gzip")
		}
	}, nil)
	if fault == nil {
		return nil
	}
	failed := c.failure("write", fault)
	if after := retryAfter(fault.Header.Get("Retry-After"), time.Now()); after > 0 {
		return &queue.Later{After: after, Err: failed}
	}
	return failed
}

// maxRetryAfter bounds what a server may ask for.
const maxRetryAfter = time.Hour

// retryAfter reads the header (RFC 9110, 10.2.3): seconds, or a date.
func retryAfter(text string, now time.Time) time.Duration {
	var after time.Duration
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		after = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		after = at.Sub(now)
	}
	return min(max(after, 0), maxRetryAfter)
}

// splits reports whether a part of the points may fare better.
func (e *Error) splits() bool {
	switch e.Status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		return true
	}
	return false
}

// verdict is what an answer says of points.
type verdict struct {
	reason  telemetry.Reason
	sure    bool // that it is about points
	dropped int  // how many were not stored; 0 when it does not say
}

// blames are the words of InfluxDB 1.8 and 2 for points that they do not take.
var blames = []struct {
	words  string
	reason telemetry.Reason
}{
	{"retention policy", telemetry.ReasonTimePast},
	{"time outside range", telemetry.ReasonTimePast},
	{"field type conflict", telemetry.ReasonUnsupported},
	{"limit exceeded", telemetry.ReasonSeriesLimit},
	{"max key length exceeded", telemetry.ReasonTooLarge},
	{"input tag", telemetry.ReasonLabelInvalid},
	{"unable to parse", telemetry.ReasonMalformed},
	{"partial write", telemetry.ReasonUnsupported},
}

var droppedCount = regexp.MustCompile(`dropped=(\d+)$`)

func verdictOf(status int, text string) verdict {
	v := verdict{reason: telemetry.ReasonUnsupported, sure: status == http.StatusUnprocessableEntity}
	for _, b := range blames {
		if strings.Contains(text, b.words) {
			v.reason, v.sure = b.reason, true
			break
		}
	}
	if m := droppedCount.FindStringSubmatch(text); m != nil {
		v.dropped, _ = strconv.Atoi(m[1])
	}
	return v
}
