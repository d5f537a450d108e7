package kubernetes

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/songhua-io/hub/internal/mergepatch"
)

// server is an API server in this process, for where there is no real one: jobs,
// pods and config maps with versions, selectors, preconditions, finalizers and
// watches. client-go's fake has no versions, and the fence is made of them.
type server struct {
	*httptest.Server

	mu      sync.Mutex // what follows
	version int
	objects map[string]object // by path
	changes []change
	first   int           // changes before this version are not kept
	more    chan struct{} // closes when something changes
	deny    func(r *http.Request) (status int, reason string)
	asked   map[string]bool // verbs and resources, but for those who play the cluster
}

type object = map[string]any

type change struct {
	version int
	kind    string // ADDED, MODIFIED or DELETED
	list    string // path
	of      object
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{objects: map[string]object{}, asked: map[string]bool{}, more: make(chan struct{}), deny: func(*http.Request) (int, string) { return 0, "" }}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func at(o object, keys ...string) any {
	var v any = o
	for _, k := range keys {
		m, _ := v.(object)
		v = m[k]
	}
	return v
}

func text(o object, keys ...string) string { s, _ := at(o, keys...).(string); return s }

func clone(o object) (c object) {
	doc, _ := json.Marshal(o)
	_ = json.Unmarshal(doc, &c)
	return c
}

// put keeps an object under the next version, or takes it away when nothing
// holds it any more.
func (s *server) put(path string, o object) object {
	s.version++
	meta := o["metadata"].(object)
	meta["resourceVersion"] = strconv.Itoa(s.version)
	kind := "MODIFIED"
	if s.objects[path] == nil {
		kind = "ADDED"
	}
	finalizers, _ := meta["finalizers"].([]any)
	grace, _ := meta["deletionGracePeriodSeconds"].(float64)
	s.objects[path] = o
	if meta["deletionTimestamp"] != nil && len(finalizers) == 0 && grace == 0 {
		kind = "DELETED"
		delete(s.objects, path)
	}
	s.changes = append(s.changes, change{s.version, kind, path[:strings.LastIndex(path, "/")], clone(o)})
	close(s.more)
	s.more = make(chan struct{})
	return o
}

func answer(w http.ResponseWriter, status int, o object) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(o)
}

