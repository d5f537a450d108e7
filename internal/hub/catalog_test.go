package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
)

const zqDataset = `{"id": "zq", "title": {"zh": "水位", "en": "Level (zq)"}, "abstract": {"zh": "水位"}, "region": "22", "path": ["1"],
	"provider": {"name": {"zh": "某局"}, "code": "91220101MA00000000"}, "contact": {"name": {"zh": "张三"}, "email": "a@example.org"},
	"items": [{"name": "level", "title": {"zh": "水位"}, "unit": "m"}], "source": {"kind": "series", "selector": "{__name__=~\"zq_.*\"}", "bin": "1h"},
	"share": {"class": "unconditional"}, "open": {"class": "unconditional"}, "licence": "https://creativecommons.org/licenses/by/4.0/", "cycle": {"kind": "periodic", "period": "1h"}}`

// public makes a dataset public, through the door.
func (h *hub) public(t *testing.T, token string) {
	t.Helper()
	for _, c := range [][3]string{
		{"PUT", "", zqDataset}, {"POST", "/submit", ""}, {"POST", "/sign", `{"by": "李四"}`}, {"POST", "/publish", ""},
	} {
		if code, text := h.ask(t, token, c[0], "/api/v1/datasets/zq"+c[1], []byte(c[2])); code != 200 {
			t.Fatalf("%v: %d %s", c, code, text)
		}
	}
}

func TestALineageLeadsToTheDevicesThatTheCallerSees(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	for _, d := range []struct{ id, region string }{{"here", "220100"}, {"there", "220200"}} {
		secret := h.register(t, registry.Spec{ID: d.id, Region: d.region})
		var fields []string
		for i := range 500 {
			fields = append(fields, fmt.Sprintf(`"zq_%03d": 1`, i))
		}
		if answer := h.post(t, d.id, secret, "{"+strings.Join(fields, ",")+"}"); !strings.Contains(answer, `"accepted":500`) {
			t.Fatal(answer)
		}
	}
	admin := h.token(t, access.Token{Name: "all", Role: access.Admin})
	h.public(t, admin)
	began := time.Now()
	code, text := h.ask(t, admin, http.MethodGet, "/api/v1/datasets/zq/lineage", nil)
	t.Logf("the lineage of 1,000 series took %v", time.Since(began))
	if code != 200 || !strings.Contains(text, `"id":"here"`) || !strings.Contains(text, `"id":"there"`) || strings.Count(text, "zq_") != 1001 {
		t.Errorf("%d %.300s", code, text)
	}
	code, text = h.ask(t, h.token(t, access.Token{Name: "province", Role: access.Steward, Region: "22"}), http.MethodPost, "/api/v1/datasets:draft", []byte(`{"selector": "zq_001"}`))
	if code != 200 || !strings.Contains(text, `"region":"22"`) || !strings.Contains(text, "2 台设备的 2 条序列") {
		t.Errorf("%d %s", code, text)
	}
	code, text = h.ask(t, h.token(t, access.Token{Name: "city", Role: access.Steward, Region: "2201"}), http.MethodPost, "/api/v1/datasets:draft", []byte(`{"selector": "zq_001"}`))
	if code != 200 || !strings.Contains(text, `"region":"220100"`) || !strings.Contains(text, "1 台设备的 1 条序列") {
		t.Errorf("what another region measures is told: %d %s", code, text)
	}
}

// What ends through the door ends what is read by the time the answer is there.
func TestRevocationAndARaisedGradeReachWhoReads(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	admin := h.token(t, access.Token{Name: "all", Role: access.Admin})
	h.public(t, admin)
	code, text := h.ask(t, admin, http.MethodPost, "/api/v1/grants", []byte(`{"dataset": "zq", "way": "open", "body": {"name": {"zh": "某公司"}, "code": "91220101MA00000000"}, "purpose": "研究"}`))
	if code != 201 || !strings.Contains(text, `"state":"granted"`) {
		t.Fatalf("%d %s", code, text)
	}
	hold := func(grant int64) context.Context {
		ctx, release, err := h.catalog.Hold(t.Context(), "zq", []string{"level"}, grant)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(release)
		return ctx
	}
	granted, free := hold(1), hold(0)
	if code, text := h.ask(t, admin, http.MethodPost, "/api/v1/grants/g-1/revoke", []byte(`{"reason": {"zh": "用于他途"}}`)); code != 200 {
		t.Fatalf("%d %s", code, text)
	}
	if !errors.Is(context.Cause(granted), register.ErrShut) || free.Err() != nil {
		t.Errorf("revoked: %v; without a grant: %v", context.Cause(granted), free.Err())
	}
	if code, text := h.ask(t, admin, http.MethodPost, "/api/v1/datasets/zq/sign", []byte(`{"by": "王五", "items": {"level": "important"}}`)); code != 200 || !strings.Contains(text, "suspended") {
		t.Fatalf("%d %s", code, text)
	}
	if !errors.Is(context.Cause(free), register.ErrShut) || h.catalog.Open("zq", "level") == nil {
		t.Errorf("raised: %v", context.Cause(free))
	}
	if _, text := h.ask(t, admin, http.MethodGet, "/api/v1/audit?object=grant", nil); !strings.Contains(text, "用于他途") || !strings.Contains(text, `"actor":"all"`) {
		t.Errorf("%s", text)
	}
}
