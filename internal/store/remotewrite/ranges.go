package remotewrite

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// minWindow is the shortest range that one query is split to when a server finds
// a longer one too much.
const minWindow = int64(time.Hour / time.Millisecond)

// ranges reads the raw points in a range by range selectors, which any
// Prometheus API answers. Stale markers are not among them. The range is split
// as far as the server asks for, and the length that it took is tried first the
// next time.
func (c *Client) ranges(ctx context.Context, into *collector) error {
	from, to := bounds(into.mint, into.maxt)
	for from <= to {
		span := to - from
		if w := c.window.Load(); w > 0 {
			span = min(span, w)
		}
		// Prometheus 3 leaves the beginning of a range out, earlier ones do not.
		err := c.rangeQuery(ctx, into, span+1, from+span)
		status := statusOf(err)
		if (status == http.StatusBadRequest || status == http.StatusUnprocessableEntity) && span > minWindow {
			c.window.Store(max(span/4, minWindow))
			continue
		}
		if err != nil {
			return err
		}
		from += span + 1
	}
	return nil
}

func (c *Client) rangeQuery(ctx context.Context, into *collector, span, at int64) error {
	req, err := c.form(ctx, "/api/v1/query", url.Values{"query": {selector(into.matchers) + "[" + strconv.FormatInt(span, 10) + "ms]"}, "time": {moment(at)}})
	if err != nil {
		return err
	}
	var data struct {
		Result []struct {
			Metric map[string]string `json:"metric"`
			Values queriedPoints     `json:"values"`
		} `json:"result"`
	}
	if err := c.api(req, &data); err != nil {
		return err
	}
	for _, r := range data.Result {
		if err := into.count(len(r.Values)); err != nil {
			return err
		}
		if s := into.at(labels.FromMap(r.Metric)); s != nil {
			s.points = append(s.points, r.Values...)
		}
	}
	return nil
}

// queriedPoints are pairs of seconds and text: [[1764166323.5,"21.5"],…].
type queriedPoints []point

func (p *queriedPoints) UnmarshalJSON(b []byte) error {
	b = bytes.TrimSpace(b)
	if len(b) < 2 {
		return fmt.Errorf("%q is no array", b)
	}
	for b = b[1 : len(b)-1]; len(b) > 0; {
		pair, rest, closed := bytes.Cut(b, []byte{']'})
		at, value, two := bytes.Cut(bytes.TrimLeft(pair, ", \t\r\n["), []byte{','})
		if !closed || !two {
			return fmt.Errorf("%.40q is no pair of a time and a value", pair)
		}
		t, err := strconv.ParseFloat(string(bytes.TrimSpace(at)), 64)
		if err != nil {
			return err
		}
		v, err := strconv.ParseFloat(string(bytes.Trim(value, "\" \t\r\n")), 64)
		if err != nil {
			return err
		}
		*p = append(*p, point{int64(math.Round(t * 1000)), v})
		b = bytes.TrimLeft(rest, " \t\r\n")
	}
	return nil
}
