package kubernetes

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"go.yaml.in/yaml/v3"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/facility"
	"github.com/songhua-io/hub/internal/schedule/scheduletest"
)

func work(token uint64, p json.RawMessage, members ...facility.Member) facility.Work {
	return facility.Work{Workload: fmt.Sprintf("w-%d", token), Lease: fmt.Sprintf("l-%d", token), Token: token, Payload: p, Members: members}
}

func shell(t *testing.T, script string) json.RawMessage {
	t.Helper()
	return payload(t, Payload{Container: Container{Image: "sh", Command: []string{"/bin/sh", "-c", script}}})
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s has not come", what)
		}
	}
}

// jobs are those of a lease.
func (e *Engine) leaseJobs(t *testing.T, w facility.Work) []batch.Job {
	t.Helper()
	all, err := e.api.jobsOf(t.Context(), e.selector(w))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// watched follows an engine, and returns what it has said.
func watched(t *testing.T, e *Engine) func() []facility.Report {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var mu sync.Mutex
	var all []facility.Report
	ended := make(chan error, 1)
	go func() {
		ended <- e.Watch(ctx, func(r facility.Report) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, r)
		})
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	said := func() []facility.Report {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
	until(t, "the beginning of Watch", func() bool { return slices.ContainsFunc(said(), func(r facility.Report) bool { return r.Complete }) })
	return said
}

// last is the newest report of a lease.
func last(all []facility.Report, token uint64) facility.Report {
	for _, r := range slices.Backward(all) {
		if r.Token == token && !r.Complete {
			return r
		}
	}
	return facility.Report{}
}

func reaches(t *testing.T, said func() []facility.Report, token uint64, want facility.Progress) facility.Report {
	t.Helper()
	until(t, fmt.Sprintf("%s of token %d", want, token), func() bool { return last(said(), token).State == want })
	return last(said(), token)
}

func refuses(t *testing.T, c Config) {
	e := engine(t, c)
	m := scheduletest.Anywhere("here", "main")
	m.Task = "main"
	free, shared := m, m
	free.Use[schedule.MemoryMiB] = 0
	shared.Devices, shared.Use[schedule.AcceleratorMilli] = []uint8{0}, 460
	for n, one := range []struct {
		payload, want string
		member        facility.Member
	}{
		{`{"image":"a","hostNetwork":true}`, "hostNetwork", m},
		{`{"image":"a","volumes":[{"hostPath":{"path":"/"}}]}`, "volumes", m},
		{`{"image":"a","securityContext":{"privileged":true}}`, "securityContext", m},
		{`{"image":"a","namespace":"kube-system"}`, "namespace", m},
		{`{"tasks":{"main":{"image":"a","serviceAccountName":"admin"}}}`, "serviceAccountName", m},
		{`{"image":"a","user":0}`, "user: 0", m},
		{`{"image":"a b"}`, `image: "a b"`, m},
		{`{"tasks":{"other":{"image":"a"}}}`, "image: is missing, and so is tasks.main.image", m},
		{`{"tasks":{"main":{"image":"a","working_dir":"w"}}}`, `tasks.main.working_dir: "w"`, m},
		{`{"image":"a","env":{"A=B":""}}`, `env: "A=B"`, m},
		{`{"image":"a"} {}`, "follows its end", m},
		{`{"image":"a"}`, "memory_mib of task main is 0", free},
		{`{"image":"a"}`, "460 thousandths of 1 devices", shared},
		{`{"image":"a","env":{"é":""}}`, "nvalid", m}, // by the API server
	} {
		w := work(uint64(n+1), json.RawMessage(one.payload), m, one.member)
		if err := e.Start(t.Context(), w); !errors.Is(err, facility.ErrRefused) || !strings.Contains(err.Error(), one.want) {
			t.Errorf("%s: %v, want it refused for %s", one.payload, err, one.want)
		}
		until(t, "the end of what was refused", func() bool { return len(e.leaseJobs(t, w)) == 0 })
	}
}

// latePromise has one hub create jobs, to be held or not, and fall silent, another
// stop the lease, and the first go on.
func latePromise(t *testing.T, c Config, token uint64, hold bool) {
	dir := t.TempDir()
	slow, other := engine(t, c), engine(t, c)
	w := work(token, shell(t, "echo run >> "+dir+"/runs"), scheduletest.Anywhere("here", "main"), scheduletest.Anywhere("here", "main"))
	w.Hold = hold
	all, err := slow.wanted(w)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := slow.fence.begin(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if _, err := slow.api.jobs.Create(t.Context(), all[0], meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := other.Stop(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if left := slow.leaseJobs(t, w); len(left) != 0 {
		t.Errorf("%d jobs are there after Stop", len(left))
	}
	if err := slow.create(t.Context(), w, all); !errors.Is(err, facility.ErrFenced) {
		t.Errorf("%v, want it fenced", err)
	}
	// Of this one the other hub knows the lease only.
	stray := work(token+1, w.Payload, w.Members...)
	stray.Hold = hold
	if err := other.Stop(t.Context(), facility.Work{Lease: stray.Lease, Token: stray.Token}); err != nil {
		t.Fatal(err)
	}
	if err := slow.Start(t.Context(), stray); !errors.Is(err, facility.ErrFenced) {
		t.Errorf("%v, want it fenced", err)
	}
	until(t, "the end of what came late", func() bool { return len(slow.leaseJobs(t, w))+len(slow.leaseJobs(t, stray)) == 0 })
	if _, err := os.Stat(dir + "/runs"); err == nil {
		t.Error("it ran")
	}
}

func environments(t *testing.T, c Config) {
	e, dir := engine(t, c), t.TempDir()
	m := scheduletest.Anywhere("here", "main")
	m.Task, m.Index = "train", 3
	w := work(931, payload(t, Payload{Tasks: map[string]Container{"train": {
		Image: "sh", Command: []string{"/bin/sh", "-c"}, Args: []string{`echo $SONGHUA_WORKLOAD $(echo $SONGHUA_TASK) $SONGHUA_INDEX "$MINE" $(pwd) > out.new && mv out.new out`},
		Env: map[string]string{"MINE": "$(SONGHUA_TASK) $$", "SONGHUA_INDEX": "9"}, Directory: dir,
	}}}), m)
	if err := e.Start(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	until(t, "what it says", func() bool {
		said, _ := os.ReadFile(filepath.Join(dir, "out"))
		return string(said) == "w-931 train 3 $(SONGHUA_TASK) $$ "+dir+"\n"
	})
	if err := e.Stop(t.Context(), w); err != nil {
		t.Error(err)
	}
}

func TestWhatWillNeverWorkIsRefused(t *testing.T) {
	s, c := small(t)
	refuses(t, c)
	s.mu.Lock()
	s.deny = func(r *http.Request) (int, string) {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/jobs") {
			return http.StatusForbidden, "Forbidden" // a quota
		}
		return 0, ""
	}
	s.mu.Unlock()
	if err := engine(t, c).Start(t.Context(), work(50, shell(t, "true"), scheduletest.Anywhere("here", "main"))); !errors.Is(err, facility.ErrRefused) {
		t.Errorf("%v, want it refused", err)
	}
}

func TestALatePromiseRunsNothing(t *testing.T) {
	_, c := small(t)
	latePromise(t, c, 901, false)
	latePromise(t, c, 911, true)
}

// unavailable has work whose image cannot be had, since long ago and since now.
func unavailable(t *testing.T, c Config) {
	e := engine(t, c)
	image := func(name string) json.RawMessage { return payload(t, Payload{Container: Container{Image: name}}) }
	gone, slow := work(941, image("gone"), scheduletest.Anywhere("here", "main")), work(942, image("slow"), scheduletest.Anywhere("here", "main"))
	for _, w := range []facility.Work{gone, slow} {
		if err := e.Start(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		until(t, "that the image cannot be had", func() bool {
			pods, err := e.api.podsOf(t.Context(), e.selector(w))
			return err == nil && len(pods) == 1 && obstacle(&pods[0]) != ""
		})
	}
	check := func(r facility.Report) {
		t.Helper()
		if r.ExitCode == 0 || r.TimedOut || !r.NotBegun || !strings.HasSuffix(r.Message, ": ErrImagePull of gone") {
			t.Errorf("%+v, want why it has failed, and not that it ran for too long", r)
		}
	}
	said := watched(t, e)
	check(reaches(t, said, gone.Token, facility.Failed))
	check(last(watched(t, engine(t, c))(), gone.Token)) // a hub that comes later
	if r := last(said(), slow.Token); r.State != facility.Waiting {
		t.Errorf("%+v, want it to wait for its image", r)
	}
	if err := e.Stop(t.Context(), slow); err != nil {
		t.Error(err)
	}
}

func TestAnImageThatCannotBeHadFailsTheWork(t *testing.T) {
	_, c := small(t)
	unavailable(t, c)
}

func TestWhatIsHeldBeginsWholeOrNotAtAll(t *testing.T) {
	_, c := small(t)
	e := engine(t, c)
	said := watched(t, e)
	m := scheduletest.Anywhere("here", "main")
	for token, deleted := range []int{1, 2} {
		w := work(uint64(token+1), shell(t, "true"), m, m)
		w.Hold = true
		if err := e.Start(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		reaches(t, said, w.Token, facility.Waiting)
		for _, j := range e.leaseJobs(t, w)[:deleted] {
			if err := e.api.jobs.Delete(t.Context(), j.Name, meta.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		w.Hold = false
		if err := e.Start(t.Context(), w); !errors.Is(err, facility.ErrRefused) {
			t.Errorf("%d of 2 jobs were deleted: %v, want it refused", deleted, err)
		}
		for _, j := range e.leaseJobs(t, w) {
			if begun(&j) {
				t.Errorf("%s was let go alone", j.Name)
			}
		}
		if err := e.Stop(t.Context(), w); err != nil {
			t.Error(err)
		}
		reaches(t, said, w.Token, facility.Stopped)
	}
}

func TestMembersKnowWhichTheyAre(t *testing.T) {
	_, c := small(t)
	environments(t, c)
}

// TestAStartThatWasBrokenOffIsFinished breaks it off at each request in turn.
func TestAStartThatWasBrokenOffIsFinished(t *testing.T) {
	s, c := small(t)
	e := engine(t, c)
	said := watched(t, e)
	m := scheduletest.Anywhere("here", "main")
	for n := 0; ; n++ {
		mark := filepath.Join(t.TempDir(), "runs")
		w := work(uint64(100+n), shell(t, "echo run >> "+mark), m, m)
		left := n
		s.mu.Lock()
		s.deny = func(r *http.Request) (int, string) {
			changes := r.Method != http.MethodGet && (strings.HasSuffix(r.URL.Path, "/configmaps") || strings.Contains(r.URL.Path, "/configmaps/") || r.Method == http.MethodPatch || strings.HasSuffix(r.URL.Path, "/jobs"))
			if changes {
				left--
			}
			if changes && left < 0 {
				return http.StatusInternalServerError, "InternalError"
			}
			return 0, ""
		}
		s.mu.Unlock()
		err := e.Start(t.Context(), w)
		s.mu.Lock()
		s.deny = func(*http.Request) (int, string) { return 0, "" }
		s.mu.Unlock()
		if err == nil {
			if n != 6 { // a mark, two jobs, the mark again, two patches
				t.Errorf("a start takes %d changes, want 6", n)
			}
			return
		}
		// When this one has ended, what there is to say of the other was said.
		if err := e.Start(t.Context(), work(uint64(200+n), shell(t, "true"), m)); err != nil {
			t.Fatal(err)
		}
		reaches(t, said, uint64(200+n), facility.Succeeded)
		var want facility.Progress
		if n > 2 { // all jobs are there
			want = facility.Waiting
		}
		if r := last(said(), w.Token); r.State != want {
			t.Errorf("%d: %+v is said of a start that was broken off, want %q", n, r, want)
		}
		if err := e.Start(t.Context(), w); err != nil {
			t.Fatalf("%d: %v", n, err)
		}
		reaches(t, said, w.Token, facility.Succeeded)
		if ran, err := os.ReadFile(mark); err != nil || string(ran) != "run\nrun\n" {
			t.Errorf("%d: %q, %v, want two runs", n, ran, err)
		}
	}
}

func TestAMemberIsGivenWhatTheLeaseSays(t *testing.T) {
	e := engine(t, Config{Facility: "here", URL: "http://127.0.0.1:1", Namespace: "songhua"})
	m := facility.Member{Assignment: schedule.Assignment{Task: "main", Index: 2, Pool: "a100", Node: "n1", Devices: []uint8{0, 3},
		Use: schedule.Vector{1500, 2048, 2000, 10, 0}}, Limit: 1500 * time.Millisecond}
	classes := m
	classes.Node, classes.Devices, classes.Use[schedule.AcceleratorMilli], classes.Limit = "", nil, 0, 0
	all, err := e.wanted(work(7, json.RawMessage(`{"image":"a","user":1000}`), m, classes))
	if err != nil {
		t.Fatal(err)
	}
	spec := all[0].Spec.Template.Spec
	got := spec.Containers[0].Resources
	for name, want := range map[core.ResourceName]string{"cpu": "1500m", "memory": "2Gi", "ephemeral-storage": "10Gi", "nvidia.com/gpu": "2"} {
		limit, request := got.Limits[name], got.Requests[name]
		if limit.String() != want || request.String() != want {
			t.Errorf("%s: limit %s, request %s, want %s", name, &limit, &request, want)
		}
	}
	if f := spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields[0]; f.Key != "metadata.name" || !slices.Equal(f.Values, []string{"n1"}) {
		t.Errorf("%+v, want node n1", f)
	}
	if s := all[0].Spec; *s.ActiveDeadlineSeconds != 2 || !*s.Suspend || *s.BackoffLimit != 0 || spec.Tolerations[0].Key != "nvidia.com/gpu" {
		t.Errorf("%+v", s)
	}
	c := spec.Containers[0].SecurityContext
	if *c.AllowPrivilegeEscalation || c.Privileged != nil || len(c.Capabilities.Drop) != 1 || *spec.AutomountServiceAccountToken || !*spec.SecurityContext.RunAsNonRoot || *spec.SecurityContext.RunAsUser != 1000 {
		t.Errorf("%+v %+v, want no privileges", c, spec.SecurityContext)
	}
	other := all[1].Spec
	if p := other.Template.Spec; p.NodeSelector[PoolLabel] != "a100" || p.Affinity != nil || len(p.Tolerations) != 0 || other.ActiveDeadlineSeconds != nil || len(p.Containers[0].Resources.Limits) != 3 {
		t.Errorf("%+v, want any node of pool a100", p)
	}
}

func TestAWatchThatIsLostBeginsAnew(t *testing.T) {
	s, c := small(t)
	e := engine(t, c)
	said := watched(t, e)
	m := scheduletest.Anywhere("here", "main")
	hold := filepath.Join(t.TempDir(), "hold")
	if err := os.WriteFile(hold, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(hold) })
	w := work(1, shell(t, "while [ -e "+hold+" ]; do sleep 0.05; done"), m)
	if err := e.Start(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	reaches(t, said, 1, facility.Running)
	_ = os.Remove(hold)
	until(t, "the end", func() bool { return over(&e.leaseJobs(t, w)[0]) })
	s.forget()
	after := work(2, shell(t, "true"), m)
	if err := e.Start(t.Context(), after); err != nil {
		t.Fatal(err)
	}
	reaches(t, said, 1, facility.Succeeded)
	reaches(t, said, 2, facility.Succeeded)
	complete := 0
	for _, r := range said() {
		if r.Complete {
			complete++
		}
	}
	if complete != 1 {
		t.Errorf("Complete was said %d times", complete)
	}
}

func TestWhoCannotSeeTheClusterSaysSo(t *testing.T) {
	s, c := small(t)
	e := engine(t, c)
	ended := make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		ended <- e.Watch(context.Background(), func(r facility.Report) {
			if r.Complete {
				close(begun)
			}
		})
	}()
	<-begun
	s.mu.Lock()
	s.deny = func(*http.Request) (int, string) { return http.StatusUnauthorized, "Unauthorized" }
	s.mu.Unlock()
	s.CloseClientConnections()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "Unauthorized") {
			t.Errorf("%v, want that it is not authorised", err)
		}
	case <-time.After(3 * time.Minute):
		t.Error("Watch goes on")
	}
}

func TestWhatOthersDoToJobsIsSeen(t *testing.T) {
	_, c := small(t)
	e := engine(t, c)
	said := watched(t, e)
	m := scheduletest.Anywhere("here", "main")
	w := work(1, shell(t, "sleep 600"), m)
	if err := e.Start(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	reaches(t, said, 1, facility.Running)
	j := e.leaseJobs(t, w)[0]
	if _, err := e.api.jobs.Patch(t.Context(), j.Name, types.MergePatchType, []byte(`{"spec":{"suspend":true}}`), meta.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	// Not lost to a hub that begins now, and not let go again.
	if r := last(watched(t, e)(), 1); r.State == "" {
		t.Error("nothing is said of a job that somebody has suspended")
	}
	if err := e.Start(t.Context(), w); err != nil || !*e.leaseJobs(t, w)[0].Spec.Suspend {
		t.Errorf("%v, or it was let go against who suspended it", err)
	}
	if err := e.api.jobs.Delete(t.Context(), j.Name, meta.DeleteOptions{PropagationPolicy: new(meta.DeletePropagationForeground)}); err != nil {
		t.Fatal(err)
	}
	reaches(t, said, 1, facility.Stopped)
}

func TestAnEndIsToldWithoutWhatTheProgramSaid(t *testing.T) {
	_, c := small(t)
	e := engine(t, c)
	said := watched(t, e)
	m := scheduletest.Anywhere("here", "main")
	if err := e.Start(t.Context(), work(1, shell(t, "exit 3"), m)); err != nil {
		t.Fatal(err)
	}
	r := reaches(t, said, 1, facility.Failed)
	if r.ExitCode != 3 || strings.Contains(r.Message, "what the program said") || !strings.Contains(r.Message, "BackoffLimitExceeded Error") {
		t.Errorf("%+v", r)
	}
}

func TestTheHighestTokenWins(t *testing.T) {
	s := newServer(t)
	f := engine(t, Config{Facility: "here", URL: s.URL, Namespace: "songhua"}).fence
	var all sync.WaitGroup
	for token := range uint64(24) {
		all.Go(func() {
			if _, err := f.begin(t.Context(), facility.Work{Workload: "w-1", Token: token + 1}); err != nil && !errors.Is(err, facility.ErrFenced) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if m, _, err := f.get(t.Context(), "w-1"); err != nil || m.token != 24 {
		t.Errorf("%+v, %v, want token 24", m, err)
	}
}

// TestWhatMayBeginIsNotHeldAgain has two requests about a lease cross.
func TestWhatMayBeginIsNotHeldAgain(t *testing.T) {
	s := newServer(t)
	f := engine(t, Config{Facility: "here", URL: s.URL, Namespace: "songhua"}).fence
	w := facility.Work{Workload: "w-1", Lease: "l-1", Token: 1}
	if was, err := f.begin(t.Context(), w); err != nil || was != asked {
		t.Errorf("%q, %v, want it asked", was, err)
	}
	if err := errors.Join(f.reach(t.Context(), w, held), f.reach(t.Context(), w, taken), f.reach(t.Context(), w, held)); err != nil {
		t.Error(err)
	}
	if was, err := f.begin(t.Context(), w); err != nil || was != taken {
		t.Errorf("%q, %v, want it taken", was, err)
	}
}

func TestWhatIsOldIsTakenAway(t *testing.T) {
	s, c := small(t)
	e := engine(t, c)
	said := watched(t, e)
	m := scheduletest.Anywhere("here", "main")
	ended, runs := work(1, shell(t, "true"), m), work(2, shell(t, "sleep 600"), m)
	for _, w := range []facility.Work{ended, runs, work(3, shell(t, "sleep 600"), m)} {
		if err := e.Start(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	held := work(4, shell(t, "true"), m)
	held.Hold = true
	if err := e.Start(t.Context(), held); err != nil {
		t.Fatal(err)
	}
	all, err := e.wanted(work(5, shell(t, "true"), m, m)) // of a start that was broken off
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.api.jobs.Create(t.Context(), all[0], meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	reaches(t, said, 1, facility.Succeeded)
	reaches(t, said, 2, facility.Running)
	if err := e.Stop(t.Context(), facility.Work{Workload: "w-3", Lease: "l-3", Token: 3}); err != nil {
		t.Fatal(err)
	}
	sweep := func(later time.Duration) (jobs, marks int) {
		t.Helper()
		v := newView(func(facility.Report) {})
		if _, err := e.list(t.Context(), v); err != nil {
			t.Fatal(err)
		}
		if err := e.sweep(t.Context(), v, time.Now().Add(later)); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for path := range s.objects {
			if strings.Contains(path, "/jobs/") {
				jobs++
			}
			if strings.Contains(path, "/configmaps/") {
				marks++
			}
		}
		return jobs, marks
	}
	if jobs, marks := sweep(KeepJobs - 10*time.Minute); jobs != 4 || marks != 4 {
		t.Errorf("%d jobs, %d marks, want all", jobs, marks)
	}
	if jobs, marks := sweep(KeepJobs + time.Minute); jobs != 2 || marks != 4 {
		t.Errorf("%d jobs, %d marks, want the one that runs, the one that is held, and all marks", jobs, marks)
	}
	if jobs, marks := sweep(KeepMarks + time.Minute); jobs != 2 || marks != 0 {
		t.Errorf("%d jobs, %d marks, want the one that runs, the one that is held, and no mark", jobs, marks)
	}
	// By now everything was asked that is ever asked.
	s.mu.Lock()
	asked := slices.Sorted(maps.Keys(s.asked))
	s.mu.Unlock()
	if allowed := rights(t); !slices.Equal(asked, allowed) {
		t.Errorf("asked was %q, and deploy/kubernetes/engine.yaml allows %q", asked, allowed)
	}
}

// rights are the verbs and resources of the role in deploy/kubernetes.
func rights(t *testing.T) (all []string) {
	t.Helper()
	file, err := os.Open("../../../../deploy/kubernetes/engine.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // it is read only
	for d := yaml.NewDecoder(file); ; {
		var o struct {
			Kind  string
			Rules []struct{ Resources, Verbs []string }
		}
		if err := d.Decode(&o); errors.Is(err, io.EOF) {
			slices.Sort(all)
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		for _, r := range o.Rules {
			for _, v := range r.Verbs {
				all = append(all, v+" "+strings.Join(r.Resources, ","))
			}
		}
	}
}

func TestTheTokenGoesToTheClusterOnly(t *testing.T) {
	var elsewhere, here string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { elsewhere = r.Header.Get("Authorization") }))
	defer other.Close()
	cluster := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		here = r.Header.Get("Authorization")
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	}))
	defer cluster.Close()
	dir := t.TempDir()
	for name, what := range map[string][]byte{"token": []byte("a-secret\n"), "ca": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cluster.Certificate().Raw})} {
		if err := os.WriteFile(filepath.Join(dir, name), what, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := Config{Facility: "here", URL: cluster.URL, Namespace: "songhua", TokenFile: filepath.Join(dir, "token")}
	if _, err := engine(t, c).api.jobsOf(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "certificate") || here != "" {
		t.Errorf("%v, and %q was sent, want the certificate refused", err, here)
	}
	c.CAFile = filepath.Join(dir, "ca")
	_, err := engine(t, c).api.jobsOf(t.Context(), "")
	if err == nil || here != "Bearer a-secret" || elsewhere != "" || strings.Contains(err.Error(), "a-secret") {
		t.Errorf("%v; %q here, %q elsewhere", err, here, elsewhere)
	}
}
