package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/ledger"
	"github.com/songhua-io/hub/internal/schedule/loop"
)

// WorkloadOut is a workload as the hub shows it.
type WorkloadOut struct {
	ID       string       `json:"id,omitempty"`
	State    string       `json:"state"`
	Since    *time.Time   `json:"since,omitempty"`
	Workload *WorkloadIn  `json:"workload,omitempty"`
	By       string       `json:"by,omitempty" doc:"name of the token that submitted it"`
	Created  *time.Time   `json:"submitted,omitempty"`
	Reasons  []reasonOut  `json:"reasons,omitempty" doc:"why it is in this state"`
	Decision *decisionOut `json:"decision,omitempty"`
	Lease    *leaseOut    `json:"lease,omitempty" doc:"the first of leases"`
	Leases   []leaseOut   `json:"leases,omitempty" doc:"one for each facility"`
	Queue    *queueTurn   `json:"queue,omitempty" doc:"while it waits for capacity"`
	Version  int64        `json:"version,omitempty"`
	Repeated bool         `json:"repeated,omitempty" doc:"it was submitted before under the same Idempotency-Key"`
}

type queueTurn struct {
	Rank int        `json:"rank" doc:"how many are ahead"`
	P50  *time.Time `json:"start_p50,omitempty" doc:"when it is expected to begin, by how many began in the last hour"`
	P90  *time.Time `json:"start_p90,omitempty"`
	// Never comes without an expected start.
	Never bool `json:"never_fits,omitempty" doc:"no pool could take it even if nothing else ran, as declared"`
}

// oneWorkload has 201 for what is promised and 202 for what waits.
type oneWorkload struct {
	Status int
	ETag   string `header:"ETag"`
	Body   WorkloadOut
}

func (a *API) turn(id string) *queueTurn {
	t, waits := a.Scheduler.Turn(id)
	if !waits {
		return nil
	}
	return &queueTurn{t.Rank, moment(t.P50), moment(t.P90), t.Never}
}

// showWorkload shows a record; d is its decision, or a newer one.
func (a *API) showWorkload(ctx context.Context, r *ledger.Record, d *schedule.Decision) WorkloadOut {
	in := describeWorkload(r.Workload)
	out := WorkloadOut{ID: r.ID, State: string(r.State), Since: moment(r.Since), Workload: &in, By: r.Workload.By, Created: moment(r.Workload.Submitted), Version: r.Version, Queue: a.turn(r.ID)}
	if r.Reason != nil {
		out.Reasons = showReasons([]schedule.Reason{*r.Reason})
	}
	var parts []schedule.Assignment
	for i := range r.Leases {
		l := showLease(&r.Leases[i])
		l.Parts = nil // they are the decision's
		l.Output = a.Scheduler.Output(&r.Leases[i])
		if r.Leases[i].State.Live() || r.State.Ended() {
			parts = append(parts, r.Leases[i].Parts...)
		}
		out.Leases = append(out.Leases, l)
	}
	if i := slices.IndexFunc(r.Leases, func(l schedule.Lease) bool { return l.State.Live() }); i >= 0 {
		out.Lease = &out.Leases[i]
	}
	if d != nil {
		is := *d
		if len(is.Assignments) == 0 {
			is.Assignments = parts
		}
		out.Decision = a.decision(ctx, &is)
		if len(is.Assignments) == 0 && len(is.Reasons) > 0 {
			out.Reasons = out.Decision.Reasons
		}
	}
	return out
}

// decision shows a decision; of pools that a caller narrowed to a region may not
// see, it says nothing.
func (a *API) decision(ctx context.Context, d *schedule.Decision) *decisionOut {
	own := region(ctx)
	if own == "" {
		return showDecision(d)
	}
	is := *d
	foreign := func(facility string) bool { return !strings.HasPrefix(a.Scheduler.Region(facility), own) }
	is.Refused = slices.DeleteFunc(slices.Clone(d.Refused), func(r schedule.Refusal) bool { return foreign(r.Facility) })
	is.RunnersUp = slices.DeleteFunc(slices.Clone(d.RunnersUp), func(r schedule.RunnerUp) bool { return foreign(r.Facility) })
	return showDecision(&is)
}

// within keeps a caller who is narrowed to a region from having work done
// outside of it.
func within(ctx context.Context, w *schedule.Workload) error {
	own := region(ctx)
	if own == "" {
		return nil
	}
	if len(w.Affinity.Regions) == 0 {
		w.Affinity.Regions = []string{own}
	}
	if !w.Within(own) {
		return newProblem(http.StatusForbidden, fmt.Sprintf("affinity.regions %v lie outside of %s*, to which the token is narrowed", w.Affinity.Regions, own))
	}
	return nil
}

func (a *API) submission(ctx context.Context, in WorkloadIn, at, key string) (loop.Submission, error) {
	w, err := in.workload(at)
	if err != nil {
		return loop.Submission{}, err
	}
	if err := within(ctx, w); err != nil {
		return loop.Submission{}, err
	}
	w.By = access.CallerOf(ctx).Name
	body, err := json.Marshal(in)
	return loop.Submission{Workload: w, Key: key, Body: sha256.Sum256(body)}, err
}

