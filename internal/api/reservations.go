package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
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
	AffinityIn
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
	minTTL     = time.Second
	maxTTL     = 30 * 24 * time.Hour
)

// ttlOf reads a time to live. Where the least is zero, zero is for ever.
func ttlOf(s string, least time.Duration) (time.Duration, error) {
	d, err := length("body.ttl", s, defaultTTL)
	if err == nil && (d < least || d > maxTTL || d > 0 && d < minTTL) {
		err = fault("body.ttl", s, fmt.Sprintf("ttl %v is not between %v and %v", d, minTTL, maxTTL))
	}
	return d, err
}

func (in ReservationIn) reservation() (loop.Reservation, error) {
	if in.Pool != "" && in.Any != nil {
		return loop.Reservation{}, fault("body.any", in.Pool, "pool "+in.Pool+" is named, and any has filters; give one of the two")
	}
	ttl, err := ttlOf(in.TTL, minTTL)
	if err != nil {
		return loop.Reservation{}, err
	}
	q := in.Resources
	w := WorkloadIn{
		Tenant: in.Tenant, Name: "reservation", Gang: string(schedule.GangAll),
		Tasks: []taskIn{{Name: "main", Count: q.Count, CPUMilli: q.CPUMilli, MemoryMiB: q.MemoryMiB, DiskGiB: q.DiskGiB, PowerW: q.PowerW, Accelerators: q.Accelerators, Duration: ttl.String()}},
	}
	if in.Any != nil {
		w.Affinity, w.Latency, w.Security = &in.Any.AffinityIn, in.Any.Latency, in.Any.Security
	}
	wanted, err := w.workload("")
	if err != nil {
		return loop.Reservation{}, ofResources(err)
	}
	if in.Pool != "" {
		wanted.Affinity.Pools = []string{in.Pool}
	}
	return loop.Reservation{Wanted: wanted, TTL: ttl}, nil
}

// ofResources names the keys of a reservation where the fault is one of the
// workload that is made of it.
func ofResources(err error) error {
	var p *problem
	if !errors.As(err, &p) {
		return err
	}
	name := strings.NewReplacer("tasks[0].", "resources.", "affinity.", "any.", "latency.", "any.latency.", "security.", "any.security.")
	p.Detail = name.Replace(p.Detail)
	for _, d := range p.Errors {
		d.Location = name.Replace(d.Location)
	}
	return p
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
		return nil, a.refused(ctx, &d)
	}
	r, err := a.Scheduler.Get(ctx, got.ID)
	if err != nil {
		return nil, err
	}
	out := &oneReservation{}
	for i := range r.Leases {
		out.Body.Leases = append(out.Body.Leases, showLease(&r.Leases[i]))
	}
	if len(out.Body.Leases) == 0 {
		return nil, newProblem(http.StatusConflict, "the reservation under this Idempotency-Key has ended; take a new key")
	}
	out.Body.Lease = out.Body.Leases[0]
	if !got.Repeated {
		out.Body.Decision = a.decision(ctx, &d)
	}
	return out, nil
}

// refused is 409 with the reasons of every pool.
func (a *API) refused(ctx context.Context, d *schedule.Decision) *problem {
	p := newProblem(http.StatusConflict, "nothing can be promised now")
	if len(d.Reasons) > 0 {
		t := d.Reasons[0].Text()
		p.Detail, p.Text = t.EN, &text{t.ZH, t.EN}
	}
	shown := a.decision(ctx, d)
	p.Reasons, p.Refused = shown.Reasons, shown.Refused
	return p
}

type leasePost struct {
	Body struct {
		Lease string `json:"lease" doc:"id"`
		TTL   string `json:"ttl,omitempty" doc:"from now; 10m when absent; 0s with :commit: until it is released"`
	}
}

// lease returns a lease of a reservation that the caller may change.
func (a *API) lease(ctx context.Context, id string) (schedule.Lease, error) {
	l, err := a.Scheduler.Lease(ctx, ledger.Token(id))
	switch {
	case err != nil && !errors.Is(err, ledger.ErrUnknown):
		return l, err
	case err != nil || l.ID != id || !strings.HasPrefix(a.Scheduler.Region(l.Facility), region(ctx)):
		p := fault("body.lease", id, fmt.Sprintf("lease %q is not known, or has ended; reserve again", id))
		p.Status, p.Title = http.StatusNotFound, http.StatusText(http.StatusNotFound)
		return l, p
	case l.Workload != "":
		return l, fault("body.lease", id, fmt.Sprintf("lease %q is of workload %s; report its progress, or cancel it", id, l.Workload))
	}
	return l, nil
}

type leaseAnswer struct{ Body leaseOut }

// onLease is a handler that changes a lease.
func (a *API) onLease(least time.Duration, change func(ctx context.Context, token uint64, ttl time.Duration) error) func(context.Context, *leasePost) (*leaseAnswer, error) {
	return func(ctx context.Context, in *leasePost) (*leaseAnswer, error) {
		before, err := a.lease(ctx, in.Body.Lease)
		if err != nil {
			return nil, err
		}
		ttl, err := ttlOf(in.Body.TTL, least)
		if err != nil {
			return nil, err
		}
		if err := change(ctx, before.Token, ttl); err != nil {
			return nil, err
		}
		after, err := a.Scheduler.Lease(ctx, before.Token)
		if err != nil { // it is released
			before.State = schedule.Released
			after = before
		}
		return &leaseAnswer{showLease(&after)}, nil
	}
}
