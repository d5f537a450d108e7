package kubernetes

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/facility"
)

// The labels of what is ours.
const (
	facilityLabel = "songhua.io/facility"
	leaseLabel    = "songhua.io/lease"
	tokenLabel    = "songhua.io/token"
	memberLabel   = "songhua.io/member" // its number within the lease, from 0
	// PoolLabel is the label of nodes that says of which pool they are, where
	// the pool does not name them.
	PoolLabel = "songhua.io/pool"
)

// The annotations of jobs, which hold what labels cannot.
const (
	workloadNote = "songhua.io/workload"
	nameNote     = "songhua.io/name"
	membersNote  = "songhua.io/members" // how many the lease has
	begunNote    = "songhua.io/begun"   // it was let go
	failureNote  = "songhua.io/failure" // why it was ended: it could not begin
)

// selector finds what is of a lease.
func (e *Engine) selector(w facility.Work) string {
	return fmt.Sprintf("%s=%s,%s=%d", facilityLabel, e.cfg.Facility, tokenLabel, w.Token)
}

// prefix is where the names of our jobs begin: those of two facilities in one
// namespace differ.
func (e *Engine) prefix() string {
	sum := sha256.Sum256([]byte(e.cfg.Facility))
	return "songhua-" + hex.EncodeToString(sum[:4]) + "-"
}

// wanted are the jobs of a lease. The same work has the same names, so that
// none is created twice.
func (e *Engine) wanted(w facility.Work) ([]*batch.Job, error) {
	p, err := parse(w.Payload)
	if err != nil {
		return nil, err
	}
	all := make([]*batch.Job, len(w.Members))
	for n, m := range w.Members {
		pod, err := e.pod(w, m, p)
		if err != nil {
			return nil, err
		}
		labels := map[string]string{
			facilityLabel: e.cfg.Facility, leaseLabel: w.Lease, tokenLabel: strconv.FormatUint(w.Token, 10), memberLabel: strconv.Itoa(n),
		}
		all[n] = &batch.Job{
			ObjectMeta: meta.ObjectMeta{
				Name: fmt.Sprintf("%s%d-%d", e.prefix(), w.Token, n), Labels: labels,
				Annotations: map[string]string{workloadNote: w.Workload, nameNote: w.Name, membersNote: strconv.Itoa(len(w.Members))},
			},
			Spec: batch.JobSpec{
				Suspend: new(true), Parallelism: new(int32(1)), Completions: new(int32(1)), BackoffLimit: new(int32(0)),
				// One that is evicted ends before anybody thinks of another.
				PodReplacementPolicy: new(batch.Failed),
				Template:             core.PodTemplateSpec{ObjectMeta: meta.ObjectMeta{Labels: labels}, Spec: pod},
			},
		}
		if m.Limit > 0 {
			all[n].Spec.ActiveDeadlineSeconds = new(int64((m.Limit + time.Second - 1) / time.Second))
		}
	}
	return all, nil
}

// pod is what runs for a member, and may do nothing but compute.
func (e *Engine) pod(w facility.Work, m facility.Member, p Payload) (core.PodSpec, error) {
	c, err := p.of(m.Task)
	if err != nil {
		return core.PodSpec{}, err
	}
	need, err := e.resources(m)
	if err != nil {
		return core.PodSpec{}, err
	}
	spec := core.PodSpec{
		RestartPolicy:                core.RestartPolicyNever,
		AutomountServiceAccountToken: new(false),
		EnableServiceLinks:           new(false),
		SecurityContext:              &core.PodSecurityContext{SeccompProfile: &core.SeccompProfile{Type: core.SeccompProfileTypeRuntimeDefault}},
		Containers: []core.Container{{
			Name: "member", Image: c.Image, Command: literals(c.Command), Args: literals(c.Args), WorkingDir: c.Directory, Env: environment(w, m, c),
			Resources: core.ResourceRequirements{Requests: need, Limits: need},
			SecurityContext: &core.SecurityContext{
				AllowPrivilegeEscalation: new(false), Capabilities: &core.Capabilities{Drop: []core.Capability{"ALL"}},
			},
		}},
	}
	if c.User != nil {
		spec.SecurityContext.RunAsUser, spec.SecurityContext.RunAsNonRoot = c.User, new(true)
	}
	if len(m.Devices) > 0 {
		spec.Tolerations = []core.Toleration{{Key: e.cfg.Accelerator, Operator: core.TolerationOpExists, Effect: core.TaintEffectNoSchedule}}
	}
	if m.Node == "" {
		spec.NodeSelector = map[string]string{PoolLabel: m.Pool}
		return spec, nil
	}
	// By name, and through the cluster's scheduler, which knows of other work.
	only := core.NodeSelectorTerm{MatchFields: []core.NodeSelectorRequirement{{Key: meta.ObjectNameField, Operator: core.NodeSelectorOpIn, Values: []string{m.Node}}}}
	spec.Affinity = &core.Affinity{NodeAffinity: &core.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{only}},
	}}
	return spec, nil
}

