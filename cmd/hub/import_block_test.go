package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// TestABlockOfPrometheusGoesIn makes a block by the TSDB itself and imports it.
func TestABlockOfPrometheusGoesIn(t *testing.T) {
	const series, samples = 30, 4000
	begin := time.Now().Add(-90 * 24 * time.Hour).Truncate(2 * time.Hour)
	dir := t.TempDir()
	w, err := tsdb.NewBlockWriter(slog.New(slog.DiscardHandler), dir, tsdb.DefaultBlockDuration)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	app := w.Appender(t.Context())
	for s := range series {
		ls := labels.FromStrings("__name__", "load", "instance", fmt.Sprintf("node-%d", s%3), "cpu", strconv.Itoa(s), "region", "990000")
		var ref storage.SeriesRef
		for i := range samples {
			if ref, err = app.Append(ref, ls, begin.UnixMilli()+int64(i)*1000, float64(i)/8); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), "data")
	hub, _ := runHub(t, data)
	for range 2 { // again, it changes nothing
		out, err := exec.Command("hub", "import", dir, "--data", data, "--device-from", "instance", "--create", "node", "--region", "220100").CombinedOutput()
		if err != nil || !strings.Contains(string(out), fmt.Sprintf("%d samples imported, 0 refused", series*samples)) {
			t.Fatalf("%v: %s", err, out)
		}
	}
	var answer promAnswer
	q := url.Values{"query": {`sum by (device, kind, region) (count_over_time(load[100d]))`}}
	if err := hub.Call(t.Context(), http.MethodGet, "/prometheus/api/v1/query", q, nil, &answer); err != nil {
		t.Fatal(err)
	}
	var all []promSeries
	if err := json.Unmarshal(answer.Data.Result, &all); err != nil || len(all) != 3 {
		t.Fatalf("%v: %s", err, answer.Data.Result)
	}
	for _, s := range all {
		if s.Value.value != strconv.Itoa(series*samples/3) || s.Metric["region"] != "220100" || s.Metric["kind"] != "node" {
			t.Errorf("%v has %s", s.Metric, s.Value.value)
		}
	}
}
