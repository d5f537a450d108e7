package web

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/register"
)

// stepsOf are what was done about a ticket whose dataset is objected to: between what
// was said first and what is said later, and what is still to come.
func stepsOf(_ context.Context, t *register.Ticket, desk bool) ([]register.Step, error) {
	if t.Kind != register.WrongData {
		return nil, nil
	}
	at := t.Filed.Add(time.Second)
	all := []register.Step{
		{Kind: register.StepCorrected, At: at, Correction: 63, From: noon, To: noon, Reason: catalog.Text{ZH: "探头离水", EN: "out of the water"}},
		{Kind: register.StepReleased, At: at, Dataset: t.Dataset, Version: 16, Replaces: 15, Rows: &register.StepRows{Changed: 24}, Reason: catalog.Text{ZH: "更正 63（工单 t-1）", EN: "correction 63 (ticket t-1)"}},
		{Kind: register.StepTold, At: at, Dataset: t.Dataset, Version: 16, Destination: "province"},
		{Kind: register.StepWaiting, Dataset: t.Dataset, Version: 16, Destination: "city"},
	}
	if desk {
		all = append(all, register.Step{Kind: register.StepRefused, Dataset: t.Dataset, Version: 16, Destination: "county", Reason: catalog.Text{ZH: "缺少代码", EN: "a code is missing"}})
	}
	return all, nil
}

// TestAThreadHasWhatWasDone in order of time, with the way to the correction for the
// office alone.
func TestAThreadHasWhatWasDone(t *testing.T) {
	h := newPages(t)
	filed, secret, err := h.library.File(t.Context(), register.Filing{Kind: register.WrongData, Dataset: everything, Text: "三时有误"})
	if err != nil {
		t.Fatal(err)
	}
	desk := func(lang string) string {
		r := httptest.NewRequest(http.MethodGet, "/steward/objections/"+filed.ID()+"?lang="+lang, nil)
		w := httptest.NewRecorder()
		h.inner.ServeHTTP(w, r.WithContext(access.WithCaller(r.Context(), access.Caller{Name: "s", Role: access.Steward})))
		return w.Body.String()
	}
	r := httptest.NewRequest(http.MethodPost, "/catalog/objection?lang=en", strings.NewReader(url.Values{"id": {filed.ID()}, "secret": {secret}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	h.inner.ServeHTTP(w, r)
	en, zh, filer := desk("en"), desk("zh"), w.Body.String()
	last := -1
	for _, want := range []string{"三时有误", `href="/corrections/63"`, "Released: version 16 of dataset " + everything + ", which replaces version 15; rows added 0, removed 0, changed 24: correction 63 (ticket t-1)", "/release/16", "province has version 16", "city is still to have version 16", "county does not take version 16", "a code is missing"} {
		at := strings.Index(en, want)
		if at <= last {
			t.Errorf("the thread lacks %s, or has it before what was earlier", want)
		}
		last = at
	}
	for _, want := range []string{"已更正样本（更正 63）：探头离水", "province 已收到", "city 尚未收到", "--ticket " + filed.ID()} {
		if !strings.Contains(zh, want) {
			t.Errorf("the Chinese page lacks %s", want)
		}
	}
	if !strings.Contains(filer, "Samples were corrected (correction 63): out of the water") || strings.Contains(filer, "/corrections/63") || strings.Contains(filer, "county") {
		t.Errorf("who filed it sees %s", filer)
	}
}

// TestPlacesOfTheClassificationHaveNames by the code table of the catalogue; a code
// that it lacks is shown as it is.
func TestPlacesOfTheClassificationHaveNames(t *testing.T) {
	c := Catalogue{Classes: map[string]catalog.Text{"2-05": {ZH: "交通运输", EN: "Transport"}, "2-05-001": {ZH: "道路"}}}
	for path, want := range map[string]catalog.Text{"2": themes["2"], "2-05": {ZH: "交通运输", EN: "Transport"}, "2-05-001": {ZH: "道路"}, "2-06": {ZH: "06"}, "3-05": {ZH: "05"}, "2-1": {ZH: "1"}, "交通-道路": {ZH: "道路", EN: "Roads"}} {
		if got := c.className(strings.Split(path, "-")); got != want {
			t.Errorf("%s is called %+v, want %+v", path, got, want)
		}
	}
	h := newPages(t)
	for path, want := range map[string]string{"/catalog/class/交通?lang=en": "<b>Car parks</b>", "/catalog/class/交通?lang=zh": "<b>停车场</b>", "/catalog/dataset/parking-turnover?lang=en": `>Car parks</a></nav>`, "/catalog/class/交通/停车?lang=zh": "<h1>停车场</h1>"} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		w := httptest.NewRecorder()
		h.inner.ServeHTTP(w, r)
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s lacks %s", path, want)
		}
	}
}
