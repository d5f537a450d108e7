package crash

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/hubtest"
)

// harness is a hub with certificates, and writers at each of its doors.
type harness struct {
	t       *testing.T
	binary  string
	disk    *disk // nil: kill only
	dir     string
	config  string
	hub     *hubtest.Hub
	writers []*writer
}

func start(t *testing.T, binary string, d *disk) *harness {
	t.Helper()
	files := hubtest.NewCertificates(t, "nobody")
	hubtest.Trust(t, files.CA)
	h := &harness{t: t, binary: binary, disk: d, dir: t.TempDir(), config: files.Config(t)}
	if d != nil {
		h.dir = d.at + "/data"
	}
	h.launch()
	t.Cleanup(func() { h.hub.Kill() })
	pem, err := os.ReadFile(files.CA)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	h.writers = newWriters(t, h.hub, &tls.Config{RootCAs: roots})
	return h
}

func (h *harness) launch() {
	h.t.Helper()
	var err error
	if h.hub, err = hubtest.Launch(h.binary, h.dir, "serve", "--config", h.config); err != nil {
		h.t.Fatal(err)
	}
}

// enough is how many reports of each writer are acknowledged before anything
// happens to the hub: samples of every age and a state are among them.
const enough = 8

// publish sets all writers to work and returns when each has enough
// acknowledgements. end sends them away.
func (h *harness) publish(metric string) (end func()) {
	h.t.Helper()
	before := make([]int, len(h.writers))
	for i, w := range h.writers {
		before[i] = w.answered()
	}
	base := time.Now()
	errs, end := h.write(func(*writer) feed { return fresh(metric, base) })
	limit := time.After(patience)
	for i, w := range h.writers {
		for w.answered() < before[i]+enough {
			select {
			case err := <-errs:
				h.t.Fatalf("a writer ended before the hub did: %v\n%s", err, h.hub.Output())
			case <-limit:
				h.t.Fatalf("%s has %d answers after %v\n%s", w.device, w.answered()-before[i], patience, h.hub.Output())
			case <-time.After(time.Millisecond):
			}
		}
	}
	return end
}

// write gives every writer a feed. What they return comes from errs; end sends
// them away and returns when they are gone.
func (h *harness) write(feeds func(*writer) feed) (errs <-chan error, end func()) {
	ctx, cancel := context.WithCancel(h.t.Context())
	all := make(chan error, len(h.writers))
	var wg sync.WaitGroup
	for _, w := range h.writers {
		wg.Go(func() {
			if err := w.door(ctx, w, h.hub, feeds(w)); err != nil {
				all <- fmt.Errorf("%s: %w", w.device, err)
			}
		})
	}
	return all, func() { cancel(); wg.Wait() }
}

func (h *harness) answered() (n int) {
	for _, w := range h.writers {
		n += w.answered()
	}
	return n
}

// sendAgain sends what was not acknowledged, as a device would, and some of what
// was. The hub takes all of it and refuses nothing.
func (h *harness) sendAgain(metric string) {
	h.t.Helper()
	const some = 8
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	for _, w := range h.writers {
		var again spans
		for _, s := range w.acked[metric] {
			again = append(again, span{max(s.first, s.last-some+1), s.last})
		}
		again = append(again, w.sent[metric].without(w.acked[metric])...)
		wg.Go(func() {
			if err := w.door(ctx, w, h.hub, replay(metric, again)); err != nil {
				h.t.Errorf("%s sends %s again: %v\n%s", w.device, metric, err, h.hub.Output())
			}
		})
	}
	wg.Wait()
	if n := h.rejects(); n != 0 {
		h.t.Errorf("%v rejects after all of %s was sent again", n, metric)
	}
	if h.t.Failed() {
		h.t.FailNow()
	}
}

// seesConflicts sends another value for a time that is stored: a harness that
// counts no conflict would prove nothing.
func (h *harness) seesConflicts() {
	h.t.Helper()
	w := h.writers[len(h.writers)-1]
	for metric, s := range w.acked {
		err := post(h.t.Context(), w, h.hub, report{metric: metric, span: span{s[0].first, s[0].first}, wrong: true})
		if n := h.rejects(`reason="conflict"`); err == nil || n != 1 {
			h.t.Errorf("another value of a stored time is answered %v and counted as %v conflicts", err, n)
		}
		return
	}
}

