package model

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/telemetry"
)

// shelf is Models with what their owner is told.
type shelf struct {
	*Models
	users   map[string]int
	changed []string // "id grade"
	noted   []string // "id file"
	log     bytes.Buffer
	dir     string // of the database
}

func openShelf(t *testing.T, s *shelf, dir string) *shelf {
	t.Helper()
	if s == nil {
		s = &shelf{users: map[string]int{}, dir: t.TempDir()}
	}
	db, err := records.Open(t.Context(), filepath.Join(s.dir, "records.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s.Models, err = Open(t.Context(), Deps{
		Records: db, Dir: dir,
		Users:   func(id string) int { return s.users[id] },
		Changed: func(m *telemetry.Model) { s.changed = append(s.changed, m.ID+" "+m.Grade.String()) },
		Noted: func(ctx context.Context, id, file string, _, _ []byte) context.Context {
			s.noted = append(s.noted, id+" "+file)
			return ctx
		},
		Log: slog.New(slog.NewTextHandler(&s.log, nil)), Clock: time.Now, Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *shelf) ids() []string {
	var all []string
	for _, m := range s.List() {
		all = append(all, fmt.Sprintf("%s v%d %s", m.ID, m.Version, m.File))
	}
	return all
}

func named(id, more string) string { return "id: " + id + "\nnames: {en: x}\n" + more }

func TestModelsSurviveARestart(t *testing.T) {
	s := openShelf(t, nil, "")
	first, err := s.Put(t.Context(), parsed(t, named("a", "")), 0)
	if err != nil || first.Version != 1 {
		t.Fatal(first, err)
	}
	if again, err := s.Put(t.Context(), parsed(t, named("a", "")), 0); err != nil || again != first {
		t.Errorf("what changes nothing made version %d, %v", again.Version, err)
	}
	if _, err := s.Put(t.Context(), parsed(t, named("a", "grade: core")), 7); !errors.Is(err, ErrStale) {
		t.Error(err)
	}
	if m, err := s.Put(t.Context(), parsed(t, named("a", "grade: core")), 1); err != nil || m.Version != 2 {
		t.Error(m, err)
	}
	if diff := cmp.Diff([]string{"a ungraded", "a core"}, s.changed); diff != "" {
		t.Error(diff)
	}
	again := openShelf(t, s, "")
	if diff := cmp.Diff([]string{"a v2 "}, again.ids()); diff != "" {
		t.Error(diff)
	}
	if v := again.View("a"); v == nil || v.Grade != telemetry.Core {
		t.Errorf("%+v", v)
	}
	s.users["a"] = 3
	if err := again.Remove(t.Context(), "a", 0); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "3 devices") {
		t.Error(err)
	}
	s.users["a"] = 0
	if err := again.Remove(t.Context(), "a", 0); err != nil || again.View("a") != nil {
		t.Error(err)
	}
	if err := again.Remove(t.Context(), "a", 0); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
}

func TestModelsFollowTheirFiles(t *testing.T) {
	dir := t.TempDir()
	s := openShelf(t, nil, dir)
	tick := time.Now()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		tick = tick.Add(time.Second) // a file that is written twice in a moment has another time
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, tick, tick)); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(name string) {
		t.Helper()
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	step := func(what string, faulty float64, want ...string) {
		t.Helper()
		if err := s.Sync(t.Context()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if diff := cmp.Diff(want, s.ids()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		if got := testutil.ToFloat64(s.faulty); got != faulty {
			t.Errorf("%s: %v faulty files, want %v\n%s", what, got, faulty, s.log.String())
		}
	}
	if _, err := s.Put(t.Context(), parsed(t, named("api", "")), 0); err != nil {
		t.Fatal(err)
	}
	write("a.yaml", named("a", ""))
	write("b.json", `{"id": "b", "names": {"en": "x"}}`)
	write("notes.txt", "no model")
	step("two files", 0, "a v1 a.yaml", "api v1 ", "b v1 b.json")
	step("nothing new", 0, "a v1 a.yaml", "api v1 ", "b v1 b.json")

	write("a.yaml", named("a", "grade: important"))
	write("b.json", `{"id": "b", "nmaes": {}}`)
	step("one better, one worse", 1, "a v2 a.yaml", "api v1 ", "b v1 b.json")
	if !strings.Contains(s.log.String(), `b.json: line 1: nmaes: unknown key; did you mean`) {
		t.Errorf("log: %s", s.log.String())
	}
	said := s.log.Len()
	step("the same", 1, "a v2 a.yaml", "api v1 ", "b v1 b.json")
	if s.log.Len() != said {
		t.Errorf("said twice: %s", s.log.String())
	}
	openShelf(t, s, dir) // a restart forgets nothing that a faulty file said before
	step("after a restart", 1, "a v2 a.yaml", "api v1 ", "b v1 b.json")

	write("b.json", named("a", ""))
	step("two files of one id", 1, "a v2 a.yaml", "api v1 ", "b v1 b.json")
	write("b.json", named("c", ""))
	step("another model in a file", 0, "a v2 a.yaml", "api v1 ", "c v1 b.json")

	if err := os.Rename(filepath.Join(dir, "a.yaml"), filepath.Join(dir, "z.yaml")); err != nil {
		t.Fatal(err)
	}
	step("a file with a new name", 0, "a v3 z.yaml", "api v1 ", "c v1 b.json")

	s.users["a"] = 1
	remove("z.yaml")
	remove("b.json")
	step("files that are gone", 1, "a v3 z.yaml", "api v1 ")
	s.users["a"] = 0
	step("and the device too", 0, "api v1 ")

	write("api.yaml", named("api", "kind: rsu"))
	step("a file takes over", 0, "api v2 api.yaml")
	if _, err := s.Put(t.Context(), parsed(t, named("api", "")), 0); !errors.Is(err, ErrOfFile) {
		t.Error(err)
	}
	if err := s.Remove(t.Context(), "api", 0); !errors.Is(err, ErrOfFile) || !strings.Contains(err.Error(), "api.yaml") {
		t.Error(err)
	}
	if err := os.Rename(dir, dir+".gone"); err != nil {
		t.Fatal(err)
	}
	step("no directory", 1, "api v2 api.yaml")
	if diff := cmp.Diff("api api.yaml", s.noted[len(s.noted)-1]); diff != "" {
		t.Error(diff)
	}

	openShelf(t, s, "") // without models.dir the API decides about all
	if err := s.Remove(t.Context(), "api", 0); err != nil {
		t.Error(err)
	}
}

// A device that comes to name a model while it is being removed keeps it: the
// database refuses the removal though nobody was counted.
func TestTheDatabaseKeepsAModelThatADeviceNames(t *testing.T) {
	s := openShelf(t, nil, "")
	if _, err := s.Put(t.Context(), parsed(t, named("a", "")), 0); err != nil {
		t.Fatal(err)
	}
	err := s.deps.Records.Tx(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO devices VALUES ('t1', 'sensor', '', '', '', 0, NULL, NULL, '', 0, 0, 1, 1, 1, 'a')")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), "a", 0); err == nil || s.View("a") == nil {
		t.Errorf("removed: %v", err)
	}
}
