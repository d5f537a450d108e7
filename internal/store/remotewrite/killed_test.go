package remotewrite

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/telemetry"
)

// TestMain commits to an engine instead of running the tests when the environment
// names its server, until it is killed.
func TestMain(m *testing.M) {
	if url := os.Getenv("REMOTEWRITE_TEST_URL"); url != "" {
		fmt.Fprintln(os.Stderr, work(url, os.Getenv("REMOTEWRITE_TEST_DIR"), os.Getenv("REMOTEWRITE_TEST_FIRST"), os.Getenv("REMOTEWRITE_TEST_BEGIN")))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// work commits a second of each series, a hundred times a second or less, and
// tells of each that is durable.
func work(url, dir, first, begin string) error {
	n, err := strconv.Atoi(first)
	if err != nil {
		return err
	}
	if loadBegin, err = strconv.ParseInt(begin, 10, 64); err != nil {
		return err
	}
	cfg := DefaultConfig()
	cfg.WriteURL, cfg.QueryURL = url+"/api/v1/write", url
	waiting := queue.DefaultConfig()
	waiting.Dir, waiting.BatchWait, waiting.BatchSamples = dir, 10*time.Millisecond, 200
	e, err := Open(cfg, waiting, slog.New(slog.DiscardHandler), prom.NewRegistry(), nil)
	if err != nil {
		return err
	}
	ctx := context.Background()
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	for ; ; n++ {
		w := &telemetry.Write{}
		for i := range loadSeries {
			w.Points = append(w.Points, telemetry.Point{Series: e.Series(metric("load", fmt.Sprintf("node-%02d", i))), Time: loadBegin + int64(n)*1000, Value: float64(n)})
		}
		if err := e.Commit([]*telemetry.Write{w}); err != nil {
			return err
		}
		fmt.Println(n)
		select {
		case err := <-ended:
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// hubProcess is one that commits.
type hubProcess struct {
	*exec.Cmd
	kept  chan int // the newest that is durable
	ended chan int // what it was when it ended
}

func startHub(t *testing.T, s *server, dir string, first int) *hubProcess {
	t.Helper()
	h := &hubProcess{Cmd: exec.Command(os.Args[0]), kept: make(chan int, 1), ended: make(chan int, 1)}
	h.Env = append(os.Environ(), "REMOTEWRITE_TEST_URL="+s.URL, "REMOTEWRITE_TEST_DIR="+dir, "REMOTEWRITE_TEST_FIRST="+strconv.Itoa(first),
		"REMOTEWRITE_TEST_BEGIN="+strconv.FormatInt(loadBegin, 10))
	h.Stderr = t.Output()
	out, err := h.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Process.Kill() })
	go func() {
		last := first - 1
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if n, err := strconv.Atoi(strings.TrimSpace(lines.Text())); err == nil {
				last = n
				select {
				case <-h.kept:
				default:
				}
				h.kept <- n
			}
		}
		_ = h.Wait()
		h.ended <- last
	}()
	return h
}

// until waits until n is durable.
func (h *hubProcess) until(t *testing.T, n int) {
	t.Helper()
	for deadline := time.After(3 * time.Minute); ; {
		select {
		case kept := <-h.kept:
			if kept >= n {
				return
			}
		case last := <-h.ended:
			t.Fatalf("the hub ended by itself, at %d", last)
		case <-deadline:
			t.Fatalf("%d is not durable within three minutes", n)
		}
	}
}

// TestNothingIsLostOrTwiceWhenHubAndServerAreKilled at about the same time, in
// both orders: what was acknowledged is there once, and nothing that was never
// sent. VictoriaMetrics loses the seconds before.
func TestNothingIsLostOrTwiceWhenHubAndServerAreKilled(t *testing.T) {
	everyServer(t, func(t *testing.T, s *server) {
		dir := t.TempDir()
		var gone [][2]int // may be there, and was not acknowledged
		first := 0
		for round := range 10 {
			h := startHub(t, s, dir, first)
			h.until(t, first+60)
			if round%2 == 0 {
				s.Kill()
				_ = h.Process.Kill()
			} else {
				_ = h.Process.Kill()
				s.Kill()
			}
			last := <-h.ended
			gone = append(gone, [2]int{last + 1, last + 2})
			first = last + 2
			s.Restart()
		}
		l := &load{t: t, s: s, e: open(t, dir, s, nil)}
		defer l.e.Close() //nolint:errcheck // a test
		l.settle()
		all := stored(t, l.e, 0, time.Now().UnixMilli(), named("load"))
		if len(all) != loadSeries {
			t.Errorf("%d series, want %d", len(all), loadSeries)
		}
		rows := 0
		for name, got := range all {
			rows += len(got)
			want := 0
			for _, p := range got {
				for _, g := range gone {
					if want == g[0] && p != at(loadBegin+int64(want)*1000, float64(want)) {
						want = g[1]
					}
				}
				if p != at(loadBegin+int64(want)*1000, float64(want)) {
					t.Fatalf("%s: %v stands where %d should: lost, twice, or never sent", name, p, want)
				}
				want++
			}
			if want != first && want != first-1 {
				t.Errorf("%s: ends before %d, want %d", name, want, first)
			}
		}
		if got := l.counted(); got != rows {
			t.Errorf("the server counts %d points, %d are read", got, rows)
		}
	})
}
