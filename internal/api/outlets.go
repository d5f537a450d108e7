package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/outbox"
)

type outletOut struct {
	Name      string     `json:"name"`
	Kind      string     `json:"kind" doc:"ckan or province"`
	Delivered int        `json:"delivered" doc:"datasets that it has as they are"`
	Pending   int        `json:"pending" doc:"datasets that it is still to be told of"`
	Failed    int        `json:"failed" doc:"datasets that it refuses as they are"`
	Drifted   int        `json:"drifted" doc:"datasets that were another there than here, the last time it was looked at"`
	Oldest    *time.Time `json:"oldest,omitempty" doc:"of the first change that it was not told of"`
	Problem   string     `json:"problem,omitempty" doc:"why it cannot be reached"`
	Since     *time.Time `json:"since,omitempty" doc:"since when"`
	Sent      *time.Time `json:"sent,omitempty" doc:"when it took something last, since the hub runs"`
	Looked    *time.Time `json:"looked,omitempty" doc:"when all was held against what it has, since the hub runs"`
}

func showOutlet(s outbox.State) outletOut {
	return outletOut{s.Name, s.Kind, s.Delivered, s.Pending, s.Failed, s.Drifted, moment(s.Oldest), s.Problem, moment(s.Since), moment(s.Sent), moment(s.Looked)}
}

type outletEntryOut struct {
	Dataset string     `json:"dataset"`
	State   string     `json:"state" doc:"delivered, pending, failed or gone"`
	Change  int64      `json:"change,omitempty" doc:"number of the change that it was told"`
	ID      string     `json:"id,omitempty" doc:"what it is called there"`
	Name    string     `json:"name,omitempty"`
	Code    string     `json:"code,omitempty" doc:"信息资源代码 as the platform gave it"`
	Receipt string     `json:"receipt,omitempty"`
	Problem *text      `json:"problem,omitempty" doc:"why it is refused"`
	Drift   []string   `json:"drift,omitempty" doc:"fields that differed, the last time"`
	At      *time.Time `json:"at,omitempty" doc:"when it answered"`
}

func outletState(e *outbox.Entry) string {
	switch {
	case e.Pending:
		return "pending"
	case e.Problem != (catalog.Text{}):
		return "failed"
	case e.Gone:
		return "gone"
	}
	return "delivered"
}

func showOutletEntry(e *outbox.Entry) outletEntryOut {
	out := outletEntryOut{Dataset: e.Dataset, State: outletState(e), Change: e.Number, ID: e.ID, Name: e.Name, Code: e.Code, Receipt: e.Receipt, Drift: e.Drift, At: moment(e.At)}
	if e.Problem != (catalog.Text{}) {
		out.Problem = &text{e.Problem.ZH, e.Problem.EN}
	}
	return out
}

// Outlets tell of datasets of all regions: who is narrowed to one is not let in.
func (a *API) listOutlets(ctx context.Context, in *Paging) (*pageOut[outletOut], error) {
	if err := may(ctx, access.ReadOutlets, ""); err != nil {
		return nil, err
	}
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	part, next := cut(a.Outlets.List(), func(s outbox.State) string { return s.Name }, after, in.Limit)
	out := newPage[outletOut](len(part))
	for _, s := range part {
		out.Body.Items = append(out.Body.Items, showOutlet(s))
	}
	out.Body.Next = next
	return out, nil
}

// OutletID names an outlet.
type OutletID struct {
	ID string `path:"id" maxLength:"40"`
}

func (a *API) getOutlet(ctx context.Context, in *OutletID) (*struct{ Body outletOut }, error) {
	if err := may(ctx, access.ReadOutlets, ""); err != nil {
		return nil, err
	}
	s, err := a.Outlets.Get(in.ID)
	return &struct{ Body outletOut }{showOutlet(s)}, err
}

type outletEntries struct {
	OutletID
	Paging
	State string `query:"state" enum:"delivered,pending,failed,gone,drifted" doc:"only those of it"`
}

func (a *API) listOutletEntries(ctx context.Context, in *outletEntries) (*pageOut[outletEntryOut], error) {
	if err := may(ctx, access.ReadOutlets, ""); err != nil {
		return nil, err
	}
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	found, err := a.Outlets.Entries(in.ID)
	if err != nil {
		return nil, err
	}
	var all []outbox.Entry
	for _, e := range found {
		if in.State == "" || in.State == outletState(&e) || in.State == "drifted" && len(e.Drift) > 0 {
			all = append(all, e)
		}
	}
	part, next := cut(all, func(e outbox.Entry) string { return e.Dataset }, after, in.Limit)
	out := newPage[outletEntryOut](len(part))
	for _, e := range part {
		out.Body.Items = append(out.Body.Items, showOutletEntry(&e))
	}
	out.Body.Next = next
	return out, nil
}

type outletRetry struct {
	OutletID
	Body struct {
		Dataset string `json:"dataset,omitempty" maxLength:"63" doc:"all that failed when absent"`
	} `required:"false"`
}

func (a *API) retryOutlet(ctx context.Context, in *outletRetry) (*countOut, error) {
	if err := may(ctx, access.RunOutlets, ""); err != nil {
		return nil, err
	}
	n, err := a.Outlets.Retry(a.noted(ctx, access.RunOutlets, "outlet "+in.ID+": retry", "", nil, in.Body), in.ID, in.Body.Dataset)
	if err != nil {
		return nil, err
	}
	out := &countOut{}
	out.Body.Count = n
	return out, nil
}

func (a *API) reconcileOutlet(ctx context.Context, in *OutletID) (*struct{ Body outletOut }, error) {
	if err := may(ctx, access.RunOutlets, ""); err != nil {
		return nil, err
	}
	if _, err := a.Outlets.Get(in.ID); err != nil {
		return nil, err
	}
	if err := a.Audit.Add(ctx, a.entry(ctx, access.RunOutlets, "outlet "+in.ID+": reconcile", "", nil, nil)); err != nil {
		return nil, err
	}
	if err := a.Outlets.Reconcile(in.ID); err != nil {
		return nil, err
	}
	return a.getOutlet(ctx, in)
}

type outletExport struct {
	OutletID
	Format string `query:"format" enum:"csv,json" default:"csv"`
}

type outletDocument struct {
	Type        string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Body        []byte
}

// exportOutlet is the whole catalogue by the template of an outlet. Where its codes
// lack something, the answer says what, and there is no document: who takes half of
// one for the whole would delete the rest.
func (a *API) exportOutlet(ctx context.Context, in *outletExport) (*outletDocument, error) {
	if err := may(ctx, access.ReadOutlets, ""); err != nil {
		return nil, err
	}
	body, kind, problems, err := a.ExportOutlet(in.ID, in.Format)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		p := newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("%d values have no code at outlet %s; add them under codes of its configuration, or change the datasets", len(problems), in.ID))
		p.Text = &text{fmt.Sprintf("有 %d 处取值在 %s 的代码表中没有代码；请在其配置的 codes 下补上，或修改数据集", len(problems), in.ID), p.Detail}
		for _, q := range problems[:min(len(problems), 100)] {
			p.Errors = append(p.Errors, &huma.ErrorDetail{Location: q.Path, Message: q.EN, Value: q.ZH})
		}
		return nil, p
	}
	return &outletDocument{Type: kind, Disposition: fmt.Sprintf(`attachment; filename="%s.%s"`, in.ID, in.Format), Body: body}, nil
}
