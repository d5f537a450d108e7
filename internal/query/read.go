package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// maxReadQueries is how many queries one remote read may bring.
const maxReadQueries = 64

// read answers remote read with raw samples (response type SAMPLES), in
// snappy-compressed protobuf. Errors are plain text, as Prometheus' are.
func (a *API) read(w *reply, r *request) {
	req, f := a.readRequest(r)
	if f != nil {
		a.failRead(w, f)
		return
	}
	resp := prompb.ReadResponse{Results: make([]*prompb.QueryResult, len(req.Queries))}
	budget := &readBudget{series: seriesBudget{max: a.config.MaxSeries}, samples: a.samples.share, more: func() (int, *failure) {
		return a.samples.most - a.samples.share, a.lease(r.Context(), r)
	}}
	for i, q := range req.Queries {
		res, err := a.readQuery(r.Context(), q, budget)
		if err != nil {
			a.failRead(w, failed(err))
			return
		}
		resp.Results[i] = res
	}
	b, err := resp.Marshal()
	if err != nil {
		a.failRead(w, &failure{internal, err})
		return
	}
	w.header().Set("Content-Type", "application/x-protobuf")
	w.header().Set("Content-Encoding", "snappy")
	w.gzip = false // it is compressed
	w.b = snappy.Encode(nil, b)
	if !w.seal() {
		a.failRead(w, w.failure)
	}
}

func (a *API) failRead(w *reply, f *failure) {
	a.count(f)
	w.drop()
	w.header().Del("Content-Encoding")
	w.header().Set("Content-Type", "text/plain; charset=utf-8")
	w.code = f.kind.code
	w.b = append(append(w.b, f.err.Error()...), '\n')
}

func (a *API) readRequest(r *request) (*prompb.ReadRequest, *failure) {
	packed, err := io.ReadAll(r.Body)
	if long, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, &failure{tooLarge, fmt.Errorf("the request body has more than %d bytes; ask for less at once, or raise query.max_request_bytes", long.Limit)}
	}
	if err != nil {
		return nil, bad(err)
	}
	n, err := snappy.DecodedLen(packed)
	if err == nil && int64(n) > a.config.MaxRequestBytes {
		err = fmt.Errorf("snappy: decoded length %d exceeds limit %d", n, a.config.MaxRequestBytes)
	}
	if err != nil {
		return nil, bad(err)
	}
	plain, err := snappy.Decode(nil, packed)
	if err != nil {
		return nil, bad(err)
	}
	var req prompb.ReadRequest
	if err := req.Unmarshal(plain); err != nil {
		return nil, bad(err)
	}
	if len(req.Queries) > maxReadQueries {
		return nil, bad(fmt.Errorf("remote read brings %d queries; at most %d are answered at once", len(req.Queries), maxReadQueries))
	}
	if t := req.AcceptedResponseTypes; len(t) > 0 && !slices.Contains(t, prompb.ReadRequest_SAMPLES) {
		return nil, bad(fmt.Errorf("server does not support any of the requested response types: %v; supported: %v", t, prompb.ReadRequest_SAMPLES))
	}
	return &req, nil
}

// readBudget bounds the series and samples of all queries of one remote read.
type readBudget struct {
	series  seriesBudget
	samples int
	// more waits for further samples, once.
	more func() (int, *failure)
}

// errTooManySamples is what a remote read gets that takes more samples than it may.
var errTooManySamples = errors.New("remote read takes more samples than query.max_samples; narrow its time or selectors, or raise the limit")

func (b *readBudget) sample() error {
	if b.samples--; b.samples >= 0 {
		return nil
	}
	if b.more == nil {
		return errTooManySamples
	}
	more, f := b.more()
	if b.more = nil; f != nil {
		return f.err
	}
	b.samples += more
	return b.sample()
}

func (a *API) readQuery(ctx context.Context, q *prompb.Query, budget *readBudget) (*prompb.QueryResult, error) {
	ms, err := matchers(q.Matchers)
	if err != nil {
		return nil, err
	}
	querier, err := a.store.Querier(q.StartTimestampMs, q.EndTimestampMs)
	if err != nil {
		return nil, err
	}
	defer querier.Close()
	// The hints of a reader may widen or narrow nothing: the range is the query's.
	hints := &storage.SelectHints{Start: q.StartTimestampMs, End: q.EndTimestampMs}
	set := &boundedSet{querier.Select(ctx, false, hints, ms...), &budget.series}
	res := &prompb.QueryResult{}
	var it chunkenc.Iterator
	for set.Next() {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		s := set.At()
		it = s.Iterator(it)
		ts, err := readSeries(it, budget)
		if err != nil {
			return nil, err
		}
		ts.Labels = prompb.FromLabels(s.Labels(), nil)
		res.Timeseries = append(res.Timeseries, ts)
	}
	return res, set.Err()
}

func readSeries(it chunkenc.Iterator, budget *readBudget) (*prompb.TimeSeries, error) {
	ts := &prompb.TimeSeries{}
	for {
		kind := it.Next()
		if kind == chunkenc.ValNone {
			return ts, it.Err()
		}
		if err := budget.sample(); err != nil {
			return nil, err
		}
		switch kind {
		case chunkenc.ValFloat:
			t, v := it.At()
			ts.Samples = append(ts.Samples, prompb.Sample{Timestamp: t, Value: v})
		case chunkenc.ValHistogram:
			t, h := it.AtHistogram(nil)
			ts.Histograms = append(ts.Histograms, prompb.FromIntHistogram(t, h))
		case chunkenc.ValFloatHistogram:
			t, h := it.AtFloatHistogram(nil)
			ts.Histograms = append(ts.Histograms, prompb.FromFloatHistogram(t, h))
		}
	}
}

func matchers(from []*prompb.LabelMatcher) ([]*labels.Matcher, error) {
	ms := make([]*labels.Matcher, len(from))
	for i, m := range from {
		kind, ok := map[prompb.LabelMatcher_Type]labels.MatchType{
			prompb.LabelMatcher_EQ: labels.MatchEqual, prompb.LabelMatcher_NEQ: labels.MatchNotEqual,
			prompb.LabelMatcher_RE: labels.MatchRegexp, prompb.LabelMatcher_NRE: labels.MatchNotRegexp,
		}[m.Type]
		if !ok {
			return nil, fmt.Errorf("remote read: matcher of label %q has the unknown type %d", m.Name, m.Type)
		}
		var err error
		if ms[i], err = labels.NewMatcher(kind, m.Name, m.Value); err != nil {
			return nil, fmt.Errorf("remote read: matcher of label %q: %w", m.Name, err)
		}
	}
	return ms, nil
}
