package local

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// everyKind returns the directory of a closed store that has every kind of
// file: blocks, both logs, a checkpoint, head chunks, and late data.
func everyKind(t *testing.T) string {
	t.Helper()
	s := newSite(t)
	s.take("probe", value{-72 * time.Hour, 0})
	for h := 72; h > 0; h-- {
		for m := range 60 {
			at := value{-time.Duration(h)*time.Hour + time.Duration(m)*time.Minute, float64(m * h)}
			s.take("probe-1", at)
			if m%7 == 0 {
				s.take("probe-2", at, value{at.At - 5*time.Hour - 30*time.Second, 1})
			}
		}
		if h%12 == 0 {
			if err := s.recent.db.Compact(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.recent.db.ForceHeadMMap()
	s.take("probe-1", value{-31 * day, 1}, value{-200 * day, 2}, value{-40 * day, 3})
	if err := s.late.Load().db.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.kill() // new segments, so that the logs can be truncated
	s.kill()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return s.dir
}

func findings(t *testing.T, dir string) []Finding {
	t.Helper()
	var all []Finding
	if err := Verify(context.Background(), dir, func(f Finding) { all = append(all, f) }); err != nil {
		t.Fatal(err)
	}
	return all
}

func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		files[path] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestVerifyNamesWhatIsDamaged(t *testing.T) {
	dir := everyKind(t)
	before := snapshot(t, dir)
	if found := findings(t, dir); len(found) > 0 {
		t.Fatalf("a sound store has findings: %v", found)
	}
	after := snapshot(t, dir)
	for path, content := range before {
		if after[path] != content {
			t.Errorf("verify changed %s", path)
		}
	}
	if len(after) != len(before) {
		t.Errorf("verify left %d files of %d", len(after), len(before))
	}

	kinds := map[string]int{}
	for path, content := range before {
		kind := kindOf(strings.TrimPrefix(path, dir))
		if kind == "" || kinds[kind] > 20 {
			continue
		}
		for _, at := range places(kind, content) {
			if skips(kind, content, at) {
				continue
			}
			damaged := []byte(content)
			damaged[at] ^= 0x5a
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			named := false
			found := findings(t, dir)
			for _, f := range found {
				named = named || f.File == path
			}
			if !named {
				t.Errorf("%s: byte %d of %d flipped, found %v", path, at, len(content), found)
			}
			kinds[kind]++
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []string{"meta", "index", "tombstones", "chunks", "head", "wal", "wbl"} {
		if kinds[kind] == 0 {
			t.Errorf("no file of kind %s was damaged: %v", kind, kinds)
		}
	}
}

// kindOf returns what a file of the store is; empty for those that carry no data.
func kindOf(path string) string {
	base, folder := filepath.Base(path), filepath.Base(filepath.Dir(path))
	switch {
	case base == "meta.json":
		return "meta"
	case base == "index", base == "tombstones":
		return base
	case folder == "chunks":
		return "chunks"
	case folder == "chunks_head":
		return "head"
	case folder == "wal", strings.HasPrefix(folder, "checkpoint."):
		return "wal"
	case folder == "wbl":
		return "wbl"
	}
	return ""
}

// skips reports bytes that carry nothing: padding.
func skips(kind, content string, at int) bool {
	switch kind {
	case "index":
		return content[at] == 0
	case "chunks", "head":
		return at >= 5 && at < 8
	}
	return false
}

// places returns the positions to damage: six spread over a file, its ends
// included; in meta.json, which has no checksum, the count of samples.
func places(kind, content string) []int {
	if kind == "meta" {
		const name = `"numSamples": `
		return []int{strings.Index(content, name) + len(name)}
	}
	var at []int
	for i := range 6 {
		if p := i * (len(content) - 1) / 5; len(content) > 0 && !slices.Contains(at, p) {
			at = append(at, p)
		}
	}
	return at
}

func TestVerifySaysWhenTheStoreIsInUse(t *testing.T) {
	s := newSite(t)
	err := Verify(context.Background(), s.dir, func(Finding) {})
	if err == nil || !strings.Contains(err.Error(), "another process uses it") {
		t.Errorf("verify of an open store: %v", err)
	}
}

func TestVerifyNamesAMissingSegment(t *testing.T) {
	s := newSite(t)
	s.take("probe", value{0, 1})
	s.kill()
	s.take("probe", value{1, 1})
	s.kill()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(s.dir, "wal", "00000001")); err != nil {
		t.Fatal(err)
	}
	if found := findings(t, s.dir); len(found) != 1 || !strings.Contains(found[0].Damage, "00000001, is missing") {
		t.Errorf("found %v", found)
	}
}

func TestVerifyOfNothing(t *testing.T) {
	if err := Verify(context.Background(), filepath.Join(t.TempDir(), "absent"), func(Finding) {}); err == nil {
		t.Error("verify of an absent directory found it sound")
	}
	if found := findings(t, t.TempDir()); len(found) > 0 {
		t.Errorf("an empty directory has findings: %v", found)
	}
}
