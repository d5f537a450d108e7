// Package slurm runs the work of a facility by Slurm, through slurmrestd.
//
// Each member of a lease is a job, whose name says of which facility, lease and
// token it is. Jobs are submitted held, and let go when all of a lease are
// there: so a submission that comes late, after the hub has gone, runs nothing.
// Slurm chooses the node: its pools are declared by classes.
//
// Slurm forgets jobs MinJobAge after their end. What ended while the hub was
// down for longer is taken for lost, and runs again; raise MinJobAge above the
// longest outage. A slurmctld that is killed forgets jobs that it had not saved,
// of its last seconds, though they run: they are taken for lost, too. Art. 13
package slurm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/facility"
	"github.com/songhua-io/hub/internal/schedule/facility/fence"
)

// Config says how Slurm is reached.
type Config struct {
	Facility  string
	URL       string        // http, https, or unix:///path of a socket
	User      string        // empty: the one of the socket
	TokenFile string        // of the user's token (JWT); empty for none
	Directory string        // where jobs run, absolute
	Poll      time.Duration // how often jobs are looked at; zero: DefaultPoll
	State     string        // file of what was asked, for restarts
}

// DefaultPoll is how often jobs are looked at.
const DefaultPoll = 5 * time.Second

// Payload is what a workload says to Slurm.
type Payload struct {
	// Script is a batch script; it runs once for each member.
	Script string `json:"script"`
	// Env is added to the environment, which has PATH and SONGHUA_WORKLOAD,
	// SONGHUA_TASK and SONGHUA_INDEX.
	Env map[string]string `json:"env"`
	// Partition is empty for Slurm's own choice.
	Partition string `json:"partition"`
}

// Engine is Slurm at one facility. It implements facility.Engine.
type Engine struct {
	cfg   Config
	rest  *rest
	fence *fence.Fence
	locks [64]sync.Mutex // of what is asked about a token; see lock
}

// Open makes an engine. It asks nobody yet.
func Open(c Config) (*Engine, error) {
	if c.Poll == 0 {
		c.Poll = DefaultPoll
	}
	r, err := newRest(c)
	if err != nil {
		return nil, err
	}
	f, err := fence.Open(c.State)
	if err != nil {
		return nil, err
	}
	return &Engine{cfg: c, rest: r, fence: f}, nil
}

// Close ends it.
func (e *Engine) Close() error { return e.fence.Close() }

// lock lets one at a time ask about a token.
func (e *Engine) lock(token uint64) func() {
	m := &e.locks[token%uint64(len(e.locks))]
	m.Lock()
	return m.Unlock
}

// tag is what the name of a job says.
type tag struct {
	lease string
	token uint64
	n, of int // this member, and how many there are
}

// first is the first part of the names of our jobs.
const first = "songhua"

func (e *Engine) name(t tag) string {
	return strings.Join([]string{first, e.cfg.Facility, t.lease, strconv.FormatUint(t.token, 10), strconv.Itoa(t.n), strconv.Itoa(t.of)}, ":")
}

// tag reads the name of a job; false for those of others.
func (e *Engine) tag(name string) (t tag, ok bool) {
	p := strings.Split(name, ":")
	if len(p) != 6 || p[0] != first || p[1] != e.cfg.Facility {
		return t, false
	}
	var errs [3]error
	t.lease = p[2]
	t.token, errs[0] = strconv.ParseUint(p[3], 10, 64)
	t.n, errs[1] = strconv.Atoi(p[4])
	t.of, errs[2] = strconv.Atoi(p[5])
	return t, errors.Join(errs[:]...) == nil && t.n >= 0 && t.n < t.of
}

// found are the jobs of one lease.
type found struct {
	tag
	workload string
	jobs     map[int][]job // by member
}

// leases are the jobs of the facility, by token.
func (e *Engine) leases(ctx context.Context) (map[uint64]*found, error) {
	all, err := e.rest.jobs(ctx)
	if err != nil {
		return nil, err
	}
	by := map[uint64]*found{}
	for _, j := range all {
		t, ok := e.tag(j.Name)
		if !ok {
			continue
		}
		f := by[t.token]
		if f == nil {
			f = &found{tag: t, workload: j.Comment, jobs: map[int][]job{}}
			by[t.token] = f
		}
		f.jobs[t.n] = append(f.jobs[t.n], j)
	}
	return by, nil
}

