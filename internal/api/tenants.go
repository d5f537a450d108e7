package api

import (
	"context"
	"net/http"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/schedule"
)

// TenantIn is who workloads belong to.
type TenantIn struct {
	Names  text       `json:"names,omitzero"`
	Weight int64      `json:"weight,omitempty" doc:"of its share where there is not enough for all; 1 when absent"`
	Budget *monthlyIn `json:"budget,omitempty" doc:"in a calendar month; no bound when absent"`
}

type monthlyIn struct {
	Money    float64 `json:"money,omitempty" doc:"yuan; 0: no bound"`
	CarbonKg float64 `json:"carbon_kg,omitempty" doc:"0: no bound"`
}

type tenantOut struct {
	ID string `json:"id"`
	TenantIn
	Version int64 `json:"version"`
}

type oneTenant struct {
	ETag string `header:"ETag"`
	Body tenantOut
}

func showTenant(t schedule.Tenant) tenantOut {
	in := TenantIn{Names: text{t.Names.ZH, t.Names.EN}, Weight: t.Weight}
	if b := (monthlyIn{t.Budget.Money, t.Budget.CarbonKg}); b != (monthlyIn{}) {
		in.Budget = &b
	}
	return tenantOut{t.ID, in, t.Version}
}

func (a *API) tenants(ctx context.Context) ([]schedule.Tenant, error) {
	all, err := a.Scheduler.Declared(ctx)
	return all.Tenants, err
}

func (a *API) listTenants(ctx context.Context, in *Paging) (*pageOut[tenantOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	all, err := a.tenants(ctx)
	if err != nil {
		return nil, err
	}
	part, next := cut(all, func(t schedule.Tenant) string { return t.ID }, after, in.Limit)
	out := newPage[tenantOut](len(part))
	for _, t := range part {
		out.Body.Items = append(out.Body.Items, showTenant(t))
	}
	out.Body.Next = next
	return out, nil
}

func (a *API) tenant(ctx context.Context, id string) (schedule.Tenant, error) {
	all, err := a.tenants(ctx)
	for _, t := range all {
		if t.ID == id {
			return t, nil
		}
	}
	if err == nil {
		err = newProblem(http.StatusNotFound, "tenant "+id+" is not known; GET /api/v1/tenants lists those that are")
	}
	return schedule.Tenant{}, err
}

func (a *API) getTenant(ctx context.Context, in *ComputeID) (*oneTenant, error) {
	t, err := a.tenant(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &oneTenant{etag(t.Version), showTenant(t)}, nil
}

type tenantPut struct {
	ComputeID
	Body TenantIn
}

func (a *API) putTenant(ctx context.Context, in *tenantPut) (*oneTenant, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	if err := may(ctx, access.WriteFacilities, ""); err != nil {
		return nil, err
	}
	t := schedule.Tenant{ID: in.ID, Names: schedule.Text{ZH: in.Body.Names.ZH, EN: in.Body.Names.EN}, Weight: orElse(in.Body.Weight, 1), Version: version}
	if b := in.Body.Budget; b != nil {
		t.Budget = schedule.Budget{Money: b.Money, CarbonKg: b.CarbonKg}
	}
	if err := faulty(t.Check("")); err != nil {
		return nil, err
	}
	var before any
	if old, err := a.tenant(ctx, in.ID); err == nil {
		before = showTenant(old).TenantIn
	}
	if _, err := a.Scheduler.PutTenant(a.noted(ctx, access.WriteFacilities, "tenant "+t.ID, "", before, in.Body), t); err != nil {
		return nil, err
	}
	return a.getTenant(ctx, &ComputeID{ID: t.ID})
}

func (a *API) removeTenant(ctx context.Context, in *ComputeID) (*nothing, error) {
	t, err := a.tenant(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if err := may(ctx, access.WriteFacilities, ""); err != nil {
		return nil, err
	}
	if err := in.still(t.Version); err != nil {
		return nil, err
	}
	return nil, a.Scheduler.RemoveTenant(a.noted(ctx, access.WriteFacilities, "tenant "+t.ID, "", showTenant(t).TenantIn, nil), t.ID)
}
