package api

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestRequestsAreCountedByRouteAndCode(t *testing.T) {
	h := start(t)
	h.want(201, h.do("POST", "/api/v1/devices", `{"id": "t1"}`))
	for _, id := range []string{"nobody", "somebody"} {
		h.want(404, h.do("GET", "/api/v1/devices/"+id, ""))
	}
	stranger := h.as("")
	h.want(401, stranger.do("GET", "/api/v1/devices/t1", ""))
	h.want(404, h.do("GET", "/api/v1/nothing", ""))
	const want = `
# HELP hub_api_requests_total Requests to /api/v1 answered, by route and status code.
# TYPE hub_api_requests_total counter
hub_api_requests_total{code="201",route="POST /api/v1/devices"} 1
hub_api_requests_total{code="401",route="GET /api/v1/devices/{id}"} 1
hub_api_requests_total{code="404",route="GET /api/v1/devices/{id}"} 2
`
	if err := testutil.GatherAndCompare(h.metrics, strings.NewReader(want), "hub_api_requests_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(h.metrics, "hub_api_request_seconds"); err != nil || n == 0 {
		t.Errorf("%d routes are timed, %v", n, err)
	}
}
