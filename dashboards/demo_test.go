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
	case <-time.After(3 * time.Minute):
	}
	t.Fatal("the demo printed no HTTP address")
	return ""
}

// labels are those of a series.
type labels map[string]string

// ask runs a query as a panel does and returns the series that it gives.
func (d demo) ask(ctx context.Context, expr string, instant bool) ([]labels, error) {
	now := time.Now()
	form := url.Values{"query": {expr}, "time": {seconds(now)}}
	path := "/prometheus/api/v1/query"
	if !instant {
		path += "_range"
		form = url.Values{"query": {expr}, "start": {seconds(now.Add(-15 * time.Minute))}, "end": {seconds(now)}, "step": {"15"}}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer "+d.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct{ Result []struct{ Metric labels } }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("%s: %w", resp.Status, err)
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("%s: %s", resp.Status, answer.Error)
	}
	var all []labels
	for _, series := range answer.Data.Result {
		all = append(all, series.Metric)
	}
	return all, nil
}

func seconds(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }

func TestTheDemoFillsEveryPanel(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a whole demo")
	}
	d := startDemo(t)
	deadline := time.Now().Add(15 * time.Minute) // numbers of roads are of whole minutes, and the machine may be busy
	machine := d.waitForData(t, deadline, "this machine", "host_cpu_percent", true)
	if len(machine) == 0 {
		t.FailNow()
	}
	for _, b := range boards(t) {
		devices := []string{".*"}
		if strings.HasSuffix(b.file, "device.json") {
			devices = []string{"air-001", "rsu-001", "node-001", machine[0]["device"]}
		} else if strings.HasSuffix(b.file, "/rsu.json") {
			devices = []string{"rsu-001"}
		}
		for _, p := range b.Panels {
			where := b.file + ": " + p.Title
			found := map[string]map[string]bool{} // the labels that a query's answers had
			for _, device := range devices {
				names := map[string]bool{}
				for _, q := range p.Targets {
					series := d.waitForData(t, deadline, where, expand(q.Expr, device, q.Interval), q.Instant)
					checkNames(t, where, q.LegendFormat, series, names)
					for _, s := range series {
						for label := range s {
							if found[q.Expr] == nil {
								found[q.Expr] = map[string]bool{}
							}
							found[q.Expr][label] = true
						}
					}
				}
			}
			for _, q := range p.Targets {
				checkLegend(t, where, q.Expr, q.LegendFormat, found[q.Expr])
			}
		}
	}
	d.checkAlerts(t)
}

var inLegend = regexp.MustCompile(`\{\{(\w+)\}\}`)

// checkNames makes sure that no two series of a panel are called the same.
func checkNames(t *testing.T, where, legend string, series []labels, taken map[string]bool) {
	t.Helper()
	if legend == "" || legend == "__auto" {
		return // Grafana shows all labels, or those that differ
	}
	for _, s := range series {
		name := inLegend.ReplaceAllStringFunc(legend, func(m string) string { return s[strings.Trim(m, "{}")] })
		if taken[name] {
			t.Errorf("%s: two series are called %q by the legend %q, one of them %v", where, name, legend, s)
			return
		}
		taken[name] = true
	}
}

// unseen are labels that a healthy demo on a virtual machine, with vehicles whose ids are sound, need not have, by
// the metric that has them elsewhere.
var unseen = map[string]string{"host_temperature_celsius": "sensor", "edge_loss_samples": "reason", "rsu_id_defects": "defect"}

// checkLegend makes sure that each label of a legend is one that the answers had.
func checkLegend(t *testing.T, where, expr, legend string, found map[string]bool) {
	t.Helper()
	for _, m := range inLegend.FindAllStringSubmatch(legend, -1) {
		excused := false
		for metric, label := range unseen {
			excused = excused || label == m[1] && strings.Contains(expr, metric)
		}
		if !found[m[1]] && !excused {
			t.Errorf("%s: no series of the demo has the label of {{%s}}: %s", where, m[1], expr)
		}
	}
}

// waitForData asks until there is data, an error or no time left.
func (d demo) waitForData(t *testing.T, deadline time.Time, where, expr string, instant bool) []labels {
	t.Helper()
	for {
		series, err := d.ask(t.Context(), expr, instant)
		switch {
		case err != nil:
			t.Errorf("%s: %s: %v", where, expr, err)
			return nil
		case len(series) > 0:
			return series
		case time.Now().After(deadline):
			t.Errorf("%s: no data: %s", where, expr)
			return nil
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-t.Context().Done():
			return nil
		}
	}
}
