package sensorthings

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/access"
)

// FuzzQuery sends any query to every collection of a small world: it is answered
// with JSON or refused in both languages, never more, and the nextLink of an
// answer is one that is answered too.
func FuzzQuery(f *testing.F) {
	for _, q := range []string{
		"$filter=name eq 'x' and not (length(name) gt 3 or startswith(name,'t'))", "$filter=phenomenonTime ge 2026-01-01T00:00:00Z and result lt -1.5e3",
		"$filter=Datastream/Thing/properties/tags/floor ne null", "$filter=minute(phenomenonTime) eq 30&$top=1", "$filter=((((name eq 'a''b'))))", "$orderby=name desc,@iot.id&$top=1&$skip=1",
		"$expand=Datastreams($select=name;$top=1;$expand=Observations($top=1;$orderby=phenomenonTime desc;$filter=result gt 3)),Locations", "$expand=Datastreams/Observations,Datastreams/Sensor",
		"$select=name,@iot.id&$count=true&$top=0", "$resultFormat=dataArray&$top=2", "$skiptoken=dDE", "$filter=%", "$expand=Datastreams($expand=Datastreams(", "$filter=not not not result eq null", "$skip=99999999999999999999", "$filter=true", "$filter=substringof(tolower('A'),name)",
	} {
		for s := range setCount {
			f.Add(uint8(s), q)
		}
	}
	w := farm(f, none)
	f.Fuzz(func(t *testing.T, s uint8, q string) {
		path := "http://hub" + Root + (set(s) % setCount).name()
		for range 3 {
			u, err := url.Parse(path)
			if err != nil {
				t.Fatal(err)
			}
			if q != "" {
				u.RawQuery = q
			}
			r := (&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}}).WithContext(access.WithCaller(t.Context(), w.caller))
			to := httptest.NewRecorder()
			w.serve.ServeHTTP(to, r)
			var v struct {
				Next string `json:"@iot.nextLink"`
				Text struct{ ZH, EN string }
			}
			if err := json.Unmarshal(to.Body.Bytes(), &v); err != nil {
				t.Fatalf("%s: %d %s: %v", u, to.Code, to.Body, err)
			}
			switch {
			case to.Code == 400 || to.Code == 410:
				if v.Text.ZH == "" || v.Text.EN == "" || strings.Contains(v.Text.ZH+v.Text.EN, "%!") && !strings.Contains(q, "%!") {
					t.Fatalf("%s: %s", u, to.Body)
				}
				if q == "" {
					t.Fatalf("a nextLink is refused: %s %s", u, to.Body)
				}
			case to.Code != 200:
				t.Fatalf("%s: %d %s", u, to.Code, to.Body)
			}
			if path, q = v.Next, ""; path == "" {
				return
			}
		}
	})
}
