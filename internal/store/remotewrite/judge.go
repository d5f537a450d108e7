package remotewrite

import (
	"context"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/telemetry"
)

// aboutTime are words of servers that refuse a point for what they have stored
// already: those of the TSDB of Prometheus, which Thanos and Mimir use too, and
// of Mimir.
var aboutTime = []string{"out of order", "out-of-order", "too old", "too-old", "out of bounds", "too far in the future", "too-far-in-future"}

var aboutRepetition = []string{"duplicate sample", "duplicate-timestamp"}

func says(text string, words []string) bool {
	text = strings.ToLower(text)
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

// judge decides about a point that the server refuses. One that is stored there
// with the same value is no refusal: it came twice, and a server without an
// out-of-order window says "out of order" to that too.
func (c *Client) judge(ctx context.Context, e *encoder, batch []queue.Series, r row, refusal error) error {
	answer, _ := errors.AsType[*answered](refusal)
	s := batch[r.series]
	p := s.Points[r.point]
	repeated := says(answer.text, aboutRepetition)
	if !repeated && !says(answer.text, aboutTime) {
		e.refuse(r, reasonOf(answer), answer.Error())
		return nil
	}
	stored, there, err := c.value(ctx, s.Labels, p.Time)
	switch {
	case err != nil:
		return err
	case there && math.Float64bits(stored) == math.Float64bits(p.Value):
	case there || repeated:
		e.refuse(r, telemetry.ReasonConflict, answer.Error())
	case p.Time > time.Now().UnixMilli():
		e.refuse(r, telemetry.ReasonTimeFuture, answer.Error())
	default:
		e.refuse(r, telemetry.ReasonTimePast, answer.Error()+"; widen the server's out-of-order window (Prometheus: storage.tsdb.out_of_order_time_window)")
	}
	return nil
}

func reasonOf(a *answered) telemetry.Reason {
	switch text := strings.ToLower(a.text); {
	case a.status == 413:
		return telemetry.ReasonTooLarge
	case strings.Contains(text, "metric name"), strings.Contains(text, "metric-name"):
		return telemetry.ReasonMetricInvalid
	case strings.Contains(text, "label"):
		return telemetry.ReasonLabelInvalid
	}
	return telemetry.ReasonUnsupported
}

// value reads one stored point.
func (c *Client) value(ctx context.Context, of []telemetry.Label, at int64) (v float64, there bool, err error) {
	var ms []*labels.Matcher
	for _, l := range of {
		ms = append(ms, labels.MustNewMatcher(labels.MatchEqual, l.Name, l.Value))
	}
	q, err := c.Querier(at, at)
	if err != nil {
		return 0, false, err
	}
	defer q.Close() //nolint:errcheck // it holds nothing
	set := q.Select(ctx, false, nil, ms...)
	for set.Next() {
		if s := set.At(); s.Labels().Len() == len(of) {
			it := s.Iterator(nil)
			for it.Next() == chunkenc.ValFloat {
				if t, x := it.At(); t == at {
					v, there = x, true
				}
			}
			if it.Err() != nil {
				return 0, false, it.Err()
			}
		}
	}
	return v, there, set.Err()
}