type workloadPost struct {
	DryRun string `query:"dry_run" enum:"place,queue" doc:"keep nothing: say where it would go, or where it would stand"`
	Key    string `header:"Idempotency-Key" maxLength:"255" doc:"the same tenant, key and body get the same answer for seven days"`
	Body   WorkloadIn
}

func (a *API) submitWorkload(ctx context.Context, in *workloadPost) (*oneWorkload, error) {
	s, err := a.submission(ctx, in.Body, "", in.Key)
	if err != nil {
		return nil, err
	}
	if in.DryRun != "" {
		return a.dryRun(ctx, s.Workload, in.DryRun), nil
	}
	answer := a.Scheduler.Submit(ctx, s)[0]
	return a.answered(ctx, &s, &answer)
}

// answered is what became of a submission: 201 with a promise, or 202.
func (a *API) answered(ctx context.Context, s *loop.Submission, answer *loop.Answer) (*oneWorkload, error) {
	if answer.Err != nil {
		return nil, answer.Err
	}
	out := &oneWorkload{Status: http.StatusAccepted, Body: WorkloadOut{ID: answer.ID, State: string(answer.State), Repeated: answer.Repeated, Queue: a.turn(answer.ID)}}
	if answer.State == schedule.Reserved {
		out.Status = http.StatusCreated
	}
	d := answer.Decision
	if d == nil { // of a repetition
		r, err := a.Scheduler.Get(ctx, answer.ID)
		if err != nil {
			return nil, err
		}
		body := a.showWorkload(ctx, &r, r.Decision)
		out.Body.Decision, out.Body.Reasons = body.Decision, body.Reasons
	} else {
		out.Body.Decision = a.decision(ctx, d)
		if len(d.Assignments) == 0 {
			out.Body.Reasons = out.Body.Decision.Reasons
		}
	}
	for _, g := range answer.Grants {
		out.Body.Leases = append(out.Body.Leases, leaseOut{ID: g.Lease, Facility: g.Facility, Token: g.Token, State: string(schedule.Held),
			Workload: answer.ID, Tenant: s.Workload.Tenant, Created: a.Now().UTC(), ExpiresAt: moment(g.Expires)})
	}
	if len(out.Body.Leases) > 0 {
		out.Body.Lease = &out.Body.Leases[0]
	}
	return out, nil
}

func (a *API) dryRun(ctx context.Context, w *schedule.Workload, how string) *oneWorkload {
	d := a.Scheduler.Try(w)
	out := &oneWorkload{Status: http.StatusOK, Body: WorkloadOut{State: string(schedule.Reserved), Decision: a.decision(ctx, &d)}}
	switch {
	case len(d.Assignments) > 0:
	case !d.Until.IsZero():
		out.Body.State = string(schedule.Deferred)
	default:
		out.Body.State = string(schedule.Queued)
	}
	if len(d.Assignments) == 0 {
		out.Body.Reasons = out.Body.Decision.Reasons
	}
	if how == "queue" {
		out.Body.Queue = &queueTurn{Rank: a.Scheduler.Ahead(w.Priority)}
	}
	return out
}

type workloadBatch struct {
	Key  string `header:"Idempotency-Key" maxLength:"240" doc:"of the whole; each workload has it with its place"`
	Body struct {
		Workloads []WorkloadIn `json:"workloads" minItems:"1" maxItems:"1000"`
	}
}

type batchResult struct {
	*WorkloadOut
	Problem *problem `json:"problem,omitempty"`
}

type workloadResults struct {
	Body struct {
		Results []batchResult `json:"results" doc:"in the order of the workloads"`
	}
}

func (a *API) submitWorkloads(ctx context.Context, in *workloadBatch) (*workloadResults, error) {
	out := &workloadResults{}
	out.Body.Results = make([]batchResult, len(in.Body.Workloads))
	var good []loop.Submission
	var at []int
	for i, w := range in.Body.Workloads {
		key := ""
		if in.Key != "" {
			key = fmt.Sprintf("%s/%d", in.Key, i)
		}
		s, err := a.submission(ctx, w, fmt.Sprintf("workloads[%d].", i), key)
		if err != nil {
			out.Body.Results[i].Problem = a.problemAs(err)
			continue
		}
		good, at = append(good, s), append(at, i)
	}
	for n, answer := range a.Scheduler.Submit(ctx, good...) {
		one, err := a.answered(ctx, &good[n], &answer)
		if err != nil {
			out.Body.Results[at[n]].Problem = a.problemAs(err)
			continue
		}
		out.Body.Results[at[n]].WorkloadOut = &one.Body
	}
	return out, nil
}

// problemAs is problemOf for an answer that is part of another.
func (a *API) problemAs(err error) *problem {
	var p *problem
	if errors.As(a.problemOf(err), &p) {
		return p
	}
	return newProblem(http.StatusInternalServerError, err.Error())
}

