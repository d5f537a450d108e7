package twin_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/twin"
)

var errModel = errors.New("the model has no such key")

func open(t *testing.T) *twin.Twins {
	t.Helper()
	dir := t.TempDir()
	db, err := records.Open(t.Context(), filepath.Join(dir, "records.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	sealer, err := registry.OpenSealer(filepath.Join(dir, "secrets.key"))
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Open(t.Context(), registry.Config{Records: db, Sealer: sealer, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reg.CreateBatch(t.Context(), []registry.Spec{{ID: "t1"}, {ID: "t2"}}); err != nil {
		t.Fatal(err)
	}
	return twin.New(twin.Deps{Records: db, Clock: time.Now, Check: func(_ string, c json.RawMessage) error {
		if strings.Contains(string(c), "forbidden") {
			return errModel
		}
		return nil
	}})
}

func TestADeviceIsToldWhatIsWantedAndSaysWhatItHas(t *testing.T) {
	h := open(t)
	standing := func(want twin.Standing) twin.Twin {
		t.Helper()
		got, err := h.Get(t.Context(), "t1")
		if err != nil || got.Standing != want {
			t.Fatalf("%+v, %v; want %s", got, err, want)
		}
		return got
	}
	report := func(text string) {
		t.Helper()
		if err := h.Report(t.Context(), "t1", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	standing(twin.Unmanaged)
	var heard []string
	stop := h.Watch("t1", func(m []byte) { heard = append(heard, string(m)) })
	w, err := h.Set(t.Context(), "t1", json.RawMessage(`{ "interval": "10s", "sources": {"host": {"enabled": true}} }`), 0, "ops")
	if err != nil || w.Version != 1 {
		t.Fatalf("%+v, %v", w, err)
	}
	standing(twin.Pending)
	report(`{"version": 1, "config": {}, "errors": [{"path": "interval", "message": "too short"}]}`)
	if got := standing(twin.Refused); len(got.Reported.Faults) != 1 || got.Reported.Faults[0].Path != "interval" {
		t.Errorf("faults: %+v", got.Reported.Faults)
	}
	if w, err = h.Patch(t.Context(), "t1", json.RawMessage(`{"interval": "60s", "sources": {"gpu": {}}}`), 1, "ops"); err != nil || w.Version != 2 {
		t.Fatalf("%+v, %v", w, err)
	}
	standing(twin.Pending)
	report(`{"version": 2, "config": {"interval": "60s", "own": 1, "sources": {"host": {"enabled": false}}}}`)
	got := standing(twin.Drifted)
	want := `/sources/gpu {} -> ; /sources/host/enabled true -> false; `
	text := ""
	for _, d := range got.Drift {
		text += fmt.Sprintf("%s %s -> %s; ", d.Path, d.Wanted, d.Reported)
	}
	if text != want {
		t.Errorf("drift %q, want %q", text, want)
	}
	report(`{"version": 2, "config": {"interval": "60s", "own": 1, "sources": {"gpu": {}, "host": {"enabled": true}}}}`)
	standing(twin.InStep)
	if _, err := h.Set(t.Context(), "t1", nil, 2, "ops"); err != nil {
		t.Fatal(err)
	}
	standing(twin.Unmanaged)
	stop()
	if _, err := h.Set(t.Context(), "t1", json.RawMessage(`{}`), 0, "ops"); err != nil {
		t.Fatal(err)
	}
	if want := []string{`{"version":1,"config":{"interval":"10s","sources":{"host":{"enabled":true}}}}`,
		`{"version":2,"config":{"interval":"60s","sources":{"gpu":{},"host":{"enabled":true}}}}`, `{"version":3,"config":null}`}; fmt.Sprint(heard) != fmt.Sprint(want) {
		t.Errorf("heard %v", heard)
	}
	if m, err := h.Message(t.Context(), "t1"); err != nil || string(m) != `{"version":4,"config":{}}` {
		t.Errorf("%s, %v", m, err)
	}
	if m, err := h.Message(t.Context(), "t2"); err != nil || m != nil {
		t.Errorf("a device of which nothing is wanted reads %s, %v", m, err)
	}
	if all, err := h.History(t.Context(), "t1", 4, 2); err != nil || len(all) != 2 || all[0].Version != 3 || all[0].Config != nil || all[1].Actor != "ops" {
		t.Errorf("%+v, %v", all, err)
	}
	if ids, err := h.Devices(t.Context(), "", 10); err != nil || fmt.Sprint(ids) != "[t1]" {
		t.Errorf("%v, %v", ids, err)
	}
}

func TestWhatIsNoConfiguration(t *testing.T) {
	h := open(t)
	for name, c := range map[string]struct {
		config string
		want   error
	}{
		"an array":     {`[1]`, twin.ErrInvalid},
		"null":         {`null`, twin.ErrInvalid},
		"broken":       {`{"a":`, twin.ErrInvalid},
		"bad UTF-8":    {"{\"a\":\"\xff\"}", twin.ErrInvalid},
		"too large":    {`{"a":"` + strings.Repeat("x", twin.MaxConfig) + `"}`, twin.ErrInvalid},
		"too deep":     {strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40), twin.ErrInvalid},
		"by the model": {`{"forbidden": 1}`, errModel},
	} {
		if _, err := h.Set(t.Context(), "t1", json.RawMessage(c.config), 0, "ops"); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if name == "by the model" {
			continue
		}
		if err := h.Report(t.Context(), "t1", []byte(`{"version":1,"config":`+c.config+`}`)); !errors.Is(err, twin.ErrInvalid) {
			t.Errorf("%s reported: %v", name, err)
		}
	}
	if _, err := h.Set(t.Context(), "t1", json.RawMessage(`{"a": 1}`), 7, "ops"); !errors.Is(err, twin.ErrStale) {
		t.Errorf("a version that is not there: %v", err)
	}
	if _, err := h.Patch(t.Context(), "t1", json.RawMessage(`[]`), 0, "ops"); !errors.Is(err, twin.ErrInvalid) {
		t.Errorf("a patch that is none: %v", err)
	}
}

// The examples of RFC 7396, appendix A, whose results are objects.
func TestMergePatch(t *testing.T) {
	for _, c := range []struct{ config, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		h := open(t)
		if _, err := h.Set(t.Context(), "t1", json.RawMessage(c.config), 0, ""); err != nil {
			t.Fatal(err)
		}
		w, err := h.Patch(t.Context(), "t1", json.RawMessage(c.patch), 0, "")
		if err != nil || string(w.Config) != c.want {
			t.Errorf("%s with %s: %s, %v; want %s", c.config, c.patch, w.Config, err, c.want)
		}
	}
}
