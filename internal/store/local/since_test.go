package local

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
)

func sinceOf(t *testing.T, dir string, f func(*DB)) time.Time {
	t.Helper()
	d, err := open(context.Background(), configAt(dir), slog.New(slog.DiscardHandler), prometheus.NewRegistry(), (&synced{}).sync)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if f != nil {
		f(d)
	}
	return d.Since()
}

func TestAStoreKnowsSinceWhenItHasEverything(t *testing.T) {
	dir := t.TempDir()
	began := sinceOf(t, dir, nil)
	if ahead := time.Until(began); ahead < 30*time.Minute || ahead > 2*time.Hour {
		t.Errorf("a new store has everything since %v", began)
	}
	if again := sinceOf(t, dir, nil); !again.Equal(began) {
		t.Errorf("opened again it has everything since %v, before since %v", again, began)
	}

	later := began.Add(time.Hour).UnixMilli()
	blocks := []stored{{id: ulid.ULID{1}, end: later}, {id: ulid.ULID{2}, end: later + 5}, {id: ulid.ULID{3}, end: later + 9, spent: true}}
	noted := sinceOf(t, dir, func(d *DB) { d.noteGone(blocks, map[ulid.ULID]bool{{1}: true, {3}: true}) })
	if noted.UnixMilli() != later || !sinceOf(t, dir, nil).Equal(noted) {
		t.Errorf("after blocks until %d went it has everything since %d", later, noted.UnixMilli())
	}

	copied := filepath.Join(t.TempDir(), "copy")
	sinceOf(t, dir, func(d *DB) {
		if err := d.Freeze(t.Context(), copied); err != nil {
			t.Fatal(err)
		}
	})
	if since := sinceOf(t, copied, nil); time.Until(since) < 30*time.Minute {
		t.Errorf("a copy has everything since %v: it lacks what came after it", since)
	}

	if err := os.Remove(filepath.Join(dir, "since")); err != nil {
		t.Fatal(err)
	}
	if since := sinceOf(t, dir, nil); !since.IsZero() {
		t.Errorf("a store of a hub that kept no note has everything since %v", since)
	}
}