type workloadQuery struct {
	Paging
	Tenant string `query:"tenant" maxLength:"63"`
	State  string `query:"state" maxLength:"20"`
}

func (a *API) listWorkloads(ctx context.Context, in *workloadQuery) (*pageOut[WorkloadOut], error) {
	before, err := in.after()
	if err != nil {
		return nil, err
	}
	out := newPage[WorkloadOut](in.Limit)
	for {
		all, err := a.Scheduler.List(ctx, ledger.Filter{Tenant: in.Tenant, State: schedule.State(in.State)}, before, in.Limit)
		if err != nil {
			return nil, err
		}
		for i := range all {
			before = all[i].ID
			if all[i].Workload == nil || !all[i].Workload.Within(region(ctx)) {
				continue
			}
			out.Body.Items = append(out.Body.Items, a.showWorkload(ctx, &all[i], all[i].Decision))
			if len(out.Body.Items) == in.Limit {
				out.Body.Next = cursor(before)
				return out, nil
			}
		}
		if len(all) < in.Limit {
			return out, nil
		}
	}
}

// WorkloadID names a workload.
type WorkloadID struct {
	ID string `path:"id" maxLength:"63"`
}

// workload returns one that the caller may see.
func (a *API) workload(ctx context.Context, id string) (ledger.Record, error) {
	r, err := a.Scheduler.Get(ctx, id)
	if err == nil && (r.Workload == nil || !r.Workload.Within(region(ctx))) {
		err = fmt.Errorf("workload %.70q %w; see `hub workload list`", id, ledger.ErrUnknown)
	}
	return r, err
}

func (a *API) getWorkload(ctx context.Context, in *WorkloadID) (*oneWorkload, error) {
	r, err := a.workload(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &oneWorkload{http.StatusOK, etag(r.Version), a.showWorkload(ctx, &r, r.Decision)}, nil
}

func (a *API) explainWorkload(ctx context.Context, in *WorkloadID) (*oneWorkload, error) {
	if _, err := a.workload(ctx, in.ID); err != nil {
		return nil, err
	}
	r, d, err := a.Scheduler.Explain(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &oneWorkload{http.StatusOK, etag(r.Version), a.showWorkload(ctx, &r, &d)}, nil
}

type workloadEvents struct {
	WorkloadID
	Paging
	Since int64 `query:"since" minimum:"0" doc:"only those after this sequence number"`
}

func (a *API) listWorkloadEvents(ctx context.Context, in *workloadEvents) (*pageOut[eventOut], error) {
	if _, err := a.workload(ctx, in.ID); err != nil {
		return nil, err
	}
	after, err := in.before()
	if err != nil {
		return nil, err
	}
	all, more, err := a.Scheduler.EventsOf(ctx, in.ID, max(in.Since, after), in.Limit)
	if err != nil {
		return nil, err
	}
	out := newPage[eventOut](len(all))
	for i := range all {
		out.Body.Items = append(out.Body.Items, showEvent(&all[i]))
	}
	if more && len(all) > 0 {
		out.Body.Next = cursor(strconv.FormatInt(all[len(all)-1].Seq, 10))
	}
	return out, nil
}

func (a *API) cancelWorkload(ctx context.Context, in *WorkloadID) (*nothing, error) {
	r, err := a.workload(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if r.State.Ended() {
		return nil, newProblem(http.StatusConflict, "workload "+r.ID+" has ended: it is "+string(r.State)+"; there is nothing to cancel")
	}
	was := map[string]any{"tenant": r.Workload.Tenant, "name": r.Workload.Name, "state": r.State}
	return nil, a.Scheduler.Cancel(a.noted(ctx, access.SubmitWorkloads, "workload "+r.ID, region(ctx), was, nil), r.ID)
}

type progressPost struct {
	WorkloadID
	Body struct {
		Token    uint64 `json:"token" doc:"of its lease"`
		State    string `json:"state" enum:"bound,running,succeeded,failed,queued" doc:"queued: it was refused, and nothing of it runs"`
		ExitCode *int   `json:"exit_code,omitempty"`
	}
}

func (a *API) reportProgress(ctx context.Context, in *progressPost) (*oneWorkload, error) {
	r, err := a.workload(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(r.Leases, func(l schedule.Lease) bool { return l.Token == in.Body.Token }) {
		return nil, fault("body.token", in.Body.Token, fmt.Sprintf("token %d is of no lease of workload %s", in.Body.Token, in.ID))
	}
	p := ledger.Report{Token: in.Body.Token, To: schedule.State(in.Body.State)}
	if in.Body.ExitCode != nil {
		why := schedule.Because(schedule.ExitCode, *in.Body.ExitCode)
		p.Reason = &why
	}
	if err := a.Scheduler.Report(ctx, p)[0]; err != nil {
		return nil, err
	}
	return a.getWorkload(ctx, &in.WorkloadID)
}
