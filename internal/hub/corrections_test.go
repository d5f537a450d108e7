package hub

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/web"
)

// valueOf is what a query gives.
func (h *hub) valueOf(t *testing.T, token, promQL string, more ...string) string {
	t.Helper()
	q := url.Values{"query": {promQL}}
	for i := 0; i < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	code, text := h.ask(t, token, http.MethodGet, "/prometheus/api/v1/query?"+q.Encode(), nil)
	if code != http.StatusOK {
		return fmt.Sprint(code)
	}
	_, value, _ := strings.Cut(text, `"value":[`)
	_, value, _ = strings.Cut(value, `,"`)
	value, _, _ = strings.Cut(value, `"`)
	return value
}

func TestACorrectionIsSeenByWhoeverAsks(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	secret := h.register(t, registry.Spec{ID: "well", Region: "220100"})
	at := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	if answer := h.post(t, "well", secret, fmt.Sprintf(`{"ts": %d, "level": 5}`, at.UnixMilli())); !strings.Contains(answer, `"accepted":1`) {
		t.Fatal(answer)
	}
	home := h.token(t, access.Token{Name: "home", Role: access.Operator, Region: "22"})
	reader := h.token(t, access.Token{Name: "reader", Role: access.Reader})
	before := time.Now().Add(-time.Second).Format(time.RFC3339Nano)
	body := fmt.Appendf(nil, `{"device": "well", "metric": "level", "time": %q, "value": 9, "reason": "read again"}`, at.Format(time.RFC3339Nano))
	for who, token := range map[string]string{"reader": reader, "foreign": h.token(t, access.Token{Name: "foreign", Role: access.Operator, Region: "11"})} {
		if code, text := h.ask(t, token, http.MethodPost, "/api/v1/corrections", body); code/100 == 2 || strings.Contains(text, `"old"`) {
			t.Errorf("%s corrects: %d %s", who, code, text)
		}
	}
	if code, text := h.ask(t, home, http.MethodPost, "/api/v1/corrections", body); code != http.StatusCreated || !strings.Contains(text, `"old":5`) || !strings.Contains(text, `"by":"home"`) {
		t.Fatalf("%d %s", code, text)
	}
	if got := h.valueOf(t, reader, "level"); got != "9" {
		t.Errorf("the corrected value is %q", got)
	}
	if got := h.valueOf(t, reader, "level", "as_of", before); got != "5" {
		t.Errorf("as of before it is %q", got)
	}
	if got := h.valueOf(t, reader, "level", "as_of", "yesterday"); got != "400" {
		t.Errorf("as of no time: %q", got)
	}
	if _, text := h.ask(t, reader, http.MethodGet, "/prometheus/api/v1/query_range?query=level&start="+fmt.Sprint(at.Unix())+"&end="+fmt.Sprint(at.Unix()+30)+"&step=30&as_of="+url.QueryEscape(before), nil); strings.Contains(text, `"9"`) || !strings.Contains(text, `"5"`) {
		t.Errorf("a range as of before: %s", text)
	}
	if code, text := h.ask(t, h.token(t, access.Token{Name: "away", Role: access.Reader, Region: "11"}), http.MethodGet, "/api/v1/corrections", nil); code != http.StatusOK || strings.Contains(text, "well") {
		t.Errorf("another region sees: %d %s", code, text)
	}
	if _, text := h.ask(t, h.admin(t), http.MethodGet, "/api/v1/audit?action="+string(access.CorrectSeries), nil); !strings.Contains(text, "read again") {
		t.Errorf("not on record: %s", text)
	}

	if code, text := h.ask(t, home, http.MethodPost, "/api/v1/corrections", fmt.Appendf(nil, `{"device": "well", "metric": "level", "time": %q, "offset": 1, "reason": "zero"}`, at.Format(time.RFC3339Nano))); code != http.StatusCreated {
		t.Fatalf("%d %s", code, text)
	}
	own, away := access.Caller{Name: "home", Role: access.Operator, Region: "22"}, access.Caller{Name: "away", Role: access.Reader, Region: "11"}
	if all, err := h.listCorrections(t.Context(), own, web.CorrectionQuery{Device: "well", Limit: 10}); err != nil || len(all) != 2 || all[1].Reason != "read again" || *all[0].Old != 9 {
		t.Errorf("the page of corrections shows %+v, %v", all, err)
	}
	one, known, err := h.oneCorrection(t.Context(), own, 1)
	if err != nil || !known || len(one.Samples) != 1 || one.More {
		t.Fatalf("%+v, %v, %v", one, known, err)
	}
	if s := one.Samples[0]; *s.Raw != 5 || *s.Before != 5 || *s.After != 9 || *s.Now != 10 || s.Labels[1] != [2]string{"region", "220100"} {
		t.Errorf("the page of one shows %+v", s)
	}
	if all, _ := h.listCorrections(t.Context(), away, web.CorrectionQuery{Limit: 10}); len(all) != 0 {
		t.Errorf("another region sees %+v on the page", all)
	}
	if _, known, _ := h.oneCorrection(t.Context(), away, 1); known {
		t.Error("another region sees one on its page")
	}
}
