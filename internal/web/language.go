package web

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/telemetry"
)

// lang is a language of the pages.
type lang uint8

const (
	english lang = iota
	chinese
)

func (l lang) tag() string { return [...]string{"en", "zh-CN"}[l] }

// table returns the texts of a language by key.
func (l lang) table() map[string]string { return l.of(texts()) }

func (l lang) of(entries []entry) map[string]string {
	all := make(map[string]string, len(entries))
	for _, t := range entries {
		all[t.key] = [...]string{t.en, t.zh}[l]
	}
	return all
}

// choose is the text of the language.
func (l lang) choose(zh, en string) string { return [...]string{en, zh}[l] }

// place names a prefix of division codes as people do, as far as it is known.
func (l lang) place(prefix string) string {
	code := (prefix + "000000")[:max(6, len(prefix))]
	for _, r := range regions() {
		if r.key == code {
			return [...]string{r.en, r.zh}[l]
		}
	}
	return prefix
}

// language chooses by ?lang=, which is remembered, else the cookie, else what
// the browser asks for.
func (p *pages) language(w http.ResponseWriter, r *http.Request) lang {
	if l, ok := parseLang(r.URL.Query().Get("lang")); ok {
		p.setCookie(w, r, langCookie, l.tag(), 365*24*time.Hour)
		return l
	}
	if c, err := r.Cookie(p.Sessions.Pages().CookieName(r, langCookie)); err == nil {
		if l, ok := parseLang(c.Value); ok {
			return l
		}
	}
	return accepted(r.Header.Get("Accept-Language"))
}

// otherLanguage is the address of a page in the language that it is not in. That
// of the console is short: its script keeps what was chosen.
func otherLanguage(r *http.Request, l lang) string {
	q := url.Values{}
	if p := r.URL.Path; p == "/audit" || strings.HasPrefix(p, "/roads") || strings.HasPrefix(p, "/catalog") || strings.HasPrefix(p, "/steward") {
		q = r.URL.Query()
	}
	q.Set("lang", [...]string{"zh", "en"}[l])
	return address(r.URL.Path, q)
}

func parseLang(s string) (lang, bool) {
	switch primary, _, _ := strings.Cut(strings.ToLower(s), "-"); primary {
	case "zh":
		return chinese, true
	case "en":
		return english, true
	}
	return english, false
}

// accepted returns the language that an Accept-Language header puts highest;
// English when it names neither.
func accepted(header string) lang {
	best, weight := english, 0.0
	for part := range strings.SplitSeq(header, ",") {
		tag, params, _ := strings.Cut(part, ";")
		l, ok := parseLang(strings.TrimSpace(tag))
		q := 1.0
		if v, found := strings.CutPrefix(strings.TrimSpace(params), "q="); found {
			q, _ = strconv.ParseFloat(v, 64) // unreadable weighs nothing
		}
		if ok && q > weight {
			best, weight = l, q
		}
	}
	return best
}

// scriptData is what the script is told in the page.
func scriptData(l lang) any {
	reasons := map[string]string{}
	for _, r := range telemetry.Reasons() {
		reasons[string(r.Reason)] = [...]string{r.EN, r.ZH}[l]
	}
	places := map[string]string{}
	for _, r := range regions() {
		places[r.key] = [...]string{r.en, r.zh}[l]
	}
	return struct {
		Lang    string            `json:"lang"`
		T       map[string]string `json:"t"`
		Reasons map[string]string `json:"reasons"`
		Regions map[string]string `json:"regions"`
	}{l.tag(), l.of(scriptTexts()), reasons, places}
}
