package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/ledger"
	"github.com/songhua-io/hub/internal/schedule/plan"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// FacilityOut is a facility as the hub shows it.
type FacilityOut struct {
	ID string `json:"id"`
	FacilityIn
	Pools   int   `json:"pools"`
	Nodes   int   `json:"nodes"`
	Leases  int   `json:"leases"`
	DrawW   int64 `json:"draw_w" doc:"by plan: idle nodes and what is leased"`
	Version int64 `json:"version"`

	Now *liveOut `json:"live_now,omitempty" doc:"what series say of it"`
}

// PoolOut is a pool as the hub shows it.
type PoolOut struct {
	ID string `json:"id"`
	PoolIn
	Capacity capacityOut `json:"capacity"`
	Leases   int         `json:"leases"`
	Over     bool        `json:"over,omitempty" doc:"more is leased than there is: capacity was reduced"`
	Version  int64       `json:"version"`
}

type capacityOut struct {
	Facility     string           `json:"facility"`
	Pool         string           `json:"pool"`
	Nodes        int              `json:"nodes"`
	Total        map[string]int64 `json:"total"`
	Leased       map[string]int64 `json:"leased"`
	Free         map[string]int64 `json:"free" doc:"what new work may have: without leases and without what telemetry saw besides"`
	WholeDevices int              `json:"whole_devices" doc:"accelerators that are free as a whole"`
	Largest      map[string]int64 `json:"largest" doc:"the most that one node has free of each resource"`
}

func showCapacity(c plan.Capacity) capacityOut {
	return capacityOut{c.Facility, c.Pool, c.Nodes, showAmount(c.Capacity), showAmount(c.Leased), showAmount(c.Free), c.WholeDevices, showAmount(c.Largest)}
}

// inventory is what is declared, with what is taken of it, as far as the caller
// may see.
type inventory struct {
	facilities map[string]schedule.Facility
	all        ledger.Snapshot
	capacity   map[string]plan.Capacity
	uses       map[string]ledger.Use
	live       map[string]plan.FacilityLive
	now        time.Time
}

func (a *API) inventory(ctx context.Context) (*inventory, error) {
	all, err := a.Scheduler.Declared(ctx)
	if err != nil {
		return nil, err
	}
	i := &inventory{facilities: map[string]schedule.Facility{}, capacity: map[string]plan.Capacity{}, uses: map[string]ledger.Use{}, all: all}
	for _, f := range all.Facilities {
		if strings.HasPrefix(f.Region, region(ctx)) {
			i.facilities[f.ID] = f
		}
	}
	for _, c := range a.Scheduler.Capacities() {
		i.capacity[c.Pool] = c
	}
	i.live, i.now = a.Scheduler.LiveOf(all.Facilities), a.Now()
	uses, err := a.Scheduler.Uses(ctx)
	for _, u := range uses {
		i.uses[u.Pool] = u
	}
	return i, err
}

func (i *inventory) facility(f schedule.Facility) FacilityOut {
	out := FacilityOut{ID: f.ID, FacilityIn: describeFacility(f), Version: f.Version}
	if l, ok := i.live[f.ID]; ok {
		out.Now = showLive(l, i.now)
	}
	for _, p := range i.all.Pools {
		if p.Facility == f.ID {
			out.Pools++
			out.Nodes += i.capacity[p.ID].Nodes
			out.Leases += i.uses[p.ID].Leases
			out.DrawW += p.IdleWatts() + int64(p.Power.OrDefault().Draw(i.uses[p.ID].Used))
		}
	}
	return out
}

func (i *inventory) pool(p schedule.Pool) PoolOut {
	return PoolOut{ID: p.ID, PoolIn: describePool(p), Capacity: showCapacity(i.capacity[p.ID]), Leases: i.uses[p.ID].Leases, Over: i.uses[p.ID].Over, Version: p.Version}
}

// ComputeID names a facility, a pool or a queue, and the version of it that a
// change is made to.
type ComputeID struct {
	ID string `path:"id"`
	Conditional
}

type oneFacility struct {
	ETag string `header:"ETag"`
	Body FacilityOut
}

