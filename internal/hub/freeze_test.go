package hub

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
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
