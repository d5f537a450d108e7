package release

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/telemetry"
)

func keyFile(t testing.TB, dir string, lines ...string) string {
	t.Helper()
	path := filepath.Join(dir, "releases.key")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var keyA, keyB = strings.Repeat("ab", 32), strings.Repeat("cd", 32)

func keysOf(t testing.TB, lines ...string) *Keys {
	t.Helper()
	k, err := ReadKeys(keyFile(t, t.TempDir(), lines...), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// change is what the child of TestAKillLeavesAllOrNothing does until it is killed:
// each kind of change of a store.
var change = map[string]func(w *world) error{
	"put": func(w *world) error {
		d := draft(odd())
		d.Replaces, d.Reason = 1, catalog.Text{ZH: "迟", EN: "late"}
		_, err := w.Put(context.Background(), d)
		return err
	},
	"remove": func(w *world) error {
		_, err := w.Remove(context.Background(), "soil", 1, catalog.Text{ZH: "到期", EN: "kept long enough"})
		return err
	},
	"seal": func(w *world) error { return w.Seal(context.Background(), "soil") },
}

// TestAKillLeavesAllOrNothing kills a process at every step of a change, and opens
// what it left.
func TestAKillLeavesAllOrNothing(t *testing.T) {
	if dir := os.Getenv("RELEASE_CHILD"); dir != "" {
		child(t, dir)
		return
	}
	keys := keyFile(t, t.TempDir(), keyA)
	for name := range change {
		whole := 0
		for step := 1; ; step++ {
			dir := t.TempDir()
			put(t, open(t, dir, nil), draft(odd()))
			cmd := exec.Command(os.Args[0], "-test.run=^TestAKillLeavesAllOrNothing$")
			cmd.Env = append(os.Environ(), "RELEASE_CHILD="+dir, "RELEASE_KEYS="+keys, "RELEASE_CHANGE="+name, fmt.Sprint("RELEASE_STEP=", step))
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
			if err != nil && !killed {
				t.Fatalf("%s, step %d: %v\n%s", name, step, err, out)
			}
			if afterKill(t, dir, keys, name) {
				whole++
			}
			if !killed {
				if step < 4 || whole == 0 {
					t.Errorf("%s: %d steps, done after %d of them", name, step, whole)
				}
				break
			}
		}
	}
}

func child(t *testing.T, dir string) {
	keys, err := ReadKeys(os.Getenv("RELEASE_KEYS"), dir)
	if err != nil {
		t.Fatal(err)
	}
	w := open(t, dir, keys)
	step := int64(0)
	fmt.Sscan(os.Getenv("RELEASE_STEP"), &step)
	var left atomic.Int64 // files are written side by side
	left.Store(step)
	w.step = func(string) {
		if left.Add(-1) == 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	if err := change[os.Getenv("RELEASE_CHANGE")](w); err != nil {
		t.Fatal(err)
	}
}

// afterKill opens a store that was left in the midst of a change, and reports
// whether the change was done.
func afterKill(t *testing.T, dir, keys, name string) (done bool) {
	t.Helper()
	w := open(t, dir, must(ReadKeys(keys, dir)))
	var versions []int64
	for _, m := range w.List("soil") {
		versions = append(versions, m.Version)
		if r, err := w.Verify(context.Background(), "soil", m.Version, nil); err != nil || !r.OK() || len(r.Files) != 5 || r.Files[0].Stored != Same {
			t.Fatalf("%s: %+v, %v", name, r, err)
		}
	}
	if err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if strings.Contains(path, making) {
			t.Errorf("%s: %s was left", name, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	switch name {
	case "put":
		return slices.Equal(versions, []int64{1, 2})
	case "remove":
		_, err := os.Stat(w.path("soil", 1))
		return len(versions) == 0 && errors.Is(err, os.ErrNotExist)
	}
	x, err := w.index("soil", 1)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(w.path("soil", 1))
	if err != nil || len(entries) != len(x.Files)+1 {
		t.Errorf("%s: %d files lie there, %v", name, len(entries), err)
	}
	return x.Key != nil
}

func TestWhatWasWrittenIsReadFromAnywhere(t *testing.T) {
	for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 3*chunkSize + 77} {
		for _, key := range []*dataKey{nil, must(keysOf(t, keyA).newDataKey("soil/1"))} {
			plain := make([]byte, size)
			r := rand.NewChaCha8([32]byte{1})
			r.Read(plain[:size/2]) // the other half is compressed
			dir := t.TempDir()
			k, err := (&shelf{dir: dir, index: &index{}, key: key}).write("f", func(w io.Writer) error {
				_, err := io.Copy(w, iotest.OneByteReader(bytes.NewReader(plain[:min(size, 100)])))
				if err == nil && size > 100 {
					_, err = w.Write(plain[100:])
				}
				return err
			})
			if err != nil || k.Size != int64(size) || k.SHA256 != hexSum(plain) {
				t.Fatal(size, k, err)
			}
			f, err := os.Open(filepath.Join(dir, "f"))
			if err != nil {
				t.Fatal(err)
			}
			in, err := newReader(f, k, must(key.sealing("f")))
			if err != nil {
				t.Fatal(err)
			}
			if err := iotest.TestReader(in, plain); err != nil {
				t.Error(size, err)
			}
			in.Close()
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestADamagedFileIsNeverServed(t *testing.T) {
	if testing.Short() {
		t.Skip("a thousand damages; make test")
	}
	dir := t.TempDir()
	put(t, open(t, dir, nil), draft(odd()))
	entries, err := os.ReadDir(filepath.Join(dir, "soil", "1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, "soil", "1", e.Name())
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := range min(len(text), 200) {
			bad := slices.Clone(text)
			bad[at] ^= 1
			if at == 199 {
				bad = bad[:len(bad)-1]
			}
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			w := open(t, dir, nil)
			name := e.Name()
			if name == indexFile {
				name = CSVFile
			}
			if _, err := w.Store.Open("soil", 1, name); err == nil {
				t.Fatalf("%s with bit %d turned is opened", name, at)
			}
			if (name == ManifestFile || e.Name() == indexFile) && w.next["soil"] != 2 {
				t.Fatal("the number of a version that cannot be read is given again")
			}
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// One that is damaged after it was opened is found when it is read.
	w := open(t, dir, nil)
	if content(t, w, 1, CSVFile) == "" {
		t.Fatal()
	}
	path := filepath.Join(dir, "soil", "1", CSVFile)
	text := must(os.ReadFile(path))
	text[10] ^= 1
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := w.Store.Open("soil", 1, CSVFile)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); !errors.Is(err, ErrDamaged) || len(got) > 0 {
		t.Errorf("%q, %v", got, err)
	}
	if r, err := w.Verify(context.Background(), "soil", 1, nil); err != nil || r.OK() || r.Files[0].Stored != Damaged {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestImportantReleasesAreSealed(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, keysOf(t, keyA))
	d := draft(odd())
	d.Dataset.Grade = telemetry.Important
	put(t, w, d)
	d.Replaces, d.Reason = 1, catalog.Text{ZH: "甲", EN: "secret reason"}
	put(t, w, d)
	plainIn(t, dir, false)
	if got := content(t, w, 2, CSVFile); !strings.Contains(got, "9007199254740991") {
		t.Error(got)
	}
	c := must(w.Store.Open("soil", 1, CSVFile))
	defer c.Close()
	must(c.Seek(5, io.SeekStart))
	some := make([]byte, 6)
	if _, err := io.ReadFull(c, some); err != nil || string(some) != "device" {
		t.Errorf("%q, %v", some, err)
	}

	// Without the key nothing is opened, and the numbers stay taken.
	for _, keys := range []*Keys{nil, keysOf(t, keyB)} {
		locked := open(t, dir, keys)
		if _, err := locked.Store.Open("soil", 1, CSVFile); err == nil || len(locked.List("soil")) != 0 || locked.next["soil"] != 3 {
			t.Error(err, locked.next)
		}
	}
	// A new key wraps, the old one still opens.
	rotated := open(t, dir, keysOf(t, keyB, keyA))
	if m := put(t, rotated, d); m.Version != 3 || content(t, rotated, 1, CSVFile) != content(t, w, 1, CSVFile) {
		t.Error(m)
	}

	// The key of one version is not that of another.
	x := must(w.index("soil", 1))
	if _, err := w.Store.deps.Keys.unwrap(*x.Key, "soil/2"); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}

// TestSealedChunksCannotBeExchanged moves chunks of one file, with sums that fit:
// position, end and name are bound.
func TestSealedChunksCannotBeExchanged(t *testing.T) {
	key := must(keysOf(t, keyA).newDataKey("soil/1"))
	plain := make([]byte, 3*chunkSize)
	rand.NewChaCha8([32]byte{2}).Read(plain)
	dir := t.TempDir()
	must((&shelf{dir: dir, index: &index{}, key: key}).write("f", func(w io.Writer) error { _, err := w.Write(plain); return err }))
	text := must(os.ReadFile(filepath.Join(dir, "f")))
	n := len(text) / 3
	a, b, c := text[:n], text[n:2*n], text[2*n:]
	for name, as := range map[string]struct {
		file   string
		chunks [][]byte
		ok     bool
	}{
		"as it was": {"f", [][]byte{a, b, c}, true}, "exchanged": {"f", [][]byte{b, a, c}, false}, "twice": {"f", [][]byte{a, a, c}, false},
		"cut off": {"f", [][]byte{a, b}, false}, "begun later": {"f", [][]byte{b, c}, false}, "another name": {"g", [][]byte{a, b, c}, false},
	} {
		var moved kept
		for _, part := range as.chunks {
			sum := hexBytes(hexSum(part))
			moved.Chunks, moved.Sums = append(moved.Chunks, -len(part)), append(moved.Sums, sum...)
			moved.Size += chunkSize
		}
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, bytes.Join(as.chunks, nil), 0o600); err != nil {
			t.Fatal(err)
		}
		r := must(newReader(must(os.Open(path)), moved, must(key.sealing(as.file))))
		if _, err := io.Copy(io.Discard, r); (err == nil) != as.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func hexBytes(s string) []byte { return must(hex.DecodeString(s)) }

// plainIn looks for what is known of the rows in everything that lies on disk.
// Sealed files are compressed first, so it looks for names of files that are not
// sealed too.
func plainIn(t *testing.T, dir string, want bool) {
	t.Helper()
	found := false
	if err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text := must(os.ReadFile(path))
		found = found || bytes.Contains(text, []byte("secret reason")) || bytes.Contains(text, []byte("device")) || !strings.HasSuffix(path, sealedEnd) && e.Name() != indexFile
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if found != want {
		t.Errorf("rows lie in plain on disk: %v", found)
	}
}

func TestARaisedGradeSealsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, keysOf(t, keyA))
	put(t, w, draft(odd()))
	plainIn(t, dir, true)
	before := content(t, w, 1, CSVFile)
	if err := w.Seal(context.Background(), "soil"); err != nil {
		t.Fatal(err)
	}
	plainIn(t, dir, false)
	if content(t, w, 1, CSVFile) != before || content(t, open(t, dir, w.deps.Keys), 1, CSVFile) != before || w.noted[1] != "sealed soil/1" {
		t.Error(w.noted)
	}
}

func TestKeysLieOutsideOfTheData(t *testing.T) {
	data := t.TempDir()
	inside := keyFile(t, data, keyA)
	link := filepath.Join(t.TempDir(), "link.key")
	if err := os.Symlink(inside, link); err != nil {
		t.Fatal(err)
	}
	linked := filepath.Join(t.TempDir(), "data")
	if err := os.Symlink(data, linked); err != nil {
		t.Fatal(err)
	}
	outside := keyFile(t, t.TempDir(), keyA)
	open := keyFile(t, t.TempDir(), keyA)
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, data, want string }{
		{outside, data, ""}, {inside, data, "lies in the data directory"}, {link, data, "lies in the data directory"}, {inside, linked, "lies in the data directory"},
		{open, data, "chmod 600"}, {filepath.Join(data, "none"), data, "openssl rand"}, {keyFile(t, t.TempDir(), "abc"), data, "64 hexadecimal digits"}, {keyFile(t, t.TempDir()), data, "is empty"},
	} {
		_, err := ReadKeys(c.path, c.data)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.want, err)
		}
	}
}

func TestRemovalLeavesATombstone(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, nil)
	put(t, w, draft(odd()))
	put(t, w, draft(odd()))
	m, err := w.Remove(context.Background(), "soil", 2, catalog.Text{ZH: "保存期满", EN: "its retention is over"})
	if err != nil || m.Removed == nil {
		t.Fatal(m, err)
	}
	for _, w := range []*world{w, open(t, dir, nil)} {
		if len(w.List("soil")) != 1 || len(w.History("soil")) != 2 || len(w.Releases("soil")) != 1 {
			t.Error(w.History("soil"))
		}
		if m, err := w.Get("soil", 2); err != nil || m.Removed == nil || m.Removed.Reason.EN != "its retention is over" || len(m.Files) != 5 {
			t.Error(m, err)
		}
		if _, err := w.Store.Open("soil", 2, CSVFile); !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
	}
	if m := put(t, open(t, dir, nil), draft(odd())); m.Version != 3 {
		t.Error("the number of a removed version is given again:", m.Version)
	}
	if want := []string{"made soil/1", "made soil/2", "removed soil/2"}; !slices.Equal(w.noted, want) || len(w.changed) != 3 {
		t.Error(w.noted, w.changed)
	}
}

func TestWhatIsNotOnRecordIsNotThere(t *testing.T) {
	w := open(t, t.TempDir(), nil)
	w.Store.deps.Noted = func(context.Context, Event, *Manifest) error { return errors.New("the disk is full") }
	if _, err := w.Put(context.Background(), draft(odd())); err == nil || len(w.List("soil")) != 0 {
		t.Error(err)
	}
	if entries := must(os.ReadDir(w.deps.Dir)); len(entries) != 0 {
		t.Error(entries)
	}
}
