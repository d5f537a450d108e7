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
	// done, if set, is called when the data has been encoded.
	done func()
}

func fails(f *failure) answer { return answer{failure: f} }

// errTruncated warns that a limit cut the result.
var errTruncated = errors.New("results truncated due to limit")

// shown is how many warnings and infos an answer lists.
const shown = 10

func (a *API) answer(w *reply, r *request, ans answer) {
	if ans.done != nil {
		defer ans.done()
	}
	switch {
	case ans.failure != nil:
		a.fail(w, ans.failure)
	case ans.data == nil:
		w.code = http.StatusNoContent
	default:
		a.succeed(w, r, ans)
	}
}

func (a *API) succeed(w *reply, r *request, ans answer) {
	w.header().Set("Content-Type", "application/json")
	w.b = append(w.b, `{"status":"success","data":`...)
	if err := appendData(&w.body, ans.data); err != nil {
		a.fail(w, &failure{internal, err})
		return
	}
	warnings, infos := ans.notes.AsStrings(r.FormValue("query"), shown, shown)
	w.b = appendNotes(w.b, `,"warnings":`, warnings)
	w.b = appendNotes(w.b, `,"infos":`, infos)
	w.b = append(w.b, '}')
	if w.failure != nil {
		a.fail(w, w.failure)
	}
}

func appendNotes(b []byte, key string, notes []string) []byte {
	if len(notes) == 0 {
		return b
	}
	b = append(append(b, key...), '[')
	for i, note := range notes {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendEscaped(b, note)
	}
	return append(b, ']')
}

// fail answers with a failure alone, whatever was collected before.
func (a *API) fail(w *reply, f *failure) {
	a.count(f)
	w.drop()
	h := w.header()
	if f.kind == busy || f.kind == full {
		h.Set("Retry-After", "1")
	}
	if w.fail != nil {
		w.failure = nil // there is room for this
		w.fail(collected{w}, f.kind.code, f.err)
		return
	}
	w.b = append(append(w.b, `{"status":"error","errorType":"`...), f.kind.name...)
	w.b = append(appendEscaped(append(w.b, `","error":`...), f.err.Error()), '}')
	h.Set("Content-Type", "application/json")
	w.code = f.kind.code
}

func (a *API) count(f *failure) {
	a.metrics.failures.WithLabelValues(f.kind.name).Inc()
	if limit := f.limit(); limit != "" {
		a.metrics.limited.WithLabelValues(limit).Inc()
	}
}
