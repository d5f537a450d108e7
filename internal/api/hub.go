package api

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/songhua-io/hub/internal/registry"
)

type auditOut struct {
	Seq    int64           `json:"seq"`
	At     time.Time       `json:"at"`
	Actor  string          `json:"actor"`
	Role   string          `json:"role"`
	Origin string          `json:"origin" doc:"the caller's address"`
	Action string          `json:"action"`
	Object string          `json:"object"`
	Region string          `json:"region"`
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
	Hash   string          `json:"hash"`
}

func (a *API) listAudit(ctx context.Context, in *Paging) (*pageOut[auditOut], error) {
	before, err := in.before()
	if err != nil {
		return nil, err
	}
	found, err := a.Audit.List(ctx, region(ctx), before, in.Limit)
	if err != nil {
		return nil, err
	}
	out := newPage[auditOut](len(found))
	for _, e := range found {
		out.Body.Items = append(out.Body.Items, auditOut{e.Seq, e.At, e.Actor, string(e.Role), e.Origin, string(e.Action), e.Object, e.Region,
			json.RawMessage(e.Before), json.RawMessage(e.After), hex.EncodeToString(e.Hash[:])})
	}
	if len(found) == in.Limit && found[len(found)-1].Seq > 1 {
		out.Body.Next = cursor(strconv.FormatInt(found[len(found)-1].Seq, 10))
	}
	return out, nil
}

type verifyOut struct {
	Body struct {
		Intact  bool   `json:"intact"`
		Entries int64  `json:"entries" doc:"that were found intact"`
		Head    string `json:"head" doc:"hash of the last intact entry; keep it elsewhere to notice entries cut off at the end"`
		Problem string `json:"problem,omitempty"`
	}
}

func (a *API) verifyAudit(ctx context.Context, _ *nothing) (*verifyOut, error) {
	n, head, err := a.Audit.Verify(ctx)
	out := &verifyOut{}
	out.Body.Intact, out.Body.Entries, out.Body.Head = err == nil, n, head
	if err != nil {
		out.Body.Problem = err.Error()
	}
	return out, nil
}

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
