package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestAnyTwoReleasesAreComparedOnTheirPage, where everybody may read both.
func TestAnyTwoReleasesAreComparedOnTheirPage(t *testing.T) {
	h := newPages(t)
	get := func(path string) string {
		w := httptest.NewRecorder()
		h.inner.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Body.String()
	}
	release := "/catalog/dataset/" + everything + "/release/16?lang=en"
	for _, want := range []string{`id="compare"`, `<option value="3">`, "Compare with another version"} {
		if body := get(release); !strings.Contains(body, want) || strings.Contains(body, `<option value="16"`) || strings.Contains(body, "What is different from version") {
			t.Errorf("the page lacks %s, or offers itself", want)
		}
	}
	body := get(release + "&against=3")
	for _, want := range []string{"What is different from version 3 to version 16", "<dd>24</dd>", "<dd>936</dd>", "<code>wet</code>", "<del>412</del>", `<option value="3" selected>`} {
		if !strings.Contains(body, want) {
			t.Errorf("the comparison lacks %s", want)
		}
	}
	if body := get(release + "&against=1"); !strings.Contains(body, "These versions cannot be compared") {
		t.Error("a comparison that fails says nothing")
	}
	for _, none := range []string{"&against=99", "&against=16", "&against=x"} {
		if strings.Contains(get(release+none), "What is different from version") {
			t.Errorf("%s is compared", none)
		}
	}
	if body := get("/catalog/dataset/" + everything + "/release/16?lang=zh&against=3"); !strings.Contains(body, "第 3 版至第 16 版的差异") {
		t.Error("the Chinese page")
	}
	if strings.Contains(get("/catalog/dataset/"+asked2+"/release/2?lang=en&against=1"), `id="compare"`) {
		t.Error("releases that are not for everybody are offered to compare")
	}
}