func failure(w http.ResponseWriter, status int, reason string) {
	answer(w, status, object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": status, "message": reason + " by the test's server"})
}

// played is the prefix of paths for those who play the cluster.
const played = "/played"

// verb is what a request does, in the words of RBAC.
func verb(r *http.Request, list, path string) string {
	verbs := map[string]string{http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete", http.MethodGet: "list"}
	resource := list[strings.LastIndex(list, "/")+1:]
	switch {
	case r.URL.Query().Get("watch") != "":
		return "watch " + resource
	case r.Method == http.MethodGet && path != "":
		return "get " + resource
	}
	return verbs[r.Method] + " " + resource
}

// split takes a path apart: of the list, and of the object in it.
func split(r *http.Request) (list, path string, status bool) {
	p := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, played), "/")
	path, status = strings.CutSuffix(p, "/status")
	parts := strings.Split(path, "/")
	i := slices.Index(parts, "namespaces")
	list = strings.Join(parts[:i+3], "/")
	if len(parts) == i+3 {
		path = ""
	}
	return list, path, status
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	list, path, status := split(r)
	s.mu.Lock()
	if !strings.HasPrefix(r.URL.Path, played) {
		s.asked[verb(r, list, path)] = true
	}
	code, reason := s.deny(r)
	s.mu.Unlock()
	if code != 0 {
		failure(w, code, reason)
		return
	}
	if r.URL.Query().Get("watch") != "" {
		s.watch(w, r, list)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.objects[path]
	if path != "" && was == nil {
		failure(w, http.StatusNotFound, "NotFound")
		return
	}
	var body object
	if doc, _ := io.ReadAll(r.Body); len(doc) > 0 {
		if err := json.Unmarshal(doc, &body); err != nil {
			failure(w, http.StatusBadRequest, "BadRequest")
			return
		}
	}
	switch {
	case r.Method == http.MethodGet && path != "":
		answer(w, 200, was)
	case r.Method == http.MethodGet:
		s.list(w, r, list)
	case r.Method == http.MethodPost:
		s.create(w, list, body)
	case r.Method == http.MethodPut:
		s.update(w, path, status, was, body)
	case r.Method == http.MethodPatch:
		if uid := text(body, "metadata", "uid"); uid != "" && uid != text(was, "metadata", "uid") {
			failure(w, http.StatusConflict, "Conflict")
			return
		}
		answer(w, 200, s.put(path, mergepatch.Apply(clone(was), body).(object)))
	case r.Method == http.MethodDelete:
		s.remove(w, path, clone(was), body)
	}
}

func (s *server) create(w http.ResponseWriter, list string, o object) {
	meta := o["metadata"].(object)
	path := list + "/" + text(o, "metadata", "name")
	containers, _ := at(o, "spec", "template", "spec", "containers").([]any)
	switch {
	case s.objects[path] != nil:
		failure(w, http.StatusConflict, "AlreadyExists")
		return
	case len(containers) > 0 && !valid(containers[0].(object)):
		failure(w, http.StatusUnprocessableEntity, "Invalid")
		return
	}
	meta["uid"], meta["creationTimestamp"] = fmt.Sprintf("uid-%d", s.version+1), time.Now().UTC().Format(time.RFC3339)
	answer(w, http.StatusCreated, s.put(path, o))
}

// valid is one rule of many: variables have names of ASCII.
func valid(container object) bool {
	env, _ := container["env"].([]any)
	return !slices.ContainsFunc(env, func(e any) bool {
		return strings.ContainsFunc(text(e.(object), "name"), func(r rune) bool { return r > 126 })
	})
}

func (s *server) update(w http.ResponseWriter, path string, status bool, was, o object) {
	if v := text(o, "metadata", "resourceVersion"); v != "" && v != text(was, "metadata", "resourceVersion") {
		failure(w, http.StatusConflict, "Conflict")
		return
	}
	if status {
		next := clone(was)
		next["status"] = o["status"]
		o = next
	} else {
		o["status"] = was["status"]
	}
	for _, key := range []string{"uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"} {
		o["metadata"].(object)[key] = at(was, "metadata", key)
	}
	answer(w, 200, s.put(path, o))
}

func (s *server) remove(w http.ResponseWriter, path string, o, options object) {
	meta := o["metadata"].(object)
	if uid := text(options, "preconditions", "uid"); uid != "" && uid != meta["uid"] {
		failure(w, http.StatusConflict, "Conflict")
		return
	}
	if v := text(options, "preconditions", "resourceVersion"); v != "" && v != meta["resourceVersion"] {
		failure(w, http.StatusConflict, "Conflict")
		return
	}
	meta["deletionTimestamp"] = time.Now().UTC().Format(time.RFC3339)
	if text(options, "propagationPolicy") == "Foreground" {
		meta["finalizers"] = []any{"foregroundDeletion"}
	}
	delete(meta, "deletionGracePeriodSeconds")
	if strings.Contains(path, "/pods/") && options["gracePeriodSeconds"] == nil {
		meta["deletionGracePeriodSeconds"] = 30.0
	}
	answer(w, 200, s.put(path, o))
}

// selects reports whether a request wants an object.
func selects(r *http.Request) func(object) bool {
	q := r.URL.Query()
	by, err := labels.Parse(q.Get("labelSelector"))
	if err != nil {
		panic(err)
	}
	phase, fields := strings.CutPrefix(q.Get("fieldSelector"), "status.phase=")
	return func(o object) bool {
		set := labels.Set{}
		all, _ := at(o, "metadata", "labels").(object)
		for k, v := range all {
			set[k], _ = v.(string)
		}
		return by.Matches(set) && (!fields || text(o, "status", "phase") == phase)
	}
}

func (s *server) list(w http.ResponseWriter, r *http.Request, list string) {
	wanted := selects(r)
	items := []object{}
	for path, o := range s.objects {
		if strings.HasPrefix(path, list+"/") && wanted(o) {
			items = append(items, o)
		}
	}
	answer(w, 200, object{"metadata": object{"resourceVersion": strconv.Itoa(s.version)}, "items": items})
}

// forget lets no watch begin, or go on, from a version before this one.
func (s *server) forget() {
	s.mu.Lock()
	s.version++
	s.changes, s.first = nil, s.version+1
	close(s.more)
	s.more = make(chan struct{})
	s.mu.Unlock()
	s.CloseClientConnections()
}

func (s *server) watch(w http.ResponseWriter, r *http.Request, list string) {
	since, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	wanted := selects(r)
	w.Header().Set("Content-Type", "application/json")
	out := json.NewEncoder(w)
	for {
		s.mu.Lock()
		if since+1 < s.first {
			s.mu.Unlock()
			_ = out.Encode(object{"type": "ERROR", "object": object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}})
			return
		}
		var due []change
		for _, c := range s.changes {
			if c.version > since && c.list == list && wanted(c.of) {
				due = append(due, c)
			}
		}
		since = s.version
		more := s.more
		s.mu.Unlock()
		for _, c := range due {
			o := clone(c.of)
			// As a list is typed and its items are not, and a change is alone.
			o["kind"], o["apiVersion"] = "Job", "batch/v1"
			_ = out.Encode(object{"type": c.kind, "object": o})
		}
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-more:
		}
	}
}
