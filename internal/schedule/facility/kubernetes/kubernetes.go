// Package kubernetes runs the work of a facility by Kubernetes, in one
// namespace of one cluster.
//
// Each member of a lease is a Job, created suspended. When all of a lease are
// there, and it is not to be held, the cluster itself is told under a token, by
// compare-and-swap, that they may begin, and they are let go. So a request that comes late, after the
// hub has gone or from another hub, runs nothing; and what the fence knows
// survives the hub and is the same for all hubs. Art. 13
package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/schedule/facility"
)

// Config says how a cluster is reached, and what may be used there.
type Config struct {
	Facility  string
	URL       string // https, or http to loopback
	TokenFile string // of a service account; read again as it is renewed; empty for none
	CAFile    string // PEM, of who signed the API server's certificate; empty: those of the system
	Namespace string
	// Accelerator is the resource that a whole device is; empty:
	// DefaultAccelerator.
	Accelerator string
}

// DefaultAccelerator is the resource of NVIDIA's device plugin.
const DefaultAccelerator = "nvidia.com/gpu"

// KeepJobs is how long jobs are kept after the last of their lease has ended,
// with their logs. What ended while the hub was down for longer is taken for
// lost, and runs again.
const KeepJobs = 72 * time.Hour

// Engine is one namespace of a cluster. It implements facility.Engine.
type Engine struct {
	cfg   Config
	api   *api
	fence fence
}

// Open makes an engine. It asks nobody yet.
func Open(c Config) (*Engine, error) {
	if c.Accelerator == "" {
		c.Accelerator = DefaultAccelerator
	}
	a, err := newAPI(c)
	if err != nil {
		return nil, err
	}
	return &Engine{cfg: c, api: a, fence: fence{api: a, facility: c.Facility}}, nil
}

// Close ends the connections that are idle.
func (e *Engine) Close() error {
	e.api.http.CloseIdleConnections()
	return nil
}

// atOnce is how many requests about one lease are out.
const atOnce = 16

// each does something for all of a list, and stops asking at the first error.
func each[T any](ctx context.Context, all []T, do func(context.Context, T) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, one := range all {
		group.Go(func() error { return do(ctx, one) })
	}
	return group.Wait()
}

// Start implements facility.Engine.
func (e *Engine) Start(ctx context.Context, w facility.Work) error {
	wanted, err := e.wanted(w)
	if err != nil {
		return fmt.Errorf("%w: %w", facility.ErrRefused, err)
	}
	was, err := e.fence.begin(ctx, w)
	if err != nil || w.Hold && (was == held || was == taken) {
		return err
	}
	switch was {
	case taken:
	case held:
		err = e.fence.reach(ctx, w, taken)
	default:
		err = e.create(ctx, w, wanted)
	}
	if err != nil || w.Hold {
		return err
	}
	return e.letGo(ctx, w, was)
}

// create makes the jobs of a lease, and then the promise that all are there, and
// may begin unless they are held: Stop marks the fence before it looks for jobs,
// so that it finds all of those of a promise that was given before, and none is
// given after.
func (e *Engine) create(ctx context.Context, w facility.Work, wanted []*batch.Job) error {
	err := each(ctx, wanted, func(ctx context.Context, j *batch.Job) error {
		_, err := e.api.jobs.Create(ctx, j, meta.CreateOptions{})
		if exists(err) {
			return nil // by an earlier try: the name says of which lease and member
		}
		return refusal(err)
	})
	promise := taken
	if w.Hold {
		promise = held
	}
	if err == nil {
		err = e.fence.reach(ctx, w, promise)
	}
	switch {
	case errors.Is(err, facility.ErrRefused):
		return errors.Join(err, e.fence.end(ctx, w), e.discard(ctx, w))
	case errors.Is(err, facility.ErrFenced):
		return errors.Join(err, e.discard(ctx, w))
	}
	return err
}

// discard takes away jobs that were never let go.
func (e *Engine) discard(ctx context.Context, w facility.Work) error {
	jobs, err := e.api.jobsOf(ctx, e.selector(w))
	if err != nil {
		return err
	}
	jobs = slices.DeleteFunc(jobs, func(j batch.Job) bool { return begun(&j) })
	return e.remove(ctx, jobs, meta.DeletePropagationBackground)
}

// remove deletes jobs that are as they were seen. Those that are gone are no
// error.
func (e *Engine) remove(ctx context.Context, jobs []batch.Job, how meta.DeletionPropagation) error {
	return each(ctx, jobs, func(ctx context.Context, j batch.Job) error {
		err := e.api.jobs.Delete(ctx, j.Name, meta.DeleteOptions{PropagationPolicy: &how, Preconditions: &meta.Preconditions{UID: &j.UID}})
		if gone(err) {
			return nil
		}
		return err
	})
}

// letGo lets the jobs of a lease begin that have not. Where somebody has taken
// one of them away, the others do not begin; what was taken before may have
// ended so long ago that nothing of it is kept.
func (e *Engine) letGo(ctx context.Context, w facility.Work, was stage) error {
	jobs, err := e.api.jobsOf(ctx, e.selector(w))
	if err != nil {
		return err
	}
	jobs = slices.DeleteFunc(jobs, func(j batch.Job) bool { return j.DeletionTimestamp != nil })
	there := len(jobs)
	jobs = slices.DeleteFunc(jobs, func(j batch.Job) bool { return begun(&j) })
	if there < len(w.Members) && (len(jobs) > 0 || was != taken) {
		return fmt.Errorf("lease %s: of %d jobs %d are there, others were deleted: %w", w.Lease, len(w.Members), there, facility.ErrRefused)
	}
	return each(ctx, jobs, func(ctx context.Context, j batch.Job) error {
		patch := fmt.Appendf(nil, `{"metadata":{"uid":%q,"annotations":{%q:"true"}},"spec":{"suspend":false}}`, j.UID, begunNote)
		if _, err := e.api.jobs.Patch(ctx, j.Name, types.MergePatchType, patch, meta.PatchOptions{}); err != nil {
			return fmt.Errorf("let job %s begin: %w", j.Name, refusal(err))
		}
		return nil
	})
}

// Stop implements facility.Engine.
func (e *Engine) Stop(ctx context.Context, w facility.Work) error {
	if err := e.fence.end(ctx, w); err != nil {
		return err
	}
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		left, err := e.left(ctx, w)
		if err != nil || !left {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// left deletes what of a lease has not ended, and reports whether there was
// anything. A pod that is there though its job is not, runs.
func (e *Engine) left(ctx context.Context, w facility.Work) (bool, error) {
	jobs, err := e.api.jobsOf(ctx, e.selector(w))
	if err != nil {
		return false, err
	}
	jobs = slices.DeleteFunc(jobs, func(j batch.Job) bool { return over(&j) })
	fresh := slices.DeleteFunc(slices.Clone(jobs), func(j batch.Job) bool { return j.DeletionTimestamp != nil })
	// In the foreground a job is there as long as one of its pods.
	if err := e.remove(ctx, fresh, meta.DeletePropagationForeground); err != nil {
		return false, err
	}
	pods, err := e.api.podsOf(ctx, e.selector(w))
	if err != nil {
		return false, err
	}
	pods = slices.DeleteFunc(pods, func(p core.Pod) bool { return p.Status.Phase == core.PodSucceeded || p.Status.Phase == core.PodFailed })
	return len(jobs)+len(pods) > 0, nil
}