// resources are what a member is given, and no more.
func (e *Engine) resources(m facility.Member) (core.ResourceList, error) {
	for d, name := range map[int]string{schedule.CPUMilli: "cpu_milli", schedule.MemoryMiB: "memory_mib"} {
		if m.Use[d] < 1 {
			return nil, fmt.Errorf("%s of task %s is 0, and Kubernetes would not limit it: say how much a member needs", name, m.Task)
		}
	}
	if whole := int64(len(m.Devices)) * schedule.DeviceMilli; m.Use[schedule.AcceleratorMilli] != whole {
		return nil, fmt.Errorf("accelerators of task %s: %d thousandths of %d devices, and a cluster gives whole ones: declare pool %s not shareable, or ask for 1000",
			m.Task, m.Use[schedule.AcceleratorMilli], len(m.Devices), m.Pool)
	}
	need := core.ResourceList{
		core.ResourceCPU:    *resource.NewMilliQuantity(m.Use[schedule.CPUMilli], resource.DecimalSI),
		core.ResourceMemory: *resource.NewQuantity(m.Use[schedule.MemoryMiB]<<20, resource.BinarySI),
	}
	if disk := m.Use[schedule.DiskGiB]; disk > 0 {
		need[core.ResourceEphemeralStorage] = *resource.NewQuantity(disk<<30, resource.BinarySI)
	}
	if n := len(m.Devices); n > 0 {
		need[core.ResourceName(e.cfg.Accelerator)] = *resource.NewQuantity(int64(n), resource.DecimalSI)
	}
	return need, nil
}

// literal is a text that Kubernetes leaves as it is: it would expand $(NAME), and
// $$ to $, which a shell reads otherwise.
func literal(s string) string { return strings.ReplaceAll(s, "$", "$$") }

func literals(all []string) (out []string) {
	for _, s := range all {
		out = append(out, literal(s))
	}
	return out
}

// environment is that of a member, in the order of names.
func environment(w facility.Work, m facility.Member, c Container) (all []core.EnvVar) {
	env := map[string]string{}
	for name, value := range c.Env {
		env[name] = literal(value)
	}
	env["SONGHUA_WORKLOAD"], env["SONGHUA_TASK"], env["SONGHUA_INDEX"] = w.Workload, m.Task, strconv.Itoa(m.Index)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		all = append(all, core.EnvVar{Name: name, Value: env[name]})
	}
	return all
}

// begun reports whether a job was let go. One that somebody else suspends later
// was.
func begun(j *batch.Job) bool {
	return j.Spec.Suspend == nil || !*j.Spec.Suspend || j.Annotations[begunNote] != ""
}

// ending is the condition by which a job is over; nil while it is not.
func ending(j *batch.Job) *batch.JobCondition {
	for i, c := range j.Status.Conditions {
		if (c.Type == batch.JobComplete || c.Type == batch.JobFailed) && c.Status == core.ConditionTrue {
			return &j.Status.Conditions[i]
		}
	}
	return nil
}

func over(j *batch.Job) bool { return ending(j) != nil }
