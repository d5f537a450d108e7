package hub

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/ingest/doortest"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// witness is a store that looks, at every commit, whether an id in it could be
// given back meanwhile.
type witness struct {
	*doortest.Hub
	standing *standing
	commits  int
	open     int
}

func (w *witness) Commit(writes []*telemetry.Write) error {
	w.commits++
	if w.standing.writing.TryLock() {
		w.open++
		w.standing.writing.Unlock()
	}
	return w.Hub.Commit(writes)
}

func TestNoIDOfPresenceIsGivenBackBeforeItsPointIsDurable(t *testing.T) {
	dir := t.TempDir()
	db, err := records.Open(t.Context(), filepath.Join(dir, recordsFile))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	sealer, err := registry.OpenSealer(filepath.Join(dir, secretsFile))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	r, err := registry.Open(t.Context(), registry.Config{Records: db, Sealer: sealer, Log: log, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Create(t.Context(), registry.Spec{ID: "t1"}); err != nil {
		t.Fatal(err)
	}
	w := &witness{}
	w.Hub = doortest.StartOn(t, ingest.DefaultConfig(), w)
	presence, err := registry.NewPresence(t.Context(), registry.PresenceConfig{
		Registry: r, Records: db, Activity: activity{w.Pipeline}, On: func([]registry.Transition) {},
		Log: log, Now: time.Now, Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	presence.Connected("t1")
	w.standing = newStanding(w, w, w.Pipeline, r, time.Now, log)
	w.standing.presence = presence
	for range 3 {
		w.standing.turn([]registry.Transition{{Device: "t1", To: registry.Online, At: time.Now()}})
		w.standing.forget(nil)
		w.standing.writeAll()
	}
	if w.commits == 0 || w.open > 0 {
		t.Errorf("in %d of %d commits an id could have been given back", w.open, w.commits)
	}
}
