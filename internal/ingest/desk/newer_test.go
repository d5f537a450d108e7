package desk_test

import (
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	bolt "go.etcd.io/bbolt"

	"github.com/songhua-io/hub/internal/ingest/desk"
)

// TestADeskOfANewerProgramIsRefused, and one from before the form had a version is
// not.
func TestADeskOfANewerProgramIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "desk")
	change := func(f func(tx *bolt.Tx) error) {
		t.Helper()
		db, err := bolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Update(f), db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(t, path, desk.DefaultConfig()).Close(); err != nil {
		t.Fatal(err)
	}
	change(func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("format")) })
	if err := open(t, path, desk.DefaultConfig()).Close(); err != nil {
		t.Fatal(err)
	}
	change(func(tx *bolt.Tx) error { return tx.Bucket([]byte("format")).Put([]byte("version"), []byte("2")) })
	_, err := desk.Open(path, desk.DefaultConfig(), desk.Deps{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Clock: time.Now, Metrics: prometheus.NewRegistry()})
	if !errors.Is(err, desk.ErrNewer) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "run the version that wrote it") {
		t.Error(err)
	}
	found := ""
	if err := desk.Verify(path, func(s string) { found = s }); err != nil || !strings.Contains(found, "a newer version wrote it") {
		t.Errorf("%q, %v", found, err)
	}
}
