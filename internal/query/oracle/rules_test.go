package oracle

import (
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"

	"github.com/songhua-io/hub/internal/query"
	ours "github.com/songhua-io/hub/internal/rules"
)

// TestAlertsAreThoseOfPrometheus: the same vectors, at random, to both: the same
// alerts in the same states, with the same labels, annotations and times.
func TestAlertsAreThoseOfPrometheus(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 7))
		hold, keep := time.Duration(r.IntN(5))*time.Minute, time.Duration(r.IntN(4))*time.Minute
		text := `{groups: [{name: g, rules: [{alert: A, expr: "up > 3", for: ` + hold.String() + `, keep_firing_for: ` + keep.String() + `, labels: {severity: "s{{ $labels.n }}"}, annotations: {summary: "{{ $labels.n }} {{ $value | humanize }} {{ $externalURL }}"}}]}]}`
		groups, faults := ours.Load(fstest.MapFS{"f.yaml": {Data: []byte(text)}}, ours.Defaults{Interval: time.Minute})
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		rule := groups[0].Rules[0]
		expr, err := parser.NewParser(parser.Options{}).ParseExpr("up > 3")
		if err != nil {
			t.Fatal(err)
		}
		theirs := rules.NewAlertingRule("A", expr, hold, keep, rule.Labels, rule.Annotations, labels.EmptyLabels(), "http://hub", true, promslog.NewNopLogger())
		var vector promql.Vector
		ask := func(context.Context, string, time.Time) (promql.Vector, error) { return slices.Clone(vector), nil }
		var active ours.Active
		for step := range 40 {
			at := time.Unix(epoch+int64(step)*60, 0).UTC()
			vector = vector[:0]
			for n := range 4 {
				if r.IntN(3) > 0 {
					vector = append(vector, promql.Sample{Metric: labels.FromStrings("__name__", "up", "n", strconv.Itoa(n)), F: float64(r.IntN(5000)), T: at.UnixMilli()})
				}
			}
			if _, err := theirs.Eval(t.Context(), 0, at, rules.QueryFunc(ask), nil, 0); err != nil {
				t.Fatal(err)
			}
			if active, err = rule.Alerts(t.Context(), ask, active, at, 0, "http://hub"); err != nil {
				t.Fatal(err)
			}
			type alert struct {
				Labels, Annotations, State string
				Value                      float64
				Active, Fired, Quiet       time.Time
			}
			var want, got []alert
			for _, a := range theirs.ActiveAlerts() {
				want = append(want, alert{a.Labels.String(), a.Annotations.String(), a.State.String(), a.Value, a.ActiveAt, a.FiredAt, a.KeepFiringSince})
			}
			for _, a := range active.Sorted() {
				got = append(got, alert{a.Labels.String(), a.Annotations.String(), a.State(), a.Value, a.Active, a.Fired, a.Quiet})
			}
			byLabels := func(a, b alert) int { return strings.Compare(a.Labels, b.Labels) }
			slices.SortFunc(want, byLabels)
			slices.SortFunc(got, byLabels)
			if d := cmp.Diff(want, got); d != "" {
				t.Fatalf("seed %d, step %d, for %s, keep %s:\n%s", seed, step, hold, keep, d)
			}
		}
	}
}

// TestRulesAreToldInTheShapeOfPrometheus field by field, as its own code writes an
// alerting rule, a recording rule and an alert.
func TestRulesAreToldInTheShapeOfPrometheus(t *testing.T) {
	at := time.Unix(epoch, 0).UTC()
	ls, notes := labels.FromStrings("alertname", "A", "device", "t1"), labels.FromStrings("summary", "x")
	expr, err := parser.NewParser(parser.Options{}).ParseExpr("up == 0")
	if err != nil {
		t.Fatal(err)
	}
	theirs := rules.NewAlertingRule("A", expr, time.Minute, 2*time.Minute, labels.EmptyLabels(), notes, labels.EmptyLabels(), "", true, promslog.NewNopLogger())
	ask := func(context.Context, string, time.Time) (promql.Vector, error) {
		return promql.Vector{{Metric: labels.FromStrings("device", "t1"), F: 0.5}}, nil
	}
	for i := range 2 {
		if _, err := theirs.Eval(t.Context(), 0, at.Add(time.Duration(i)*time.Minute), ask, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	theirs.SetEvaluationTimestamp(at)
	theirs.SetEvaluationDuration(time.Second)
	theirs.SetHealth(rules.HealthGood)
	recording := rules.NewRecordingRule("r", expr, labels.EmptyLabels())
	recording.SetEvaluationTimestamp(at)
	recording.SetHealth(rules.HealthUnknown)
	group := rules.NewGroup(rules.GroupOptions{Name: "g", File: "f.yaml", Interval: time.Minute, Limit: 5, Rules: []rules.Rule{theirs, recording}, Opts: &rules.ManagerOptions{Logger: slog.New(slog.DiscardHandler)}})
	db := openStore(t)
	oracle := prometheusAPI(db, group)
	groups := []query.RuleGroup{{Name: "g", File: "f.yaml", Interval: time.Minute, Limit: 5, At: time.Time{}, Rules: []query.Rule{
		{Name: "A", Query: "up == 0", Annotations: notes, Health: "ok", Took: time.Second, At: at, Alert: true, State: "firing", For: time.Minute, KeepFiringFor: 2 * time.Minute,
			Alerts: []query.RuleAlert{{Labels: ls, Annotations: notes, State: "firing", Active: at, Value: 0.5}}},
		{Name: "r", Query: "up == 0", Health: "unknown", At: at},
	}}}
	hub := hubAPI(t, db, groups...)
	for _, path := range []string{
		"/rules", "/alerts", "/rules?type=alert", "/rules?type=record", "/rules?exclude_alerts=true", "/rules?rule_name[]=A", "/rules?rule_name[]=x", "/rules?rule_group[]=g", "/rules?rule_group[]=x",
		"/rules?file[]=f.yaml", "/rules?file[]=x", "/rules?group_limit=1", "/rules?group_limit=1&group_next_token=x", `/rules?match[]={severity="x"}`, `/rules?match[]={severity!="x",a!=""}`,
	} {
		var both [2]any
		for i, api := range []http.Handler{oracle, hub} {
			w := httptest.NewRecorder()
			path, q, _ := strings.Cut(path, "?")
			values, err := url.ParseQuery(q)
			if err != nil {
				t.Fatal(err)
			}
			api.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1"+path+"?"+values.Encode(), nil))
			if err := json.Unmarshal(w.Body.Bytes(), &both[i]); err != nil {
				t.Fatalf("%s: %v: %s", path, err, w.Body)
			}
		}
		if d := cmp.Diff(both[0], both[1]); d != "" {
			t.Errorf("%s: -Prometheus +ours\n%s", path, d)
		}
	}
}
