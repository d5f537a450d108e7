package desk_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/ingest/desk"
	"github.com/songhua-io/hub/internal/ingest/doortest"
	"github.com/songhua-io/hub/internal/telemetry"
)

// room is a desk with a clock that tests set.
type room struct {
	*desk.Desk
	path string
	at   time.Time
	reg  *prometheus.Registry
}

func open(t *testing.T, path string, cfg desk.Config) *room {
	t.Helper()
	r := &room{path: path, at: time.Now(), reg: prometheus.NewRegistry()}
	d, err := desk.Open(path, cfg, desk.Deps{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Clock: func() time.Time { return r.at }, Metrics: r.reg})
	if err != nil {
		t.Fatal(err)
	}
	r.Desk = d
	t.Cleanup(func() { _ = d.Close() })
	return r
}

func (r *room) keep(device, payload string, reasons ...telemetry.Reason) {
	m := &ingest.Message{Device: device, Format: codec.JSON, Payload: []byte(payload)}
	for i, reason := range reasons {
		m.Rejects = append(m.Rejects, telemetry.Reject{Index: i, Stage: telemetry.StageValidate, Reason: reason, Detail: "because"})
	}
	r.Keep(r.at, m)
}

// again keeps what may be refused without being sent again.
func (r *room) again(t *testing.T, device, payload string, reason telemetry.Reason) {
	t.Helper()
	r.at = r.at.Add(time.Second)
	err := r.KeepOnce(r.at, &ingest.Message{Device: device, Format: codec.Influx, Payload: []byte(payload), Rejects: []telemetry.Reject{{Stage: telemetry.StageCommit, Reason: reason}}})
	if err != nil {
		t.Fatal(err)
	}
}

// payloads lists everything a filter chooses, page by page.
func (r *room) payloads(t *testing.T, f desk.Filter) []string {
	t.Helper()
	var all []string
	q := desk.Query{Filter: f, Limit: 2, Payloads: true}
	for {
		page, err := r.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			all = append(all, string(e.Payload))
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return all
		}
	}
}

