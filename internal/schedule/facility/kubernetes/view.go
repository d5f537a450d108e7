package kubernetes

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	batch "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/songhua-io/hub/internal/schedule/facility"
)

// view is what Watch knows of the leases of a facility. It belongs to one
// goroutine.
type view struct {
	report func(facility.Report)
	leases map[uint64]*lease
}

// lease is what is known of one lease.
type lease struct {
	id      string
	token   uint64
	of      int // how many members it has
	members map[int]member
	told    facility.Progress
}

// member is the job of one member.
type member struct {
	job     string
	uid     types.UID
	state   facility.Progress // empty: it was not let go
	gone    bool              // the job is not there any more
	late    bool              // it ran longer than its limit
	stuck   bool              // it could not be begun
	code    int
	message string
	since   time.Time // it ended; before: it was created
}

func newView(report func(facility.Report)) *view {
	return &view{report: report, leases: map[uint64]*lease{}}
}

// read finds the lease and the number of a job; false for jobs that only look
// like ours.
func (v *view) read(j *batch.Job) (l *lease, n int, ok bool) {
	token, err := strconv.ParseUint(j.Labels[tokenLabel], 10, 64)
	if err != nil {
		return nil, 0, false
	}
	n, err = strconv.Atoi(j.Labels[memberLabel])
	of, err2 := strconv.Atoi(j.Annotations[membersNote])
	if err != nil || err2 != nil || n < 0 || n >= of {
		return nil, 0, false
	}
	l = v.leases[token]
	if l == nil {
		l = &lease{id: j.Labels[leaseLabel], token: token, of: of, members: map[int]member{}}
		v.leases[token] = l
	}
	return l, n, true
}

// ended reports whether the end of a job is known.
func (v *view) ended(j *batch.Job) bool {
	l, n, ok := v.read(j)
	return ok && l.members[n].uid == j.UID && l.members[n].state.Over()
}

// set takes a job as it is. What has ended does not run again.
func (v *view) set(j *batch.Job, ends map[string]end) {
	l, n, ok := v.read(j)
	if !ok {
		return
	}
	was := l.members[n]
	if was.uid == j.UID && was.state.Over() {
		return
	}
	l.members[n] = memberOf(j, was, ends)
}

// memberOf is a job as a member.
func memberOf(j *batch.Job, was member, ends map[string]end) member {
	m := member{job: j.Name, uid: j.UID, since: j.CreationTimestamp.Time}
	c := ending(j)
	switch {
	case c != nil && c.Type == batch.JobComplete:
		m.state, m.since = facility.Succeeded, c.LastTransitionTime.Time
	case c != nil:
		how := ends[j.Name] // none where the pod is gone, as after a deadline
		m.state, m.since = facility.Failed, c.LastTransitionTime.Time
		m.code = max(how.code, 1)
		why := j.Annotations[failureNote]
		m.stuck = why != ""
		m.late = c.Reason == batch.JobReasonDeadlineExceeded && !m.stuck
		m.message = "job " + j.Name + ": " + cmp.Or(why, strings.TrimSpace(c.Reason+" "+how.reason))
	case j.Status.Ready != nil && *j.Status.Ready > 0, was.uid == j.UID && was.state == facility.Running:
		m.state = facility.Running
	case begun(j):
		m.state = facility.Waiting
	}
	return m
}

// deleted takes that a job is gone, and with it its pod. Who takes one away
// before its end stops it.
func (v *view) deleted(j *batch.Job) {
	l, n, ok := v.read(j)
	if !ok || l.members[n].uid != "" && l.members[n].uid != j.UID {
		return
	}
	l.lose(n)
	v.tell(j)
}

func (l *lease) lose(n int) {
	m := l.members[n]
	m.gone = true
	switch {
	case m.state == "" && l.told == "":
		delete(l.members, n)
		return
	case !m.state.Over():
		m.state, m.code, m.message, m.since = facility.Stopped, max(m.code, 1), "job "+m.job+" was deleted", time.Now()
	}
	l.members[n] = m
}

// tell reports a lease whose state has changed, and forgets one of which nothing
// is left.
func (v *view) tell(j *batch.Job) {
	if l, _, ok := v.read(j); ok {
		v.tellLease(l)
	}
}

func (v *view) tellLease(l *lease) {
	if r, ok := l.progress(); ok && r.State != l.told {
		l.told = r.State
		v.report(r)
	}
	for _, m := range l.members {
		if !m.gone {
			return
		}
	}
	delete(v.leases, l.token)
}

// waits reports whether a job was let go that does not run yet.
func (v *view) waits() bool {
	for _, l := range v.leases {
		for _, m := range l.members {
			if m.state == facility.Waiting {
				return true
			}
		}
	}
	return false
}

// replace takes all jobs that there are.
func (v *view) replace(jobs []batch.Job, ends map[string]end) {
	there := map[types.UID]bool{}
	for i := range jobs {
		there[jobs[i].UID] = true
	}
	for _, l := range v.leases {
		for n, m := range l.members {
			if !there[m.uid] && !m.gone {
				l.lose(n)
			}
		}
	}
	for i := range jobs {
		v.set(&jobs[i], ends)
	}
	for _, l := range v.leases {
		v.tellLease(l)
	}
}

// progress says how far a lease is; false while not all of it is there: Start is
// at it, or was broken off and will be asked again. It waits until all of it was
// let go.
func (l *lease) progress() (r facility.Report, ok bool) {
	r = facility.Report{Lease: l.id, Token: l.token, State: facility.Waiting, At: time.Now().UTC()}
	missing, held, running, over, stopped := 0, false, false, true, false
	for n := range l.of {
		m, known := l.members[n]
		switch {
		case !known:
			missing++
			if r.ExitCode == 0 {
				r.ExitCode, r.Message = 1, "a job was deleted before its end was seen"
			}
			continue
		case m.state == "":
			held = true
			continue
		case !m.state.Over():
			over = false
			running = running || m.state == facility.Running
			continue
		}
		running = true
		stopped = stopped || m.state == facility.Stopped
		r.TimedOut, r.NotBegun = r.TimedOut || m.late, r.NotBegun || m.stuck
		if m.code > r.ExitCode || r.Message == "" {
			r.ExitCode, r.Message = cmp.Or(m.code, r.ExitCode), cmp.Or(m.message, r.Message)
		}
	}
	switch {
	case held && missing > 0, missing == l.of:
		return r, false
	case held:
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
	return r, true
}

// old reports whether nothing of a lease is worth keeping. What was never let go
// is, when all of the lease is there.
func (l *lease) old(now time.Time) bool {
	for _, m := range l.members {
		if !m.state.Over() && (m.state != "" || l.told != "") || now.Sub(m.since) < KeepJobs {
			return false
		}
	}
	return true
}
