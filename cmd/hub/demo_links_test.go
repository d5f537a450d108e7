package main

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/hub"
)

var (
	links    = regexp.MustCompile(`\s(?:href|src)="([^"]*)"`)
	markers  = regexp.MustCompile(`\sid="([^"]*)"`)
	variable = regexp.MustCompile(`[0-9]+|[A-Z][A-Za-z]+$`) // of an address: what pages of a kind differ in
	scripts  = regexp.MustCompile(`(?s)<script.*?</script>`)
)

// alike bounds how many addresses of a kind are looked at.
const alike = 6

// walker opens all that pages lead to.
type walker struct {
	t      *testing.T
	client *http.Client
	base   *url.URL
	queue  []link
	seen   map[string]bool
	kinds  map[string]int
	pages  int
}

// link is an address, and the page that has it.
type link struct{ to, from string }

// walkLinks opens every page and file that the pages of a hub lead to, from the
// console on, in both languages: each is there, each mark in a page too, and no
// template failed.
func walkLinks(t *testing.T, data string) {
	t.Helper()
	at, err := hub.ReadAddresses(data)
	if err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(at.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	base, err := url.Parse(at.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	w := &walker{t: t, client: &http.Client{Jar: jar}, base: base, seen: map[string]bool{}, kinds: map[string]int{}}
	for w.queue = []link{{"/?token=" + strings.TrimSpace(string(token)), "the demo"}}; len(w.queue) > 0; {
		next := w.queue[0]
		w.queue = w.queue[1:]
		w.open(next)
	}
	t.Logf("%d pages and files of %d kinds", w.pages, len(w.kinds))
	for _, kind := range []string{"/alerts", "/audit", "/compute", "/roads", "/roads/units/rsu-#", "/docs", "/openapi.json", "/runbooks/#", "/catalog", "/catalog/dataset/compute-load", "/steward"} {
		if w.kinds[kind] == 0 {
			t.Errorf("nothing leads to %s", kind)
		}
	}
}

func (w *walker) open(l link) {
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.base.String()+l.to, nil)
	if err != nil {
		w.t.Errorf("%s leads to %q: %v", l.from, l.to, err)
		return
	}
	r.Header.Set("Sec-Fetch-Dest", "document")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	resp, err := w.client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		w.t.Errorf("%s: %v", l.to, err)
	}
	w.pages++
	if resp.StatusCode != http.StatusOK {
		w.t.Errorf("%s leads to %s, which is answered %s", l.from, l.to, resp.Status)
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		w.read(l.to, scripts.ReplaceAllString(string(body), ""))
	}
}

// read notes where a page leads to.
func (w *walker) read(at, page string) {
	for _, fault := range []string{"<no value>", "ZgotmplZ", "%!", "&lt;nil&gt;"} {
		if strings.Contains(page, fault) {
			w.t.Errorf("%s shows %q", at, fault)
		}
	}
	marks := map[string]bool{}
	for _, m := range markers.FindAllStringSubmatch(page, -1) {
		marks[m[1]] = true
	}
	here, err := url.Parse(at)
	if err != nil {
		w.t.Errorf("%s: %v", at, err)
		return
	}
	for _, m := range links.FindAllStringSubmatch(page, -1) {
		to, err := url.Parse(html.UnescapeString(m[1]))
		if err != nil {
			w.t.Errorf("%s leads to %q: %v", at, m[1], err)
			continue
		}
		to = w.base.ResolveReference(here).ResolveReference(to)
		if to.Scheme != w.base.Scheme || to.Host != w.base.Host {
			continue // elsewhere, or a way to reach a person
		}
		address := to.RequestURI()
		if to.Fragment != "" && address == here.RequestURI() && !marks[to.Fragment] {
			w.t.Errorf("%s leads to its part %q, which it has not", at, to.Fragment)
		}
		kind := variable.ReplaceAllString(to.Path, "#")
		if w.seen[address] || w.kinds[kind] >= alike {
			continue
		}
		w.seen[address] = true
		w.kinds[kind]++
		w.queue = append(w.queue, link{address, at})
	}
}
