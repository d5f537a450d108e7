package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/backfill"
	"github.com/songhua-io/hub/internal/client"
)

// history is a CSV file with some rows that cannot be read and some samples that
// are refused.
type history struct {
	path             string
	metrics, rows    int
	accepted, faults int
	begin            time.Time
}

func writeHistory(t *testing.T, rows, metrics int) *history {
	t.Helper()
	h := &history{path: filepath.Join(t.TempDir(), "old.csv"), rows: rows, metrics: metrics, begin: time.Now().Add(-200 * 24 * time.Hour).Truncate(time.Second)}
	var b bytes.Buffer
	b.WriteString("time,device")
	for i := range metrics {
		fmt.Fprintf(&b, ",m%d", i)
	}
	b.WriteByte('\n')
	for r := range rows {
		at := h.begin.Add(time.Duration(r) * time.Minute)
		switch {
		case r%997 == 5:
			b.WriteString("never,well,1\n")
			h.faults++
			continue
		case r%991 == 7:
			at = at.Add(-10 * 365 * 24 * time.Hour) // before anything is kept
			h.faults += metrics
		default:
			h.accepted += metrics
		}
		b.WriteString(at.UTC().Format(time.RFC3339) + ",well")
		for i := range metrics {
			b.WriteString("," + strconv.Itoa(r+i))
		}
		b.WriteByte('\n')
	}
	if err := os.WriteFile(h.path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return h
}

// runHub runs a hub in a directory until stop, which kills it.
func runHub(t *testing.T, dir string) (hub *client.Client, stop func()) {
	t.Helper()
	_ = os.Remove(filepath.Join(dir, "hub.json")) // of one that was killed
	cmd := exec.Command("hub", "serve", "--data", dir, "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--coap", "127.0.0.1:0")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(stop)
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if hub, err := client.Find(client.Where{Data: dir}); err == nil && hub.Call(t.Context(), http.MethodGet, "/api/v1/imports", nil, nil, nil) == nil {
			return hub, stop
		}
		if time.Now().After(deadline) {
			t.Fatalf("the hub is not there: %s", out.String())
		}
	}
}

func accepted(ctx context.Context, hub *client.Client) (n int64, done bool) {
	var page struct{ Items []backfill.Import }
	if hub.Call(ctx, http.MethodGet, "/api/v1/imports", nil, nil, &page) != nil || len(page.Items) == 0 {
		return 0, false
	}
	return page.Items[0].Accepted, page.Items[0].Done
}

// TestAnImportGoesOnWhoeverIsKilled kills the hub, or the import, in the middle,
// and gives the same command again, until it is through.
func TestAnImportGoesOnWhoeverIsKilled(t *testing.T) {
	rows := 12_000
	if testing.Short() { // with the race detector, too, it takes long enough to be killed
		rows = 4_000
	}
	h := writeHistory(t, rows, 40)
	dir := filepath.Join(t.TempDir(), "data")
	kills, choice := 0, rand.New(rand.NewPCG(1, 2))
	for round := 0; ; round++ {
		if round > 50 {
			t.Fatal("it does not come to an end")
		}
		hub, stop := runHub(t, dir)
		run := exec.Command("hub", "import", h.path, "--data", dir, "--create", "sensor", "--json")
		var out bytes.Buffer
		run.Stdout, run.Stderr = &out, &out
		if err := run.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- run.Wait() }()
		before, _ := accepted(t.Context(), hub)
		var err error
		if kills < 5 {
			err = killed(t, hub, before, ended, func() {
				if choice.IntN(2) == 0 {
					stop()
				} else {
					_ = run.Process.Kill()
				}
			})
			kills++
		} else {
			err = <-ended
		}
		if _, done := accepted(t.Context(), hub); done && err != nil {
			var exit *exec.ExitError
			if !errors.As(err, &exit) || kills >= 5 && (exit.ExitCode() != 1 || !strings.Contains(out.String(), "refused")) {
				t.Fatalf("%v: %s", err, out.String())
			}
			if kills >= 5 {
				h.check(t, hub)
				stop()
				return
			}
		}
		stop()
	}
}

// killed waits until some parts are in, and kills.
func killed(t *testing.T, hub *client.Client, before int64, ended chan error, kill func()) error {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		select {
		case err := <-ended:
			return err
		case <-time.After(2 * time.Millisecond):
		}
		if now, _ := accepted(t.Context(), hub); now > before {
			kill()
			return <-ended
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing is imported")
		}
	}
}

// check holds what the hub says, what it stores and the rejects against the file.
func (h *history) check(t *testing.T, hub *client.Client) {
	t.Helper()
	var page struct{ Items []backfill.Import }
	if err := hub.Call(t.Context(), http.MethodGet, "/api/v1/imports", nil, nil, &page); err != nil {
		t.Fatal(err)
	}
	if i := page.Items[0]; len(page.Items) != 1 || int(i.Accepted) != h.accepted || int(i.Rejected) != h.faults || !i.Done {
		t.Errorf("want %d accepted and %d rejected: %+v", h.accepted, h.faults, page.Items)
	}
	for _, m := range []int{0, h.metrics / 2, h.metrics - 1} {
		var answer promAnswer
		q := url.Values{"query": {fmt.Sprintf("count_over_time(m%d[250d])", m)}}
		if err := hub.Call(t.Context(), http.MethodGet, "/prometheus/api/v1/query", q, nil, &answer); err != nil {
			t.Fatal(err)
		}
		var all []promSeries
		if err := json.Unmarshal(answer.Data.Result, &all); err != nil || len(all) != 1 || all[0].Value.value != strconv.Itoa(h.accepted/h.metrics) {
			t.Errorf("m%d has %s samples, want %d", m, answer.Data.Result, h.accepted/h.metrics)
		}
	}
	f, err := os.Open(h.path + ".rejects.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, r := range rows[1:] {
		if key := strings.Join(r[1:4], ","); seen[key] {
			t.Errorf("%s is refused twice", key)
		} else {
			seen[key] = true
		}
	}
	if len(seen) != h.faults {
		t.Errorf("%d rows in the rejects file, want %d", len(seen), h.faults)
	}
}
