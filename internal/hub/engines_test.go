package hub

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/schedule/loop"
)

// TestAClusterOfTheConfigIsWatched: a facility has an engine of each kind that
// the config names, and the one of its pools is asked.
func TestAClusterOfTheConfigIsWatched(t *testing.T) {
	asked := make(chan string, 1)
	cluster := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- r.URL.Path:
		default:
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"metadata":{"resourceVersion":"1"},"items":[]}`))
	}))
	t.Cleanup(cluster.Close)
	h := everyDoor(t, t.TempDir(), func(c *config.Config) {
		c.Schedule.Engines = []loop.Engine{
			{Facility: "cc-1", Kind: "slurm", URL: "unix:///nowhere", Directory: "/"},
			{Facility: "cc-1", Kind: "kubernetes", URL: cluster.URL, Namespace: "songhua"},
		}
	})
	admin := h.token(t, access.Token{Name: "boss", Role: access.Admin})
	for _, put := range [][2]string{
		{"/api/v1/facilities/cc-1", `{"names": {"zh": "长春", "en": "Changchun"}, "region": "220100", "pue": 1.2}`},
		{"/api/v1/pools/cc-gpu", `{"facility": "cc-1", "engine": "kubernetes", "classes": [{"count": 2, "cpu_milli": 8000, "memory_mib": 16384}]}`},
	} {
		if code, text := h.ask(t, admin, http.MethodPut, put[0], []byte(put[1])); code/100 != 2 {
			t.Fatalf("%s: %d %s", put[0], code, text)
		}
	}
	select {
	case path := <-asked:
		if path != "/apis/batch/v1/namespaces/songhua/jobs" {
			t.Errorf("asked was %s, want the jobs of the namespace", path)
		}
	case <-time.After(patience):
		t.Error("the cluster was never asked")
	}
}
