package sensorthings

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Config bounds what one request to the SensorThings API may cost.
type Config struct {
	// Timeout ends a request that takes longer (503).
	Timeout time.Duration `yaml:"timeout"`
	// MaxSamples is how many samples one request may read, those that a filter leaves out among them (400).
	MaxSamples int `yaml:"max_samples"`
	// MaxSeries is how many series one request may look at (400).
	MaxSeries int `yaml:"max_series"`
	// MaxEntities is how many entities one answer may hold, those of $expand among them (400).
	MaxEntities int `yaml:"max_entities"`
}

// DefaultConfig lets a request take some tenths of a second of one processor.
func DefaultConfig() Config {
	return Config{Timeout: 10 * time.Second, MaxSamples: 2_000_000, MaxSeries: 50_000, MaxEntities: 10_000}
}

// Check returns every bound that makes no sense.
func (c Config) Check(path string) []strict.Error {
	return slices.Concat(
		strict.AtLeast(path, "timeout", c.Timeout, time.Millisecond),
		strict.AtLeast(path, "max_samples", c.MaxSamples, 1),
		strict.AtLeast(path, "max_series", c.MaxSeries, 1),
		strict.AtLeast(path, "max_entities", c.MaxEntities, 1),
	)
}

// Bounds that the standard's clients need not know: pages are as long as they
// ask for up to maxTop, and go on behind @iot.nextLink.
const (
	defaultTop = 100
	maxTop     = 1000
	// maxSkip is how many entities $skip leaves out at most: they cost as much as
	// those that are shown.
	maxSkip = 10_000
	// maxSorted is how many entities are put in another order than that of their ids.
	maxSorted = 50_000
	// stride is what one page looks at while a filter lets nothing through, before
	// it ends and leaves the rest to its nextLink. It counts samples; a series costs
	// as much as 20 of them, a device as 50.
	stride       = 500_000
	costOfSeries = 20
	costOfDevice = 50

	maxPath      = 8  // segments
	maxNesting   = 4  // $expand within $expand
	maxExpanded  = 16 // links, together
	maxQuery     = 8 << 10
	maxFilter    = 200 // terms
	maxParens    = 32
	maxOrderings = 4
)

// budget is what a question may still cost.
type budget struct{ samples, series, entities int }

func (c Config) budget() budget {
	return budget{samples: c.MaxSamples, series: c.MaxSeries, entities: c.MaxEntities}
}

// Budgets, as hub_sensorthings_limited_total names them.
const (
	limitSamples  = "samples"
	limitSeries   = "series"
	limitEntities = "entities"
	limitTime     = "time"
	limitOrder    = "order"
)

func (q *question) takeSample() error {
	if q.left.samples--; q.left.samples < 0 {
		q.left.samples = 0
		return over(limitSamples, q.api.config.MaxSamples,
			"样本", "把 phenomenonTime 限定在较短的时段，或去掉 $count 与 $orderby",
			"samples", "narrow $filter to a shorter span of phenomenonTime, or leave $count and $orderby out")
	}
	q.cost++
	if q.left.samples%1024 == 0 {
		return q.ctx.Err()
	}
	return nil
}

func (q *question) takeSeries() error {
	if q.left.series--; q.left.series < 0 {
		return over(limitSeries, q.api.config.MaxSeries,
			"时序", "只问一台设备或一个 Datastream，或去掉 $count 与 $orderby",
			"series", "ask for one Thing or one Datastream, or leave $count and $orderby out")
	}
	q.cost += costOfSeries
	if q.left.series%1024 == 0 {
		return q.ctx.Err()
	}
	return nil
}

func (q *question) takeEntity() error {
	if q.left.entities--; q.left.entities < 0 {
		return over(limitEntities, q.api.config.MaxEntities,
			"实体", "减小 $top（$expand 中的也算），或少展开一层",
			"entities", "lower $top, that of $expand too, or expand less")
	}
	return nil
}

func over(limit string, n int, whatZH, wayZH, what, way string) *refusal {
	return &refusal{code: http.StatusBadRequest, limit: limit,
		zh: fmt.Sprintf("该请求涉及的%s超过 %d；请%s。", whatZH, n, wayZH),
		en: fmt.Sprintf("the request takes more than %d %s; %s", n, what, way)}
}

func tooLong(after time.Duration) *refusal {
	return &refusal{code: http.StatusServiceUnavailable, limit: limitTime,
		zh: fmt.Sprintf("该请求用时超过 %v；请缩小 $filter 的时段或减小 $top 后再试。", after),
		en: fmt.Sprintf("the request took longer than %v; narrow the span of $filter or lower $top, and try again", after)}
}
