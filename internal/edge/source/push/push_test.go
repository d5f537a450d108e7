package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/edge/source"
)

func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		name, kind, body string
		full             bool
		want             string
	}{
		{"flat JSON", "application/json", `{"a": 1, "b": 2}`, false, `200 {"accepted":2}`},
		{"line protocol", "text/plain; charset=utf-8", "m v=1\n", false, `200 {"accepted":1}`},
		{"what kind is told by its first byte", "", `[{"n":"a","v":1}]`, false, `200 {"accepted":1}`},
		{"another type", "application/xml", "<a/>", false, `415`},
		{"no telemetry", "application/json", `{"a": `, false, `400`},
		{"too much", "text/plain", strings.Repeat("m v=1\n", 800_000), false, `413`},
		{"a disk that takes nothing", "application/json", `{"a": 1}`, true, `503`},
	} {
		t.Run(c.name, func(t *testing.T) {
			kept := 0
			put := func(_ context.Context, r source.Record) error {
				kept += len(r.Samples)
				if c.full {
					return errors.New("no space left")
				}
				return nil
			}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { take(w, r, "d1", time.Now, put) }))
			defer server.Close()
			resp, err := http.Post(server.URL, c.kind, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprintf("%d %s", resp.StatusCode, strings.TrimSpace(string(body)))
			if !strings.HasPrefix(got, c.want) {
				t.Error(cmp.Diff(c.want, got))
			}
			if ok := resp.StatusCode == http.StatusOK; !c.full && ok != (kept > 0) {
				t.Errorf("%d kept, answer %d", kept, resp.StatusCode)
			}
		})
	}
}
