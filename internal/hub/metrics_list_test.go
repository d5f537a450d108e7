package hub

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/songhua-io/hub/deploy/alerts"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/edge/source"
	"github.com/songhua-io/hub/internal/rules"
	"github.com/songhua-io/hub/internal/traffic"
)

var updateMetrics = flag.Bool("update-metrics", false, "write the list of metrics to deploy/alerts/metrics.txt")

const metricsList = "../../deploy/alerts/metrics.txt"

// byHand begins the part of the list that is kept by hand: what a hub has only with
// what its configuration names, and the names that sensors are expected to use.
const byHand = "# by hand\n"

// TestTheListOfMetricsIsThatOfTheCode: what `hub rules check` and the tests of rules
// and runbooks hold names to is what a hub with all of its doors and an engine
// elsewhere, an agent and the roads have.
func TestTheListOfMetricsIsThatOfTheCode(t *testing.T) {
	away := newTaker(t)
	h := everyDoor(t, t.TempDir(), func(c *config.Config) { away.keeps(c, time.Hour) })
	sections := []string{"hub", "traffic", "agent"}
	names := map[string]map[string]bool{"hub": {}, "traffic": {}, "agent": {}}
	descs := make(chan *prometheus.Desc)
	go func() {
		h.metrics.Describe(descs)
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}).Describe(descs) // of Run
		close(descs)
	}()
	named := regexp.MustCompile(`fqName: "([^"]+)"`)
	for d := range descs {
		names["hub"][named.FindStringSubmatch(d.String())[1]] = true
	}
	families, err := h.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		names["hub"][f.GetName()] = true
	}
	for name := range poolMetrics {
		names["hub"][name] = true
	}
	names["hub"][presenceMetric] = true
	for _, d := range traffic.Definitions() {
		names["traffic"][d.Name] = true
	}
	for _, m := range source.Metrics() {
		names["agent"][m.Name] = true
	}
	maps.DeleteFunc(names["hub"], func(name string, _ bool) bool {
		return strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "prometheus_")
	})
	kept, err := os.ReadFile(metricsList)
	if err != nil {
		t.Fatal(err)
	}
	_, tail, _ := strings.Cut(string(kept), byHand)
	var b strings.Builder
	b.WriteString("# Names of series. All but the last part is written by go test ./internal/hub -run TestTheListOfMetrics -update-metrics\n")
	for _, s := range sections {
		fmt.Fprintf(&b, "# %s\n%s\n", s, strings.Join(slices.Sorted(maps.Keys(names[s])), "\n"))
	}
	b.WriteString(byHand + tail)
	if *updateMetrics {
		if err := os.WriteFile(metricsList, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if b.String() != string(kept) {
		for _, s := range sections {
			for name := range names[s] {
				if !alerts.Known(alerts.Metrics(), name) {
					t.Errorf("%s is not in the list", name)
				}
			}
		}
		t.Error("the list is not that of the code; write it anew with -update-metrics")
	}
}

// TestEveryMetricOfTheShippedRulesIsThere: a rule that asks for another would never
// raise anything.
func TestEveryMetricOfTheShippedRulesIsThere(t *testing.T) {
	groups, faults := rules.Load(alerts.Files, rules.Defaults{Interval: rules.MinInterval})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	known := alerts.Metrics()
	for _, g := range groups {
		for _, r := range g.Rules {
			for _, name := range rules.Names(r.Expr) {
				if !alerts.Known(known, name) {
					t.Errorf("%s asks for %s, which nothing writes", r.Name(), name)
				}
			}
		}
	}
}
