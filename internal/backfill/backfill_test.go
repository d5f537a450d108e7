package backfill

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/records"
)

func newLedger(t *testing.T) *Ledger {
	t.Helper()
	db, err := records.Open(t.Context(), filepath.Join(t.TempDir(), "records.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	now := time.Unix(1_700_000_000, 0)
	return NewLedger(db, func() time.Time { now = now.Add(time.Second); return now })
}

func id(n int) string { return fmt.Sprintf("%064x", n) }

func begin(t *testing.T, l *Ledger, i Import) {
	t.Helper()
	if _, err := l.Begin(t.Context(), i); err != nil {
		t.Fatal(err)
	}
}

func quiet(ctx context.Context, _ *Import) context.Context { return ctx }

// stored stands for a store that takes one sample.
func stored() (int64, int64, error) { return 1, 0, nil }

// What is remembered is bounded: those that were touched last stay.
func TestImportsAreForgotten(t *testing.T) {
	l := newLedger(t)
	begin(t, l, Import{ID: id(0)})
	for n := 1; n < maxImports; n++ {
		begin(t, l, Import{ID: id(n)})
	}
	if _, err := l.take(t.Context(), id(0), "", Part{Number: 1, Mark: "1:1"}, quiet, stored); err != nil {
		t.Fatal(err)
	}
	begin(t, l, Import{ID: id(maxImports)})
	all, err := l.List(t.Context(), "")
	if err != nil || len(all) != maxImports {
		t.Errorf("%d are remembered, %v", len(all), err)
	}
	if _, err := l.Get(t.Context(), id(0), ""); err != nil {
		t.Error(err)
	}
	if _, err := l.Get(t.Context(), id(1), ""); !errors.Is(err, ErrUnknown) {
		t.Errorf("the oldest is there: %v", err)
	}
}

// A part that could not be stored is not counted, and comes again; one at a time is
// taken.
func TestAPartThatFailsIsNotCounted(t *testing.T) {
	l := newLedger(t)
	begin(t, l, Import{ID: id(1), Region: "2201"})
	full := errors.New("the disk is full")
	part := Part{Number: 1, Mark: "9:1", Faults: 2}
	if _, err := l.take(t.Context(), id(1), "", part, quiet, func() (int64, int64, error) {
		if _, err := l.take(t.Context(), id(1), "", part, quiet, stored); !errors.Is(err, ErrBusy) {
			t.Errorf("two take it at once: %v", err)
		}
		return 0, 0, full
	}); !errors.Is(err, full) {
		t.Fatal(err)
	}
	i, err := l.take(t.Context(), id(1), "", part, quiet, stored)
	if err != nil || i.Accepted != 1 || i.Rejected != 2 || i.Next != 2 || i.Mark != "9:1" {
		t.Errorf("%+v, %v", i, err)
	}
	if _, err := l.take(t.Context(), id(1), "2202", Part{Number: 2}, quiet, stored); !errors.Is(err, ErrUnknown) {
		t.Errorf("another region goes on: %v", err)
	}
	for _, wrong := range []string{"", "abc", strings.Repeat("g", 64), strings.Repeat("A", 64), id(1) + "0"} {
		if _, err := l.Begin(t.Context(), Import{ID: wrong}); !errors.Is(err, ErrInvalid) {
			t.Errorf("id %.20q: %v", wrong, err)
		}
	}
}

// What its sender says of a part is bounded, and read strictly.
func TestWhatIsSaidOfAPart(t *testing.T) {
	for query, want := range map[string]string{
		"part=1&mark=1:1": "", "part=2&faults=7&last=true": "",
		"part=": "numbered from 1", "part=0": "numbered from 1", "part=x": "numbered from 1", "part=99999999999999999999": "numbered from 1",
		"part=1&faults=-1": "count of lines", "part=1&faults=x": "count of lines", "part=1&mark=" + strings.Repeat("1", maxMark+1): "at most",
	} {
		_, err := described(httptest.NewRequest(http.MethodPost, "/?"+query, nil))
		if want == "" && err != nil || want != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.80s: %v, want %q", query, err, want)
		}
	}
}

// A body is read up to its bound, whatever its sender says of its length.
func TestABodyIsBounded(t *testing.T) {
	for size, fits := range map[int]bool{0: true, 1: true, maxBody: true, maxBody + 1: false} {
		q := &request{}
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat("x", size)))
		r.ContentLength = -1
		err := q.read(httptest.NewRecorder(), r)
		var large *http.MaxBytesError
		if fits && (err != nil || len(q.body) != size) || !fits && !errors.As(err, &large) {
			t.Errorf("%d bytes: %d are read, %v", size, len(q.body), err)
		}
		w := httptest.NewRecorder()
		if !fits {
			(&Door{}).refuse(w, err)
			if w.Code != http.StatusRequestEntityTooLarge {
				t.Errorf("%d bytes: %d", size, w.Code)
			}
		}
	}
}