func (h *harness) rejects(labels ...string) float64 {
	h.t.Helper()
	n, err := h.hub.Sum(h.t.Context(), "hub_ingest_rejects_total", labels...)
	must(h.t, err)
	return n
}

// totals counts the samples of all series.
func (h *harness) totals() (sent, acked int64) {
	for _, w := range h.writers {
		for metric := range w.sent {
			sent, acked = sent+w.sent[metric].count(), acked+w.acked[metric].count()
		}
	}
	return sent, acked
}

// compare returns what is wrong with what the hub has of a metric and of the
// writers' states: all that was acknowledged is there, with its value, and
// nothing is there that was not sent. A time cannot stand twice in an answer of
// PromQL; what is stored twice with different values is a conflict, which
// sendAgain counts.
func (h *harness) compare(metric string) (faults []string) {
	h.t.Helper()
	all := h.stored(metric)
	for _, w := range h.writers {
		stored := spansOf(all[w.device])
		for _, s := range w.acked[metric].without(stored) {
			faults = append(faults, fmt.Sprintf("%s %s: %d to %d of what was acknowledged are not there", w.device, metric, s.first, s.last))
		}
		for _, s := range stored.without(w.sent[metric]) {
			faults = append(faults, fmt.Sprintf("%s %s: %d to %d are there and were never sent", w.device, metric, s.first, s.last))
		}
		for at, v := range all[w.device] {
			if v != value(at) {
				faults = append(faults, fmt.Sprintf("%s %s at %d: %d instead of %d", w.device, metric, at, v, value(at)))
			}
		}
		if state := h.state(w.device); state < w.states.acked || state > w.states.sent {
			faults = append(faults, fmt.Sprintf("%s: the state is %d, though %d was acknowledged and %d sent", w.device, state, w.states.acked, w.states.sent))
		}
	}
	return faults
}

// stored reads the raw samples of a metric, by device and time.
func (h *harness) stored(metric string) map[string]map[int64]int64 {
	h.t.Helper()
	const step = 40_000 // milliseconds per query
	windows := map[int64]bool{}
	for _, w := range h.writers {
		for _, s := range w.sent[metric] {
			for i := s.first * tick / step; i <= s.last*tick/step; i++ {
				windows[i] = true
			}
		}
	}
	all := map[string]map[int64]int64{}
	for i := range windows {
		series, err := h.hub.Query(h.t.Context(), fmt.Sprintf("%s[%dms]", metric, step), time.UnixMilli((i+1)*step-1))
		must(h.t, err)
		for _, s := range series {
			device := s.Metric["device"]
			if all[device] == nil {
				all[device] = map[int64]int64{}
			}
			for _, v := range s.Values {
				number, err := strconv.ParseFloat(v[1].(string), 64)
				must(h.t, err)
				ms := int64(v[0].(float64)*1000 + 0.5)
				if ms%tick != 0 {
					h.t.Fatalf("%s has a sample of %s at %d ms, which nobody sent", metric, device, ms)
				}
				all[device][ms/tick] = int64(number)
			}
		}
	}
	return all
}

// state is the number that the device's state seq holds; 0 when it has none.
func (h *harness) state(device string) int64 {
	h.t.Helper()
	var answer struct {
		States map[string]struct{ Value string }
	}
	must(h.t, h.hub.Do(h.t.Context(), http.MethodGet, "/api/v1/devices/"+device, nil, &answer))
	seq, ok := answer.States["seq"]
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(seq.Value, 10, 64)
	must(h.t, err)
	return n
}

func list(faults []string) string {
	text := ""
	for i, f := range faults {
		if i == 10 {
			return text + fmt.Sprintf("… and %d more\n%s\n", len(faults)-i-1, faults[len(faults)-1])
		}
		text += f + "\n"
	}
	return text
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
