// Package alerts holds the rules that come with a hub, one file per subject. The hub
// runs them; a Prometheus or a vmalert that asks the hub takes the same files.
package alerts

import (
	"embed"
	"slices"
	"strings"
)

// Files are the rule files, *.yaml.
//
//go:embed *.yaml
var Files embed.FS

//go:embed metrics.txt
var metrics string

// Metrics are the names that the hub, its agents and the roads give series, sorted,
// and those that the rules of the environment expect of sensors. Of a histogram it is
// the name without _bucket, _sum and _count.
func Metrics() (all []string) {
	for line := range strings.Lines(metrics) {
		if name := strings.TrimSpace(line); name != "" && !strings.HasPrefix(name, "#") {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// parts are what the series of a histogram end in.
var parts = []string{"_bucket", "_sum", "_count"}

// Known reports whether a sorted list of names has the metric of a series.
func Known(names []string, series string) bool {
	if _, found := slices.BinarySearch(names, series); found {
		return true
	}
	for _, part := range parts {
		if base, ok := strings.CutSuffix(series, part); ok {
			if _, found := slices.BinarySearch(names, base); found {
				return true
			}
		}
	}
	return false
}
