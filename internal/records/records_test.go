package records

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func openAt(t *testing.T, path string) *DB {
	t.Helper()
	db, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func put(ctx context.Context, db *DB, name string) error {
	return db.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO metrics (name, unit) VALUES (?, 'Cel')", name)
		return err
	})
}

func names(t *testing.T, db *DB) (all []string) {
	t.Helper()
	err := db.Each(t.Context(), func(r *sql.Rows) error {
		var s string
		err := r.Scan(&s)
		all = append(all, s)
		return err
	}, "SELECT name FROM metrics ORDER BY name")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestWhatFailsLeavesNothing(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "a b?#%.db"))
	failed := errors.New("failed")
	err := db.Tx(t.Context(), func(tx *sql.Tx) error {
		if _, err := tx.Exec("INSERT INTO metrics (name, unit) VALUES ('x', '')"); err != nil {
			return err
		}
		return failed
	})
	if !errors.Is(err, failed) || len(names(t, db)) != 0 {
		t.Errorf("%v; rows %v", err, names(t, db))
	}
	ctx := Also(t.Context(), func(*sql.Tx) error { return failed })
	if err := put(ctx, db, "x"); !errors.Is(err, failed) || len(names(t, db)) != 0 {
		t.Errorf("with a rider that fails: %v; rows %v", err, names(t, db))
	}
}

func TestForeignKeysHoldAndSynchronousIsFull(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "r.db"))
	err := db.Tx(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO states (device, name, value, time) VALUES ('nobody', 'a', 'b', 1)")
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "FOREIGN KEY") {
		t.Errorf("a state of no device: %v", err)
	}
	var level int
	var mode string
	if err := errors.Join(db.write.QueryRow("PRAGMA synchronous").Scan(&level), db.write.QueryRow("PRAGMA journal_mode").Scan(&mode)); err != nil || level != 2 || mode != "wal" {
		t.Errorf("synchronous %d, journal %s, %v", level, mode, err)
	}
}

