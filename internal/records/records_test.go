package records

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
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

func TestBackupAndCheck(t *testing.T) {
	dir := t.TempDir()
	db := openAt(t, filepath.Join(dir, "r.db"))
	if err := put(t.Context(), db, "temperature"); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "copy.db")
	if err := db.Backup(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	other := openAt(t, copied)
	if got := names(t, other); len(got) != 1 {
		t.Errorf("the copy holds %v", got)
	}
	if err := other.Check(t.Context()); err != nil {
		t.Error(err)
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
		db := openAt(t, path)
		have := strings.Join(names(t, db), " ") + " "
		for line := range strings.Lines(said) {
			if name, ok := strings.CutPrefix(line, "done "); ok && strings.HasSuffix(line, "\n") && !strings.Contains(have, strings.TrimSpace(name)+" ") {
				t.Errorf("round %d: %s was done and is gone", round, name)
			}
		}
		db.Close()
	}
}
