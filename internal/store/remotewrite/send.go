package remotewrite

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"

	"github.com/klauspost/compress/snappy"

	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Send implements queue.Destination. Of a request that the server refuses, the
// points that it refuses are found by halving; all others are stored.
func (c *Client) Send(ctx context.Context, batch []queue.Series) error {
	e := c.encoders.Get().(*encoder)
	defer c.encoders.Put(e)
	e.lay(batch)
	if err := c.withoutNaN(ctx, e, batch); err != nil {
		return err
	}
	if err := c.deliver(ctx, e, batch, e.rows); err != nil {
		if a, ok := errors.AsType[*answered](err); ok && a.after > 0 {
			return &queue.Later{After: a.after, Err: err}
		}
		return err
	}
	if len(e.refused.Points) == 0 {
		return nil
	}
	slices.SortFunc(e.refused.Points, func(a, b queue.RefusedPoint) int {
		return cmp.Or(cmp.Compare(a.Series, b.Series), cmp.Compare(a.Point, b.Point))
	})
	return &queue.Refused{Points: e.refused.Points}
}

// withoutNaN refuses NaN, but for stale markers, where the server would drop
// them and say nothing.
func (c *Client) withoutNaN(ctx context.Context, e *encoder, batch []queue.Series) error {
	isNaN := func(r row) bool {
		v := batch[r.series].Points[r.point].Value
		return math.IsNaN(v) && !telemetry.IsStaleMarker(v)
	}
	if !slices.ContainsFunc(e.rows, isNaN) {
		return nil
	}
	if r, err := c.readerOf(ctx); err != nil || r != Export {
		return err
	}
	e.rows = slices.DeleteFunc(e.rows, func(r row) bool {
		if !isNaN(r) {
			return false
		}
		e.refuse(r, telemetry.ReasonNotFinite, "VictoriaMetrics stores no NaN")
		return true
	})
	return nil
}

func (e *encoder) refuse(r row, reason telemetry.Reason, detail string) {
	e.refused.Points = append(e.refused.Points, queue.RefusedPoint{Series: int(r.series), Point: int(r.point), Reason: reason, Detail: detail})
}

func (c *Client) deliver(ctx context.Context, e *encoder, batch []queue.Series, rows []row) error {
	if len(rows) == 0 {
		return nil
	}
	err := c.post(ctx, e, batch, rows)
	switch a, _ := errors.AsType[*answered](err); {
	case a == nil:
		return err
	case a.status == http.StatusInternalServerError && says(a.text, []string{"too old sample"}): // Prometheus 2.42, beyond its out-of-order window
	default:
		switch a.status {
		case http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity: // Thanos says 409 where others say 400
		default:
			return err
		}
	}
	if len(rows) == 1 {
		return c.judge(ctx, e, batch, rows[0], err)
	}
	if err := c.deliver(ctx, e, batch, rows[:len(rows)/2]); err != nil {
		return err
	}
	return c.deliver(ctx, e, batch, rows[len(rows)/2:])
}

// post stores rows in one request, in the newest version of the protocol that
// the server speaks.
func (c *Client) post(ctx context.Context, e *encoder, batch []queue.Series, rows []row) error {
	known := version(c.version.Load())
	var err error
	if known != v1 {
		err = c.attempt(ctx, e, v2, batch, rows)
		switch {
		case err == nil:
			c.version.Store(int32(v2))
			return nil
		case errors.Is(err, errNotSpoken), statusOf(err) == http.StatusUnsupportedMediaType:
			c.version.Store(int32(v1))
		case known == unknown && statusOf(err) == http.StatusBadRequest && !counts(err):
			// A server that knows of no version 2 may have failed to read it.
		default:
			return err
		}
	}
	first := err
	if err = c.attempt(ctx, e, v1, batch, rows); err != nil {
		if statusOf(first) == http.StatusBadRequest && statusOf(err) == http.StatusUnsupportedMediaType {
			return first
		}
		return err
	}
	c.version.Store(int32(v1))
	return nil
}

// errNotSpoken is what a server means that takes a request of version 2 without
// saying what it has stored: it has read nothing of it. VictoriaMetrics and
// Prometheus before 3.0 answer so, with success.
var errNotSpoken = errors.New("the server does not speak remote write 2")

// attempt sends rows in one version. Nil means that all are stored.
func (c *Client) attempt(ctx context.Context, e *encoder, v version, batch []queue.Series, rows []row) error {
	e.packed = snappy.Encode(e.packed[:cap(e.packed)], e.encode(v, batch, rows))
	r := request{v, bytes.Clone(e.packed)} // the transport may read it after the answer
	written, err := c.submit(ctx, r)
	switch {
	case err != nil:
		return err
	case v == v2 && written == "":
		return errNotSpoken
	case v == v2 && written != strconv.Itoa(len(rows)):
		return &answered{url: c.cfg.WriteURL, status: http.StatusBadRequest, written: written, text: fmt.Sprintf("it says that it has stored %s of %d samples", written, len(rows))}
	}
	return nil
}

// request is an encoded request.
type request struct {
	version version
	packed  []byte
}

// submit sends a request and returns how many samples the server says it has
// stored; empty when it does not say.
func (c *Client) submit(ctx context.Context, r request) (written string, err error) {
	req, err := c.request(ctx, http.MethodPost, c.cfg.WriteURL, "", bytes.NewReader(r.packed))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Encoding", "snappy")
	if r.version == v2 {
		req.Header.Set("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")
		req.Header.Set("X-Prometheus-Remote-Write-Version", "2.0.0")
	} else {
		req.Header.Set("Content-Type", "application/x-protobuf")
		req.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	}
	defer func() { c.absences.after(err) }()
	resp, err := c.write.Do(req)
	if err != nil {
		return "", err
	}
	defer drain(resp.Body)
	if resp.StatusCode/100 != 2 {
		return "", failure(resp)
	}
	return resp.Header.Get(samplesWritten), nil
}

// samplesWritten is a header in the answers, also the bad ones, of servers that
// speak version 2.
const samplesWritten = "X-Prometheus-Remote-Write-Samples-Written"

// counts reports whether an answer that is an error says what was stored.
func counts(err error) bool {
	a, ok := errors.AsType[*answered](err)
	return ok && a.written != ""
}
