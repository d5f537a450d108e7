package release

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/telemetry"
)

func TestATreeIsVerifiedWithoutKeys(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, keysOf(t, keyA))
	put(t, w, draft(odd()))
	put(t, w, draft(odd()))
	put(t, w, draft(odd()))
	if _, err := w.Remove(t.Context(), "soil", 1, catalog.Text{ZH: "到期", EN: "kept long enough"}); err != nil {
		t.Fatal(err)
	}
	sealed := draft(odd())
	sealed.Dataset.ID, sealed.Dataset.Grade = "important", telemetry.Important
	put(t, w, sealed)
	// A kill while one is made and another one removed.
	for _, left := range []string{".making-1/data.csv", "soil/1/data.csv"} {
		path := filepath.Join(dir, left)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	findings := func() (all []string) {
		t.Helper()
		if err := VerifyTree(t.Context(), dir, func(s string) { all = append(all, s) }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	if got := findings(); len(got) > 0 {
		t.Errorf("of a sound tree: %q", got)
	}
	for _, name := range []string{"soil/2/" + CSVFile, "soil/3/" + indexFile, "soil/1" + goneEnd, "important/1/" + ParquetFile + sealedEnd} {
		path := filepath.Join(dir, name)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text[len(text)/2] ^= 1
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		of := strings.TrimSuffix(filepath.Dir(name), "/")
		if name == "soil/1"+goneEnd {
			of = "soil/1"
		}
		if got := findings(); len(got) != 1 || !strings.Contains(got[0], "release "+of+": ") {
			t.Errorf("%s is damaged: %q", name, got)
		}
		text[len(text)/2] ^= 1
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := VerifyTree(t.Context(), filepath.Join(dir, "none"), nil); err != nil {
		t.Errorf("of none: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".making-1/data.csv")); err != nil {
		t.Errorf("it was changed: %v", err)
	}
}
