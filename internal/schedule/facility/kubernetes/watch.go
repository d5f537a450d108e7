package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"time"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/songhua-io/hub/internal/schedule/facility"
)

const (
	// watchFor is how long one request for changes lives: a server that is gone
	// without a word is noticed after it.
	watchFor = time.Minute
	// rewatch is the least time from one of them to the next.
	rewatch = 200 * time.Millisecond
	// sweepEvery is how often it is looked for what is too old.
	sweepEvery = time.Hour
	// lookEvery is the least time from one look for what cannot begin to the next.
	lookEvery = watchFor / 2
)

// errExpired says that changes since a version are not to be had any more.
var errExpired = errors.New("the version is too old")

// Watch implements facility.Engine. It is no informer of client-go: those try
// again for ever when they cannot see the server, and do not say so.
func (e *Engine) Watch(ctx context.Context, report func(facility.Report)) error {
	v := newView(report)
	var swept, looked time.Time
	for beginning := true; ; beginning = false {
		version, err := e.list(ctx, v)
		if err != nil {
			return err
		}
		if beginning {
			report(facility.Report{Complete: true})
		}
		for !errors.Is(err, errExpired) {
			if time.Since(swept) > sweepEvery {
				if err := e.sweep(ctx, v, time.Now()); err != nil {
					return fmt.Errorf("take away what is too old: %w", err)
				}
				swept = time.Now()
			}
			if time.Since(looked) > lookEvery {
				if err := e.giveUp(ctx, v, time.Now()); err != nil {
					return fmt.Errorf("end what cannot begin: %w", err)
				}
				looked = time.Now()
			}
			began := time.Now()
			version, err = e.follow(ctx, v, version)
			if err != nil && !errors.Is(err, errExpired) {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Until(began.Add(rewatch))):
			}
		}
	}
}

// list brings the view in step with all that there is.
func (e *Engine) list(ctx context.Context, v *view) (version string, err error) {
	var jobs []batch.Job
	version, err = pages(ctx, e.all(), e.api.jobs.List, func(l *batch.JobList) { jobs = append(jobs, l.Items...) })
	if err != nil {
		return "", err
	}
	ends, err := e.ends(ctx, e.all())
	if err != nil {
		return "", err
	}
	v.replace(jobs, ends)
	return version, nil
}

// all selects what is of the facility.
func (e *Engine) all() string { return facilityLabel + "=" + e.cfg.Facility }

// follow takes changes from a version on, until the server ends them, and
// returns the version that it has come to.
func (e *Engine) follow(ctx context.Context, v *view, version string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, watchFor+watchFor/2)
	defer cancel()
	w, err := e.api.jobs.Watch(ctx, meta.ListOptions{
		LabelSelector: e.all(), ResourceVersion: version, AllowWatchBookmarks: true, TimeoutSeconds: new(int64(watchFor.Seconds())),
	})
	if err != nil {
		return version, expired(err)
	}
	defer w.Stop()
	for c := range w.ResultChan() {
		if c.Type == watch.Error {
			return version, expired(apierrors.FromObject(c.Object))
		}
		j, ok := c.Object.(*batch.Job)
		if !ok {
			return version, fmt.Errorf("kubernetes: a change of a %T, which is no job", c.Object)
		}
		version = j.ResourceVersion
		switch c.Type {
		case watch.Added, watch.Modified:
			if err := e.changed(ctx, v, j); err != nil {
				return version, err
			}
		case watch.Deleted:
			v.deleted(j)
		}
	}
	return version, nil
}

// changed takes one job, and looks up how it ended.
func (e *Engine) changed(ctx context.Context, v *view, j *batch.Job) error {
	var ends map[string]end
	if c := ending(j); c != nil && c.Type == batch.JobFailed && !v.ended(j) {
		var err error
		if ends, err = e.ends(ctx, e.all()+","+batch.JobNameLabel+"="+j.Name); err != nil {
			return err
		}
	}
	v.set(j, ends)
	v.tell(j)
	return nil
}

func expired(err error) error {
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return errExpired
	}
	return err
}

// end is how a pod failed.
type end struct {
	code   int
	reason string
}

// ends are the ends of the pods that failed, by job.
func (e *Engine) ends(ctx context.Context, selector string) (map[string]end, error) {
	all := map[string]end{}
	_, err := pages(ctx, selector, e.api.podsIn(core.PodFailed), func(l *core.PodList) {
		for i := range l.Items {
			all[l.Items[i].Labels[batch.JobNameLabel]] = endOf(&l.Items[i])
		}
	})
	return all, err
}

// endOf is how a pod failed. What its program wrote about it may be secret.
func endOf(p *core.Pod) end {
	found := end{reason: p.Status.Reason}
	for _, s := range p.Status.ContainerStatuses {
		if t := s.State.Terminated; t != nil && int(t.ExitCode) > found.code {
			found = end{code: int(t.ExitCode), reason: t.Reason}
		}
	}
	return found
}

// sweep takes away the jobs of leases that ended long ago, those of a Start that
// was broken off long ago, and old marks.
func (e *Engine) sweep(ctx context.Context, v *view, now time.Time) error {
	var old []batch.Job
	for _, l := range v.leases {
		if !l.old(now) {
			continue
		}
		for _, m := range l.members {
			if !m.gone {
				old = append(old, batch.Job{ObjectMeta: meta.ObjectMeta{Name: m.job, UID: m.uid}})
			}
		}
	}
	return errors.Join(e.remove(ctx, old, meta.DeletePropagationBackground), e.fence.sweep(ctx, now))
}
