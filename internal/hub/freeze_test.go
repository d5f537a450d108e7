package hub

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/api"
	"github.com/songhua-io/hub/internal/registry"
)

func TestAFreezeIsOneMomentForAdmins(t *testing.T) {
	h := graded(t)
	if _, err := h.registry.Create(t.Context(), registry.Spec{ID: "probe-1", Kind: "sensor", Region: "220100"}); err != nil {
		t.Fatal(err)
	}
	admin := h.token(t, access.Token{Name: "keeper", Role: access.Admin})
	ofChangchun := h.token(t, access.Token{Name: "of-2201", Role: access.Admin, Region: "2201"})
	operator := h.token(t, access.Token{Name: "operator", Role: access.Operator})
	for _, token := range []string{ofChangchun, operator} {
		if code, text := h.ask(t, token, http.MethodPost, "/api/v1/freezes", nil); code != http.StatusForbidden {
			t.Errorf("%d %s", code, text)
		}
	}

	code, text := h.ask(t, admin, http.MethodPost, "/api/v1/freezes", nil)
	var f api.Frozen
	if err := json.Unmarshal([]byte(text), &f); code != http.StatusCreated || err != nil {
		t.Fatalf("%d %s: %v", code, text, err)
	}
	if code, text := h.ask(t, admin, http.MethodPost, "/api/v1/freezes", nil); code != http.StatusConflict || !strings.Contains(text, f.ID) {
		t.Errorf("a second freeze: %d %s", code, text)
	}
	if f.Counts["devices"] != 1 {
		t.Errorf("%d devices are counted", f.Counts["devices"])
	}
	for _, name := range []string{"records.db", "series/wal", "desk", "secrets.key", "audit.key", "authority/root.key"} {
		if _, err := os.Stat(filepath.Join(f.Data, name)); err != nil {
			t.Error(err)
		}
	}
	for _, name := range append([]string{"frozen", "series/lock"}, leftOut...) {
		if _, err := os.Stat(filepath.Join(f.Data, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is in it: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(f.Graded, "wal")); err != nil || strings.HasPrefix(f.Graded, f.Data) {
		t.Errorf("graded series are frozen at %s: %v", f.Graded, err)
	}
	if report, n, err := Drill(t.Context(), f.Data, f.Graded, f.Counts, func(s string) { t.Error(s) }); err != nil || n != 0 || report.Rows == 0 {
		t.Errorf("%+v, %d findings: %v", report, n, err)
	}
	if report, n, err := Drill(t.Context(), f.Data, f.Graded, map[string]int64{"devices": 2}, func(string) {}); err != nil || n != 1 {
		t.Errorf("with a device gone: %+v, %d findings: %v", report, n, err)
	}

	if code, text := h.ask(t, admin, http.MethodDelete, "/api/v1/freezes/other", nil); code != http.StatusNotFound {
		t.Errorf("%d %s", code, text)
	}
	if code, text := h.ask(t, admin, http.MethodDelete, "/api/v1/freezes/"+f.ID, nil); code != http.StatusNoContent {
		t.Errorf("%d %s", code, text)
	}
	for _, dir := range []string{f.Data, f.Graded} {
		if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is there still: %v", filepath.Dir(dir), err)
		}
	}
}

// TestOwnsAFreeze is a `hub backup` that hangs: it is started by
// TestAFreezeEndsWithItsOwner, and killed.
func TestOwnsAFreeze(t *testing.T) {
	dir := os.Getenv("OWN_FREEZES_OF")
	if dir == "" {
		t.Skip("is a process of another test")
	}
	if _, err := OwnFreezes(dir); err != nil {
		t.Fatal(err)
	}
	fmt.Println("owns")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// owner starts a process that owns the freezes of a directory.
func owner(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestOwnsAFreeze$")
	c.Env = append(os.Environ(), "OWN_FREEZES_OF="+dir)
	_, err := c.StdinPipe()
	out, outErr := c.StdoutPipe()
	if err = errors.Join(err, outErr, c.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() }) //nolint:errcheck // it may be over
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "owns\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return c
}

// TestAFreezeEndsWithItsOwner, that was killed, and not before; the next backup need
// not wait for that.
func TestAFreezeEndsWithItsOwner(t *testing.T) {
	h := whole(t, t.TempDir())
	freeze := func() api.Frozen {
		t.Helper()
		f, err := h.freezer.Freeze(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	there := func(f api.Frozen) bool { _, err := os.Stat(f.Data); return err == nil }
	kill := func(c *exec.Cmd) {
		t.Helper()
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		c.Wait() //nolint:errcheck // it was killed
	}

	first := owner(t, h.at.Data)
	if _, err := OwnFreezes(h.at.Data); err == nil || !strings.Contains(err.Error(), "wait for it") {
		t.Errorf("a second owner: %v", err)
	}
	f := freeze()
	h.freezer.look(f.ID)
	if !there(f) {
		t.Error("the freeze is gone while its owner is there")
	}
	if _, err := h.freezer.Freeze(t.Context()); !errors.Is(err, api.ErrFrozen) {
		t.Errorf("a second freeze: %v", err)
	}
	kill(first)
	second := owner(t, h.at.Data)
	g := freeze()
	if there(f) || !there(g) {
		t.Errorf("of the killed one there is %v, of the next %v", there(f), there(g))
	}
	kill(second)
	soon(t, "the freeze is gone", func() bool { return !there(g) })

	alone := freeze()
	h.freezer.look(alone.ID)
	if !there(alone) {
		t.Error("a freeze that nobody owns is gone")
	}
	if err := h.freezer.Thaw(alone.ID); err != nil {
		t.Error(err)
	}
}
