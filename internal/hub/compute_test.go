package hub

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/config"
)

// TestThePagesOfComputeShowWhatTheAPITook declares over the API and reads the
// pages: a workload that runs, one that fits nowhere, and who may not see them.
func TestThePagesOfComputeShowWhatTheAPITook(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	admin := h.token(t, access.Token{Name: "boss", Role: access.Admin})
	put := func(method, path, body string) (answer struct{ ID, State string }) {
		t.Helper()
		code, text := h.ask(t, admin, method, path, []byte(body))
		if code/100 != 2 {
			t.Fatalf("%s %s: %d %s", method, path, code, text)
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	put(http.MethodPut, "/api/v1/facilities/cc-1", `{"names": {"zh": "长春", "en": "Changchun"}, "region": "220100", "pue": 1.2}`)
	put(http.MethodPut, "/api/v1/pools/cc-cpu", `{"facility": "cc-1", "engine": "none", "classes": [{"count": 2, "cpu_milli": 8000, "memory_mib": 16384}]}`)
	runs := put(http.MethodPost, "/api/v1/workloads", `{"name": "fits", "tasks": [{"name": "main", "cpu_milli": 4000, "memory_mib": 1024, "duration": "1h"}]}`)
	waits := put(http.MethodPost, "/api/v1/workloads", `{"name": "large", "tasks": [{"name": "main", "cpu_milli": 9000, "memory_mib": 1024, "duration": "1h"}]}`)
	if runs.State != "reserved" || waits.State != "queued" {
		t.Fatalf("%+v, %+v", runs, waits)
	}
	for path, wants := range map[string][]string{
		"/compute?lang=en":                            {"Changchun", "4 / 16", ">fits<", ">large<", "its largest node has 8000 cpu_milli, and a member needs 9000", "tasks[0].cpu_milli", "PUE</dt><dd>1.20"},
		"/compute/workloads/" + runs.ID + "?lang=en":  {"Why here", "it costs least in all", "cc-cpu", "electricity (forecast"},
		"/compute/workloads/" + waits.ID + "?lang=zh": {"等待原因", "最大的节点有 8000 cpu_milli", "即可放入 cc-cpu"},
	} {
		code, text := h.ask(t, admin, http.MethodGet, path, nil)
		for _, want := range wants {
			if code != http.StatusOK || !strings.Contains(text, want) {
				t.Errorf("%s: %d, without %s", path, code, want)
			}
		}
	}
	foreign := h.token(t, access.Token{Name: "foreign", Role: access.Reader, Region: "11"})
	if code, text := h.ask(t, foreign, http.MethodGet, "/compute?lang=en", nil); code != http.StatusOK || strings.Contains(text, "Changchun") || strings.Contains(text, "fits") || strings.Contains(text, "large") {
		t.Errorf("a reader of another region: %d %s", code, text)
	}
	if code, _ := h.ask(t, foreign, http.MethodGet, "/compute/workloads/"+runs.ID, nil); code != http.StatusNotFound {
		t.Errorf("a reader of another region sees a workload: %d", code)
	}
}
