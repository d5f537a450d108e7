package hub

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/registry"
)

func TestVerify(t *testing.T) {
	dir := t.TempDir()
	findings := func() string {
		t.Helper()
		var all strings.Builder
		n, err := Verify(t.Context(), dir, func(line string) { all.WriteString(line + "\n") })
		if err != nil || n != strings.Count(all.String(), "\n") {
			t.Fatalf("%d findings, %v:\n%s", n, err, all.String())
		}
		return all.String()
	}
	if _, err := Verify(t.Context(), dir, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an empty directory: %v", err)
	}

	h := whole(t, dir)
	h.register(t, registry.Spec{ID: "t1"})
	addresses, err := os.ReadFile(filepath.Join(dir, addressFile))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), dir, nil); err == nil || !strings.Contains(err.Error(), "a hub runs in "+dir+"; stop it first") {
		t.Errorf("while a hub runs: %v", err)
	}
	h.end(t)

	// A hub that was killed leaves its addresses behind; they say nothing.
	if err := os.WriteFile(filepath.Join(dir, addressFile), addresses, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := findings(); got != "" {
		t.Errorf("a sound directory:\n%s", got)
	}

	journals, err := filepath.Glob(filepath.Join(dir, trafficDir, "*.log"))
	if err != nil || len(journals) != 1 {
		t.Fatalf("journals of traffic %v, %v", journals, err)
	}
	for _, file := range []string{recordsFile, deskDir, filepath.Join(trafficDir, filepath.Base(journals[0]))} {
		path := filepath.Join(dir, file)
		sound, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		damaged := make([]byte, len(sound))
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := findings(); !strings.Contains(got, path) {
			t.Errorf("%s of zeroes: %q", file, got)
		}
		if err := os.WriteFile(path, sound, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
