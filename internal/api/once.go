package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/songhua-io/hub/internal/access"
)

// Answers keeps what was answered, for at least a day within its bounds.
type Answers interface {
	// Get returns the answer under a name with the digest of its question; nils
	// when there is none.
	Get(ctx context.Context, name string) (digest, body []byte, err error)
	Put(ctx context.Context, name string, digest, body []byte) error
}

const maxIdempotencyKey = 255 // bytes

// flight holds the names of writes that are being done.
type flight struct {
	mu    sync.Mutex
	names map[string]bool
}

func (f *flight) enter(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.names[name] {
		return false
	}
	f.names[name] = true
	return true
}

func (f *flight) leave(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.names, name)
}

// answer is what was sent for a write.
type answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// once makes a write with an Idempotency-Key happen once: the same question
// under the same key gets the answer of the first. Only answers of success are
// kept; after a failure nothing was done, and the same key may try again.
func (a *API) once(maxBody int64) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		key := ctx.Header("Idempotency-Key")
		if key == "" || ctx.Method() == http.MethodGet {
			next(ctx)
			return
		}
		r, w := humago.Unwrap(ctx)
		if err := a.answerOnce(ctx, next, r, w, key, maxBody); err != nil {
			a.problemOf(err).(*problem).write(w)
		}
	}
}

func (a *API) answerOnce(ctx huma.Context, next func(huma.Context), r *http.Request, w http.ResponseWriter, key string, maxBody int64) error {
	if len(key) > maxIdempotencyKey {
		return fault("header.Idempotency-Key", len(key), fmt.Sprintf("Idempotency-Key has %d bytes; at most %d are allowed", len(key), maxIdempotencyKey))
	}
	if maxBody == 0 {
		maxBody = 1 << 20 // as huma
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return newProblem(http.StatusBadRequest, "the body could not be read: "+err.Error())
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	name := access.CallerOf(ctx.Context()).Name + " " + r.Method + " " + r.URL.Path + " " + key
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%s\n", r.URL.RawQuery, r.Header.Get("If-Match"))
	sum.Write(body)
	digest := sum.Sum(nil)

	if !a.flying.enter(name) {
		return newProblem(http.StatusConflict, "a request with this Idempotency-Key is being done; ask again in a second")
	}
	defer a.flying.leave(name)
	kept, err := a.kept(r.Context(), name, digest)
	if err != nil {
		return err
	}
	if kept != nil {
		w.Header().Set("Idempotency-Replayed", "true")
		kept.send(w)
		return nil
	}
	rec := &recorder{humaContext: ctx, answer: answer{Header: http.Header{}}}
	next(rec)
	if rec.answer.Status/100 == 2 {
		rec.answer.Body = rec.body.Bytes()
		sealed := a.Sealer.Seal([]byte(asJSON(rec.answer)), name)
		if err := a.Answers.Put(context.WithoutCancel(r.Context()), name, digest, sealed); err != nil {
			a.Log.Error("an answer was not kept for its Idempotency-Key", "error", err)
		}
	}
	rec.answer.Body = rec.body.Bytes()
	rec.answer.send(w)
	return nil
}

func (a *API) kept(ctx context.Context, name string, digest []byte) (*answer, error) {
	of, sealed, err := a.Answers.Get(ctx, name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("look for a kept answer: %w", err)
	case sealed == nil:
		return nil, nil
	case !bytes.Equal(of, digest):
		return nil, newProblem(http.StatusUnprocessableEntity, "this Idempotency-Key was used for another request; take a new key")
	}
	plain, err := a.Sealer.Open(sealed, name)
	if err != nil {
		return nil, newProblem(http.StatusConflict, "a request with this Idempotency-Key was done, but its answer was sealed with a key file that is gone; look at the object, or take a new key")
	}
	var kept answer
	return &kept, json.Unmarshal(plain, &kept)
}

func (a *answer) send(w http.ResponseWriter) {
	for name, values := range a.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.Status)
	w.Write(a.Body) //nolint:errcheck // the caller is gone
}

// humaContext gives the embedded field a name that is no method's.
type humaContext = huma.Context

// recorder holds an answer back until it is kept.
type recorder struct {
	humaContext
	answer answer
	body   bytes.Buffer
}

func (r *recorder) Unwrap() huma.Context            { return r.humaContext }
func (r *recorder) SetStatus(code int)              { r.answer.Status = code }
func (r *recorder) Status() int                     { return r.answer.Status }
func (r *recorder) SetHeader(name, value string)    { r.answer.Header.Set(name, value) }
func (r *recorder) AppendHeader(name, value string) { r.answer.Header.Add(name, value) }
func (r *recorder) BodyWriter() io.Writer           { return &r.body }

// operationID makes "post-api-v1-devices-id-rotate" of a method and path.
func operationID(method, path string) string {
	return strings.ToLower(method) + strings.NewReplacer("/", "-", "{", "", "}", "", ":", "-").Replace(path)
}