// Start implements facility.Engine.
func (e *Engine) Start(ctx context.Context, w facility.Work) error {
	wanted, err := e.wanted(w)
	if err != nil {
		return err
	}
	defer e.lock(w.Token)()
	stage, err := e.fence.Begin(w)
	if err != nil || stage == fence.Taken || stage == fence.Held && w.Hold {
		return err
	}
	have := map[int][]job{}
	if stage != fence.Fresh {
		by, err := e.leases(ctx)
		if err != nil {
			return err
		}
		if f := by[w.Token]; f != nil {
			have = f.jobs
		}
	}
	if stage != fence.Held {
		if have, err = e.take(ctx, wanted, have); err != nil {
			return err
		}
		if err := e.fence.Reach(w, fence.Held); err != nil || w.Hold {
			return err
		}
	}
	if err := e.letGo(ctx, len(wanted), have); err != nil {
		return err
	}
	return e.fence.Reach(w, fence.Taken)
}

// take submits what is not there, held, and returns the one job of each member.
func (e *Engine) take(ctx context.Context, wanted []submission, have map[int][]job) (map[int][]job, error) {
	all := map[int][]job{}
	var ids []int64
	for n, s := range wanted {
		same := slices.SortedFunc(slices.Values(have[n]), func(a, b job) int { return cmp.Compare(a.ID, b.ID) })
		for i, j := range same {
			if i == 0 {
				all[n] = same[:1]
			} else if err := e.rest.alter(ctx, http.MethodDelete, j.ID); err != nil {
				return nil, err // a submission whose answer was lost
			}
		}
		if all[n] == nil {
			id, err := e.rest.submit(ctx, s)
			if errors.Is(err, facility.ErrRefused) {
				err = errors.Join(err, e.end(ctx, ids))
			}
			if err != nil {
				return nil, err // what is there is held, and is found when it is asked again
			}
			all[n] = []job{{ID: id, State: pending}}
		}
		ids = append(ids, all[n][0].ID)
	}
	return all, nil
}

