package kubernetes

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// node plays the kubelet of a cluster: it runs the commands of pods as processes
// of this machine, and says what became of them.
type node struct {
	api  *api
	runs map[string]*process // by the uid of pods
}

type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// loop does something until the test ends. What failed is tried again, as what
// acts in a cluster does.
func loop(t *testing.T, do func(context.Context) error) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := do(ctx); err != nil && ctx.Err() == nil && !gone(err) && !exists(err) {
				t.Log(err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
}

func newNode(t *testing.T, a *api) {
	n := &node{api: a, runs: map[string]*process{}}
	t.Cleanup(func() {
		for _, p := range n.runs {
			p.kill()
		}
	})
	loop(t, n.sync)
}

func (p *process) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

func (p *process) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (n *node) sync(ctx context.Context) error {
	pods, err := n.api.podsOf(ctx, "")
	if err != nil {
		return err
	}
	var errs []error
	for i := range pods {
		errs = append(errs, n.pod(ctx, &pods[i]))
	}
	return errors.Join(errs...)
}

func (n *node) pod(ctx context.Context, p *core.Pod) error {
	run := n.runs[string(p.UID)]
	ended := p.Status.Phase == core.PodSucceeded || p.Status.Phase == core.PodFailed
	switch {
	case p.DeletionTimestamp != nil:
		if run != nil && !run.over() {
			run.kill()
		}
		if !ended {
			return n.tell(ctx, p, core.PodFailed, 137)
		}
		return n.api.pods.Delete(ctx, p.Name, meta.DeleteOptions{GracePeriodSeconds: new(int64(0)), Preconditions: &meta.Preconditions{UID: &p.UID}})
	case ended:
		return nil
	case p.Spec.NodeName == "":
		// A pod of no node is deleted without waiting for anybody.
		return n.api.pods.GetClient().Post().Namespace(p.Namespace).Resource("pods").Name(p.Name).SubResource("binding").
			Body(&core.Binding{ObjectMeta: meta.ObjectMeta{Name: p.Name, Namespace: p.Namespace}, Target: core.ObjectReference{Kind: "Node", Name: "n1"}}).Do(ctx).Error()
	case p.Spec.Containers[0].Image == "gone", p.Spec.Containers[0].Image == "slow":
		return n.lack(ctx, p)
	case run == nil:
		run, err := begin(&p.Spec.Containers[0])
		if err != nil {
			return n.tell(ctx, p, core.PodFailed, 127)
		}
		n.runs[string(p.UID)] = run
		return n.tell(ctx, p, core.PodRunning, 0)
	case run.over() && run.cmd.ProcessState.Success():
		return n.tell(ctx, p, core.PodSucceeded, 0)
	case run.over():
		return n.tell(ctx, p, core.PodFailed, run.cmd.ProcessState.ExitCode())
	case p.Status.Phase != core.PodRunning:
		return n.tell(ctx, p, core.PodRunning, 0)
	}
	return nil
}

// lack has the image of a pod not be had, since long ago where it is "gone".
func (n *node) lack(ctx context.Context, p *core.Pod) error {
	if p.Status.StartTime != nil {
		return nil
	}
	since, image := time.Now(), p.Spec.Containers[0].Image
	if image == "gone" {
		since = since.Add(-GiveUpAfter - time.Minute)
	}
	p.Status.Phase, p.Status.StartTime = core.PodPending, new(meta.NewTime(since))
	p.Status.ContainerStatuses = []core.ContainerStatus{{Name: "member", Image: image, State: core.ContainerState{
		Waiting: &core.ContainerStateWaiting{Reason: "ErrImagePull", Message: "what the registry said"},
	}}}
	_, err := n.api.pods.UpdateStatus(ctx, p, meta.UpdateOptions{})
	return err
}

// begin runs what a container says, with $$ as Kubernetes reads it.
func begin(c *core.Container) (*process, error) {
	var args []string
	for _, a := range append(append([]string{}, c.Command...), c.Args...) {
		args = append(args, strings.ReplaceAll(a, "$$", "$"))
	}
	cmd := exec.Command(args[0], args[1:]...)
	for _, e := range c.Env {
		cmd.Env = append(cmd.Env, e.Name+"="+strings.ReplaceAll(e.Value, "$$", "$"))
	}
	cmd.Dir, cmd.SysProcAttr = c.WorkingDir, &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func (n *node) tell(ctx context.Context, p *core.Pod, phase core.PodPhase, code int) error {
	p.Status.Phase = phase
	state := core.ContainerState{Running: &core.ContainerStateRunning{StartedAt: meta.Now()}}
	ready := core.ConditionTrue
	if phase != core.PodRunning {
		ready = core.ConditionFalse
		state = core.ContainerState{Terminated: &core.ContainerStateTerminated{ExitCode: int32(code), Reason: "Error", Message: "what the program said", FinishedAt: meta.Now()}}
	}
	p.Status.ContainerStatuses = []core.ContainerStatus{{Name: "member", State: state, Ready: phase == core.PodRunning}}
	p.Status.Conditions = []core.PodCondition{{Type: core.PodReady, Status: ready, LastTransitionTime: meta.Now()}}
	_, err := n.api.pods.UpdateStatus(ctx, p, meta.UpdateOptions{})
	return err
}

// controller plays the controllers of jobs and of what is deleted in the
// foreground, for a cluster without them.
type controller struct{ api *api }

func newController(t *testing.T, a *api) { loop(t, controller{a}.sync) }

func (c controller) sync(ctx context.Context) error {
	jobs, err := c.api.jobsOf(ctx, "")
	if err != nil {
		return err
	}
	var errs []error
	for i := range jobs {
		errs = append(errs, c.job(ctx, &jobs[i]))
	}
	return errors.Join(errs...)
}

func (c controller) job(ctx context.Context, j *batch.Job) error {
	pods, err := c.api.podsOf(ctx, batch.JobNameLabel+"="+j.Name)
	if err != nil {
		return err
	}
	switch {
	case j.DeletionTimestamp != nil && len(pods) == 0:
		j.Finalizers = nil
		_, err := c.api.jobs.Update(ctx, j, meta.UpdateOptions{})
		return err
	case j.DeletionTimestamp != nil:
		return c.remove(ctx, pods)
	case over(j), *j.Spec.Suspend:
		return nil
	case j.Status.StartTime == nil:
		j.Status.StartTime = new(meta.Now())
	case j.Spec.ActiveDeadlineSeconds != nil && time.Since(j.Status.StartTime.Time) > time.Duration(*j.Spec.ActiveDeadlineSeconds)*time.Second:
		if len(pods) > 0 {
			return c.remove(ctx, pods)
		}
		conclude(j, batch.JobFailed, batch.JobReasonDeadlineExceeded)
	case len(pods) == 0:
		return c.create(ctx, j)
	case pods[0].Status.Phase == core.PodSucceeded:
		conclude(j, batch.JobComplete, batch.JobReasonCompletionsReached)
	case pods[0].Status.Phase == core.PodFailed:
		conclude(j, batch.JobFailed, batch.JobReasonBackoffLimitExceeded)
	case pods[0].Status.Phase == core.PodRunning && j.Status.Ready == nil:
		j.Status.Ready = new(int32(1))
	default:
		return nil
	}
	_, err = c.api.jobs.UpdateStatus(ctx, j, meta.UpdateOptions{})
	return err
}

func conclude(j *batch.Job, how batch.JobConditionType, why string) {
	j.Status.Ready = new(int32(0))
	j.Status.Conditions = []batch.JobCondition{{Type: how, Status: core.ConditionTrue, Reason: why, LastTransitionTime: meta.Now()}}
}

func (c controller) create(ctx context.Context, j *batch.Job) error {
	p := &core.Pod{ObjectMeta: *j.Spec.Template.ObjectMeta.DeepCopy(), Spec: j.Spec.Template.Spec}
	p.Name, p.Spec.NodeName = j.Name+"-x", "n1"
	p.Labels[batch.JobNameLabel] = j.Name
	_, err := c.api.pods.Create(ctx, p, meta.CreateOptions{})
	return err
}

func (c controller) remove(ctx context.Context, pods []core.Pod) error {
	var errs []error
	for _, p := range pods {
		if p.DeletionTimestamp == nil {
			errs = append(errs, c.api.pods.Delete(ctx, p.Name, meta.DeleteOptions{}))
		}
	}
	return errors.Join(errs...)
}
