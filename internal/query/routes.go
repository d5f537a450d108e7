package query

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// root is where the API begins; Grafana's data source points at what stands before it.
const root = "/api/v1"

// Route is a handler that answers below the API's root and is not this
// package's, such as remote write. It decides itself who may call it.
type Route struct {
	Method  string
	Path    string // below /api/v1, such as /write
	Handler http.Handler
}

// endpoint answers one path. Those that read the store take a turn.
type endpoint struct {
	path    string
	post    bool // the parameters may come as a form
	reads   bool
	respond func(*API, *request) answer
}

// endpoints is the whole API, besides search and read, which answer in other
// forms than the envelope.
var endpoints = [...]endpoint{
	{"/query", true, true, (*API).query},
	{"/query_range", true, true, (*API).queryRange},
	{"/query_exemplars", true, false, (*API).exemplars},
	{"/format_query", true, false, (*API).formatQuery},
	{"/parse_query", true, false, (*API).parseQuery},
	{"/labels", true, true, (*API).labelNames},
	{"/label/{name}/values", false, true, (*API).labelValues},
	{"/series", true, true, (*API).series},
	{"/metadata", false, true, (*API).metadata},
	{"/rules", false, false, (*API).rules},
	{"/alerts", false, false, (*API).alerts},
	{"/targets", false, false, (*API).targets},
	{"/targets/metadata", false, false, (*API).targetMetadata},
	{"/scrape_pools", false, false, (*API).scrapePools},
	{"/alertmanagers", false, false, (*API).alertmanagers},
	{"/status/buildinfo", false, false, (*API).buildInfo},
	{"/status/runtimeinfo", false, false, (*API).runtimeInfo},
	{"/status/flags", false, false, (*API).flags},
	{"/status/config", false, false, (*API).settings},
	{"/status/tsdb", false, true, (*API).cardinality},
}

// Handler serves the API below /api/v1, and more beside it.
func (a *API) Handler(more ...Route) http.Handler {
	mux := http.NewServeMux()
	for _, e := range endpoints {
		h := a.serve(e.path, e.reads, func(w *reply, r *request) { a.answer(w, r, e.respond(a, r)) }, nil)
		mux.Handle("GET "+root+e.path, h)
		if e.post {
			mux.Handle("POST "+root+e.path, h)
		}
	}
	for path, find := range searches() {
		h := a.serve(path, true, func(w *reply, r *request) { a.search(w, r, find) }, nil)
		mux.Handle("GET "+root+path, h)
		mux.Handle("POST "+root+path, h)
	}
	mux.Handle("POST "+root+"/read", a.serve("/read", true, a.read, nil))
	for _, r := range more {
		mux.Handle(r.Method+" "+root+r.Path, r.Handler)
	}
	// Before the mux, which answers 405 to other methods wherever it knows one.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions && strings.HasPrefix(r.URL.Path, root+"/") {
			a.allowOrigin(w, r)
			w.WriteHeader(http.StatusNoContent)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// request is a request whose form is read and whose context ends with the
// time that a question may take.
type request struct {
	*http.Request
	formErr error
	// held are given back when the question is answered: its turn, and memory
	// beyond its share.
	held []func()
}

func (r *request) leave() {
	for _, free := range r.held {
		free()
	}
}

// serve wraps what all endpoints have in common: origin, scope, body size,
// turn, time and metrics. The answer is sent when the turn is given back.
// Fail writes failures in another form than this API's; nil for this one's.
func (a *API) serve(path string, reads bool, h func(*reply, *request), fail func(http.ResponseWriter, int, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		c := a.newReply(w, r)
		c.fail = fail
		defer func() {
			a.metrics.duration.WithLabelValues(path).Observe(time.Since(began).Seconds())
			a.metrics.requests.WithLabelValues(path, strconv.Itoa(c.code)).Inc()
		}()
		a.allowOrigin(w, r)
		a.collect(c, w, r, reads, h)
		c.send(r.Context())
	})
}

// collect answers into memory.
func (a *API) collect(c *reply, w http.ResponseWriter, r *http.Request, reads bool, h func(*reply, *request)) {
	ctx, cancel := context.WithTimeout(r.Context(), a.config.Timeout)
	defer cancel()
	req, f := a.admit(ctx, w, r, reads)
	defer req.leave()
	if f != nil {
		a.answer(c, req, answer{failure: f})
		return
	}
	h(c, req)
}

// admit finds out what the caller may see, reads the form and takes a turn.
func (a *API) admit(ctx context.Context, w http.ResponseWriter, r *http.Request, reads bool) (*request, *failure) {
	scope, ok := a.source.Visible(r)
	if !ok {
		return &request{Request: r}, &failure{denied, errNotVisible}
	}
	req := &request{Request: r.WithContext(withScope(ctx, scope))}
	req.Body = http.MaxBytesReader(w, r.Body, a.config.MaxRequestBytes)
	req.formErr = req.ParseForm()
	if long, ok := errors.AsType[*http.MaxBytesError](req.formErr); ok {
		return req, &failure{tooLarge, fmt.Errorf("the request body has more than %d bytes; shorten it, or raise query.max_request_bytes", long.Limit)}
	}
	if !reads {
		return req, nil
	}
	if f := a.lookBack(req); f != nil {
		return req, f
	}
	leave, f := a.gate.enter(req.Context())
	if f == nil {
		req.held = append(req.held, leave)
	}
	return req, f
}

// lookBack has a request with as_of read what was known then.
func (a *API) lookBack(r *request) *failure {
	s := r.FormValue("as_of")
	if s == "" {
		return nil
	}
	t, err := parseTime(s)
	if err == nil && a.source.AsOf == nil {
		err = errors.New("this store keeps no corrections; leave it out")
	}
	if err != nil {
		return badParameter(err, "as_of")
	}
	r.Request = r.WithContext(a.source.AsOf(r.Context(), t))
	return nil
}

var errNotVisible = errors.New("nothing here may be seen with this token; it needs the role reader, operator or admin")

// allowOrigin lets pages of the configured origins read the answer.
func (a *API) allowOrigin(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || a.origin == nil {
		return
	}
	h.Set("Access-Control-Allow-Headers", "Accept, Authorization, Content-Type, Origin")
	h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
	h.Set("Access-Control-Expose-Headers", "Date")
	switch {
	case a.config.CORSOrigin == ".*":
		h.Set("Access-Control-Allow-Origin", "*")
	case a.origin.MatchString(origin):
		h.Set("Access-Control-Allow-Origin", origin)
	}
}
