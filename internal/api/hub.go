package api

import (
	"context"
	"net/http"

	"github.com/songhua-io/hub/internal/registry"
)

type statsOut struct {
	Body struct {
		Devices          deviceStats `json:"devices"`
		SamplesPerSecond float64     `json:"samples_per_second"`
		RejectsPerSecond float64     `json:"rejects_per_second"`
		Series           int         `json:"series"`
		Connections      int         `json:"connections"`
	}
}

type deviceStats struct {
	Total    int                       `json:"total"`
	Presence map[string]int            `json:"presence" doc:"devices by state"`
	Kinds    map[string]map[string]int `json:"kinds" doc:"devices by kind and state"`
}

// stats counts the devices that the caller may see; the rates are the whole
// hub's.
func (a *API) stats(ctx context.Context, _ *nothing) (*statsOut, error) {
	out := &statsOut{}
	d := &out.Body.Devices
	d.Presence, d.Kinds = map[string]int{}, map[string]map[string]int{}
	for _, s := range registry.PresenceStates() {
		d.Presence[string(s)] = 0
	}
	for kind, states := range a.Presence.Counts(sees(ctx)) {
		of := map[string]int{}
		for state, n := range states {
			of[string(state)] = n
			d.Presence[string(state)] += n
			d.Total += n
		}
		d.Kinds[string(kind)] = of
	}
	r := a.Rates()
	out.Body.SamplesPerSecond, out.Body.RejectsPerSecond = r.SamplesPerSecond, r.RejectsPerSecond
	out.Body.Series, out.Body.Connections = r.Series, r.Connections
	return out, nil
}

func (a *API) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write([]byte("ok\n")) //nolint:errcheck // the caller is gone
}

func (a *API) readyz(w http.ResponseWriter, r *http.Request) {
	if err := a.Ready(); err != nil {
		w.Header().Set("Retry-After", "1")
		newProblem(http.StatusServiceUnavailable, err.Error()).write(w)
		return
	}
	a.healthz(w, r)
}
