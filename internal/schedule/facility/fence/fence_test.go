package fence

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/songhua-io/hub/internal/schedule/facility"
)

func open(t *testing.T, path string) *Fence {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func work(workload, lease string, token uint64) facility.Work {
	return facility.Work{Workload: workload, Lease: lease, Token: token}
}

func begin(f *Fence, w facility.Work) error {
	_, err := f.Begin(w)
	return err
}

func TestAStageOutlivesARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fences")
	w := work("w-1", "l-5", 5)
	for _, want := range []Stage{Fresh, Asked, Asked} {
		f := open(t, path)
		if got, err := f.Begin(w); got != want || err != nil {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
		if !f.Open(w.Workload, w.Token) {
			t.Error("it is not open")
		}
	}
	f := open(t, path)
	for _, want := range []Stage{Held, Taken} {
		if err := f.Reach(w, want); err != nil {
			t.Fatal(err)
		}
		f = open(t, path)
		if got, err := f.Begin(w); got != want || err != nil || f.Open(w.Workload, w.Token) {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
	}
	if got, err := f.Begin(work("w-1", "l-6", 6)); got != Fresh || err != nil {
		t.Errorf("a later lease: %v, %v, want it fresh", got, err)
	}
}

func TestMarksOutliveARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fences")
	f := open(t, path)
	for _, err := range []error{begin(f, work("w-1", "l-5", 5)), begin(f, work("w-1", "l-5", 5)), f.End(work("w-2", "l-6", 6)), f.End(work("", "l-7", 7))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		for _, w := range []facility.Work{work("w-1", "l-4", 4), work("w-2", "l-6", 6), work("w-3", "l-7", 7)} {
			if err := begin(f, w); !errors.Is(err, facility.ErrFenced) {
				t.Errorf("%s under %d: %v, want it fenced", w.Workload, w.Token, err)
			}
		}
		if err := errors.Join(begin(f, work("w-1", "l-5", 5)), begin(f, work("w-4", "l-2", 2))); err != nil {
			t.Error(err)
		}
		f = open(t, path)
	}
	if err := begin(f, work("w-2", "l-8", 8)); err != nil {
		t.Errorf("a later lease: %v", err)
	}
}

func TestALineThatWasNotWrittenToItsEndIsNotThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fences")
	if err := open(t, path).End(work("w-1", "l-5", 5)); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(whole, `{"Of":"w-2","Tok`...), 0o600); err != nil {
		t.Fatal(err)
	}
	f := open(t, path)
	if err := begin(f, work("w-2", "l-6", 6)); err != nil {
		t.Error(err)
	}
	if err := begin(f, work("w-1", "l-5", 5)); !errors.Is(err, facility.ErrFenced) {
		t.Errorf("%v, want it fenced", err)
	}
}