func TestRejectsAreListedNewestFirstAndFiltered(t *testing.T) {
	r := open(t, filepath.Join(t.TempDir(), "desk.db"), desk.DefaultConfig())
	begin := r.at
	for i, c := range []struct {
		device string
		reason telemetry.Reason
	}{{"a", telemetry.ReasonTimePast}, {"b", telemetry.ReasonMalformed}, {"a", telemetry.ReasonMalformed}, {"c", telemetry.ReasonTimePast}, {"a", telemetry.ReasonTimePast}} {
		r.at = begin.Add(time.Duration(i) * time.Minute)
		r.keep(c.device, fmt.Sprint(i), c.reason)
	}
	for _, c := range []struct {
		name string
		f    desk.Filter
		want []string
	}{
		{"all", desk.Filter{}, []string{"4", "3", "2", "1", "0"}},
		{"a device", desk.Filter{Device: "a"}, []string{"4", "2", "0"}},
		{"a reason", desk.Filter{Reason: telemetry.ReasonMalformed}, []string{"2", "1"}},
		{"device and reason", desk.Filter{Device: "a", Reason: telemetry.ReasonTimePast}, []string{"4", "0"}},
		{"a stage with nothing", desk.Filter{Stage: telemetry.StageDecode}, nil},
		{"since", desk.Filter{Since: begin.Add(3 * time.Minute)}, []string{"4", "3"}},
		{"until", desk.Filter{Until: begin.Add(2 * time.Minute)}, []string{"1", "0"}},
		{"between", desk.Filter{Since: begin.Add(time.Minute), Until: begin.Add(3 * time.Minute)}, []string{"2", "1"}},
	} {
		if diff := cmp.Diff(c.want, r.payloads(t, c.f)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	page, err := r.List(t.Context(), desk.Query{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	e := page.Entries[0]
	if e.Device != "a" || !e.Time.Equal(r.at.Truncate(time.Millisecond)) || e.Format != codec.JSON || !e.Replayable || e.Rejects[0].Detail != "because" {
		t.Errorf("entry is %+v", e)
	}
	if got := r.payloads(t, desk.Filter{ID: e.ID}); len(got) != 1 {
		t.Errorf("by id: %v", got)
	}
	if _, err := r.List(t.Context(), desk.Query{Cursor: "what"}); err == nil {
		t.Error("a cursor that is none was taken")
	}
}

func TestTheOldestGoFirst(t *testing.T) {
	cfg := desk.Config{MaxEntries: 3, MaxBytes: 1 << 20, MaxAge: time.Hour}
	r := open(t, filepath.Join(t.TempDir(), "desk.db"), cfg)
	for i := range 5 {
		r.keep("a", fmt.Sprint(i), telemetry.ReasonMalformed)
	}
	if diff := cmp.Diff([]string{"4", "3", "2"}, r.payloads(t, desk.Filter{})); diff != "" {
		t.Error("by count", diff)
	}
	for i := range 40 {
		r.keep("a", strings.Repeat(fmt.Sprint(i%10), 60_000), telemetry.ReasonMalformed)
	}
	if got := r.payloads(t, desk.Filter{}); len(got) != 3 {
		t.Errorf("%d entries", len(got))
	}
	r.at = r.at.Add(2 * time.Hour)
	r.keep("a", "late", telemetry.ReasonMalformed)
	if diff := cmp.Diff([]string{"late"}, r.payloads(t, desk.Filter{})); diff != "" {
		t.Error("by age", diff)
	}

	small := open(t, filepath.Join(t.TempDir(), "desk.db"), desk.Config{MaxEntries: 1000, MaxBytes: 200_000, MaxAge: time.Hour})
	for range 10 {
		small.keep("a", strings.Repeat("x", 60_000), telemetry.ReasonMalformed)
	}
	if got := small.payloads(t, desk.Filter{}); len(got) != 3 {
		t.Errorf("by bytes: %d entries", len(got))
	}
}

func TestLongPayloadsAreCutAndOverflowIsCounted(t *testing.T) {
	r := open(t, filepath.Join(t.TempDir(), "desk.db"), desk.DefaultConfig())
	r.keep("a", strings.Repeat("x", 100_000), telemetry.ReasonMalformed)
	page, err := r.List(t.Context(), desk.Query{Payloads: true})
	if err != nil {
		t.Fatal(err)
	}
	if e := page.Entries[0]; len(e.Payload) != 64<<10 || e.Size != 100_000 || e.Replayable {
		t.Errorf("kept %d of %d, replayable %v", len(e.Payload), e.Size, e.Replayable)
	}
	for range 10_000 {
		r.keep("a", "{", telemetry.ReasonMalformed)
	}
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if c := f.Metric[0].GetCounter(); c != nil {
			got[f.GetName()] = c.GetValue()
		}
	}
	if got["hub_desk_overflow_total"] != 10_000-4096 {
		t.Errorf("metrics are %v", got)
	}
}

func TestEntriesSurviveAKill(t *testing.T) {
	dir := t.TempDir()
	r := open(t, filepath.Join(dir, "desk.db"), desk.DefaultConfig())
	r.keep("a", "one", telemetry.ReasonMalformed)
	r.keep("a", "two", telemetry.ReasonMalformed)
	r.payloads(t, desk.Filter{}) // what is listed is on disk
	// A killed process leaves the file as it is at any moment.
	b, err := os.ReadFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "copy.db"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	after := open(t, filepath.Join(dir, "copy.db"), desk.DefaultConfig())
	if diff := cmp.Diff([]string{"two", "one"}, after.payloads(t, desk.Filter{})); diff != "" {
		t.Error(diff)
	}
	if n, err := testutil.GatherAndCount(after.reg, "hub_desk_entries"); err != nil || n != 1 {
		t.Errorf("hub_desk_entries: %d, %v", n, err)
	}
	if n, err := after.Drop(t.Context(), desk.Filter{Device: "a"}); n != 2 || err != nil {
		t.Errorf("dropped %d, %v", n, err)
	}
	if got := after.payloads(t, desk.Filter{}); got != nil {
		t.Errorf("left %v", got)
	}
}

func TestReplayThroughThePipeline(t *testing.T) {
	r := open(t, filepath.Join(t.TempDir(), "desk.db"), desk.DefaultConfig())
	hub := doortest.Start(t, ingest.DefaultConfig())
	pipeline := ingest.New(ingest.DefaultConfig(), ingest.Deps{
		Store: hub, Directory: hub, Notes: hub, Desk: r, Quotas: hub.Quotas, Log: hub.Log, Clock: time.Now, Metrics: prometheus.NewRegistry(),
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- pipeline.Run(ctx) }()
	defer func() { cancel(); <-ended }()

	send := func(device, payload string) {
		var d ingest.Delivery
		d.Add(device, codec.JSON, []byte(payload))
		if err := pipeline.Ingest(&d); err != nil {
			t.Fatal(err)
		}
	}
	send("late", `{"temperature":1}`)
	send("late", `{"temperature":`)
	send("other", `{"temperature":2}`)
	hub.Register("late", telemetry.KindSensor)
	n, err := r.Replay(t.Context(), desk.Filter{}, pipeline.Ingest)
	if n != 1 || err != nil {
		t.Fatalf("replayed %d, %v", n, err)
	}
	if diff := cmp.Diff(map[string][]float64{"temperature{device=late}": {1}}, hub.Values()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{`{"temperature":2}`, `{"temperature":`}, r.payloads(t, desk.Filter{})); diff != "" {
		t.Error("what was rejected again stays, once:", diff)
	}
	if got := r.payloads(t, desk.Filter{Reason: telemetry.ReasonMalformed}); len(got) != 1 {
		t.Errorf("malformed: %v", got)
	}
	hub.Register("other", telemetry.KindSensor)
	busy := errors.New("busy")
	if n, err := r.Replay(t.Context(), desk.Filter{Device: "other"}, func(*ingest.Delivery) error { return busy }); n != 0 || !errors.Is(err, busy) {
		t.Errorf("replayed %d, %v", n, err)
	}
	if n, err := r.Replay(t.Context(), desk.Filter{Device: "other"}, pipeline.Ingest); n != 1 || err != nil {
		t.Errorf("replayed %d, %v", n, err)
	}
}

func TestRunWritesWithoutBeingAsked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "desk.db")
	r := open(t, path, desk.DefaultConfig())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	r.keep("a", "one", telemetry.ReasonMalformed)
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, path, desk.DefaultConfig())
	if got := again.payloads(t, desk.Filter{}); len(got) != 1 {
		t.Errorf("kept %v", got)
	}
}

func TestAnEntryWithoutItsMessageIsListedAndNotReplayed(t *testing.T) {
	r := open(t, filepath.Join(t.TempDir(), "desk.db"), desk.DefaultConfig())
	r.keep("a", "", telemetry.ReasonTooLarge)
	page, err := r.List(t.Context(), desk.Query{Limit: 10})
	if err != nil || len(page.Entries) != 1 || page.Entries[0].Replayable {
		t.Fatalf("listed %+v, %v", page.Entries, err)
	}
	fed := func(*ingest.Delivery) error { t.Error("an empty message was fed to the pipeline"); return nil }
	if n, err := r.Replay(t.Context(), desk.Filter{}, fed); n != 0 || err != nil {
		t.Errorf("replayed %d, %v", n, err)
	}
}

// TestReplayGoesInBatches sends a thousand entries in a few commits, stops in
// the middle and tells how far it came.
func TestReplayGoesInBatches(t *testing.T) {
	r := open(t, filepath.Join(t.TempDir(), "desk.db"), desk.DefaultConfig())
	const all = 1000
	for i := range all {
		r.keep("a", fmt.Sprintf(`{"ts":%d,"v":1}`, i+1), telemetry.ReasonUnknownDevice)
	}
	fed, calls := []string{}, 0
	stopped := errors.New("stop")
	feed := func(d *ingest.Delivery) error {
		if calls++; calls == 3 {
			return stopped
		}
		for _, m := range d.Messages {
			fed = append(fed, string(m.Payload))
		}
		return nil
	}
	n, err := r.Replay(t.Context(), desk.Filter{}, feed)
	if !errors.Is(err, stopped) || n == 0 || n != len(fed) || n >= all {
		t.Fatalf("replayed %d of %d fed: %v", n, len(fed), err)
	}
	if left := len(r.payloads(t, desk.Filter{})); left != all-n {
		t.Errorf("%d left after %d of %d", left, n, all)
	}
	m, err := r.Replay(t.Context(), desk.Filter{}, feed)
	if err != nil || n+m != all || calls > 8 {
		t.Errorf("replayed %d and %d in %d calls: %v", n, m, calls, err)
	}
	for i, payload := range fed {
		if want := fmt.Sprintf(`{"ts":%d,"v":1}`, i+1); payload != want {
			t.Fatalf("message %d is %s: the oldest goes first, each once", i, payload)
		}
	}
}

func TestAPageOfPayloadsIsBounded(t *testing.T) {
	r := open(t, filepath.Join(t.TempDir(), "desk.db"), desk.DefaultConfig())
	for i := range 50 {
		r.keep("a", strings.Repeat("x", 60_000)+fmt.Sprint(i), telemetry.ReasonMalformed)
	}
	page, err := r.List(t.Context(), desk.Query{Limit: 1000})
	if err != nil || len(page.Entries) != 50 || page.Entries[0].Payload != nil || page.Entries[0].Size < 60_000 {
		t.Fatalf("without payloads: %d entries, %v", len(page.Entries), err)
	}
	seen, pages := 0, 0
	for q := (desk.Query{Limit: 1000, Payloads: true}); ; q.Cursor = page.Next {
		if page, err = r.List(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		pages++
		size := 0
		for _, e := range page.Entries {
			size += len(e.Payload)
		}
		if seen += len(page.Entries); size > 1<<20 {
			t.Errorf("a page holds %d bytes", size)
		}
		if page.Next == "" {
			break
		}
	}
	if seen != 50 || pages != 3 {
		t.Errorf("%d entries on %d pages", seen, pages)
	}
}
