package desk_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/ingest/desk"
	"github.com/songhua-io/hub/internal/telemetry"
)

func TestVerifyFindsWhatIsDamaged(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "desk")
	r := open(t, path, desk.DefaultConfig())
	for range 2000 {
		r.keep("t1", strings.Repeat("payload ", 100), telemetry.ReasonTimeFuture)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		damage func([]byte) []byte
		want   string // in the first finding; empty for none
	}{
		{"sound", func(p []byte) []byte { return p }, ""},
		{"never written", func([]byte) []byte { return nil }, ""},
		{"cut short", func(p []byte) []byte { return p[:len(p)/2] }, "missing at its end"},
		{"something else", func([]byte) []byte { return bytes.Repeat([]byte("x"), 1<<16) }, "invalid"},
		{"an altered entry", func(p []byte) []byte {
			return bytes.ReplaceAll(p, []byte("time_future"), []byte("time\xff\xfe\xfd\xfc\xfb\xfa\xf9"))
		}, "damaged"},
		{"pages of zeroes", func(p []byte) []byte { clear(p[len(p)/4 : len(p)/2]); return p }, "page"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "desk")
			damaged := c.damage(bytes.Clone(sound))
			if err := os.WriteFile(path, damaged, 0o400); err != nil {
				t.Fatal(err)
			}
			var found []string
			if err := desk.Verify(path, func(s string) { found = append(found, s) }); err != nil {
				t.Fatal(err)
			}
			if c.want == "" && len(found) > 0 || c.want != "" && (len(found) == 0 || !strings.Contains(found[0], c.want) || !strings.HasPrefix(found[0], path)) {
				t.Errorf("%d findings, want %q: %.300q", len(found), c.want, found)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, damaged) {
				t.Errorf("looking changed the file (%v)", err)
			}
		})
	}
	if err := desk.Verify(filepath.Join(dir, "none"), func(s string) { t.Error(s) }); err != nil {
		t.Errorf("a desk that is absent: %v", err)
	}
	open(t, path, desk.DefaultConfig())
	if err := desk.Verify(path, func(s string) { t.Error(s) }); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a desk in use: %v", err)
	}
}
