package oracle

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/store/remotewrite"
	"github.com/songhua-io/hub/internal/telemetry"
)

// TestRemoteWriteToPrometheusItself sends to the receivers of the Prometheus that
// the hub is built with, which is newer than Debian's: version 2, and servers
// that take one version only. What is read back is read by its remote read.
func TestRemoteWriteToPrometheusItself(t *testing.T) {
	for name, takes := range map[string]remoteapi.MessageTypes{
		"both versions": {remoteapi.WriteV1MessageType, remoteapi.WriteV2MessageType},
		"version 1":     {remoteapi.WriteV1MessageType},
		"version 2":     {remoteapi.WriteV2MessageType},
	} {
		t.Run(name, func(t *testing.T) { remoteWrite(t, takes) })
	}
}

func remoteWrite(t *testing.T, takes remoteapi.MessageTypes) {
	options := tsdb.DefaultOptions()
	options.OutOfOrderTimeWindow = (30 * 24 * time.Hour).Milliseconds()
	db, err := tsdb.Open(t.TempDir(), nil, prometheus.NewRegistry(), options, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // a test
	quiet, seen := slog.New(slog.DiscardHandler), map[string]int{}
	write := remote.NewWriteHandler(quiet, prometheus.NewRegistry(), db, takes, false, false)
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1/write", func(w http.ResponseWriter, r *http.Request) {
		seen[r.Header.Get("X-Prometheus-Remote-Write-Version")]++
		write.ServeHTTP(w, r)
	})
	mux.Handle("/api/v1/read", remote.NewReadHandler(quiet, prometheus.NewRegistry(), db, func() config.Config { return config.Config{} }, 1e6, 10, 1<<20))
	server := httptest.NewServer(mux)
	defer server.Close()

	cfg := remotewrite.DefaultConfig()
	cfg.WriteURL, cfg.QueryURL = server.URL+"/api/v1/write", server.URL
	client, err := remotewrite.New(cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UnixMilli()
	values := []float64{1, math.Copysign(0, -1), math.NaN(), telemetry.StaleMarker(), math.Inf(1), 0.1}
	var batch []queue.Series
	want := map[string][]uint64{}
	for i := range 200 {
		s := queue.Series{Labels: []telemetry.Label{{Name: "__name__", Value: "温度.celsius"}, {Name: "device", Value: fmt.Sprint("t", i)}}}
		name := labels.FromStrings("__name__", "温度.celsius", "device", fmt.Sprint("t", i)).String()
		for j, v := range values {
			s.Points = append(s.Points, telemetry.Point{Time: now - int64(len(values)-j)*1000, Value: v})
			want[name] = append(want[name], math.Float64bits(v))
		}
		batch = append(batch, s)
	}
	for range 2 { // a repetition changes nothing
		if err := client.Send(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, readBack(t, client)); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	}
	other := []queue.Series{{Labels: batch[0].Labels, Points: []telemetry.Point{{Time: now - 1000, Value: 7}}}}
	refused, ok := errors.AsType[*queue.Refused](client.Send(t.Context(), other))
	if !ok || len(refused.Points) != 1 || refused.Points[0].Point != 0 || refused.Points[0].Reason != telemetry.ReasonConflict {
		t.Errorf("another value of the newest time: %v", refused)
	}
	if speaksTwo := len(takes) == 2 || takes[0] == remoteapi.WriteV2MessageType; speaksTwo && (seen["2.0.0"] == 0 || seen["0.1.0"] > 0) || !speaksTwo && (seen["2.0.0"] != 1 || seen["0.1.0"] == 0) {
		t.Errorf("requests by version: %v", seen)
	}
}

func readBack(t *testing.T, client *remotewrite.Client) map[string][]uint64 {
	t.Helper()
	q, err := client.Querier(0, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]uint64{}
	set := q.Select(t.Context(), true, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "温度.celsius"))
	for set.Next() {
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			_, v := it.At()
			all[set.At().Labels().String()] = append(all[set.At().Labels().String()], math.Float64bits(v))
		}
		if it.Err() != nil {
			t.Fatal(it.Err())
		}
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
	return all
}
