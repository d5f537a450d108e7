package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/ledger"
)

type eventOut struct {
	Seq    int64      `json:"seq"`
	At     time.Time  `json:"at"`
	Kind   string     `json:"kind"`
	Object string     `json:"object"`
	Tenant string     `json:"tenant,omitempty"`
	Region string     `json:"region,omitempty"`
	From   string     `json:"from,omitempty"`
	To     string     `json:"to,omitempty"`
	Reason *reasonOut `json:"reason,omitempty"`
	Lease  string     `json:"lease,omitempty"`
	Token  uint64     `json:"token,omitempty"`
}

func showEvent(e *schedule.Event) eventOut {
	out := eventOut{e.Seq, e.At, string(e.Kind), e.Object, e.Tenant, e.Region, e.From, e.To, nil, e.Lease, e.Token}
	if e.Reason != nil {
		r := showReason(*e.Reason)
		out.Reason = &r
	}
	return out
}

// beat is how often a quiet stream says that it lives.
const beat = 15 * time.Second

// watch streams events as they happen (server-sent events), from the one after
// ?since or Last-Event-ID.
func (a *API) watch(w http.ResponseWriter, r *http.Request) {
	since, err := sinceOf(r)
	if err != nil {
		a.problemAs(err).write(w)
		return
	}
	if _, _, err := a.Scheduler.Events(r.Context(), since, 1); err != nil {
		a.problemAs(err).write(w)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	s := &stream{w: w, to: http.NewResponseController(w), ctx: r.Context(), region: access.CallerOf(r.Context()).Region}
	if s.send(": watching\n\n") != nil {
		return
	}
	for {
		events, more, err := a.Scheduler.Events(r.Context(), since, 1000)
		if err != nil {
			s.fail(err)
			return
		}
		for i := range events {
			since = events[i].Seq
			if err := s.event(&events[i]); err != nil {
				return
			}
		}
		if len(events) > 0 {
			continue
		}
		if s.wait(more) != nil {
			return
		}
	}
}

func sinceOf(r *http.Request) (int64, error) {
	text := r.Header.Get("Last-Event-ID")
	if q := r.URL.Query(); q.Has("since") && text == "" {
		text = q.Get("since")
	}
	if text == "" {
		text = "0"
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, fault("query.since", text, fmt.Sprintf("since %q is no sequence number; begin with 0, or with the seq of the last event that was seen", text))
	}
	return n, nil
}

type stream struct {
	w      http.ResponseWriter
	to     *http.ResponseController
	ctx    context.Context
	region string
}

// write bounds how long a reader that does not read is waited for.
const writeWithin = 30 * time.Second

func (s *stream) send(text string) error {
	_ = s.to.SetWriteDeadline(time.Now().Add(writeWithin)) // some writers have none
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.to.Flush()
}

// event sends one, when it is of the caller's region. What has no region is of
// no facility, and shown to those who may see all.
func (s *stream) event(e *schedule.Event) error {
	if !strings.HasPrefix(e.Region, s.region) {
		return nil
	}
	b, err := json.Marshal(showEvent(e))
	if err != nil {
		return err
	}
	return s.send(fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", e.Seq, e.Kind, b))
}

func (s *stream) wait(more <-chan struct{}) error {
	t := time.NewTimer(beat)
	defer t.Stop()
	for {
		select {
		case <-more:
			return nil
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-t.C:
			if err := s.send(": alive\n\n"); err != nil {
				return err
			}
			t.Reset(beat)
		}
	}
}

// fail says why the stream ends.
func (s *stream) fail(err error) {
	code := http.StatusInternalServerError
	if errors.Is(err, ledger.ErrCompacted) {
		code = http.StatusGone
	}
	b, _ := json.Marshal(newProblem(code, err.Error()))        // a problem always has a JSON form
	_ = s.send(fmt.Sprintf("event: problem\ndata: %s\n\n", b)) // the reader may be gone
}
