// Package rules evaluates recording and alerting rules, in the files of
// Prometheus, by event time: the evaluation of a moment waits until the data of it
// can be expected, and is made again when data come later still. What an alert was
// is in its history, with when it happened and when that was known.
package rules

import (
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Group is a group of a rule file. Its rules are evaluated one after the other at
// the multiples of Interval, so that a later one may ask for what an earlier one
// recorded at the time before.
type Group struct {
	// File is the path within the folder that was loaded.
	File, Name string
	Interval   time.Duration
	// Lateness is how long after a moment its data may come: query_offset of the
	// file. An evaluation of t runs at t+Lateness.
	Lateness time.Duration
	// Limit is how many series a rule may give, or alerts have; 0 is the engine's
	// own bound alone.
	Limit int
	Rules []Rule
}

// ID names a group among those of all files.
func (g Group) ID() string { return g.File + ";" + g.Name }

// Rule records a series, or raises an alert: one of Record and Alert is set.
type Rule struct {
	Record, Alert      string
	Expr               parser.Expr
	For, KeepFiringFor time.Duration
	// Labels are those of the rule over those of its group. Of an alert they are
	// templates, and so are Annotations.
	Labels, Annotations labels.Labels
}

// Name is what the rule records or raises.
func (r Rule) Name() string {
	if r.Alert != "" {
		return r.Alert
	}
	return r.Record
}

// Bounds of rule files.
const (
	MaxGroups     = 1000
	MaxGroupRules = 500
	MinInterval   = time.Second
	MaxInterval   = 24 * time.Hour
	MaxLateness   = time.Hour
	MaxFileBytes  = 4 << 20
	DefaultLimit  = 10_000 // alerts of a rule, and series that one records
)

// Defaults are what groups have that do not say.
type Defaults struct{ Interval, Lateness time.Duration }
