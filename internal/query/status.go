package query

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql/parser"
)

// ofAllRegions reports whether a request may see what belongs to no region, and
// seesAll whether it may see every series.
func ofAllRegions(r *request) bool {
	s, ok := r.Context().Value(scopeKey{}).(Scope)
	return ok && s.Region == ""
}

func seesAll(r *request) bool {
	s, ok := r.Context().Value(scopeKey{}).(Scope)
	return ok && s == (Scope{})
}

func (a *API) buildInfo(*request) answer { return answer{data: a.source.Build} }

// runtimeInfo is what /status/runtimeinfo tells.
type runtimeInfo struct {
	StartTime           time.Time `json:"startTime"`
	CWD                 string    `json:"CWD"`
	Hostname            string    `json:"hostname"`
	ServerTime          time.Time `json:"serverTime"`
	ReloadConfigSuccess bool      `json:"reloadConfigSuccess"`
	LastConfigTime      time.Time `json:"lastConfigTime"`
	CorruptionCount     int64     `json:"corruptionCount"`
	GoroutineCount      int       `json:"goroutineCount"`
	GOMAXPROCS          int       `json:"GOMAXPROCS"`
	GOMEMLIMIT          int64     `json:"GOMEMLIMIT"`
	GOGC                string    `json:"GOGC"`
	GODEBUG             string    `json:"GODEBUG"`
	StorageRetention    string    `json:"storageRetention"`
}

// runtimeInfo answers /status/runtimeinfo. The working directory and the host's
// name are nobody's business and stay empty.
func (a *API) runtimeInfo(*request) answer {
	return answer{data: runtimeInfo{
		StartTime: a.source.Started.UTC(), ServerTime: a.now().UTC(), LastConfigTime: a.source.Started.UTC(),
		ReloadConfigSuccess: true, GoroutineCount: runtime.NumGoroutine(),
		GOMAXPROCS: runtime.GOMAXPROCS(0), GOMEMLIMIT: debug.SetMemoryLimit(-1),
		GOGC: os.Getenv("GOGC"), GODEBUG: os.Getenv("GODEBUG"), StorageRetention: a.source.Retention,
	}}
}

func (a *API) flags(r *request) answer {
	if !ofAllRegions(r) || a.source.Flags == nil {
		return answer{data: map[string]string{}}
	}
	return answer{data: a.source.Flags}
}

func (a *API) settings(r *request) answer {
	yaml := ""
	if ofAllRegions(r) && a.source.Settings != nil {
		yaml = a.source.Settings()
	}
	return answer{data: map[string]string{"yaml": yaml}}
}

// The hub scrapes nothing: devices send. These answers say so in Prometheus' words.

func (a *API) targets(*request) answer {
	return answer{data: struct {
		Active  []string       `json:"activeTargets"`
		Dropped []string       `json:"droppedTargets"`
		Counts  map[string]int `json:"droppedTargetCounts"`
	}{[]string{}, []string{}, map[string]int{}}}
}

func (a *API) targetMetadata(r *request) answer {
	if _, f := count(r, "limit"); f != nil {
		return fails(f)
	}
	if s := r.FormValue("match_target"); s != "" {
		if _, err := a.parser.ParseMetricSelector(s); err != nil {
			return fails(badParameter(err, "match_target"))
		}
	}
	return answer{data: []string{}}
}

func (a *API) scrapePools(*request) answer {
	return answer{data: map[string][]string{"scrapePools": {}}}
}

func (a *API) alertmanagers(*request) answer {
	return answer{data: struct {
		Active  []string `json:"activeAlertmanagers"`
		Dropped []string `json:"droppedAlertmanagers"`
	}{[]string{}, []string{}}}
}

// exemplars answers /query_exemplars: the hub keeps none.
func (a *API) exemplars(r *request) answer {
	start, end, f := span(r.Request)
	if f != nil {
		return fails(f)
	}
	if end.Before(start) {
		return fails(bad(errors.New("end timestamp must not be before start timestamp")))
	}
	e, err := a.parser.ParseExpr(r.FormValue("query"))
	if err != nil {
		return fails(bad(err))
	}
	if len(parser.ExtractSelectors(e)) == 0 {
		return answer{}
	}
	return answer{data: []string{}}
}

// metadata answers /metadata with the metrics that the caller has series of.
func (a *API) metadata(r *request) answer {
	limit, f := count(r, "limit")
	if f != nil {
		return fails(f)
	}
	each, f := count(r, "limit_per_metric")
	if f != nil {
		return fails(f)
	}
	known, err := a.visibleMetadata(r)
	if err != nil {
		return fails(failed(err))
	}
	found := map[string][]Metadata{}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if m := r.FormValue("metric"); m != "" && m != name {
			continue
		}
		if limit >= 0 && len(found) >= limit {
			break
		}
		found[name] = known[name]
		if each > 0 && len(found[name]) > each {
			found[name] = found[name][:each]
		}
	}
	return answer{data: found}
}

func (a *API) visibleMetadata(r *request) (map[string][]Metadata, error) {
	if a.source.Metadata == nil {
		return nil, nil
	}
	known := a.source.Metadata()
	if seesAll(r) {
		return known, nil
	}
	q, err := a.store.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	names, _, err := q.LabelValues(r.Context(), model.MetricNameLabel, nil)
	if err != nil {
		return nil, err
	}
	visible := map[string][]Metadata{}
	for _, name := range names {
		if m, ok := known[name]; ok {
			visible[strings.Clone(name)] = m
		}
	}
	return visible, nil
}

// count returns a parameter that is a number; -1 when it is absent.
func count(r *request, name string) (int, *failure) {
	s := r.FormValue(name)
	if s == "" {
		return -1, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, bad(fmt.Errorf("%s must be a number", name))
	}
	return n, nil
}

// recent is how far back /status/tsdb looks for series: as far as a head of the
// TSDB usually reaches.
const recent = 3 * time.Hour

// cardinality answers /status/tsdb by counting the series that the caller sees.
func (a *API) cardinality(r *request) answer {
	const most = 10000
	limit := 10
	if s := r.FormValue("limit"); s != "" {
		var err error
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 {
			return fails(bad(errors.New("limit must be a positive number")))
		}
		if limit > most {
			return fails(bad(fmt.Errorf("limit must not exceed %d", most)))
		}
	}
	c, err := a.census(r)
	if err != nil {
		return fails(failed(err))
	}
	var head Head
	if a.source.Head != nil && seesAll(r) {
		head = a.source.Head()
	}
	return answer{data: c.status(head, limit)}
}

func (a *API) census(r *request) (*census, error) {
	now := a.now()
	mint, maxt := timestamp.FromTime(now.Add(-recent)), timestamp.FromTime(now)
	q, err := a.store.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	return takeCensus(r.Context(), q, mint, maxt)
}
