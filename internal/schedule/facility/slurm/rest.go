package slurm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/schedule/facility"
)

// spoken are the versions of slurmrestd's API that are spoken here, the best
// first. Others say the same things in another form.
var spoken = []string{"v0.0.38"}

// rest speaks to slurmrestd.
type rest struct {
	base    string
	user    string
	token   string // a file
	http    *http.Client
	version chan string // holds what was agreed, or nothing
}

func newRest(c Config) (*rest, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, err
	}
	r := &rest{base: strings.TrimSuffix(c.URL, "/"), user: c.User, token: c.TokenFile, version: make(chan string, 1)}
	// Elsewhere nobody is to see the token.
	r.http = &http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if u.Scheme == "unix" {
		r.base = "http://slurmrestd"
		r.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", u.Path)
		}}
	}
	return r, nil
}

// agree returns the version of the API that both sides speak.
func (r *rest) agree(ctx context.Context) (string, error) {
	select {
	case v := <-r.version:
		r.version <- v
		return v, nil
	default:
	}
	var doc struct {
		Paths map[string]json.RawMessage `json:"paths"`
	}
	if _, err := r.call(ctx, http.MethodGet, "/openapi/v3", nil, &doc); err != nil {
		return "", err
	}
	var offered []string
	for path := range doc.Paths {
		if v, ok := strings.CutPrefix(path, "/slurm/"); ok && strings.HasSuffix(v, "/job/submit") {
			offered = append(offered, strings.TrimSuffix(v, "/job/submit"))
		}
	}
	slices.Sort(offered)
	for _, v := range spoken {
		if slices.Contains(offered, v) {
			select {
			case r.version <- v:
			default:
			}
			return v, nil
		}
	}
	return "", fmt.Errorf("slurmrestd at %s offers %v, and none of %v: run it with -s openapi/%s", r.base, offered, spoken, spoken[0])
}

// maxAnswer bounds an answer; a job takes 4 KB.
const maxAnswer = 1 << 30

// call asks one thing. A body and an answer are JSON; the status is returned
// whatever it is, with what could be read.
func (r *rest) call(ctx context.Context, method, path string, body, answer any) (int, error) {
	var reader io.Reader
	if body != nil {
		doc, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		reader = bytes.NewReader(doc)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, reader)
	if err != nil {
		return 0, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.user != "" {
		req.Header.Set("X-SLURM-USER-NAME", r.user)
	}
	if r.token != "" {
		token, err := os.ReadFile(r.token)
		if err != nil {
			return 0, fmt.Errorf("token of slurmrestd: %w", err)
		}
		req.Header.Set("X-SLURM-USER-TOKEN", strings.TrimSpace(string(token)))
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read to its end
	doc, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, err
	}
	if err := json.Unmarshal(doc, answer); err != nil {
		return 0, fmt.Errorf("%s %s: status %d, and no JSON that is understood: %w", method, path, resp.StatusCode, err)
	}
	return resp.StatusCode, nil
}

// fault is what Slurm finds wrong. Submissions and the rest name the number
// differently.
type fault struct {
	Number int    `json:"error_number"`
	Code   int    `json:"error_code"`
	Text   string `json:"error"`
}

// faults are those of an answer, as an error.
type faults []fault

func (f faults) numbers() (all []int) {
	for _, one := range f {
		all = append(all, max(one.Number, one.Code))
	}
	return all
}

func (f faults) err(status int) error {
	if status < 300 && len(f) == 0 {
		return nil
	}
	texts := make([]string, len(f))
	for i, one := range f {
		texts[i] = one.Text
	}
	err := fmt.Errorf("slurm: %s (status %d, errors %v)", strings.Join(texts, "; "), status, f.numbers())
	if slices.ContainsFunc(f.numbers(), func(n int) bool { return slices.Contains(hopeless, n) }) {
		err = fmt.Errorf("%w: %w", facility.ErrRefused, err)
	}
	return err
}

// hopeless are the errors of a job that will not work as it is: of partitions,
// rights, nodes, sizes and scripts (slurm_errno.h). Some come when it is
// submitted, and some when it is let go.
var hopeless = []int{2000, 2001, 2002, 2003, 2004, 2005, 2006, 2008, 2009, 2010, 2012, 2014, 2015}

// job is a job as Slurm shows it.
type job struct {
	ID       int64  `json:"job_id"`
	Name     string `json:"name"`
	Comment  string `json:"comment"`
	State    string `json:"job_state"`
	Reason   string `json:"state_reason"`
	Priority int64  `json:"priority"` // 0: it is held
	Status   int    `json:"exit_code"`
}

// jobs are all jobs that Slurm knows of.
func (r *rest) jobs(ctx context.Context) ([]job, error) {
	v, err := r.agree(ctx)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Errors faults `json:"errors"`
		Jobs   []job  `json:"jobs"`
	}
	status, err := r.call(ctx, http.MethodGet, "/slurm/"+v+"/jobs", nil, &answer)
	if err == nil {
		err = answer.Errors.err(status)
	}
	return answer.Jobs, err
}

// submission is a job as it is asked for.
type submission struct {
	Script string  `json:"script"`
	Job    request `json:"job"`
}

type request struct {
	Name        string            `json:"name"`
	Comment     string            `json:"comment"`
	Partition   string            `json:"partition,omitempty"`
	Directory   string            `json:"current_working_directory"`
	Output      string            `json:"standard_output"`
	Environment map[string]string `json:"environment"`
	Hold        bool              `json:"hold"`
	Requeue     bool              `json:"requeue"`
	Tasks       int               `json:"tasks"`
	CPUs        int64             `json:"cpus_per_task"`
	MemoryMiB   int64             `json:"memory_per_node,omitempty"`
	GPUs        string            `json:"gres,omitempty"`
	Minutes     int64             `json:"time_limit,omitempty"`
}

// submit asks for a job and returns its number.
func (r *rest) submit(ctx context.Context, s submission) (int64, error) {
	v, err := r.agree(ctx)
	if err != nil {
		return 0, err
	}
	var answer struct {
		Errors faults `json:"errors"`
		ID     int64  `json:"job_id"`
	}
	status, err := r.call(ctx, http.MethodPost, "/slurm/"+v+"/job/submit", s, &answer)
	if err != nil {
		return 0, err
	}
	if status < 300 && answer.ID > 0 { // that it is held counts as an error, 2042
		return answer.ID, nil
	}
	err = answer.Errors.err(status)
	if err == nil {
		err = errors.New("slurm: a job without a number")
	}
	return 0, err
}

// unknown and finished are the errors about a job that is over.
const unknown, finished = 2017, 2084

// alter releases a job that is held, or ends one. Of one that is over it does
// neither.
func (r *rest) alter(ctx context.Context, method string, id int64) error {
	v, err := r.agree(ctx)
	if err != nil {
		return err
	}
	var body any
	if method == http.MethodPost {
		body = struct {
			Hold bool `json:"hold"`
		}{}
	}
	var answer struct {
		Errors faults `json:"errors"`
	}
	status, err := r.call(ctx, method, "/slurm/"+v+"/job/"+strconv.FormatInt(id, 10), body, &answer)
	if err != nil {
		return err
	}
	for _, n := range answer.Errors.numbers() {
		if n == unknown || n == finished {
			return nil
		}
	}
	return answer.Errors.err(status)
}