func (a *API) listFacilities(ctx context.Context, in *Paging) (*pageOut[FacilityOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	i, err := a.inventory(ctx)
	if err != nil {
		return nil, err
	}
	var seen []schedule.Facility
	for _, f := range i.all.Facilities {
		if _, ok := i.facilities[f.ID]; ok {
			seen = append(seen, f)
		}
	}
	part, next := cut(seen, func(f schedule.Facility) string { return f.ID }, after, in.Limit)
	out := newPage[FacilityOut](len(part))
	for _, f := range part {
		out.Body.Items = append(out.Body.Items, i.facility(f))
	}
	out.Body.Next = next
	return out, nil
}

// facility returns a facility that the caller may see; one of another region is
// as if it were not there.
func (a *API) facility(ctx context.Context, id string) (*inventory, schedule.Facility, error) {
	i, err := a.inventory(ctx)
	if err != nil {
		return nil, schedule.Facility{}, err
	}
	f, ok := i.facilities[id]
	if !ok {
		return nil, f, newProblem(http.StatusNotFound, "facility "+id+" is not known; GET /api/v1/facilities lists those that are")
	}
	return i, f, nil
}

func (a *API) getFacility(ctx context.Context, in *ComputeID) (*oneFacility, error) {
	i, f, err := a.facility(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &oneFacility{etag(f.Version), i.facility(f)}, nil
}

type facilityPut struct {
	ComputeID
	Body FacilityIn
}

func (a *API) putFacility(ctx context.Context, in *facilityPut) (*oneFacility, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	f, err := in.Body.facility(in.ID)
	if err != nil {
		return nil, err
	}
	if err := a.expressions("", f.Live.Expressions()); err != nil {
		return nil, err
	}
	f.Version = version
	return a.declareFacility(ctx, f)
}

func (a *API) declareFacility(ctx context.Context, f schedule.Facility) (*oneFacility, error) {
	if err := may(ctx, access.WriteFacilities, f.Region); err != nil {
		return nil, err
	}
	all, err := a.Scheduler.Declared(ctx)
	if err != nil {
		return nil, err
	}
	var before any
	for _, old := range all.Facilities {
		if old.ID == f.ID {
			if err := may(ctx, access.WriteFacilities, old.Region); err != nil {
				return nil, err
			}
			before = describeFacility(old)
		}
	}
	ctx = a.noted(ctx, access.WriteFacilities, "facility "+f.ID, f.Region, before, describeFacility(f))
	if _, err := a.Scheduler.PutFacility(ctx, f); err != nil {
		return nil, err
	}
	return a.getFacility(ctx, &ComputeID{ID: f.ID})
}

// become is a handler that takes a facility to a state.
func (a *API) become(state schedule.FacilityState) func(context.Context, *ComputeID) (*oneFacility, error) {
	return func(ctx context.Context, in *ComputeID) (*oneFacility, error) {
		version, err := in.version()
		if err != nil {
			return nil, err
		}
		_, f, err := a.facility(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		f.State = state
		if version != 0 {
			f.Version = version
		}
		return a.declareFacility(ctx, f)
	}
}

func (a *API) removeFacility(ctx context.Context, in *ComputeID) (*nothing, error) {
	_, f, err := a.facility(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if err := may(ctx, access.WriteFacilities, f.Region); err != nil {
		return nil, err
	}
	if err := in.still(f.Version); err != nil {
		return nil, err
	}
	return nil, a.Scheduler.RemoveFacility(a.noted(ctx, access.WriteFacilities, "facility "+f.ID, f.Region, describeFacility(f), nil), f.ID)
}

type onePool struct {
	ETag string `header:"ETag"`
	Body PoolOut
}

func (a *API) listPools(ctx context.Context, in *Paging) (*pageOut[PoolOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	i, err := a.inventory(ctx)
	if err != nil {
		return nil, err
	}
	part, next := cut(i.pools(), func(p schedule.Pool) string { return p.ID }, after, in.Limit)
	out := newPage[PoolOut](len(part))
	for _, p := range part {
		out.Body.Items = append(out.Body.Items, i.pool(p))
	}
	out.Body.Next = next
	return out, nil
}

// pools are those of facilities that the caller may see.
func (i *inventory) pools() (all []schedule.Pool) {
	for _, p := range i.all.Pools {
		if _, ok := i.facilities[p.Facility]; ok {
			all = append(all, p)
		}
	}
	return all
}

func (a *API) pool(ctx context.Context, id string) (*inventory, schedule.Pool, error) {
	i, err := a.inventory(ctx)
	if err != nil {
		return nil, schedule.Pool{}, err
	}
	for _, p := range i.pools() {
		if p.ID == id {
			return i, p, nil
		}
	}
	return nil, schedule.Pool{}, newProblem(http.StatusNotFound, "pool "+id+" is not known; GET /api/v1/pools lists those that are")
}

func (a *API) getPool(ctx context.Context, in *ComputeID) (*onePool, error) {
	i, p, err := a.pool(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &onePool{etag(p.Version), i.pool(p)}, nil
}

type poolPut struct {
	ComputeID
	Body PoolIn
}

func (a *API) putPool(ctx context.Context, in *poolPut) (*onePool, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	p, err := in.Body.pool(in.ID)
	if err != nil {
		return nil, err
	}
	if err := a.expressions("", p.Live.Expressions()); err != nil {
		return nil, err
	}
	p.Version = version
	_, f, err := a.facility(ctx, p.Facility)
	if err != nil {
		return nil, fault("body.facility", p.Facility, "facility "+p.Facility+" is not known; declare it first")
	}
	if err := may(ctx, access.WriteFacilities, f.Region); err != nil {
		return nil, err
	}
	var before any
	if _, old, err := a.pool(ctx, p.ID); err == nil {
		before = describePool(old)
	}
	if _, err := a.Scheduler.PutPool(a.noted(ctx, access.WriteFacilities, "pool "+p.ID, f.Region, before, describePool(p)), p); err != nil {
		return nil, err
	}
	return a.getPool(ctx, &ComputeID{ID: p.ID})
}

func (a *API) removePool(ctx context.Context, in *ComputeID) (*nothing, error) {
	i, p, err := a.pool(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	f := i.facilities[p.Facility]
	if err := may(ctx, access.WriteFacilities, f.Region); err != nil {
		return nil, err
	}
	if err := in.still(p.Version); err != nil {
		return nil, err
	}
	return nil, a.Scheduler.RemovePool(a.noted(ctx, access.WriteFacilities, "pool "+p.ID, f.Region, describePool(p), nil), p.ID)
}

func (a *API) listCapacity(ctx context.Context, in *Paging) (*pageOut[capacityOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	i, err := a.inventory(ctx)
	if err != nil {
		return nil, err
	}
	part, next := cut(i.pools(), func(p schedule.Pool) string { return p.ID }, after, in.Limit)
	out := newPage[capacityOut](len(part))
	for _, p := range part {
		out.Body.Items = append(out.Body.Items, showCapacity(i.capacity[p.ID]))
	}
	out.Body.Next = next
	return out, nil
}

// SignalID names a forecast.
type SignalID struct {
	Kind string `path:"kind" doc:"carbon, price, pue or free"`
	Zone string `path:"zone" maxLength:"63" doc:"a grid zone; of free, a pool"`
}

type signalOut struct {
	Kind string `json:"kind"`
	Zone string `json:"zone"`
	signal.Forecast
	Stale bool `json:"stale" doc:"too old, or over: nothing is deferred for it"`
}

type oneSignal struct{ Body signalOut }

func (a *API) showSignal(s *signal.Series) signalOut {
	return signalOut{string(s.Kind), s.Zone, s.Forecast(), s.Stale(a.Now())}
}

// signalRegion is the region of what a forecast is about: of a pool its
// facility's; of a grid zone none. False: there is no such pool that the caller
// may see.
func (a *API) signalRegion(ctx context.Context, kind signal.Kind, zone string) (region string, seen bool, err error) {
	if kind != signal.Free {
		return "", true, nil
	}
	i, p, err := a.pool(ctx, zone)
	var p404 *problem
	switch {
	case errors.As(err, &p404):
		return "", false, nil
	case err != nil:
		return "", false, err
	}
	return i.facilities[p.Facility].Region, true, nil
}

// signals are the forecasts that the caller may see.
func (a *API) signals(ctx context.Context) ([]*signal.Series, error) {
	all := a.Scheduler.Signals().Sorted()
	if region(ctx) == "" {
		return all, nil
	}
	i, err := a.inventory(ctx)
	if err != nil {
		return nil, err
	}
	pools := map[string]bool{}
	for _, p := range i.pools() {
		pools[p.ID] = true
	}
	return slices.DeleteFunc(all, func(s *signal.Series) bool { return s.Kind == signal.Free && !pools[s.Zone] }), nil
}

func (a *API) listSignals(ctx context.Context, in *Paging) (*pageOut[signalOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	all, err := a.signals(ctx)
	if err != nil {
		return nil, err
	}
	part, next := cut(all, func(s *signal.Series) string { return string(s.Kind) + "/" + s.Zone }, after, in.Limit)
	out := newPage[signalOut](len(part))
	for _, s := range part {
		one := a.showSignal(s)
		one.Points = nil // many; GET of the one has them
		out.Body.Items = append(out.Body.Items, one)
	}
	out.Body.Next = next
	return out, nil
}

func (a *API) getSignal(ctx context.Context, in *SignalID) (*oneSignal, error) {
	s := a.Scheduler.Signals().Of(signal.Kind(in.Kind), in.Zone)
	_, seen, err := a.signalRegion(ctx, signal.Kind(in.Kind), in.Zone)
	if err != nil {
		return nil, err
	}
	if s == nil || !seen {
		return nil, newProblem(http.StatusNotFound, "there is no forecast of "+in.Kind+" for zone "+in.Zone)
	}
	return &oneSignal{a.showSignal(s)}, nil
}

type signalPut struct {
	SignalID
	Body signal.Forecast
}

func (a *API) putSignal(ctx context.Context, in *signalPut) (*oneSignal, error) {
	s, faults := in.Body.Series(signal.Kind(in.Kind), in.Zone)
	if len(faults) > 0 {
		return nil, faulty(faults)
	}
	of, seen, err := a.signalRegion(ctx, s.Kind, s.Zone)
	switch {
	case err != nil:
		return nil, err
	case !seen:
		return nil, newProblem(http.StatusNotFound, "pool "+s.Zone+" is not known; GET /api/v1/pools lists those that are")
	}
	if err := may(ctx, access.WriteSignals, of); err != nil {
		return nil, err
	}
	ctx = a.noted(ctx, access.WriteSignals, "signal "+in.Kind+"/"+in.Zone, of, nil, map[string]any{"issued_at": s.Issued, "points": len(s.Steps)})
	taken, err := a.Scheduler.PutSignal(ctx, s)
	switch {
	case err != nil:
		return nil, err
	case !taken:
		return nil, newProblem(http.StatusConflict, "a forecast that was issued later is there; issued_at "+s.Issued.Format(time.RFC3339)+" is older")
	}
	return &oneSignal{a.showSignal(s)}, nil
}
