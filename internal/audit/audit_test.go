package audit

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/records"
)

func open(t *testing.T) *records.DB {
	t.Helper()
	db, err := records.Open(t.Context(), filepath.Join(t.TempDir(), "records.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func change(t *testing.T, db *records.DB, statement string) {
	t.Helper()
	err := db.Tx(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.Exec(statement)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func note(t *testing.T, db *records.DB, object, region string) {
	t.Helper()
	ctx := With(t.Context(), Entry{At: time.Now(), Actor: "ops", Role: "operator", Action: "devices.write", Object: object, Region: region, After: `{"a":1}`})
	if err := db.Tx(ctx, func(*sql.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
}

func TestEveryTamperingIsFound(t *testing.T) {
	for statement, want := range map[string]string{
		"UPDATE audit SET actor = 'nobody' WHERE seq = 2":                                "entry 2 (devices.write of device t2 by nobody) was altered",
		"DELETE FROM audit WHERE seq = 2":                                                "entry 3 follows entry 1",
		"UPDATE audit SET hash = (SELECT hash FROM audit WHERE seq = 3) WHERE seq = 2":   "entry 2 (devices.write of device t2 by ops) was altered",
		"UPDATE audit SET prev = (SELECT hash FROM audit WHERE seq = 3) WHERE seq = 3":   "entry 3 does not continue entry 2",
		"UPDATE audit SET before = after, after = before WHERE seq = 1":                  "entry 1",
		"UPDATE audit SET object = object || 'x', region = substr(region,2) WHERE seq=1": "entry 1",
	} {
		db := open(t)
		for _, id := range []string{"device t1", "device t2", "device t3"} {
			note(t, db, id, "220100")
		}
		if n, head, err := (Log{db}).Verify(t.Context()); n != 3 || len(head) != 64 || err != nil {
			t.Fatalf("untouched: %d entries, head %s, %v", n, head, err)
		}
		change(t, db, statement)
		if _, _, err := (Log{db}).Verify(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want one that says %q", statement, err, want)
		}
	}
}

func TestAnEntryIsThereIfAndOnlyIfTheChangeIs(t *testing.T) {
	db := open(t)
	failed := errors.New("failed")
	ctx := With(context.Background(), Entry{At: time.Now(), Object: "device t1"})
	if err := db.Tx(ctx, func(*sql.Tx) error { return failed }); !errors.Is(err, failed) {
		t.Fatal(err)
	}
	if page, err := (Log{db}).List(t.Context(), "", 0, 10); len(page) != 0 || err != nil {
		t.Errorf("%v, %v", page, err)
	}
}

func TestListIsNarrowedAndPaged(t *testing.T) {
	db := open(t)
	for range 3 {
		note(t, db, "device a", "220100")
		note(t, db, "device b", "110000")
	}
	page, err := (Log{db}).List(t.Context(), "22", 0, 2)
	if err != nil || len(page) != 2 || page[0].Seq != 5 || page[1].Seq != 3 {
		t.Fatalf("%v, %v", page, err)
	}
	if page, err = (Log{db}).List(t.Context(), "22", page[1].Seq, 2); err != nil || len(page) != 1 || page[0].Object != "device a" {
		t.Errorf("%v, %v", page, err)
	}
}
