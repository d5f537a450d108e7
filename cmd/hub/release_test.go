package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	releases "github.com/songhua-io/hub/internal/catalog/release"
)

// TestADownloadGoesOnAndIsVerified breaks off the first answer for each file. What
// came stays, the rest is asked for, and a file that was changed is found.
func TestADownloadGoesOnAndIsVerified(t *testing.T) {
	store, err := releases.Open(releases.Deps{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Clock: time.Now, Noted: func(context.Context, releases.Event, *releases.Manifest) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	const rows = 20_000
	table := &releases.Table{Rows: rows, Columns: []releases.Column{
		{Item: catalog.Item{Name: "time", Type: catalog.Instant}, Integers: make([]int64, rows)}, {Item: catalog.Item{Name: "value", Type: catalog.Number}, Numbers: make([]float64, rows)}}}
	for i := range rows {
		table.Columns[0].Integers[i], table.Columns[1].Numbers[i] = int64(i), float64(i)/7
	}
	m, err := store.Put(t.Context(), releases.Draft{Dataset: &catalog.Dataset{ID: "soil"}, Table: table, Key: []string{"time"},
		Period: catalog.Period{From: time.Unix(0, 0), To: time.Unix(20, 0)}, Recipe: releases.Recipe{Transform: releases.Transform{ID: "test/1"}}})
	if err != nil {
		t.Fatal(err)
	}
	asked, ranges := map[string]int{}, 0
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := filepath.Base(r.URL.Path)
		c, err := store.Open("soil", 1, name)
		if err != nil || r.Header.Get("Authorization") != "Bearer secret" {
			http.Error(w, "no", http.StatusNotFound)
			return
		}
		defer c.Close()
		asked[name]++
		if r.Header.Get("Range") != "" {
			ranges++
		}
		if asked[name] == 1 && name != releases.ManifestFile {
			w.Header().Set("Content-Length", "1000")
			if _, err := io.CopyN(w, c, 400); err != nil {
				t.Error(err)
			}
			if err := http.NewResponseController(w).Flush(); err != nil { // one of which nothing came is asked for again
				t.Error(err)
			}
			panic(http.ErrAbortHandler)
		}
		releases.Serve(w, r, r.Context(), m, c)
	}))
	defer hub.Close()
	dir := filepath.Join(t.TempDir(), "soil-1")
	get := func() (int, string) {
		var out, errs bytes.Buffer
		code := run([]string{"release", "get", "soil", "1", "--to", dir, "--hub", hub.URL, "--token", "secret"}, &out, &errs)
		return code, out.String() + errs.String()
	}
	for range m.Files {
		if code, text := get(); code != 1 || !strings.Contains(text, "run this again to go on") {
			t.Fatal(code, text)
		}
	}
	if code, text := get(); code != 0 || ranges != len(m.Files) || strings.Count(text, "\n") != len(m.Files) {
		t.Fatal(code, ranges, text)
	}
	verify := func() (int, string) {
		var out, errs bytes.Buffer
		return run([]string{"release", "verify", "--dir", dir}, &out, &errs), out.String() + errs.String()
	}
	if code, text := verify(); code != 0 || strings.Count(text, "stored same     made again same") != len(m.Files) {
		t.Fatal(code, text)
	}
	path := filepath.Join(dir, releases.CSVFile)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[100] ^= 1
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, text := verify(); code != 1 || !strings.Contains(text, "stored damaged") || !strings.Contains(text, "is not what was released") {
		t.Fatal(code, text)
	}
}

// TestAPartIsAskedForByItsGrant: list, show and get name the grant each time.
func TestAPartIsAskedForByItsGrant(t *testing.T) {
	store, err := releases.Open(releases.Deps{Dir: filepath.Join(t.TempDir(), "releases"), Log: slog.New(slog.DiscardHandler), Clock: time.Now, Noted: func(context.Context, releases.Event, *releases.Manifest) error { return nil },
		Cuts: releases.CutDeps{Dir: filepath.Join(t.TempDir(), "cuts"), Max: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	table := &releases.Table{Rows: 1, Columns: []releases.Column{
		{Item: catalog.Item{Name: "time", Type: catalog.Instant}, Integers: []int64{0}}, {Item: catalog.Item{Name: "value", Type: catalog.Number}, Numbers: []float64{7}}}}
	if _, err := store.Put(t.Context(), releases.Draft{Dataset: &catalog.Dataset{ID: "soil"}, Table: table, Key: []string{"time"},
		Period: catalog.Period{From: time.Unix(0, 0), To: time.Unix(20, 0)}, Recipe: releases.Recipe{Transform: releases.Transform{ID: "test/1"}}}); err != nil {
		t.Fatal(err)
	}
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("grant") != "g-7" {
			t.Errorf("%s names no grant", r.URL)
		}
		switch r.URL.Path {
		case "/api/v1/releases":
			io.WriteString(w, `{"items": [{"dataset": "soil", "version": 1, "grant": "g-7", "columns": ["value"]}]}`)
		case "/api/v1/releases/soil/1":
			io.WriteString(w, `{"dataset": "soil", "grant": "g-7"}`)
		default:
			m, c, err := store.OpenCut(r.Context(), "soil", 1, &releases.Cut{Items: []string{"value"}}, filepath.Base(r.URL.Path))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			releases.Serve(w, r, r.Context(), m, c)
		}
	}))
	defer hub.Close()
	dir := filepath.Join(t.TempDir(), "soil-1")
	for _, c := range []struct {
		args []string
		want string
	}{{[]string{"list", "soil"}, "value"}, {[]string{"show", "soil", "1"}, "g-7"}, {[]string{"get", "soil", "1", "--to", dir}, "data.csv"}} {
		var out, errs bytes.Buffer
		if code := run(append(append([]string{"release"}, c.args...), "--grant", "g-7", "--hub", hub.URL, "--token", "secret"), &out, &errs); code != 0 || !strings.Contains(out.String(), c.want) {
			t.Errorf("%v: %d %s%s", c.args, code, &out, &errs)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, releases.CSVFile)); err != nil || string(text) != "value\r\n7\r\n" {
		t.Errorf("%q %v", text, err)
	}
	var out, errs bytes.Buffer
	if code := run([]string{"release", "verify", "--dir", dir}, &out, &errs); code != 0 {
		t.Errorf("%d %s%s", code, &out, &errs)
	}
}
