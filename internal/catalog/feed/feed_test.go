package feed

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/catalogtest"
	"github.com/songhua-io/hub/internal/catalog/dcat"
	"github.com/songhua-io/hub/internal/records"
)

const base = "http://data.example.test"

// world is a register that a feed is of, and the feed behind a real server.
type world struct {
	testing.TB
	dir string
	db  *records.DB
	now time.Time
	cfg Config

	mu      sync.Mutex
	count   int // of edits, each of which is another edition
	entries map[string]*catalog.Entry
	reasons map[string]string

	*Feed
	client *http.Client
	stop   func()
	// between is called before every request.
	between func()
	// begun is the snapshot that the last first page was of.
	begun *Snapshot
}

func newWorld(t testing.TB, datasets int) *world {
	w := &world{TB: t, dir: t.TempDir(), now: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), cfg: DefaultConfig(), entries: map[string]*catalog.Entry{}, reasons: map[string]string{}, stop: func() {}, between: func() {}}
	w.cfg.Interval = 50 * time.Millisecond
	for i := range datasets {
		e := catalogtest.Usual(i, 0)
		w.entries[e.Dataset.ID] = e
	}
	t.Cleanup(func() { w.stop() })
	return w
}

// start opens the feed, again after a kill.
func (w *world) start() {
	w.Helper()
	w.stop()
	db, err := records.Open(w.Context(), filepath.Join(w.dir, "records.db"))
	if err != nil {
		w.Fatal(err)
	}
	find := func(id string) *catalog.Entry {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.entries[id]
	}
	f, err := Open(w.Context(), w.cfg, Deps{
		Base: base, Records: db, Log: slog.New(slog.DiscardHandler), Clock: func() time.Time { return w.now }, Metrics: prometheus.NewRegistry(),
		Services: []catalog.Service{{ID: "sta", Title: catalog.Text{EN: "SensorThings API"}, Endpoint: base + "/sta/v1.1", Standard: "http://www.opengis.net/spec/iot_sensing/1.1"}},
		Datasets: func() (ids []string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for id := range w.entries {
				ids = append(ids, id)
			}
			return ids
		},
		Standing: func(id string) (*catalog.Dataset, string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if e := w.entries[id]; e != nil {
				return e.Dataset, w.reasons[id]
			}
			return nil, ""
		},
		Releases: func(id string) []catalog.Release { return find(id).Releases },
		Live:     func(d *catalog.Dataset) []catalog.Distribution { return find(d.ID).Live },
		Measured: func(id string) []catalog.Measurement { return find(id).Measurements },
		Coverage: func(id string) catalog.Coverage { return find(id).Coverage },
	})
	if err != nil {
		w.Fatal(err)
	}
	mux := http.NewServeMux()
	shown := f.Routes(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a page") }))
	for i, r := range f.Routes(nil) {
		if r.Pattern == "GET /catalog" {
			r = shown[i] // the others have no pages here
		}
		mux.Handle(r.Pattern, r.Handler)
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.between()
		mux.ServeHTTP(rw, r)
		if r.URL.RawQuery == "" && strings.HasPrefix(r.URL.Path, "/catalog.") && r.Method == http.MethodGet {
			_, after, _ := strings.Cut(rw.Header().Get("Link"), "?snapshot=")
			number, _, _ := strings.Cut(after, "&")
			n, _ := strconv.ParseInt(number, 10, 64)
			w.begun = f.kept(n, 1)
		}
	}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	w.Feed, w.db = f, db
	w.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
	}}}
	w.stop = func() {
		server.Close()
		cancel()
		if err := <-done; err != nil {
			w.Error(err)
		}
		if err := db.Close(); err != nil {
			w.Error(err)
		}
		w.stop = func() {}
	}
}

// edit publishes a dataset in a new edition.
func (w *world) edit(i int) { w.set(catalogtest.Usual(i, w.next()), "") }

func (w *world) next() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count++
	return w.count
}

// take takes a dataset out of the catalogue.
func (w *world) take(i int, to catalog.State, reason string) {
	e := catalogtest.Usual(i, w.next())
	e.Dataset.State = to
	w.set(e, reason)
}

