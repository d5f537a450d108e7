package api

import (
	"context"
	"net/http"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/schedule"
)

// QueueIn is a share of capacity that the workloads of some tenants draw on.
type QueueIn struct {
	Tenants []string         `json:"tenants,omitempty" doc:"all that have no queue of their own when absent" maxItems:"1000"`
	Weight  int64            `json:"weight,omitempty" doc:"of its share of what nobody has a claim to; 1 when absent"`
	Nominal map[string]int64 `json:"nominal,omitempty" doc:"what it has a claim to, by resource"`
	Borrow  map[string]int64 `json:"borrow,omitempty" doc:"how much more it may use while others do not; negative: without bound"`
}

type queueOut struct {
	ID string `json:"id"`
	QueueIn
	Version int64 `json:"version"`
}

type oneQueue struct {
	ETag string `header:"ETag"`
	Body queueOut
}

func amount(at string, m map[string]int64) (v schedule.Vector, err error) {
	names := map[string]int{}
	for i, n := range schedule.DimensionNames {
		names[n] = i
	}
	for name, n := range m {
		i, ok := names[name]
		if !ok {
			return v, fault(at+"."+name, n, name+" is no resource; there are cpu_milli, memory_mib, accelerator_milli, disk_gib and power_w")
		}
		v[i] = n
	}
	return v, nil
}

func (in QueueIn) queue(id string) (q schedule.Queue, err error) {
	q = schedule.Queue{ID: id, Tenants: in.Tenants, Weight: orElse(in.Weight, 1)}
	if q.Nominal, err = amount("body.nominal", in.Nominal); err != nil {
		return q, err
	}
	if q.Borrow, err = amount("body.borrow", in.Borrow); err != nil {
		return q, err
	}
	return q, faulty(q.Check(""))
}

func showQueue(q schedule.Queue) queueOut {
	return queueOut{q.ID, QueueIn{q.Tenants, q.Weight, showAmount(q.Nominal), showAmount(q.Borrow)}, q.Version}
}

func (a *API) queues(ctx context.Context) ([]schedule.Queue, error) {
	all, err := a.Scheduler.Declared(ctx)
	return all.Queues, err
}

func (a *API) listQueues(ctx context.Context, in *Paging) (*pageOut[queueOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	all, err := a.queues(ctx)
	if err != nil {
		return nil, err
	}
	part, next := cut(all, func(q schedule.Queue) string { return q.ID }, after, in.Limit)
	out := newPage[queueOut](len(part))
	for _, q := range part {
		out.Body.Items = append(out.Body.Items, showQueue(q))
	}
	out.Body.Next = next
	return out, nil
}

func (a *API) queue(ctx context.Context, id string) (schedule.Queue, error) {
	all, err := a.queues(ctx)
	for _, q := range all {
		if q.ID == id {
			return q, nil
		}
	}
	if err == nil {
		err = newProblem(http.StatusNotFound, "queue "+id+" is not known; GET /api/v1/queues lists those that are")
	}
	return schedule.Queue{}, err
}

func (a *API) getQueue(ctx context.Context, in *ComputeID) (*oneQueue, error) {
	q, err := a.queue(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &oneQueue{etag(q.Version), showQueue(q)}, nil
}

type queuePut struct {
	ComputeID
	Body QueueIn
}

func (a *API) putQueue(ctx context.Context, in *queuePut) (*oneQueue, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	if err := may(ctx, access.WriteFacilities, ""); err != nil {
		return nil, err
	}
	q, err := in.Body.queue(in.ID)
	if err != nil {
		return nil, err
	}
	q.Version = version
	var before any
	if old, err := a.queue(ctx, in.ID); err == nil {
		before = showQueue(old).QueueIn
	}
	if _, err := a.Scheduler.PutQueue(a.noted(ctx, access.WriteFacilities, "queue "+q.ID, "", before, in.Body), q); err != nil {
		return nil, err
	}
	return a.getQueue(ctx, &ComputeID{ID: q.ID})
}

func (a *API) removeQueue(ctx context.Context, in *ComputeID) (*nothing, error) {
	q, err := a.queue(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if err := may(ctx, access.WriteFacilities, ""); err != nil {
		return nil, err
	}
	if err := in.still(q.Version); err != nil {
		return nil, err
	}
	return nil, a.Scheduler.RemoveQueue(a.noted(ctx, access.WriteFacilities, "queue "+q.ID, "", showQueue(q).QueueIn, nil), q.ID)
}
