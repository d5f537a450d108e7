package dashboards

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// demo is a running hub with a simulated fleet: that of HUB_URL and HUB_TOKEN,
// or one that the test builds and ends.
type demo struct{ url, token string }

func startDemo(t *testing.T) demo {
	t.Helper()
	if u := os.Getenv("HUB_URL"); u != "" {
		return demo{strings.TrimSuffix(u, "/"), os.Getenv("HUB_TOKEN")}
	}
	bin, data := filepath.Join(t.TempDir(), "hub"), t.TempDir()
	if text, err := exec.Command("go", "build", "-o", bin, "../cmd/hub").CombinedOutput(); err != nil {
		t.Fatalf("build the hub: %v\n%s", err, text)
	}
	cmd := exec.Command(bin, "demo", "--data", data, "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--coap", "127.0.0.1:0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("demo ended with %v\n%.4000s", err, log.String())
		}
	})
	d := demo{url: firstURL(t, out)}
	token, err := os.ReadFile(filepath.Join(data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	d.token = strings.TrimSpace(string(token))
	return d
}

// firstURL returns the first http address that the demo prints.
func firstURL(t *testing.T, out io.Reader) string {
	t.Helper()
	found := make(chan string, 1)
	go func() {
		defer close(found)
		lines := bufio.NewScanner(out)
		address := regexp.MustCompile(`http://[0-9.:]+`)
		for lines.Scan() {
			if u := address.FindString(lines.Text()); u != "" {
				select {
				case found <- u:
				default:
				}
			}
		}
	}()
	select {
	case u, ok := <-found:
		if ok {
			return u
		}
	case <-time.After(60 * time.Second):
	}
	t.Fatal("the demo printed no HTTP address")
	return ""
}

// ask runs a query as a panel does and returns how many series it gives.
func (d demo) ask(ctx context.Context, expr string, instant bool) (int, error) {
	now := time.Now()
	form := url.Values{"query": {expr}, "time": {seconds(now)}}
	path := "/prometheus/api/v1/query"
	if !instant {
		path += "_range"
		form = url.Values{"query": {expr}, "start": {seconds(now.Add(-15 * time.Minute))}, "end": {seconds(now)}, "step": {"15"}}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer "+d.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return 0, fmt.Errorf("%s: %w", resp.Status, err)
	}
	if answer.Status != "success" {
		return 0, fmt.Errorf("%s: %s", resp.Status, answer.Error)
	}
	return len(answer.Data.Result), nil
}

func seconds(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }

func TestEveryQueryHasDataInTheDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a whole demo")
	}
	d := startDemo(t)
	deadline := time.Now().Add(2 * time.Minute)
	for _, b := range boards(t) {
		if filepath.Dir(b.file) == "zh" {
			continue // asks the same, as another test makes sure
		}
		devices := map[string][]string{"device.json": {"air-001", "rsu-001", "node-001"}}[filepath.Base(b.file)]
		if devices == nil {
			devices = []string{".*"}
		}
		for _, p := range b.Panels {
			for _, q := range p.Targets {
				for _, device := range devices {
					d.waitForData(t, deadline, b.file+": "+p.Title, expand(q.Expr, device), q.Instant)
				}
			}
		}
	}
}

// waitForData asks until there is data, an error or no time left.
func (d demo) waitForData(t *testing.T, deadline time.Time, where, expr string, instant bool) {
	t.Helper()
	for {
		n, err := d.ask(t.Context(), expr, instant)
		switch {
		case err != nil:
			t.Errorf("%s: %s: %v", where, expr, err)
			return
		case n > 0:
			return
		case time.Now().After(deadline):
			t.Errorf("%s: no data: %s", where, expr)
			return
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-t.Context().Done():
			return
		}
	}
}
