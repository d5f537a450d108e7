package query

import (
	"net/http"

	"github.com/prometheus/prometheus/storage"
)

// Beside is an API of another package that reads the store by the rules of this
// one: its requests take turns with all questions, see what their sender may see,
// and their answers wait in the same bounded memory until they are sent.
type Beside struct {
	// Name is the endpoint in the metrics.
	Name string
	// Answer writes the answer to a request whose context ends with the time that
	// a question may take. It returns what the store failed with, if nothing was
	// written; the store is not to be used after it returned.
	Answer func(w http.ResponseWriter, r *http.Request, from storage.Queryable) error
	// Fail writes the answer to a request that cannot be answered otherwise.
	Fail func(w http.ResponseWriter, code int, err error)
}

// Beside serves such an API.
func (a *API) Beside(b Beside) http.Handler {
	return a.serve(b.Name, true, func(w *reply, r *request) {
		if err := b.Answer(collected{w}, r.Request, a.store); err != nil {
			a.fail(w, failed(err))
		} else if w.failure != nil {
			a.fail(w, w.failure)
		}
	}, b.Fail)
}

// collected is a reply as handlers know it.
type collected struct{ *reply }

// Header implements [http.ResponseWriter].
func (c collected) Header() http.Header { return c.header() }

// WriteHeader implements [http.ResponseWriter].
func (c collected) WriteHeader(code int) { c.code = code }
