package remotewrite

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// Querier implements storage.Queryable.
func (c *Client) Querier(mint, maxt int64) (storage.Querier, error) {
	return &querier{c, mint, maxt}, nil
}

type querier struct {
	*Client
	mint, maxt int64 // milliseconds, both included
}

func (q *querier) Close() error { return nil }

// Select implements storage.Querier. The series are always sorted.
func (q *querier) Select(ctx context.Context, _ bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	mint, maxt := q.mint, q.maxt
	if hints != nil {
		mint, maxt = hints.Start, hints.End
	}
	if mint > maxt {
		return storage.EmptySeriesSet()
	}
	series, err := q.fetch(ctx, mint, maxt, hints, ms)
	if err != nil {
		return storage.ErrSeriesSet(fmt.Errorf("read from %s: %w", q.cfg.QueryURL, err))
	}
	return &seriesSet{series: series}
}

func (q *querier) fetch(ctx context.Context, mint, maxt int64, hints *storage.SelectHints, ms []*labels.Matcher) ([]*remoteSeries, error) {
	reader, err := q.readerOf(ctx)
	if err != nil {
		return nil, err
	}
	into := &collector{mint: mint, maxt: maxt, most: q.cfg.MaxSamples, matchers: ms, byLabels: map[string]*remoteSeries{}}
	switch {
	case reader == RemoteRead:
		err = q.remoteRead(ctx, into, hints)
	case hints != nil && hints.Func == "series":
		err = q.namesOfSeries(ctx, into)
	case reader == Export:
		err = q.export(ctx, into)
	default:
		err = q.ranges(ctx, into)
	}
	return into.done(), err
}

// errTooManySamples is what a selection gets that is larger than it may be.
func errTooManySamples(most int) error {
	return fmt.Errorf("the selection reads more than %d samples; narrow its time or selectors, or raise max_samples of the engine", most)
}

// LabelValues implements storage.LabelQuerier.
func (q *querier) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	values := q.span(ms)
	limit(values, hints)
	req, err := q.request(ctx, http.MethodGet, q.cfg.QueryURL, "/api/v1/label/"+url.PathEscape(model.EscapeName(name, model.ValueEncodingEscaping))+"/values?"+values.Encode(), nil)
	all, err := q.names(req, err, values)
	return all, nil, err
}

// LabelNames implements storage.LabelQuerier.
func (q *querier) LabelNames(ctx context.Context, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	values := q.span(ms)
	limit(values, hints)
	req, err := q.form(ctx, "/api/v1/labels", values)
	all, err := q.names(req, err, values)
	return all, nil, err
}

func limit(values url.Values, hints *storage.LabelHints) {
	if hints != nil && hints.Limit > 0 {
		values.Set("limit", strconv.Itoa(hints.Limit))
	}
}

func (q *querier) names(req *http.Request, err error, values url.Values) ([]string, error) {
	if err != nil {
		return nil, err
	}
	var all []string
	if err := q.api(req, &all); err != nil {
		return nil, fmt.Errorf("read from %s: %w", q.cfg.QueryURL, err)
	}
	slices.Sort(all)
	if n, _ := strconv.Atoi(values.Get("limit")); n > 0 && len(all) > n {
		all = all[:n]
	}
	return all, nil
}

// api reads the data of an answer of the Prometheus API.
func (c *Client) api(req *http.Request, data any) error {
	body, err := c.ask(req)
	if err != nil {
		return err
	}
	defer drain(body)
	answer := struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   any    `json:"data"`
	}{Data: data}
	if err := json.NewDecoder(body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %w", place(req.URL), err)
	}
	if answer.Status != "success" {
		return errors.New(cmp.Or(answer.Error, "the answer is no success and has no error"))
	}
	return nil
}

// The times between which servers are asked: their APIs know none before 1970,
// and what lies far ahead no server takes.
const farAhead = 100 * 365 * 24 * time.Hour

// bounds returns the range as the APIs take it.
func bounds(mint, maxt int64) (from, to int64) {
	return max(mint, 0), min(maxt, time.Now().Add(farAhead).UnixMilli())
}

func (q *querier) span(ms []*labels.Matcher) url.Values {
	from, to := bounds(q.mint, q.maxt)
	v := url.Values{"start": {moment(from)}, "end": {moment(to)}}
	if len(ms) > 0 {
		v.Set("match[]", selector(ms))
	}
	return v
}

// moment writes milliseconds as the APIs take times. VictoriaMetrics reads a
// number of seconds after 2038 as milliseconds, so it is no number.
func moment(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }

// selector writes matchers in PromQL. A selector that could be of a series
// without a name is refused by the APIs, and there is none.
func selector(ms []*labels.Matcher) string {
	b := []byte{'{'}
	named := false
	for i, m := range ms {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, m.String()...)
		named = named || !m.Matches("")
	}
	if !named {
		if len(ms) > 0 {
			b = append(b, ',')
		}
		b = append(b, `__name__!=""`...)
	}
	return string(append(b, '}'))
}

func (q *querier) namesOfSeries(ctx context.Context, into *collector) error {
	from, to := bounds(into.mint, into.maxt)
	req, err := q.form(ctx, "/api/v1/series", url.Values{"match[]": {selector(into.matchers)}, "start": {moment(from)}, "end": {moment(to)}})
	if err != nil {
		return err
	}
	var all []map[string]string
	if err := q.api(req, &all); err != nil {
		return err
	}
	for _, m := range all {
		into.at(labels.FromMap(m))
	}
	return nil
}
