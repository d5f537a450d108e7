package local

import (
	"errors"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// tap registers the metrics of a TSDB, takes them back when it is closed, and
// lets those be read that alone tell what the TSDB did: it counts samples it
// dropped and writes that failed without returning an error.
type tap struct {
	next prometheus.Registerer

	mu    sync.Mutex
	all   []prometheus.Collector
	named map[string]prometheus.Collector
}

var errNoMetric = errors.New("the TSDB has no metric of this name")

func newTap(next prometheus.Registerer) *tap {
	return &tap{next: next, named: map[string]prometheus.Collector{}}
}

// Register implements prometheus.Registerer.
func (t *tap) Register(c prometheus.Collector) error {
	if err := t.next.Register(c); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, c)
	for _, name := range metricNames(c) {
		t.named[name] = c
	}
	return nil
}

// MustRegister implements prometheus.Registerer.
func (t *tap) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		if err := t.Register(c); err != nil {
			panic(err)
		}
	}
}

// Unregister implements prometheus.Registerer.
func (t *tap) Unregister(c prometheus.Collector) bool { return t.next.Unregister(c) }

func (t *tap) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.all {
		t.next.Unregister(c)
	}
}

// metricNames returns the names a collector describes. A description shows its
// name only in its text.
func metricNames(c prometheus.Collector) []string {
	descs := make(chan *prometheus.Desc)
	go func() { c.Describe(descs); close(descs) }()
	var names []string
	for d := range descs {
		_, rest, _ := strings.Cut(d.String(), `fqName: "`)
		name, _, _ := strings.Cut(rest, `"`)
		names = append(names, name)
	}
	return names
}

// counter returns a function that reads the sum of a counter over its labels.
func (t *tap) counter(name string) (func() float64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, ok := t.named[name]
	if !ok {
		return nil, errors.Join(errNoMetric, errors.New(name))
	}
	return func() float64 { return sum(c) }, nil
}

func sum(c prometheus.Collector) float64 {
	metrics := make(chan prometheus.Metric, 16)
	go func() { c.Collect(metrics); close(metrics) }()
	total := 0.0
	for m := range metrics {
		var out dto.Metric
		if m.Write(&out) == nil {
			total += out.GetCounter().GetValue()
		}
	}
	return total
}
