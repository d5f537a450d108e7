package records

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestTheLogIsCarriedToTheFileBesideCommits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.db")
	db, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	const size = 100 << 10
	for i := range checkpointEvery {
		err := db.Tx(t.Context(), func(tx *sql.Tx) error {
			_, err := tx.Exec("INSERT INTO answers (name, digest, body, created) VALUES (?, ?, ?, ?)", i, []byte{1}, make([]byte, size), 1)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() >= checkpointEvery*size {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the file has %d bytes after %d commits of %d each: all of it is in the log", info.Size(), checkpointEvery, size)
		}
	}
}
