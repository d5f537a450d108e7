package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// place is a kind of target that the tests run at.
type place struct {
	name   string
	create func(t *testing.T) (Target, func() Target) // and one that reads what was written
	many   bool                                       // it holds more than one backup
}

func places(t *testing.T) []place {
	all := []place{
		{"directory", func(t *testing.T) (Target, func() Target) {
			dir := filepath.Join(t.TempDir(), "a", "b")
			open := func() Target { return must(OpenDirectory(dir))(t) }
			return open(), open
		}, true},
		{"file", func(t *testing.T) (Target, func() Target) {
			path := filepath.Join(t.TempDir(), "hub.backup")
			return must(CreateArchive(path))(t), func() Target { return must(OpenArchive(path))(t) }
		}, false},
	}
	return append(all, place{"s3", s3Place, true})
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func identity(t *testing.T) (*age.X25519Identity, []string) {
	id := must(age.GenerateX25519Identity())(t)
	return id, []string{id.Recipient().String()}
}

// tree writes files of all kinds of lengths.
func tree(t *testing.T, dir string) {
	for name, size := range map[string]int{"empty": 0, "one": 1, "series/wal/0001": chunkSize, "series/big": 2*chunkSize + 17, "records.db": chunkSize - 1, "深/目录": 1000} {
		data := make([]byte, size)
		rand.Read(data[:size/2]) // the rest can be made smaller
		write(t, filepath.Join(dir, name), data)
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// same fails when two folders differ.
func same(t *testing.T, a, b string) {
	t.Helper()
	x, y := files(t, a), files(t, b)
	if len(x) != len(y) {
		t.Errorf("%s has %d files, and %s %d", a, len(x), b, len(y))
	}
	for name, data := range x {
		if !bytes.Equal(data, y[name]) {
			t.Errorf("%s is not the same", name)
		}
	}
}

func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		all[rel], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func plan(t *testing.T, root string, at time.Time) Plan {
	return Plan{At: at, Version: "test", Sources: []Source{{Root: root}}, Memory: filepath.Join(t.TempDir(), "memory.json"), Counts: map[string]int64{"series": 3}}
}

func TestWhatIsRestoredIsWhatWas(t *testing.T) {
	for _, p := range places(t) {
		for _, encrypted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/encrypted=%v", p.name, encrypted), func(t *testing.T) {
				root := t.TempDir()
				tree(t, root)
				var ids []age.Identity
				var to []string
				if encrypted {
					id, recipients := identity(t)
					ids, to = []age.Identity{id}, recipients
				}
				target, reopen := p.create(t)
				r := must(Create(t.Context(), target, to))(t)
				first := must(r.Write(t.Context(), plan(t, root, noon)))(t)
				if err := target.Close(); err != nil {
					t.Fatal(err)
				}
				r = must(Open(t.Context(), reopen()))(t)
				into := filepath.Join(t.TempDir(), "back")
				m := must(r.Restore(t.Context(), Restoration{Point: first.Point, Identities: ids, Into: map[string]string{"": into}}))(t)
				same(t, root, into)
				if m.Counts["series"] != 3 || m.Size() != first.Size || len(m.Files) != first.Files {
					t.Errorf("the manifest says %v, %d files, %d bytes", m.Counts, len(m.Files), m.Size())
				}
				if err := r.Verify(t.Context(), ids, func(s string) { t.Error(s) }, nil); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestASecondBackupSendsWhatIsNew(t *testing.T) {
	for _, p := range places(t) {
		if !p.many {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			root := t.TempDir()
			tree(t, root)
			id, to := identity(t)
			target, _ := p.create(t)
			r := must(Create(t.Context(), target, to))(t)
			x := plan(t, root, noon)
			first := must(r.Write(t.Context(), x))(t)
			before := files(t, root)

			// One grows at its end, one changes in the middle, one goes, one comes.
			big := append(before["series/big"], make([]byte, 100)...)
			big[0] ^= 1
			write(t, filepath.Join(root, "series/big"), big)
			write(t, filepath.Join(root, "new"), []byte("new"))
			if err := os.Remove(filepath.Join(root, "one")); err != nil {
				t.Fatal(err)
			}
			x.At = noon.Add(time.Hour)
			second := must(r.Write(t.Context(), x))(t)
			if want := int64(chunkSize + 17 + 100 + 3); second.New != want {
				t.Errorf("the second backup sent %d bytes of files, want %d: the changed chunks", second.New, want)
			}
			if first.New != first.Size {
				t.Errorf("the first sent %d of %d bytes", first.New, first.Size)
			}

			// With the memory lost it is whole again, and others cannot tell what it is of.
			if err := os.Remove(x.Memory); err != nil {
				t.Fatal(err)
			}
			x.At = noon.Add(2 * time.Hour)
			if third := must(r.Write(t.Context(), x))(t); third.New != third.Size {
				t.Errorf("without memory %d of %d bytes were sent", third.New, third.Size)
			}

			for _, want := range []struct {
				until time.Time
				files map[string][]byte
			}{{noon.Add(time.Minute), before}, {time.Time{}, files(t, root)}} {
				at := must(r.Newest(t.Context(), want.until))(t)
				into := filepath.Join(t.TempDir(), "back")
				must(r.Restore(t.Context(), Restoration{Point: at, Identities: []age.Identity{id}, Into: map[string]string{"": into}}))(t)
				got := files(t, into)
				if len(got) != len(want.files) {
					t.Errorf("until %v there were %d files, want %d", want.until, len(got), len(want.files))
				}
				for name, data := range want.files {
					if !bytes.Equal(got[name], data) {
						t.Errorf("until %v: %s is not as it was", want.until, name)
					}
				}
			}
			if _, err := r.Newest(t.Context(), noon.Add(-time.Second)); !errors.Is(err, ErrNoPoint) {
				t.Errorf("before the first: %v", err)
			}

			gone := must(r.Prune(t.Context(), noon, noon.Add(30*time.Minute)))(t)
			if len(gone.Points) != 1 || gone.Chunks == 0 {
				t.Errorf("pruned %v", gone)
			}
			if err := r.Verify(t.Context(), []age.Identity{id}, func(s string) { t.Error(s) }, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDamageIsFoundAndNotRestored(t *testing.T) {
	root := t.TempDir()
	tree(t, root)
	id, to := identity(t)
	dir := t.TempDir()
	r := must(Create(t.Context(), directory(dir), to))(t)
	done := must(r.Write(t.Context(), plan(t, root, noon)))(t)
	var all []string
	for name := range files(t, dir) {
		if strings.HasPrefix(name, "chunks/") {
			all = append(all, name)
		}
	}
	victim := filepath.Join(dir, all[mathrand.IntN(len(all))])
	data := must(os.ReadFile(victim))(t)
	for what, damage := range map[string]func(){
		"a bit":   func() { d := bytes.Clone(data); d[mathrand.IntN(len(d))] ^= 4; write(t, victim, d) },
		"its end": func() { write(t, victim, data[:len(data)-1]) },
		"all":     func() { _ = os.Remove(victim) },
	} {
		damage()
		for _, by := range [][]age.Identity{nil, {id}} {
			var found []string
			if err := r.Verify(t.Context(), by, func(s string) { found = append(found, s) }, nil); err != nil {
				t.Fatal(err)
			}
			if len(found) != 1 || !strings.Contains(found[0], filepath.Base(victim)) || !strings.Contains(found[0], done.Point.Name) {
				t.Errorf("%s of a chunk is gone, with identities %v; verify said %q", what, len(by), found)
			}
		}
		into := filepath.Join(t.TempDir(), "back")
		if _, err := r.Restore(t.Context(), Restoration{Point: done.Point, Identities: []age.Identity{id}, Into: map[string]string{"": into}}); err == nil {
			t.Errorf("%s of a chunk is gone, and it was restored", what)
		}
		if _, err := os.Stat(into); err == nil {
			t.Errorf("%s of a chunk is gone, and %s is there", what, into)
		}
		// The next backup mends what it can see to be gone or cut.
		if what != "a bit" {
			x := plan(t, root, noon.Add(time.Duration(len(what))*time.Minute))
			mended := must(r.Write(t.Context(), x))(t)
			must(r.Restore(t.Context(), Restoration{Point: mended.Point, Identities: []age.Identity{id}, Into: map[string]string{"": filepath.Join(t.TempDir(), "x")}}))(t)
		}
		write(t, victim, data)
	}
}

// TestAMissingLinkTakesWhatIsMadeOfItAndNothingElse: each backup is made of its own
// chunks and of those of the ones before. What is damaged is named, with every backup
// that needs it; the others come back.
func TestAMissingLinkTakesWhatIsMadeOfItAndNothingElse(t *testing.T) {
	for _, p := range places(t) {
		if !p.many {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			root := t.TempDir()
			target, _ := p.create(t)
			r := must(Create(t.Context(), target, nil))(t)
			x := plan(t, root, noon)
			var points []Point
			chunk := map[string]string{} // by the file that it is of
			for i, name := range []string{"first", "second", "third"} {
				write(t, filepath.Join(root, name), bytes.Repeat([]byte(name), 1000))
				if i == 2 {
					if err := os.Remove(filepath.Join(root, "first")); err != nil {
						t.Fatal(err)
					}
				}
				x.At = noon.Add(time.Duration(i) * time.Hour)
				points = append(points, must(r.Write(t.Context(), x))(t).Point)
				for _, f := range must(r.Manifest(t.Context(), points[i], nil))(t).Files {
					chunk[f.Path] = f.Chunks[0].Name
				}
			}
			restore := func(i int) error {
				_, err := r.Restore(t.Context(), Restoration{Point: points[i], Into: map[string]string{"": filepath.Join(t.TempDir(), "back")}})
				return err
			}
			for name, needed := range map[string][]bool{"first": {true, true, false}, "second": {false, true, true}} {
				object := object(chunk[name])
				sound := must(target.Get(t.Context(), object))(t)
				for what, damage := range map[string]func() error{
					"gone":    func() error { return target.Delete(t.Context(), object) },
					"damaged": func() error { return target.Put(t.Context(), object, append([]byte{sound[0] ^ 1}, sound[1:]...)) },
				} {
					if err := damage(); err != nil {
						t.Fatal(err)
					}
					var found []string
					if err := r.Verify(t.Context(), nil, func(s string) { found = append(found, s) }, nil); err != nil {
						t.Fatal(err)
					}
					for i, point := range points {
						err := restore(i)
						if needed[i] != (err != nil) || err != nil && (!strings.Contains(err.Error(), point.Name) || !strings.Contains(err.Error(), chunk[name]) || !strings.Contains(err.Error(), name)) {
							t.Errorf("%s is %s, backup %d: %v", name, what, i, err)
						}
						if len(found) != 1 || needed[i] != strings.Contains(found[0], point.Name) {
							t.Errorf("%s is %s: verify says %q", name, what, found)
						}
						missing := must(r.Missing(t.Context(), point))(t)
						if (len(missing) == 1) != (what == "gone" && needed[i]) {
							t.Errorf("%s is %s: backup %d lacks %q", name, what, i, missing)
						}
					}
					if err := target.Put(t.Context(), object, sound); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, of := range []string{refsName, manifestName} {
				object := "backups/" + points[1].Name + of
				sound := must(target.Get(t.Context(), object))(t)
				if err := target.Put(t.Context(), object, sound[:len(sound)/2]); err != nil {
					t.Fatal(err)
				}
				var found []string
				if err := r.Verify(t.Context(), nil, func(s string) { found = append(found, s) }, nil); err != nil {
					t.Fatal(err)
				}
				if len(found) != 1 || !strings.Contains(found[0], points[1].Name) {
					t.Errorf("half of %s is gone: verify says %q", object, found)
				}
				if err := errors.Join(restore(0), restore(2)); err != nil {
					t.Error(err)
				}
				if err := target.Put(t.Context(), object, sound); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// lying is a target that keeps something else than it was given.
type lying struct{ Target }

func (l lying) Put(ctx context.Context, name string, data []byte) error {
	if strings.HasPrefix(name, "chunks/") {
		data = append([]byte{data[0] ^ 1}, data[1:]...)
	}
	return l.Target.Put(ctx, name, data)
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	root := t.TempDir()
	tree(t, root)
	dir := directory(t.TempDir())
	must(Create(t.Context(), dir, nil))(t)
	r := must(Open(t.Context(), lying{dir}))(t)
	if _, err := r.Write(t.Context(), plan(t, root, noon)); err == nil || !strings.Contains(err.Error(), "read back as something else") {
		t.Errorf("a disk that lies: %v", err)
	}
	if points := must(r.Points(t.Context()))(t); len(points) != 0 {
		t.Errorf("there are backups: %v", points)
	}
}

func TestSecretsStayWithTheirIdentity(t *testing.T) {
	root := t.TempDir()
	canary := bytes.Repeat([]byte("canary-4711 "), 1000)
	write(t, filepath.Join(root, "secrets.key"), canary)
	_, to := identity(t)
	dir := t.TempDir()
	r := must(Create(t.Context(), directory(dir), to))(t)
	x := plan(t, root, noon)
	done := must(r.Write(t.Context(), x))(t)
	for name, data := range files(t, dir) {
		if bytes.Contains(data, []byte("canary")) || bytes.Contains(data, []byte("secrets.key")) {
			t.Errorf("%s can be read", name)
		}
	}
	other, _ := identity(t)
	for _, by := range [][]age.Identity{nil, {other}} {
		_, err := r.Manifest(t.Context(), done.Point, by)
		if err == nil || !strings.Contains(err.Error(), "--identity") {
			t.Errorf("with %d identities: %v", len(by), err)
		}
	}
	if _, err := ParseIdentities([]byte("AGE-SECRET-KEY-canary")); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("an identity that is none: %v", err)
	}
}

func TestWhatIsThereIsNotOverwritten(t *testing.T) {
	root := t.TempDir()
	tree(t, root)
	dir := t.TempDir()
	r := must(Create(t.Context(), directory(dir), nil))(t)
	done := must(r.Write(t.Context(), plan(t, root, noon)))(t)

	into := t.TempDir()
	write(t, filepath.Join(into, "precious"), []byte("x"))
	if _, err := r.Restore(t.Context(), Restoration{Point: done.Point, Into: map[string]string{"": into}}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("into a folder with a file: %v", err)
	}
	if got := files(t, into); len(got) != 1 {
		t.Errorf("there are %d files now", len(got))
	}
	if _, err := Create(t.Context(), directory(into), nil); err == nil || !strings.Contains(err.Error(), "precious") {
		t.Errorf("backups in a folder with a file: %v", err)
	}
	if _, err := CreateArchive(filepath.Join(into, "precious")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file that is there: %v", err)
	}
	if _, err := Open(t.Context(), directory(into)); !errors.Is(err, ErrNoRepository) {
		t.Errorf("a folder without backups: %v", err)
	}
}

// stopping is a target that fails from its nth write on, as if the machine ended.
type stopping struct {
	Target
	left atomic.Int64
}

var errStopped = errors.New("stopped")

func (s *stopping) Put(ctx context.Context, name string, data []byte) error {
	if name == lockName {
		return nil
	}
	if s.left.Add(-1) < 0 {
		return errStopped
	}
	return s.Target.Put(ctx, name, data)
}

func TestABackupIsWholeOrNotThere(t *testing.T) {
	root := t.TempDir()
	tree(t, root)
	dir := directory(t.TempDir())
	r := must(Create(t.Context(), dir, nil))(t)
	x := plan(t, root, noon)
	for n := 0; ; n++ {
		stops := &stopping{Target: dir}
		stops.left.Store(int64(n))
		half := must(Open(t.Context(), stops))(t)
		x.At = noon.Add(time.Duration(n) * time.Minute)
		_, err := half.Write(t.Context(), x)
		points := must(r.Points(t.Context()))(t)
		if err == nil {
			if len(points) != 1 {
				t.Fatalf("%d backups after %d writes", len(points), n)
			}
			into := filepath.Join(t.TempDir(), "back")
			must(r.Restore(t.Context(), Restoration{Point: points[0], Into: map[string]string{"": into}}))(t)
			same(t, root, into)
			break
		}
		if !errors.Is(err, errStopped) || len(points) != 0 {
			t.Fatalf("stopped at write %d: %v; backups: %v", n, err, points)
		}
	}
	// What unfinished ones left goes with a prune.
	write(t, filepath.Join(string(dir), "chunks", "ab", strings.Repeat("ab", 32)), []byte("left"))
	if gone := must(r.Prune(t.Context(), noon.Add(24*time.Hour), noon.Add(24*time.Hour)))(t); gone.Chunks != 1 || len(gone.Points) != 0 {
		t.Errorf("pruned %+v; the newest backup stays, and what belongs to none goes", gone)
	}
}

func TestTwoDoNotWriteAtOnce(t *testing.T) {
	root := t.TempDir()
	tree(t, root)
	dir := directory(t.TempDir())
	r := must(Create(t.Context(), dir, nil))(t)
	unlock := must(r.lock(t.Context(), noon))(t)
	if _, err := r.Write(t.Context(), plan(t, root, noon.Add(time.Minute))); err == nil || !strings.Contains(err.Error(), "is at it since") {
		t.Errorf("while another writes: %v", err)
	}
	if _, err := r.Write(t.Context(), plan(t, root, noon.Add(staleLock+time.Minute))); err != nil {
		t.Errorf("after the other is gone: %v", err)
	}
	unlock()
	if _, err := r.Prune(t.Context(), noon, noon); err != nil {
		t.Error(err)
	}
}

func TestHostileManifestsStayBelowTheirFolder(t *testing.T) {
	for _, path := range []string{"", "../x", "/etc/passwd", "a/../../b", "a//b", "a/", `a\b`, "a\x00"} {
		if err := (&Manifest{Files: []File{{Path: path}}}).check(); err == nil {
			t.Errorf("a file %q was taken", path)
		}
	}
}
