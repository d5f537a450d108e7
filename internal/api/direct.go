package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/schedule/loop"
)

// What schedulers send by thousands a second is read and answered without
// reflection, where it is right and plain: see scan. Everything else, and
// whatever has a fault, goes the way of all requests, so that what is valid and
// what is said of faults is decided in one place.

// directBytes bounds the bodies that are read this way.
const directBytes = 4 << 20

// buffers are memory for bodies and answers.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// errIndirect says that a request goes the way of all; nothing was done.
var errIndirect = errors.New("not plain")

// directly appends an answer to a body.
type directly func(ctx context.Context, key string, body, out []byte) (status int, _ []byte, err error)

// direct lets answer have plain requests first.
func (a *API) direct(answer directly) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		if !plain(r) {
			next(ctx)
			return
		}
		body, out := buffers.Get().(*bytes.Buffer), buffers.Get().(*bytes.Buffer)
		defer buffers.Put(body)
		defer buffers.Put(out)
		body.Reset()
		out.Reset()
		if _, err := io.CopyN(body, r.Body, r.ContentLength); err != nil {
			r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body.Bytes()), r.Body))
			next(ctx)
			return
		}
		status, text, err := answer(ctx.Context(), r.Header.Get("Idempotency-Key"), body.Bytes(), out.AvailableBuffer())
		var refused *problem
		switch {
		case err == nil:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			w.Write(text)   //nolint:errcheck // the caller is gone
			out.Write(text) // so that the pool has its memory
		case errors.Is(err, errIndirect):
			r.Body = io.NopCloser(bytes.NewReader(body.Bytes()))
			next(ctx)
		default:
			if errors.Is(context.Cause(ctx.Context()), access.ErrRevoked) {
				err = access.ErrRevoked
			}
			if err = a.problemOf(err); !errors.As(err, &refused) {
				refused = newProblem(http.StatusInternalServerError, err.Error())
			}
			refused.write(w)
		}
	}
}

// plain reports whether nothing but the body and the key says what is asked for.
func plain(r *http.Request) bool {
	accept := r.Header.Get("Accept")
	return r.URL.RawQuery == "" && r.ContentLength > 0 && r.ContentLength <= directBytes && r.Header.Get("Content-Type") == "application/json" &&
		r.Header.Get("Content-Encoding") == "" && (accept == "" || accept == "*/*" || accept == "application/json") && len(r.Header.Get("Idempotency-Key")) <= 240
}

// plainly is what submits workloads directly.
func plainly(answer directly) option {
	return func(op *huma.Operation) { op.Metadata["direct"] = answer }
}

// submitDirectly is submitWorkload.
func (a *API) submitDirectly(ctx context.Context, key string, body, out []byte) (int, []byte, error) {
	s := scan{b: body}
	in := s.workload()
	if !s.ended() || len(body) > 1<<20 { // as huma
		return 0, nil, errIndirect
	}
	one, err := a.scanned(ctx, &in, key)
	if err != nil {
		return 0, nil, errIndirect
	}
	answer := a.Scheduler.Submit(ctx, one)[0]
	shown, err := a.answered(ctx, &one, &answer)
	if err != nil {
		return 0, nil, err
	}
	return shown.Status, append(appendWorkload(out, &shown.Body), '\n'), nil
}

// submitAllDirectly is submitWorkloads.
func (a *API) submitAllDirectly(ctx context.Context, key string, body, out []byte) (int, []byte, error) {
	s := scan{b: body}
	all := s.workloads()
	if !s.ended() {
		return 0, nil, errIndirect
	}
	good := make([]loop.Submission, len(all))
	for i := range all {
		one := ""
		if key != "" {
			one = key + "/" + strconv.Itoa(i)
		}
		var err error
		if good[i], err = a.scanned(ctx, &all[i], one); err != nil {
			return 0, nil, errIndirect
		}
	}
	out = append(out, `{"results":[`...)
	for i, answer := range a.Scheduler.Submit(ctx, good...) {
		if i > 0 {
			out = append(out, ',')
		}
		shown, err := a.answered(ctx, &good[i], &answer)
		if err != nil {
			out = appendJSON(out, batchResult{Problem: a.problemAs(err)})
			continue
		}
		out = appendWorkload(out, &shown.Body)
	}
	return http.StatusOK, append(out, "]}\n"...), nil
}

// scanned is submission for what was scanned.
func (a *API) scanned(ctx context.Context, in *WorkloadIn, key string) (loop.Submission, error) {
	w, err := in.workload("")
	if err != nil {
		return loop.Submission{}, err
	}
	s := loop.Submission{Workload: w, Key: key}
	w.By = access.CallerOf(ctx).Name
	if key != "" {
		buf := buffers.Get().(*bytes.Buffer)
		defer buffers.Put(buf)
		buf.Reset()
		text := appendWanted(buf.AvailableBuffer(), in)
		s.Body = sha256.Sum256(text)
		buf.Write(text)
	}
	return s, within(ctx, w)
}
