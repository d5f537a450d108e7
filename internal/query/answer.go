package query

import (
	"errors"
	"net/http"

	"github.com/prometheus/prometheus/util/annotations"
)

// answer is what an endpoint has to say: a failure or data. Data of nil is
// answered by 204.
type answer struct {
	data    any
	notes   annotations.Annotations
	failure *failure
	// done, if set, is called when the data has been written.
	done func()
}

func fails(f *failure) answer { return answer{failure: f} }

// errTruncated warns that a limit cut the result.
var errTruncated = errors.New("results truncated due to limit")

// shown is how many warnings and infos an answer lists.
const shown = 10

func (a *API) answer(w http.ResponseWriter, r *request, ans answer) {
	if ans.done != nil {
		defer ans.done()
	}
	switch {
	case ans.failure != nil:
		a.fail(w, ans.failure)
	case ans.data == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		a.succeed(w, r, ans)
	}
}

func (a *API) succeed(w http.ResponseWriter, r *request, ans answer) {
	b, err := appendData([]byte(`{"status":"success","data":`), ans.data)
	if err != nil {
		a.fail(w, &failure{internal, err})
		return
	}
	warnings, infos := ans.notes.AsStrings(r.FormValue("query"), shown, shown)
	b = appendNotes(b, `,"warnings":`, warnings)
	b = appendNotes(b, `,"infos":`, infos)
	w.Header().Set("Content-Type", "application/json")
	a.write(w, append(b, '}'))
}

func appendNotes(b []byte, key string, notes []string) []byte {
	if len(notes) == 0 {
		return b
	}
	return appendList(append(b, key...), notes, appendEscaped)
}

func (a *API) fail(w http.ResponseWriter, f *failure) {
	a.metrics.failures.WithLabelValues(f.kind.name).Inc()
	if limit := f.limit(); limit != "" {
		a.metrics.limited.WithLabelValues(limit).Inc()
	}
	b := append([]byte(`{"status":"error","errorType":"`), f.kind.name...)
	b = appendEscaped(append(b, `","error":`...), f.err.Error())
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if f.kind == busy {
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(f.kind.code)
	a.write(w, append(b, '}'))
}

// write sends the body. Who has gone away cannot be told, so the log is.
func (a *API) write(w http.ResponseWriter, b []byte) {
	if _, err := w.Write(b); err != nil {
		a.log.Debug("query answer not sent", "err", err)
	}
}
