package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

const (
	searchLimit     = 100 // results, unless asked for more
	maxSearchLimit  = 10_000
	searchBatch     = 100 // results on a line, unless asked for more
	maxSearchBatch  = 1000
	maxSearchTerms  = 32
	fuzzySubsequent = "subsequence"
	fuzzyJaro       = "jarowinkler"
)

// searching is what a search is asked to do.
type searching struct {
	start, end time.Time
	sets       [][]*labels.Matcher
	hints      storage.SearchHints
	limit      int
	batch      int
	scores     bool
	metadata   bool   // metric names come with what is known of them
	label      string // whose values are searched
}

// searchKind is one of the three things that can be searched.
type searchKind struct {
	key   string // of the found string in a result
	label func(*request) (string, error)
	read  func(label string) labelsOf
}

func readValues(label string) labelsOf {
	return func(ctx context.Context, q storage.Querier, h *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
		return q.LabelValues(ctx, label, h, ms...)
	}
}

func readNames(string) labelsOf {
	return func(ctx context.Context, q storage.Querier, h *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
		return q.LabelNames(ctx, h, ms...)
	}
}

// searches are the paths of the search API. It is experimental in Prometheus;
// Grafana's data source uses it where it is served.
func searches() map[string]searchKind {
	return map[string]searchKind{
		"/search/metric_names": {"name", func(*request) (string, error) { return model.MetricNameLabel, nil }, readValues},
		"/search/label_names":  {"name", func(*request) (string, error) { return "", nil }, readNames},
		"/search/label_values": {"value", func(r *request) (string, error) {
			if l := r.FormValue("label"); l != "" {
				return l, nil
			}
			return "", errors.New(`missing required parameter "label"`)
		}, readValues},
	}
}

// search answers in lines of JSON: batches of results, then a line that tells
// how it went.
func (a *API) search(w *reply, r *request, k searchKind) {
	s, err := a.searching(r, k)
	if err != nil {
		a.fail(w, bad(err))
		return
	}
	q, err := a.store.Querier(timestamp.FromTime(s.start), timestamp.FromTime(s.end))
	if err != nil {
		a.fail(w, failed(err))
		return
	}
	defer q.Close()
	values, notes, err := union(r.Context(), q, nil, s.sets, k.read(s.label))
	if err != nil {
		a.fail(w, failed(err))
		return
	}
	s.hints.Limit = oneMore(s.limit)
	found := storage.ApplySearchHints(values, &s.hints)
	if err := a.lines(w, s, k.key, found, notes); err != nil {
		f := w.failure
		if f == nil {
			f = &failure{internal, err}
		}
		a.fail(w, f)
	}
}

