package api

import (
	"encoding/json"
	"testing"
)

// kubeArgs is what kube-scheduler 1.31 sends with nodeCacheCapable: true.
const kubeArgs = `{"Pod": {"metadata": {"name": "train", "namespace": "default", "uid": "6f1c"}, "spec": {"containers": [
	{"name": "main", "image": "train:1", "resources": {"requests": {"cpu": "1500m", "memory": "4Gi"}, "limits": {"cpu": "2", "nvidia.com/gpu": "2"}}},
	{"name": "side", "resources": {"requests": {"cpu": "500m"}}}], "initContainers": [{"name": "fetch", "resources": {"requests": {"memory": "8Gi"}}}]}},
	"Nodes": null, "NodeNames": ["n1", "n2", "small", "unknown"]}`

func kube(t *testing.T) *hub {
	h := start(t)
	h.want(200, h.do("PUT", "/api/v1/facilities/changchun-1", changchun))
	h.want(200, h.do("PUT", "/api/v1/pools/k8s", `{"facility": "changchun-1", "engine": "kubernetes", "accelerator": {"vendor": "nvidia", "model": "A100"},
		"nodes": [{"id": "n1", "cpu_milli": 64000, "memory_mib": 262144, "accelerators": 2}, {"id": "n2", "cpu_milli": 4000, "memory_mib": 16384, "accelerators": 2},
			{"id": "small", "cpu_milli": 1000, "memory_mib": 262144, "accelerators": 2}]}`))
	return h
}

func TestKubeSchedulerExtends(t *testing.T) {
	h := kube(t)
	r := h.want(200, h.do("POST", "/k8s/extender/filter", kubeArgs))
	if at(r.body, "NodeNames", 0) != "n1" || at(r.body, "NodeNames", 1) != "n2" || at(r.body, "NodeNames", 2) != "unknown" || at(r.body, "NodeNames", 3) != nil ||
		at(r.body, "FailedNodes", "small") != "cpu_milli: 2000 wanted, 1000 free besides what is leased" || r.body["Error"] != "" {
		t.Errorf("%s", r.text)
	}
	var scores []hostPriority
	r = h.want(200, h.do("POST", "/k8s/extender/prioritize", kubeArgs))
	if err := json.Unmarshal([]byte(r.text), &scores); err != nil || len(scores) != 4 || scores[0].Score >= scores[1].Score || scores[2].Score != 0 || scores[1].Score > 10 {
		t.Errorf("%v %s", err, r.text)
	}
	// What is leased is not offered: a lease of n1's devices leaves n2.
	h.want(201, h.do("POST", "/api/v1/reservations", `{"pool": "k8s", "resources": {"cpu_milli": 60000, "accelerators": {"count": 2}}}`))
	r = h.want(200, h.do("POST", "/k8s/extender/filter", `{"pod": {"spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "1"}}}]}},
		"nodes": {"items": [{"metadata": {"name": "n1"}, "status": {"x": 1}}, {"metadata": {"name": "n2"}}]}}`))
	if at(r.body, "Nodes", "items", 0, "metadata", "name") != "n2" || at(r.body, "FailedNodes", "n1") != "nvidia devices: 1 wanted, 0 free as a whole" {
		t.Errorf("%s", r.text)
	}
	h.want(200, h.do("POST", "/api/v1/facilities/changchun-1/cordon", ""))
	if r = h.want(200, h.do("POST", "/k8s/extender/filter", kubeArgs)); at(r.body, "FailedNodes", "n2") != "facility changchun-1 takes no new work" {
		t.Errorf("%s", r.text)
	}
	if r = h.want(200, h.do("POST", "/k8s/extender/filter", `{"pod": {"spec": {"containers": [{"resources": {"requests": {"cpu": "lots"}}}]}}, "nodenames": []}`)); r.body["Error"] == "" {
		t.Errorf("%s", r.text)
	}
	h.want(400, h.do("POST", "/k8s/extender/prioritize", `[]`))
}

func TestQuantities(t *testing.T) {
	for s, want := range map[string]float64{"500m": 0.5, "2": 2, "1.5": 1.5, "16Gi": 16 << 30, "1e3": 1000, "512M": 512e6, "1Ki": 1024, "": -1, "Gi": -1, "-1": -1, "1Q": -1, "1mi": -1, "NaN": -1, "9E9E": -1} {
		got, err := quantity(s)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q is %v, want %v", s, got, want)
		}
	}
}

func TestEmissionsAreAnsweredAsByTheCarbonAwareSDK(t *testing.T) {
	h := start(t)
	h.want(200, h.do("PUT", "/api/v1/signals/carbon/eastus", `{"issued_at": "2022-07-19T13:35:00Z", "unit": "g/kWh", "points": [
		{"start": "2022-07-19T14:00:00Z", "end": "2022-07-19T15:00:00Z", "value": 532}, {"start": "2022-07-19T15:00:00Z", "end": "2022-07-19T16:00:00Z", "value": 448},
		{"start": "2022-07-19T16:00:00Z", "end": "2022-07-19T17:00:00Z", "value": 500}]}`))
	h.want(200, h.do("PUT", "/api/v1/signals/carbon/westus", `{"issued_at": "2022-07-19T13:35:00Z", "unit": "g/kWh", "points": [{"start": "2022-07-19T14:00:00Z", "end": "2022-07-19T15:00:00Z", "value": 64}]}`))
	get := func(path string) (all any) {
		r := h.want(200, h.do("GET", "/emissions/"+path, ""))
		if err := json.Unmarshal([]byte(r.text), &all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	all := get("bylocation?location=eastus&time=2022-07-19T15:00:00Z&toTime=2022-07-20")
	if at(all, 0, "location") != "eastus" || at(all, 0, "time") != "2022-07-19T15:00:00Z" || at(all, 0, "rating") != 448.0 || at(all, 1) == nil || at(all, 2) != nil {
		t.Errorf("%v", all)
	}
	best := get("bylocations/best?locations=eastus&locations=westus&time=2022-01-01&toTime=2022-12-01")
	if at(best, 0, "location") != "westus" || at(best, 0, "rating") != 64.0 || at(best, 1) != nil {
		t.Errorf("%v", best)
	}
	f := get("forecasts/current?location=eastus&dataStartAt=2022-07-19T14:00:00Z&dataEndAt=2022-07-19T17:00:00Z&windowSize=120")
	for key, want := range map[string]any{"generatedAt": "2022-07-19T13:35:00Z", "location": "eastus", "dataStartAt": "2022-07-19T14:00:00Z", "dataEndAt": "2022-07-19T17:00:00Z", "windowSize": 120.0} {
		if got := at(f, 0, key); got != want {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	if at(f, 0, "optimalDataPoint", "timestamp") != "2022-07-19T15:00:00Z" || at(f, 0, "optimalDataPoint", "value") != 474.0 || at(f, 0, "forecastData", 1, "duration") != 120.0 || at(f, 0, "forecastData", 2) != nil {
		t.Errorf("%v", f)
	}
	h.want(404, h.do("GET", "/emissions/bylocation?location=nowhere", ""))
	h.want(422, h.do("GET", "/emissions/bylocation?location=eastus&time=soon", ""))
	h.want(422, h.do("GET", "/emissions/forecasts/current", ""))
}
