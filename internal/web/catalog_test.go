package web

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func get(t *testing.T, h http.Handler, path string, lang string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept-Language", lang)
	return serve(t, h, r)
}

func TestProbe(t *testing.T) {
	h := newPages(t)
	for _, path := range []string{"/catalog", "/catalog/dataset/" + everything, "/catalog/dataset/" + nothing, "/catalog/dataset/" + shut, "/catalog/dataset/" + dark, "/catalog/dataset/" + ended, "/catalog/law", "/catalog/about", "/catalog/objection/new?dataset=" + everything} {
		resp, body := get(t, h, path, "en")
		t.Log(path, resp.Status, len(body))
	}
}