// found is one result, with the fields of all kinds of search. Name and value
// are escaped as in all other answers.
type found struct {
	Name  json.RawMessage `json:"name,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
	Score *float64        `json:"score,omitempty"`
	Type  string          `json:"type,omitempty"`
	Help  string          `json:"help,omitempty"`
	Unit  string          `json:"unit,omitempty"`
}

type foundBatch struct {
	Results  []found  `json:"results"`
	Warnings []string `json:"warnings,omitempty"`
}

type foundAll struct {
	Status  string `json:"status"`
	HasMore bool   `json:"has_more"`
}

// lines writes batches of results and how it went, each on a line.
func (a *API) lines(w *reply, s *searching, key string, results []storage.SearchResult, notes annotations.Annotations) error {
	w.header().Set("Content-Type", "application/x-ndjson; charset=utf-8")
	more := len(results) > s.limit
	results = results[:min(len(results), s.limit)]
	var known map[string][]Metadata
	if s.metadata && a.source.Metadata != nil {
		known = a.source.Metadata()
	}
	batch := foundBatch{Warnings: warnings(notes)}
	if len(results) == 0 {
		batch.Results = []found{}
		if err := line(w, batch); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(results, s.batch) {
		batch.Results = a.results(part, s, key, known)
		if err := line(w, batch); err != nil {
			return err
		}
		batch.Warnings = nil
	}
	return line(w, foundAll{"success", more})
}

func line(w *reply, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

func warnings(notes annotations.Annotations) []string {
	var all []string
	for _, w := range notes {
		all = append(all, w.Error())
	}
	slices.Sort(all)
	return all
}

func (a *API) results(part []storage.SearchResult, s *searching, key string, known map[string][]Metadata) []found {
	all := make([]found, len(part))
	for i, r := range part {
		if escaped := appendEscaped(nil, r.Value); key == "value" {
			all[i].Value = escaped
		} else {
			all[i].Name = escaped
		}
		if s.scores {
			all[i].Score = &r.Score
		}
		if m, ok := metadataOf(known, r.Value); ok {
			all[i].Type, all[i].Help, all[i].Unit = m.Type, m.Help, m.Unit
		}
	}
	return all
}

// searching reads the parameters of a search.
func (a *API) searching(r *request, k searchKind) (*searching, error) {
	if r.formErr != nil {
		return nil, fmt.Errorf("error parsing form values: %w", r.formErr)
	}
	s := &searching{sets: [][]*labels.Matcher{nil}}
	if err := a.searchWhere(r, s); err != nil {
		return nil, err
	}
	terms := r.Form["search[]"]
	filter, err := searchFilter(r, terms)
	if err != nil {
		return nil, err
	}
	s.hints.Filter = filter
	if s.scores, err = boolOf(r, "include_score", false); err != nil {
		return nil, err
	}
	if s.hints.OrderBy, err = searchOrder(r, terms); err != nil {
		return nil, err
	}
	if err := searchSize(r, s); err != nil {
		return nil, err
	}
	if by := r.FormValue("sort_by"); by != "" && by != "alpha" && by != "score" {
		return nil, fmt.Errorf("invalid sort_by %q for %s: must be \"alpha\" or \"score\"", by, r.URL.Path[len(root+"/search/"):])
	}
	if s.label, err = k.label(r); err != nil {
		return nil, err
	}
	if s.label == model.MetricNameLabel && k.key == "name" {
		s.metadata, err = boolOf(r, "include_metadata", false)
	}
	return s, err
}

// searchWhere reads which series are searched: those of the last hour unless
// the request says otherwise.
func (a *API) searchWhere(r *request, s *searching) (err error) {
	now := a.now()
	if s.start, err = timeOr(r.Request, "start", now.Add(-time.Hour)); err != nil {
		return err
	}
	if s.end, err = timeOr(r.Request, "end", now); err != nil {
		return err
	}
	if s.end.Before(s.start) {
		return errors.New("end timestamp must not be before start timestamp")
	}
	if ms := r.Form["match[]"]; len(ms) > 0 {
		s.sets, err = a.selectors(ms)
	}
	return err
}

func searchOrder(r *request, terms []string) (storage.Ordering, error) {
	by, dir := r.FormValue("sort_by"), r.FormValue("sort_dir")
	switch {
	case dir != "" && by == "":
		return 0, errors.New("sort_dir is only valid when sort_by is set")
	case dir != "" && by == "score":
		return 0, errors.New("sort_dir is not supported for sort_by=score")
	case dir != "" && dir != "asc" && dir != "dsc":
		return 0, fmt.Errorf("invalid sort_dir %q: must be \"asc\" or \"dsc\"", dir)
	case by == "score" && len(terms) == 0:
		return 0, errors.New("sort_by=score requires search[] to be set")
	case by == "score":
		return storage.OrderByScoreDesc, nil
	case by == "alpha" && dir == "dsc":
		return storage.OrderByValueDesc, nil
	}
	return storage.OrderByValueAsc, nil
}

func searchSize(r *request, s *searching) error {
	s.limit, s.batch = searchLimit, searchBatch
	if err := positiveOf(r, "limit", &s.limit); err != nil {
		return err
	}
	if s.limit > maxSearchLimit {
		return fmt.Errorf("limit %d exceeds the maximum %d", s.limit, maxSearchLimit)
	}
	if err := positiveOf(r, "batch_size", &s.batch); err != nil {
		return err
	}
	s.batch = min(s.batch, s.limit, maxSearchBatch)
	return nil
}

// positiveOf sets n to a parameter, if it is given.
func positiveOf(r *request, name string, n *int) (err error) {
	v := r.FormValue(name)
	if v == "" {
		return nil
	}
	if *n, err = strconv.Atoi(v); err != nil || *n <= 0 {
		return fmt.Errorf("invalid %s %q: must be a positive integer", name, v)
	}
	return nil
}

func boolOf(r *request, name string, absent bool) (bool, error) {
	v := r.FormValue(name)
	if v == "" {
		return absent, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, fmt.Errorf("invalid %s %q: must be boolean", name, v)
	}
	return b, nil
}