func (w *world) set(e *catalog.Entry, reason string) {
	w.mu.Lock()
	w.entries[e.Dataset.ID], w.reasons[e.Dataset.ID] = e, reason
	w.mu.Unlock()
	if w.Feed != nil {
		w.Changed(e.Dataset.ID)
	}
}

// busy edits, withdraws and adds datasets, as the n-th change does.
func (w *world) busy(n, first int) {
	switch i := n * 7919 % first; n % 4 {
	case 0:
		w.take(i, catalog.Suspended, "核对中")
	case 1:
		w.edit(20_000 + n)
	default:
		w.edit(i)
	}
}

// settled waits until the current snapshot has what the register has.
func (w *world) settled() *Snapshot {
	w.Helper()
	want := w.truth(w.published())
	for until := time.Now().Add(time.Minute); ; {
		s := w.Current()
		if maps.Equal(w.truth(s.Snapshot), want) {
			return s
		}
		if time.Now().After(until) {
			w.Fatal("the feed does not come to what the register has")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (w *world) published() *catalog.Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*catalog.Entry
	for _, e := range w.entries {
		all = append(all, e)
	}
	return catalog.NewSnapshot(0, all, nil)
}

// truth is what a harvest of a snapshot must keep.
func (w *world) truth(s *catalog.Snapshot) map[string]catalogtest.Package {
	all := map[string]catalogtest.Package{}
	for _, e := range s.Entries {
		all[catalog.Base(base).Dataset(e.Dataset.ID)] = catalogtest.Package{Name: catalogtest.Munge(dcat.Title(e.Dataset.Title.ZH, e.Dataset.ID)), Abstract: e.Dataset.Abstract.ZH}
	}
	return all
}

// get asks, with headers as name, value, …
func (w *world) get(method, path string, headers ...string) (*http.Response, string) {
	w.Helper()
	r, err := http.NewRequestWithContext(w.Context(), method, base+path, nil)
	if err != nil {
		w.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := w.client.Do(r)
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.Fatal(err)
	}
	return res, string(body)
}

// many is how many datasets there are; fewer where time is short.
func many() int {
	if testing.Short() {
		return 1000
	}
	return 10_000
}

// TestAHarvestIsOfOneSnapshotUnderAHundredChangesASecond edits, suspends and adds
// datasets all the while. What is harvested is the snapshot that the first page
// was of; the next harvest deletes what went since, and nothing else.
func TestAHarvestIsOfOneSnapshotUnderAHundredChangesASecond(t *testing.T) {
	w := newWorld(t, many())
	w.start()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	go func() {
		tick, n := time.NewTicker(10*time.Millisecond), 0
		defer tick.Stop()
		for ; ; n++ {
			select {
			case <-ctx.Done():
				done <- n
				return
			case <-tick.C:
				w.busy(n, many())
			}
		}
	}()
	h := &catalogtest.Harvester{Client: w.client, URL: base + "/catalog.jsonld"}
	var before map[string]catalogtest.Package
	for round := range 3 {
		began := time.Now()
		deleted, err := h.Harvest()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("round %d: %d datasets in %v, snapshot %d", round, len(h.Kept), time.Since(began), w.begun.Number)
		truth := w.truth(w.begun.Snapshot)
		if !maps.Equal(h.Kept, truth) {
			t.Errorf("round %d: %d datasets were harvested, and the snapshot has %d, or other ones", round, len(h.Kept), len(truth))
		}
		gone := 0
		for id := range before {
			if _, lives := truth[id]; !lives {
				gone++
			}
		}
		for _, id := range deleted {
			if _, lives := truth[id]; lives {
				t.Errorf("round %d: %s was deleted and is there", round, id)
			}
		}
		if len(deleted) != gone {
			t.Errorf("round %d: %d were deleted, and %d went", round, len(deleted), gone)
		}
		before = truth
	}
	cancel()
	t.Logf("%d changes in all", <-done)
	w.settled()
}

// TestASnapshotThatIsNoLongerKeptEndsAHarvest and deletes nothing; what is read
// page by page outlives those that were only looked at.
func TestASnapshotThatIsNoLongerKeptEndsAHarvest(t *testing.T) {
	w := newWorld(t, 3*dcat.PerPage)
	w.cfg.Snapshots = 2
	w.start()
	h := &catalogtest.Harvester{Client: w.client, URL: base + "/catalog.jsonld"}
	if _, err := h.Harvest(); err != nil {
		t.Fatal(err)
	}
	look := func(page string) {
		w.edit(0)
		s := w.settled()
		w.start1(t, s.Number, page)
	}
	requests := 0
	plain := w.between
	w.between = func() {
		if requests++; requests == 4 {
			w.between = plain
			for range 4 {
				look("1") // who looks takes nothing from who harvests
			}
		}
	}
	if _, err := h.Harvest(); err != nil || len(h.Kept) != 3*dcat.PerPage {
		t.Errorf("%v, %d kept", err, len(h.Kept))
	}
	requests = 0
	w.between = func() {
		if requests++; requests == 4 {
			w.between = plain
			for range 3 {
				look("2")
			}
		}
	}
	if deleted, err := h.Harvest(); err == nil || len(deleted) > 0 || len(h.Kept) != 3*dcat.PerPage {
		t.Errorf("%v, %d deleted, %d kept", err, len(deleted), len(h.Kept))
	}
	res, body := w.get("GET", "/catalog.ttl?snapshot=1&page=2")
	if res.StatusCode != 410 || !strings.Contains(body, "begin again at "+base+"/catalog.ttl") || !strings.Contains(body, "重新开始") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

// start1 reads the first page of what is current, and a page of it.
func (w *world) start1(t *testing.T, number int64, page string) {
	t.Helper()
	for _, q := range []string{"", "?snapshot=" + strconv.FormatInt(number, 10) + "&page=" + page} {
		if res, body := w.get("GET", "/catalog.ttl"+q); res.StatusCode != 200 {
			t.Errorf("%s: %d %.200s", q, res.StatusCode, body)
		}
	}
}

// follow applies the changes after a number to what was harvested, and returns
// the number to go on from.
func (w *world) follow(kept map[string]catalogtest.Package, after int64) int64 {
	w.Helper()
	for url := fmt.Sprintf("/catalog/changes.jsonld?after=%d", after); url != ""; {
		res, body := w.get("GET", url)
		if res.StatusCode != 200 {
			w.Fatalf("%s: %d %s", url, res.StatusCode, body)
		}
		nodes, err := catalogtest.Read([]byte(body))
		if err != nil {
			w.Fatal(err)
		}
		url = ""
		for _, n := range nodes {
			if number, is := strings.CutPrefix(n.ID, base+"/catalog/changes/"); is {
				at, _ := strconv.ParseInt(number, 10, 64)
				after = max(after, at)
			}
			switch {
			case len(n.Next) > 0:
				url = strings.TrimPrefix(n.Next[0].ID, base)
			case strings.Contains(strings.Join(n.Classes, " "), "as:Delete"):
				delete(kept, n.Object[0].ID)
			case strings.Contains(strings.Join(n.Classes, " "), "dcat:Dataset"):
				kept[n.ID] = catalogtest.Package{Name: catalogtest.Munge(n.Title[0].Value), Abstract: n.About[0].Value}
			}
		}
	}
	return after
}

// TestWhoFollowsTheChangesHasWhatTheCatalogueHas over restarts, while it changes,
// and also what was changed while no feed ran.
func TestWhoFollowsTheChangesHasWhatTheCatalogueHas(t *testing.T) {
	w := newWorld(t, 1200)
	w.start()
	h := &catalogtest.Harvester{Client: w.client, URL: base + "/catalog.jsonld"}
	if _, err := h.Harvest(); err != nil {
		t.Fatal(err)
	}
	after := w.begun.Number
	for round := range 4 {
		for n := range 300 {
			w.busy(round*300+n, 1200)
			if n%100 == 99 {
				after = w.follow(h.Kept, after)
			}
		}
		if round%2 == 1 {
			w.stop()
			w.Feed = nil
			for n := range 300 { // nobody is told of these
				w.busy(7000+round*300+n, 1200)
			}
			w.start()
		}
	}
	s := w.settled()
	w.follow(h.Kept, after)
	if truth := w.truth(s.Snapshot); !maps.Equal(h.Kept, truth) {
		t.Errorf("%d datasets are kept, and there are %d, or other ones", len(h.Kept), len(truth))
	}
}

// TestATombstoneIsToldUntilItIsOld and who asks from before then is told to begin
// anew; a number that was never given is no place to go on from either.
func TestATombstoneIsToldUntilItIsOld(t *testing.T) {
	w := newWorld(t, 3)
	w.start()
	first := w.Current().Number
	w.take(1, catalog.Withdrawn, "并入另一数据集")
	gone := w.settled().Number
	path := func(after int64) string { return fmt.Sprintf("/catalog/changes.ttl?after=%d", after) }
	if _, body := w.get("GET", path(first)); !strings.Contains(body, "as:Delete") || !strings.Contains(body, "并入另一数据集") || strings.Contains(body, "a dcat:Dataset") {
		t.Errorf("%s", body)
	}
	w.stop()
	w.now = w.now.Add(w.cfg.Tombstones + time.Hour)
	w.start()
	w.stop() // Run has ended: what it does is done here
	w.start()
	if err := w.forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	res, body := w.get("GET", path(first))
	if res.StatusCode != 410 || !strings.Contains(body, base+"/catalog.ttl, and then go on from "+base+"/catalog/changes.ttl?after=") || !strings.Contains(body, "墓碑") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if res, body := w.get("GET", path(gone)); res.StatusCode != 200 || strings.Contains(body, "as:Delete") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if res, _ := w.get("GET", path(1<<40)); res.StatusCode != 410 {
		t.Errorf("%d", res.StatusCode)
	}
	if it := w.Item("road-temperature-00001"); it.Entry != nil || it.Number < gone {
		t.Errorf("%+v", it)
	}
}

// TestWhatIsNotPublishedIsNowhere: not in a page, a change, a search or at its own
// address.
func TestWhatIsNotPublishedIsNowhere(t *testing.T) {
	w := newWorld(t, 4)
	for i, state := range []catalog.State{catalog.Draft, catalog.Submitted, catalog.Suspended} {
		w.take(i, state, "内部")
	}
	w.start()
	w.take(3, catalog.Suspended, "核对中")
	w.settled()
	for _, path := range []string{"/catalog.ttl", "/catalog.jsonld", "/catalog.rdf", "/catalog/record/road-temperature-00003", "/catalog/dataset/road-temperature-00000", "/catalog/provider/112200000000000005",
		"/ckan/api/3/action/package_list", "/ckan/api/3/action/package_search", "/ckan/api/3/action/package_show?id=road-temperature-00003"} {
		if res, body := w.get("GET", path); strings.Contains(body, "路面温度") || res.StatusCode == 200 && strings.Contains(body, "road-temperature") {
			t.Errorf("%s: %d %.300s", path, res.StatusCode, body)
		}
	}
	if _, body := w.get("GET", "/catalog/changes.ttl?after=0"); strings.Contains(body, "路面温度") || strings.Contains(body, "00000") || strings.Count(body, "as:Delete") != 1 {
		t.Errorf("%s", body)
	}
}

// TestHeadIsAnsweredAsGet without a body; types have no parameters; what a caller
// has is not sent again, and a tag is of what persons decide.
func TestHeadIsAnsweredAsGet(t *testing.T) {
	w := newWorld(t, dcat.PerPage+1)
	w.start()
	for suffix, kind := range map[string]string{"ttl": "text/turtle", "jsonld": "application/ld+json", "rdf": "application/rdf+xml"} {
		for _, path := range []string{"/catalog." + suffix, "/catalog/changes." + suffix + "?after=0", fmt.Sprintf("/catalog.%s?snapshot=%d&page=2", suffix, w.Current().Number)} {
			got, body := w.get("GET", path)
			head, none := w.get("HEAD", path)
			if got.StatusCode != 200 || head.StatusCode != 200 || none != "" || head.ContentLength != int64(len(body)) || got.Header.Get("Content-Type") != kind || head.Header.Get("Content-Type") != kind || got.Header.Get("ETag") != head.Header.Get("ETag") {
				t.Errorf("%s: %d %v, HEAD %d %v", path, got.StatusCode, got.Header, head.StatusCode, head.Header)
			}
			if again, body := w.get("GET", path, "If-None-Match", got.Header.Get("ETag")); again.StatusCode != 304 || body != "" {
				t.Errorf("%s: %d", path, again.StatusCode)
			}
		}
	}
	was, _ := w.get("GET", "/catalog.ttl")
	if links := strings.Join(was.Header.Values("Link"), ", "); !strings.Contains(links, `page=2>; rel="next"`) || !strings.Contains(links, `rel="monitor"`) {
		t.Errorf("%s", links)
	}
	tag := func() string { r, _ := w.get("HEAD", "/catalog.ttl"); return r.Header.Get("ETag") }
	e := *w.entries["road-temperature-00000"]
	e.Coverage.Time.To = e.Coverage.Time.To.Add(time.Hour)
	number := w.Current().Number
	w.set(&e, "")
	for until := time.Now().Add(time.Minute); w.Current().Number == number && time.Now().Before(until); time.Sleep(time.Millisecond) {
	}
	if w.Current().Number == number || tag() != was.Header.Get("ETag") {
		t.Errorf("coverage moved: snapshot %d after %d, tag %s after %s", w.Current().Number, number, tag(), was.Header.Get("ETag"))
	}
	if all, _, _, err := w.Changes(t.Context(), number); err != nil || len(all) != 0 {
		t.Errorf("coverage moved, and %d changes are told (%v)", len(all), err)
	}
	w.edit(0)
	w.settled()
	if tag() == was.Header.Get("ETag") {
		t.Error("a person edited, and the tag stays")
	}
}

// TestEveryAddressAnswersInTheFormThatIsAskedFor and says something of itself.
func TestEveryAddressAnswersInTheFormThatIsAskedFor(t *testing.T) {
	w := newWorld(t, 2)
	w.start()
	for _, path := range []string{"/catalog/record/road-temperature-00001", "/catalog/dataset/road-temperature-00001", "/catalog/dataset/road-temperature-00001/release/3", "/catalog/dataset/road-temperature-00001/interface/sensorthings",
		"/catalog/provider/112200000000000005", "/catalog/service/sta", "/catalog/class/%E4%BA%A4%E9%80%9A/%E9%81%93%E8%B7%AF/%E6%B0%94%E8%B1%A1/%E8%B7%AF%E9%9D%A2", "/catalog/vocabulary"} {
		for accept, kind := range map[string]string{"": "text/turtle", "application/ld+json": "application/ld+json", "application/rdf+xml;q=0.9, text/turtle;q=0.1": "application/rdf+xml", "*/*": "text/turtle", "image/png": "text/turtle"} {
			res, body := w.get("GET", path, "Accept", accept)
			if res.StatusCode != 200 || res.Header.Get("Content-Type") != kind || res.Header.Get("Vary") != "Accept" || !strings.Contains(body, base+path) && !strings.Contains(body, base+path+"#") {
				t.Errorf("%s as %q: %d %v %.200s", path, accept, res.StatusCode, res.Header, body)
			}
		}
	}
	for _, path := range []string{"/catalog/record/none", "/catalog/provider/none", "/catalog/law/a/b", "/catalog/dataset/road-temperature-00001/release/9", "/catalog/service/none"} {
		if res, body := w.get("GET", path); res.StatusCode != 404 || !strings.Contains(body, "不在目录中") {
			t.Errorf("%s: %d %s", path, res.StatusCode, body)
		}
	}
	for accept, want := range map[string]string{"text/html,application/xhtml+xml,*/*;q=0.8": "a page", "text/turtle": "@prefix", "application/ld+json, */*;q=0.1": "@context"} {
		if _, body := w.get("GET", "/catalog", "Accept", accept); !strings.Contains(body, want) {
			t.Errorf("%s: %.100s", accept, body)
		}
	}
}

// TestCallsOfCKANAreTakenAsCKANTakesThem in the address, in JSON and as a form.
func TestCallsOfCKANAreTakenAsCKANTakesThem(t *testing.T) {
	w := newWorld(t, 25)
	w.start()
	post := func(action, kind, body string) (int, map[string]any) {
		res, err := w.client.Post(base+"/ckan/api/3/action/"+action, kind, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var out map[string]any
		_ = json.NewDecoder(res.Body).Decode(&out) // a refusal is a text
		return res.StatusCode, out
	}
	if code, out := post("package_show", "application/json", `{"id": "road-temperature-00003"}`); code != 200 || out["result"].(map[string]any)["name"] != "road-temperature-00003" {
		t.Errorf("%d %v", code, out)
	}
	if code, out := post("package_search", "application/x-www-form-urlencoded", `rows=3&start=20&sort=id+asc`); code != 200 || len(out["result"].(map[string]any)["results"].([]any)) != 3 {
		t.Errorf("%d %v", code, out)
	}
	if code, out := post("package_search", "application/json", `{"rows": 5, "q": "温度"}`); code != 200 || out["result"].(map[string]any)["count"] != 25.0 || len(out["result"].(map[string]any)["results"].([]any)) != 5 {
		t.Errorf("%d %v", code, out)
	}
	if code, _ := post("package_search", "application/json", `{"rows": `); code != 400 {
		t.Errorf("%d", code)
	}
	if code, _ := post("package_search", "application/json", `{"q": "`+strings.Repeat("x", maxCall)+`"}`); code != 400 {
		t.Errorf("%d", code)
	}
	if code, out := post("package_create", "application/json", `{}`); code != 404 || out["success"] != false {
		t.Errorf("%d %v", code, out)
	}
	if res, body := w.get("GET", "/ckan/api/3/action/package_list?limit=2"); !strings.Contains(body, `"success":true`) || res.Header.Get("Content-Type") != "application/json;charset=utf-8" {
		t.Errorf("%v %s", res.Header, body)
	}
}

// TestPagesThatAreKeptReadyStayWithinTheirBound also while they are written.
func TestPagesThatAreKeptReadyStayWithinTheirBound(t *testing.T) {
	c := newCache(1000)
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			body, err := c.get(strconv.Itoa(i%40), func() ([]byte, error) { return make([]byte, 10*(i%40)), nil })
			if err != nil || len(body) != 10*(i%40) {
				t.Errorf("%d: %d bytes, %v", i, len(body), err)
			}
		})
	}
	all.Wait()
	if c.size > 1000 || c.size < 0 || len(c.byKey) != c.order.Len() {
		t.Errorf("%d bytes, %d keys, %d pages", c.size, len(c.byKey), c.order.Len())
	}
}

// cpu is the time that this process has spent on all cores.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkHarvest is a full harvest of 10,000 datasets over HTTP under 100 changes
// a second, with what the harvester spends on reading JSON.
func BenchmarkHarvest(b *testing.B) {
	for _, rate := range []int{0, 100} {
		b.Run(fmt.Sprintf("changes=%d", rate), func(b *testing.B) {
			w := newWorld(b, 10_000)
			w.cfg.Interval = DefaultConfig().Interval
			w.start()
			ctx, cancel := context.WithCancel(b.Context())
			var done sync.WaitGroup
			if rate > 0 {
				done.Go(func() {
					tick := time.NewTicker(time.Second / time.Duration(rate))
					defer tick.Stop()
					for n := 0; ; n++ {
						select {
						case <-ctx.Done():
							return
						case <-tick.C:
							w.busy(n, 10_000)
						}
					}
				})
			}
			h := &catalogtest.Harvester{Client: w.client, URL: base + "/catalog.jsonld"}
			before := cpu(b)
			for b.Loop() {
				if _, err := h.Harvest(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((cpu(b)-before).Seconds()/float64(b.N), "cpu-s/op")
			b.ReportMetric(float64(h.Bytes)/float64(b.N)/1e6, "MB/op")
			b.ReportMetric(float64(h.Pages)/float64(b.N), "pages/op")
			cancel()
			done.Wait()
		})
	}
}

// BenchmarkAdvance is what one new snapshot costs that has 100 changes among
// 10,000 datasets.
func BenchmarkAdvance(b *testing.B) {
	w := newWorld(b, 10_000)
	w.start()
	w.Feed.deps.Records = w.db
	n := 0
	before := cpu(b)
	for b.Loop() {
		var ids []string
		for range 100 {
			e := catalogtest.Usual(n*7919%10_000, w.next())
			w.mu.Lock()
			w.entries[e.Dataset.ID] = e
			w.mu.Unlock()
			ids = append(ids, e.Dataset.ID)
			n++
		}
		if err := w.advance(b.Context(), ids); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((cpu(b)-before).Seconds()/float64(b.N), "cpu-s/op")
}
