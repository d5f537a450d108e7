package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/ledger"
	"github.com/songhua-io/hub/internal/schedule/loop"
)

// ReservationIn asks for capacity for a scheduler that keeps its own queue.
type ReservationIn struct {
	Tenant    string      `json:"tenant,omitempty" doc:"default when absent"`
	Pool      string      `json:"pool,omitempty" doc:"this pool, or any that passes the filters of any"`
	Any       *anyPool    `json:"any,omitempty"`
	Resources resourcesIn `json:"resources"`
	TTL       string      `json:"ttl,omitempty" doc:"until it ends unless it is renewed or committed; 10m when absent"`
}

type anyPool struct {
	affinityIn
	Latency  *latencyIn  `json:"latency,omitempty"`
	Security *securityIn `json:"security,omitempty"`
}

type resourcesIn struct {
	Count        int             `json:"count,omitempty" doc:"equal members; 1 when absent"`
	CPUMilli     int64           `json:"cpu_milli,omitempty"`
	MemoryMiB    int64           `json:"memory_mib,omitempty"`
	DiskGiB      int64           `json:"disk_gib,omitempty"`
	PowerW       int64           `json:"power_w,omitempty"`
	Accelerators *acceleratorsIn `json:"accelerators,omitempty"`
}

const (
	defaultTTL = 10 * time.Minute
	maxTTL     = 30 * 24 * time.Hour
)

func ttlOf(s string) (time.Duration, error) {
	d, err := length("body.ttl", s, defaultTTL)
	if err == nil && (d < time.Second || d > maxTTL) {
		err = fault("body.ttl", s, fmt.Sprintf("ttl %v is not between 1s and %v", d, maxTTL))
	}
	return d, err
}

func (in ReservationIn) reservation() (loop.Reservation, error) {
	ttl, err := ttlOf(in.TTL)
	if err != nil {
		return loop.Reservation{}, err
	}
	q := in.Resources
	w := WorkloadIn{
		Tenant: in.Tenant, Name: "reservation", Gang: string(schedule.GangAll),
		Tasks: []taskIn{{Name: "main", Count: q.Count, CPUMilli: q.CPUMilli, MemoryMiB: q.MemoryMiB, DiskGiB: q.DiskGiB, PowerW: q.PowerW, Accelerators: q.Accelerators, Duration: ttl.String()}},
	}
	if in.Any != nil {
		w.Affinity, w.Latency, w.Security = &in.Any.affinityIn, in.Any.Latency, in.Any.Security
	}
	wanted, err := w.workload("")
	if err != nil {
		return loop.Reservation{}, err
	}
	if in.Pool != "" {
		wanted.Affinity.Pools = []string{in.Pool}
	}
	return loop.Reservation{Wanted: wanted, TTL: ttl}, nil
}

type reservationPost struct {
	Key  string `header:"Idempotency-Key" maxLength:"255" doc:"the same tenant, key and body get the same answer for seven days"`
	Body ReservationIn
}

type oneReservation struct {
	Body struct {
		Lease    leaseOut     `json:"lease" doc:"the first of leases"`
		Leases   []leaseOut   `json:"leases" doc:"one for each facility"`
		Decision *decisionOut `json:"decision,omitempty"`
	}
}

func (a *API) reserve(ctx context.Context, in *reservationPost) (*oneReservation, error) {
	q, err := in.Body.reservation()
	if err != nil {
		return nil, err
	}
	if err := within(ctx, q.Wanted); err != nil {
		return nil, err
	}
	body, err := json.Marshal(in.Body)
	if err != nil {
		return nil, err
	}
	q.Key, q.Body = in.Key, sha256.Sum256(body)
	got, d, err := a.Scheduler.Reserve(ctx, q)
	switch {
	case err != nil:
		return nil, err
	case len(got.Grants) == 0:
		return nil, refused(&d)
	}
	r, err := a.Scheduler.Get(ctx, got.ID)
	if err != nil {
		return nil, err
	}
	out := &oneReservation{}
	for i := range r.Leases {
		out.Body.Leases = append(out.Body.Leases, showLease(&r.Leases[i]))
	}
	out.Body.Lease = out.Body.Leases[0]
	if !got.Repeated {
		out.Body.Decision = showDecision(&d)
	}
	return out, nil
}

// refused is 409 with the reasons of every pool.
func refused(d *schedule.Decision) *problem {
	p := newProblem(http.StatusConflict, "nothing can be promised now")
	if len(d.Reasons) > 0 {
		t := d.Reasons[0].Text()
		p.Detail, p.Text = t.EN, &text{t.ZH, t.EN}
	}
	shown := showDecision(d)
	p.Reasons, p.Refused = shown.Reasons, shown.Refused
	return p
}

type leasePost struct {
	Body struct {
		Lease string `json:"lease" doc:"id"`
		TTL   string `json:"ttl,omitempty" doc:"from now; 10m when absent; 0s with :commit: until it is released"`
	}
}

// lease returns the token of a reservation that the caller may change.
func (a *API) lease(ctx context.Context, id string) (uint64, error) {
	token := ledger.Token(id)
	r, err := a.Scheduler.Lease(ctx, token)
	if err != nil || token == 0 {
		return 0, fault("body.lease", id, fmt.Sprintf("lease %q is not known, or has ended", id))
	}
	own := region(ctx)
	if f, _, err := a.facility(ctx, r.Facility); own != "" && (err != nil || f == nil) {
		return 0, fault("body.lease", id, fmt.Sprintf("lease %q is not known, or has ended", id))
	}
	return token, nil
}

type leaseAnswer struct{ Body leaseOut }

// onLease is a handler that changes a lease.
func (a *API) onLease(change func(ctx context.Context, token uint64, ttl time.Duration) error) func(context.Context, *leasePost) (*leaseAnswer, error) {
	return func(ctx context.Context, in *leasePost) (*leaseAnswer, error) {
		token, err := a.lease(ctx, in.Body.Lease)
		if err != nil {
			return nil, err
		}
		ttl, err := length("body.ttl", in.Body.TTL, defaultTTL)
		if err != nil {
			return nil, err
		}
		before, err := a.Scheduler.Lease(ctx, token)
		if err != nil {
			return nil, err
		}
		if err := change(ctx, token, ttl); err != nil {
			return nil, err
		}
		after, err := a.Scheduler.Lease(ctx, token)
		if err != nil { // it is released
			before.State = schedule.Released
			after = before
		}
		return &leaseAnswer{showLease(&after)}, nil
	}
}
