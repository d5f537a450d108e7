package ingest_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/store/local"
	"github.com/songhua-io/hub/internal/telemetry"
)

// The registry moves, removes and adds devices, they fall silent and go
// offline, all while they report from many connections. Every one of these
// gives series back, and none of it may reach a delivery under way: the store
// fails for good at a point under an id that it was given back.
func TestChangesOfTheRegistryUnderLoadLoseNoSampleAndKeepTheStore(t *testing.T) {
	const devices, connections, deliveries, messages = 4, 2, 60, 40
	s := newShelf()
	device := func(d, region int) *telemetry.Device {
		return &telemetry.Device{ID: fmt.Sprint("t", d), Kind: telemetry.KindSensor, Region: fmt.Sprint(220100 + region)}
	}
	for d := range devices {
		s.register(device(d, 0))
	}
	cfg := local.DefaultConfig()
	cfg.Dir = t.TempDir()
	log := slog.New(slog.DiscardHandler)
	db, err := local.Open(t.Context(), cfg, log, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	p := ingest.New(ingest.DefaultConfig(), ingest.Deps{
		Store: db, Directory: s, Notes: s, Desk: s, Quotas: allowed(), Log: log, Clock: time.Now, Metrics: prometheus.NewRegistry(),
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()

	var accepted, clock atomic.Int64
	clock.Store(time.Now().Add(-time.Hour).UnixMilli())
	var senders, others sync.WaitGroup
	for k := range devices * connections {
		senders.Go(func() {
			var d ingest.Delivery
			for range deliveries {
				d.Reset()
				for range messages {
					// Even milliseconds: ends of series stand on odd ones.
					d.Add(fmt.Sprint("t", k%devices), codec.JSON, fmt.Appendf(nil, `{"ts":%d,"m%d":1}`, clock.Add(2), k%3))
				}
				if err := p.Ingest(&d); err != nil {
					t.Error(err)
					return
				}
				for i := range d.Messages {
					accepted.Add(int64(d.Messages[i].Accepted))
				}
			}
		})
	}
	done := make(chan struct{})
	change := func(f func(turn int)) {
		others.Go(func() {
			for turn := 0; ; turn++ {
				select {
				case <-done:
					return
				default:
					f(turn)
				}
			}
		})
	}
	change(func(turn int) { s.register(device(turn%devices, turn%7)) })
	change(func(turn int) {
		if turn%2 == 0 {
			s.remove("t0")
		}
		p.Sweep(time.Now().Add(48 * time.Hour))
	})
	change(func(turn int) {
		if err := p.End(ingest.Ending{Device: fmt.Sprint("t", turn%devices)}); err != nil {
			t.Error(err)
		}
	})
	senders.Wait()
	close(done)
	others.Wait()
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if got := stored(t, db); got != accepted.Load() || got < deliveries*messages {
		t.Errorf("%d samples are stored, %d were accepted", got, accepted.Load())
	}
}

// stored counts the samples that are no ends of series.
func stored(t *testing.T, db *local.DB) (n int64) {
	t.Helper()
	q, err := db.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	set := q.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchNotEqual, "device", ""))
	for set.Next() {
		it := set.At().Iterator(nil)
		for it.Next() != chunkenc.ValNone {
			if _, v := it.At(); !telemetry.IsStaleMarker(v) {
				n++
			}
		}
	}
	if err := set.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestASeriesThatIsUsedAgainIsNotGivenBack(t *testing.T) {
	s := newShelf(soilProbe())
	p, stop := start(t, ingest.DefaultConfig(), s)
	moved := soilProbe()
	moved.Region = "220200"
	for i := range 100 {
		if i%5 == 0 {
			s.register([]*telemetry.Device{soilProbe(), moved}[i/5%2])
		}
		send(t, p, "t1", fmt.Sprintf(`{"ts": %d, "a": 1}`, noon.UnixMilli()-int64(i)))
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, _, series := p.Totals(); series != 1 {
		t.Errorf("%d series in use, want 1", series)
	}
}

func TestTheSeriesOfARemovedDeviceAreGivenBack(t *testing.T) {
	s := newShelf(soilProbe())
	p, stop := start(t, ingest.DefaultConfig(), s)
	send(t, p, "t1", `{"a": 1, "b": 2}`)
	s.remove("t1")
	for range 3 {
		p.Sweep(noon)
	}
	if _, _, series := p.Totals(); series != 0 || s.forgot != 2 {
		t.Errorf("%d series in use, %d given back", series, s.forgot)
	}
	if _, seen := p.Seen("t1"); seen {
		t.Error("the device is remembered")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
