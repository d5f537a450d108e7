package file

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/edge/source"
)

// tail is a follower whose readings are collected.
type tail struct {
	t    *testing.T
	f    *follower
	path string
	got  []string
}

func newTail(t *testing.T, dir, from string) *tail {
	x := &tail{t: t, path: filepath.Join(dir, "log")}
	x.f = &follower{
		cfg: Config{Path: x.path, From: from}, place: filepath.Join(dir, "place"),
		decoder: source.Decoder{Now: time.Now},
		put: func(_ context.Context, r source.Record) error {
			for _, s := range r.Samples {
				x.got = append(x.got, fmt.Sprintf("%s %g", s.Metric, s.Value))
			}
			for _, f := range r.Faults {
				x.got = append(x.got, "fault: "+f.Error())
			}
			return nil
		},
	}
	t.Cleanup(x.f.close)
	return x
}

func (x *tail) write(text string) {
	x.t.Helper()
	f, err := os.OpenFile(x.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		x.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		x.t.Fatal(err)
	}
}

// expect follows once and compares what that gave.
func (x *tail) expect(want ...string) {
	x.t.Helper()
	if err := x.f.follow(x.t.Context()); err != nil {
		x.t.Error(err)
	}
	if d := cmp.Diff(want, x.got); d != "" {
		x.t.Error(d)
	}
	x.got = nil
}

func TestAFileIsFollowed(t *testing.T) {
	dir := t.TempDir()
	x := newTail(t, dir, "start")
	x.write("m v=1\nm v=2\nm v=")
	x.expect("m_v 1", "m_v 2")
	x.expect()
	x.write("3\n")
	x.expect("m_v 3")

	// After a restart it goes on behind the last whole line.
	x.write("m v=4\nm v=5")
	y := newTail(t, dir, "start")
	y.expect("m_v 4")

	// A rotated file is read to its end, the last line included.
	y.write("0")
	if err := os.Rename(y.path, y.path+".1"); err != nil {
		t.Fatal(err)
	}
	y.write("m v=6\n")
	y.expect("m_v 50", "m_v 6")

	// A file that was emptied is read from its start.
	if err := os.Truncate(y.path, 0); err != nil {
		t.Fatal(err)
	}
	y.write("m v=7\n")
	y.f.at.Offset = 100 // as if it had been longer
	y.expect("m_v 7")
}

func TestAFileFromItsEnd(t *testing.T) {
	x := newTail(t, t.TempDir(), "end")
	x.write("m v=1\n")
	x.expect()
	x.write("m v=2\n")
	x.expect("m_v 2")
}

func TestAFileThatIsAway(t *testing.T) {
	x := newTail(t, t.TempDir(), "start")
	if err := x.f.follow(t.Context()); !os.IsNotExist(err) {
		t.Error(err)
	}
}

func TestAFileThatWasRotatedWhileNobodyLooked(t *testing.T) {
	for _, name := range []string{"log.1", "older"} {
		dir := t.TempDir()
		x := newTail(t, dir, "start")
		x.write("m v=1\n")
		x.expect("m_v 1")
		x.write("m v=2\nm v=3")
		if err := os.Rename(x.path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		x.write("m v=4\n")
		y := newTail(t, dir, "end")
		y.expect("m_v 2", "m_v 3", "m_v 4")
		y.expect()
		z := newTail(t, dir, "end")
		z.expect()
	}
}

func TestAFileThatIsGoneWithItsEndIsAFault(t *testing.T) {
	dir := t.TempDir()
	x := newTail(t, dir, "start")
	x.write("m v=1\n")
	x.expect("m_v 1")
	x.write("m v=2\n")
	if err := os.Rename(x.path, filepath.Join(t.TempDir(), "elsewhere")); err != nil {
		t.Fatal(err)
	}
	x.write("m v=3\n")
	y := newTail(t, dir, "end")
	y.expect(fmt.Sprintf("fault: %s was replaced and the file before it is gone: what it held behind byte 6 was not read", x.path), "m_v 3")
	y.expect()
}

func TestATornPlaceSkipsNothing(t *testing.T) {
	for _, torn := range []string{"", "{\"device\": 1, \"ino", "null"} {
		x := newTail(t, t.TempDir(), "end")
		x.write("m v=1\n")
		if err := os.WriteFile(x.f.place, []byte(torn), 0o600); err != nil {
			t.Fatal(err)
		}
		x.expect("m_v 1")
	}
}

func TestALineThatIsTooLongIsLeftOut(t *testing.T) {
	dir := t.TempDir()
	x := newTail(t, dir, "start")
	x.write("m v=1\n" + strings.Repeat("x", 2*chunk))
	fault := fmt.Sprintf("fault: %s: the line at byte 6 is longer than %d B and is left out", x.path, chunk)
	x.expect("m_v 1", fault)
	x.write("yyy")
	y := newTail(t, dir, "start") // a restart in the middle of it
	y.expect()
	y.write("\nm v=2\n")
	y.expect("m_v 2")
	y.expect()
}
