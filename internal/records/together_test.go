package records

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
)

func TestManyShareACommitAndEachFailsByItself(t *testing.T) {
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "records.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	put := func(tx *sql.Tx, name string) error {
		_, err := tx.Exec("INSERT INTO metrics (name, unit) VALUES (?, '')", name)
		return err
	}
	refused := errors.New("refused")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	var wg sync.WaitGroup
	for i := range 500 {
		wg.Go(func() {
			name := fmt.Sprintf("m%d", i)
			ctx, want := t.Context(), error(nil)
			switch i % 5 {
			case 1:
				want = refused
			case 2:
				ctx, want = gone, context.Canceled
			case 3:
				ctx = Also(ctx, func(tx *sql.Tx) error { return put(tx, name+"-rider") })
			}
			err := db.Together(ctx, func(tx *sql.Tx) error {
				if err := put(tx, name); err != nil {
					return err
				}
				if i%5 == 1 {
					return refused
				}
				return nil
			})
			if !errors.Is(err, want) {
				t.Errorf("part %d: %v, want %v", i, err, want)
			}
		})
	}
	wg.Wait()
	rows := 0
	if err := db.Each(t.Context(), func(r *sql.Rows) error { return r.Scan(&rows) }, "SELECT count(*) FROM metrics"); err != nil {
		t.Fatal(err)
	}
	if rows != 300+100 { // three of five parts, and the riders of one of five
		t.Errorf("%d rows are stored", rows)
	}
}