func TestWritersQueueAndReadersDoNotWait(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "r.db"))
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := range 20 {
				if err := put(t.Context(), db, fmt.Sprintf("m%d_%d", w, i)); err != nil {
					t.Error(err)
				}
				if err := db.Each(t.Context(), func(*sql.Rows) error { return nil }, "SELECT name FROM metrics"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := len(names(t, db)); n != 160 {
		t.Errorf("%d rows", n)
	}
}

// TestANewerDatabaseIsLeftAlone also has a version between those that are known: a
// newer program filled a gap.
func TestANewerDatabaseIsLeftAlone(t *testing.T) {
	for _, version := range []string{"99999", "6"} {
		path := filepath.Join(t.TempDir(), "r.db")
		db := openAt(t, path)
		if err := db.Tx(t.Context(), func(tx *sql.Tx) error {
			_, err := tx.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (?, 1)", version)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(t.Context(), path)
		if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "version "+version+",") || !strings.Contains(err.Error(), "hub restore") {
			t.Errorf("a database of a newer version: %v", err)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
			t.Errorf("it was changed: %v", err)
		}
	}
}

func TestCopyAndCheck(t *testing.T) {
	dir := t.TempDir()
	db := openAt(t, filepath.Join(dir, "r.db"))
	if err := put(t.Context(), db, "temperature"); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "copy.db")
	if err := db.Copy(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	if err := db.Copy(t.Context(), copied); !errors.Is(err, fs.ErrExist) {
		t.Errorf("onto a file that is there: %v", err)
	}
	other := openAt(t, copied)
	if got := names(t, other); len(got) != 1 {
		t.Errorf("the copy holds %v", got)
	}
	if err := other.Check(t.Context()); err != nil {
		t.Error(err)
	}
	want, err := db.Counts(t.Context())
	if err != nil || want["answers"] != 0 || len(want) < 10 {
		t.Errorf("counts %v: %v", want, err)
	}
	if got, err := other.Counts(t.Context()); err != nil || !maps.Equal(got, want) {
		t.Errorf("the copy has %v, want %v: %v", got, want, err)
	}
}

func TestAnswersAreBoundedInTimeAndNumber(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	a := Answers{DB: openAt(t, filepath.Join(t.TempDir(), "r.db")), Now: func() time.Time { return now }}
	put := func(name string, size int) {
		t.Helper()
		now = now.Add(time.Second)
		if err := a.Put(t.Context(), name, []byte("q"), make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	has := func(name string) bool {
		t.Helper()
		_, body, err := a.Get(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return body != nil
	}
	put("first", answersBytes/2)
	put("second", answersBytes/2)
	if !has("first") || !has("second") {
		t.Error("answers within the bounds are gone")
	}
	put("third", 1)
	if has("first") || !has("second") || !has("third") {
		t.Error("beyond the bound the oldest goes, and only it")
	}
	now = now.Add(answersLife)
	if has("third") {
		t.Error("an answer outlives its time")
	}
}

// A process that is killed while it writes leaves a database that opens, with
// everything that it said was done.
func TestKilledWhileWriting(t *testing.T) {
	if path := os.Getenv("RECORDS_WRITE_TO"); path != "" {
		db := openAt(t, path)
		for i := 0; ; i++ {
			if err := put(t.Context(), db, fmt.Sprintf("m%06d", i)); err != nil {
				t.Fatal(err)
			}
			fmt.Printf("done m%06d\n", i)
		}
	}
	path := filepath.Join(t.TempDir(), "r.db")
	for round := range 5 {
		os.Remove(path)
		os.Remove(path + "-wal")
		os.Remove(path + "-shm")
		cmd := exec.Command(os.Args[0], "-test.run=TestKilledWhileWriting")
		cmd.Env = append(os.Environ(), "RECORDS_WRITE_TO="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := ""
		for n, buf := 0, make([]byte, 4096); n < 20*(round+1); {
			k, err := out.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			said += string(buf[:k])
			n = strings.Count(said, "\n")
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for buf := make([]byte, 4096); ; {
			k, err := out.Read(buf)
			said += string(buf[:k])
			if err != nil {
				break
			}
		}
		cmd.Wait() //nolint:errcheck // it was killed
		looked := look(t, path)
		db := openAt(t, path)
		if diff := cmp.Diff(names(t, db), looked); diff != "" {
			t.Errorf("round %d: who only looked saw something else (-opened +looked):\n%s", round, diff)
		}
		have := strings.Join(names(t, db), " ") + " "
		for line := range strings.Lines(said) {
			if name, ok := strings.CutPrefix(line, "done "); ok && strings.HasSuffix(line, "\n") && !strings.Contains(have, strings.TrimSpace(name)+" ") {
				t.Errorf("round %d: %s was done and is gone", round, name)
			}
		}
		db.Close()
	}
}

// look reads the names without opening the database for writing, and makes sure
// that its files are what they were.
func look(t *testing.T, path string) []string {
	t.Helper()
	before := files(t, filepath.Dir(path))
	db, err := OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	all := names(t, db)
	if err := errors.Join(db.Check(t.Context()), db.Close()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, files(t, filepath.Dir(path))); diff != "" {
		t.Errorf("looking changed the files (-before +after):\n%s", diff)
	}
	return all
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = fmt.Sprintf("%x", sha256.Sum256(data))
	}
	return all
}

func TestLookingChangesNothing(t *testing.T) {
	open := filepath.Join(t.TempDir(), "r.db")
	db := openAt(t, open)
	for _, name := range []string{"a", "b"} {
		if err := put(t.Context(), db, name); err != nil {
			t.Fatal(err)
		}
	}
	for _, left := range []struct{ name, files string }{
		{"a log and its index", " -wal -shm"},
		{"a log whose index was lost", " -wal"},
		{"an empty log", " -empty"},
		{"no log", " "},
	} {
		t.Run(left.name, func(t *testing.T) {
			if !strings.Contains(left.files, "-wal") {
				if _, err := db.write.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
					t.Fatal(err)
				}
			}
			path := filepath.Join(t.TempDir(), "r.db")
			for _, suffix := range strings.Split(left.files, " ") {
				if suffix == "-empty" {
					suffix = "-wal"
				}
				data, err := os.ReadFile(open + suffix)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path+suffix, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := look(t, path); len(got) != 2 {
				t.Errorf("rows %v", got)
			}
		})
	}
	ro, err := OpenReadOnly(open)
	if err != nil {
		t.Fatal(err)
	}
	defer ro.Close()
	if err := put(t.Context(), ro, "c"); err == nil {
		t.Error("a database that is opened for looking takes a row")
	}
}

// What an older hub wrote is brought up to date with its rows.
func TestPresenceOfAnOlderHubHasNoPeriod(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.db")
	db := openAt(t, path)
	p, err := db.versions()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.DownTo(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{
		"INSERT INTO devices VALUES ('t1', 'sensor', '', '', '', 0, NULL, NULL, '', 0, 0, 1, 1, 1)",
		"INSERT INTO presence VALUES ('t1', 'online', 'connected', 1, 2, 3, 4)",
	} {
		if _, err := db.write.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	db.Close()
	var state string
	var period int64
	err = openAt(t, path).Each(t.Context(), func(r *sql.Rows) error { return r.Scan(&state, &period) }, "SELECT state, period FROM presence WHERE device = 't1'")
	if err != nil || state != "online" || period != 0 {
		t.Errorf("state %q, period %d, %v", state, period, err)
	}
}