// letGo lets the jobs of all members begin that are held still. What Slurm has
// lost is not submitted anew: it may have run. Where somebody has cancelled one,
// the others do not begin.
func (e *Engine) letGo(ctx context.Context, members int, have map[int][]job) error {
	var ids, waiting []int64
	for n := range members {
		if len(have[n]) == 0 {
			return fmt.Errorf("slurm: the job of member %d is gone: %w", n, facility.ErrRefused)
		}
		j := earliest(have[n])
		if j.State == cancelled {
			return fmt.Errorf("slurm: job %d of member %d was cancelled: %w", j.ID, n, facility.ErrRefused)
		}
		ids = append(ids, j.ID)
		if j.held() {
			waiting = append(waiting, j.ID)
		}
	}
	for _, id := range waiting {
		err := e.rest.alter(ctx, http.MethodPost, id)
		if errors.Is(err, facility.ErrRefused) {
			return errors.Join(err, e.end(ctx, ids))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) end(ctx context.Context, ids []int64) error {
	var errs []error
	for _, id := range ids {
		errs = append(errs, e.rest.alter(ctx, http.MethodDelete, id))
	}
	return errors.Join(errs...)
}

// maxScript bounds a script, as Slurm does.
const maxScript = 4 << 20

// wanted are the jobs of a lease.
func (e *Engine) wanted(w facility.Work) ([]submission, error) {
	p, err := parse(w.Payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", facility.ErrRefused, err)
	}
	all := make([]submission, len(w.Members))
	for n, m := range w.Members {
		env := map[string]string{"PATH": "/usr/local/bin:/usr/bin:/bin"}
		maps.Copy(env, p.Env)
		env["SONGHUA_WORKLOAD"], env["SONGHUA_TASK"], env["SONGHUA_INDEX"] = w.Workload, m.Task, strconv.Itoa(m.Index)
		r := request{
			Name: e.name(tag{w.Lease, w.Token, n, len(w.Members)}), Comment: w.Workload, Partition: p.Partition,
			Directory: e.cfg.Directory, Output: facility.Output(e.cfg.Directory, w.Lease, strconv.Itoa(n)), Environment: env, Hold: true, Tasks: 1,
			CPUs: up(m.Use[schedule.CPUMilli], 1000), MemoryMiB: m.Use[schedule.MemoryMiB],
		}
		if n := len(m.Devices); n > 0 {
			r.GPUs = "gpu:" + strconv.Itoa(n)
		}
		if m.Limit > 0 {
			r.Minutes = up(int64(m.Limit), int64(time.Minute))
		}
		all[n] = submission{Script: p.Script, Job: r}
	}
	return all, nil
}

// up is n in units of unit, one at least.
func up(n, unit int64) int64 { return max((n+unit-1)/unit, 1) }

// parse reads a payload: its keys are those of Payload and no others.
func parse(doc json.RawMessage) (p Payload, err error) {
	d := json.NewDecoder(strings.NewReader(string(doc)))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return p, fmt.Errorf(`payload for slurm: %w; it is {"script": "#!/bin/sh\n…", "env": {…}, "partition": "…"}`, err)
	}
	switch {
	case d.More():
		return p, errors.New("payload for slurm: something follows its end")
	case !strings.HasPrefix(p.Script, "#!"):
		return p, errors.New(`payload for slurm: "script" does not begin with #! and an interpreter, such as #!/bin/sh`)
	case len(p.Script) > maxScript:
		return p, fmt.Errorf(`payload for slurm: "script" has %d bytes, more than %d`, len(p.Script), maxScript)
	}
	return p, nil
}

// look is how often Stop looks whether jobs have ended.
const look = 200 * time.Millisecond

// Stop implements facility.Engine.
func (e *Engine) Stop(ctx context.Context, w facility.Work) error {
	defer e.lock(w.Token)()
	if err := e.fence.End(w); err != nil {
		return err
	}
	for asked := false; ; asked = true {
		by, err := e.leases(ctx)
		if err != nil {
			return err
		}
		f := by[w.Token]
		if f == nil {
			return nil
		}
		var live []int64
		for _, jobs := range f.jobs {
			for _, j := range jobs {
				if !j.over() {
					live = append(live, j.ID)
				}
			}
		}
		if len(live) == 0 {
			return nil
		}
		if !asked {
			if err := e.end(ctx, live); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(look):
		}
	}
}

// Watch implements facility.Engine.
func (e *Engine) Watch(ctx context.Context, report func(facility.Report)) error {
	told := map[uint64]facility.Report{}
	ended := map[uint64]map[int]job{} // members that Slurm may forget before the last has ended
	tick := time.NewTicker(e.cfg.Poll)
	defer tick.Stop()
	for beginning := true; ; beginning = false {
		by, err := e.leases(ctx)
		if err != nil {
			return err
		}
		for token, was := range told {
			if by[token] == nil && !was.State.Over() {
				return fmt.Errorf("slurm: the jobs of lease %s are gone", was.Lease)
			}
			if by[token] == nil {
				delete(told, token)
				delete(ended, token)
			}
		}
		for token, f := range by {
			if ended[token] == nil {
				ended[token] = map[int]job{}
			}
			r, there := f.report(ended[token])
			if !there && e.fence.Open(f.workload, token) {
				continue // Start is at it, or was broken off and will be asked again
			}
			if told[token].State != r.State {
				told[token] = r
				report(r)
			}
		}
		if beginning {
			report(facility.Report{Complete: true})
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

const pending, cancelled = "PENDING", "CANCELLED"

// earliest is the job of a member: later ones are submissions whose answers were
// lost.
func earliest(jobs []job) job {
	return slices.MinFunc(jobs, func(a, b job) int { return cmp.Compare(a.ID, b.ID) })
}

// held reports whether a job waits to be let go.
func (j *job) held() bool { return j.State == pending && j.Priority == 0 }

// over reports whether nothing of a job runs any more.
func (j *job) over() bool {
	switch j.State {
	case pending, "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "RESIZING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED":
		return false
	}
	return true
}

// code is the exit code, as a shell says it.
func (j *job) code() int {
	switch code, signal := j.Status>>8, j.Status&0x7f; {
	case code != 0:
		return code
	case signal != 0:
		return 128 + signal
	case j.State == "COMPLETED":
		return 0
	}
	return 1
}

// report says how far a lease is, and whether all of its jobs are there and let
// go. Ended are its members that were seen to end; those that end now are added.
func (f *found) report(ended map[int]job) (r facility.Report, there bool) {
	r = facility.Report{Lease: f.lease, Token: f.token, State: facility.Waiting, At: time.Now().UTC()}
	there = true
	running, over, stopped := false, true, false
	for n := range f.of {
		jobs := f.jobs[n]
		j, was := ended[n]
		if len(jobs) > 0 {
			j = earliest(jobs)
		}
		switch {
		case len(jobs) == 0 && !was:
			there = false
			r.ExitCode, r.Message = max(r.ExitCode, 1), "Slurm has forgotten how a job ended, or never had it; raise MinJobAge"
			continue
		case !j.over():
			over = false
			running = running || j.State != pending
			there = there && !j.held()
			continue
		}
		ended[n] = j
		running = true
		stopped = stopped || j.State == cancelled
		r.TimedOut = r.TimedOut || j.State == "TIMEOUT"
		if c := j.code(); c > r.ExitCode {
			r.ExitCode, r.Message = c, fmt.Sprintf("job %d: %s, %s", j.ID, j.State, j.Reason)
		}
	}
	switch {
	case !over && running:
		r.State = facility.Running
	case !over:
	case stopped:
		r.State = facility.Stopped
	case r.ExitCode != 0:
		r.State = facility.Failed
	default:
		r.State = facility.Succeeded
	}
	return r, there
}
