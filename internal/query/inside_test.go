package query

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// TestValuesForTheHubItselfHaveTheAgeOfTheirSamples asks for expressions of every
// sort, within a region.
func TestValuesForTheHubItselfHaveTheAgeOfTheirSamples(t *testing.T) {
	h := serve(t, nil)
	series := func(name, device, region string) labels.Labels {
		return labels.FromStrings("__name__", name, "device", device, "region", region)
	}
	h.store(10*time.Second, 3, series("a", "n1", "220100"))
	h.store(40*time.Second, 4, series("a", "n2", "220100"))
	h.store(20*time.Second, 10, series("b", "n1", "220100"))
	h.store(30*time.Minute, 7, series("old", "n1", "220100"))
	h.store(time.Second, 100, series("a", "n1", "110000"))
	for expression, want := range map[string]string{
		"a":                         "n1=3@10s n2=4@40s",
		"sum by (device) (a)":       "n1=3@10s n2=4@40s",
		"a * on (device) b":         "n1=30@20s", // as old as the older one
		"sum(a)":                    "=7@40s",
		"last_over_time(old[1h])":   "n1=7@30m0s",
		"old":                       "", // it does not hold
		"old or a":                  "n1=3@10s n2=4@40s",
		"a offset 30s":              "n2=4@40s",
		"vector(5)":                 "=5@0s",
		"2":                         "=2@0s",
		"a / 0 - a / 0":             "", // NaN
		"max_over_time(a[1h]) + 10": "n1=13@10s n2=14@40s",
	} {
		got, err := h.api.Values(t.Context(), Scope{Region: "220100"}, expression, noon, "node", "device")
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		var said []string
		for _, v := range got {
			said = append(said, fmt.Sprintf("%s=%v@%v", v.Labels["device"], v.Value, noon.Sub(v.At)))
		}
		slices.Sort(said)
		if strings.Join(said, " ") != want {
			t.Errorf("%s: %v, want %s", expression, said, want)
		}
	}
	for expression, want := range map[string]string{"sum(a": "1:6", "a[5m]": "range vector", `"text"`: "string", "": "no expression"} {
		if err := h.api.Instant(expression); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", expression, err, want)
		}
	}
	if _, err := h.api.Values(t.Context(), Scope{}, `b + on (region) a`, noon, "device"); err == nil {
		t.Error("what cannot be matched gives an answer")
	}
	bounded := serve(t, func(c *Config, s *Source) { c.MaxSeries, s.Store = 1, h.db })
	if _, err := bounded.api.Values(t.Context(), Scope{}, "a", noon, "device"); err == nil || !strings.Contains(err.Error(), "more than 1 series") {
		t.Errorf("three series with a bound of one: %v", err)
	}
}
