package dcat

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/telemetry"
)

// register is a catalogue that changes while it is read, behind a real server.
type register struct {
	about    *About
	services []catalog.Service

	first     int // datasets to begin with
	mu        sync.Mutex
	number    int64
	entries   map[string]*catalog.Entry
	changes   []catalog.Change
	snapshots map[int64]*catalog.Snapshot
	begun     *catalog.Snapshot           // that of the last first page
	digests   map[*catalog.Entry][32]byte // as they are kept with entries
	tags      map[int64][32]byte
	written   []byte
	// between is called before every page, holding mu.
	between func()
}

func newRegister(count int) *register {
	r := &register{first: count, about: about("http://data.example.test"), entries: map[string]*catalog.Entry{}, snapshots: map[int64]*catalog.Snapshot{}, digests: map[*catalog.Entry][32]byte{}, tags: map[int64][32]byte{}, between: func() {},
		services: []catalog.Service{{ID: "sta", Title: catalog.Text{EN: "SensorThings API"}, Endpoint: "http://data.example.test/sta/v1.1", Standard: "http://www.opengis.net/spec/iot_sensing/1.1"}}}
	for i := range count {
		r.set(usual(i, 0))
	}
	return r
}

// usual is a dataset as there will be most of.
func usual(i, edition int) *catalog.Entry {
	at := time.Date(2026, 11, 1, 0, 0, edition, 0, time.UTC)
	d := &catalog.Dataset{ID: fmt.Sprintf("road-temperature-%05d", i), Code: fmt.Sprintf("307001/%06d", i),
		Title: catalog.Text{ZH: "路面温度监测数据", EN: "Road temperature"}, Abstract: catalog.Text{ZH: fmt.Sprintf("路侧传感器路面温度，十分钟均值，第 %d 版", edition), EN: "Road temperature, means of ten minutes"},
		Keywords: []catalog.Text{{ZH: "路面温度", EN: "road temperature"}, {ZH: "物联网"}}, Provider: catalog.Provider{Name: catalog.Text{ZH: "某市交通运输局"}, Code: "112200000000000005"},
		Contact: catalog.Contact{Name: catalog.Text{ZH: "数据管理员"}, Phone: "0431-12345678", Email: "data@example.test"}, Path: catalog.Path{"交通", "道路", "气象", "路面"},
		Share: catalog.Terms{Class: catalog.Unconditional}, Open: catalog.Terms{Class: catalog.Unconditional}, Grade: telemetry.General,
		Cycle: catalog.Cycle{Kind: catalog.Periodic, Period: 24 * time.Hour}, Licence: "https://creativecommons.org/licenses/by/4.0/", State: catalog.Published,
		Created: at, Published: at, Modified: at, Data: at, Version: int64(edition)}
	d.Source.Bin = 10 * time.Minute
	for _, n := range []string{"time", "station", "temperature", "humidity", "quality"} {
		d.Items = append(d.Items, catalog.Item{Name: n, Title: catalog.Text{ZH: "信息项", EN: n}, Type: catalog.Number, Unit: "Cel", Share: catalog.Unconditional, Open: catalog.Unconditional, Grade: telemetry.General})
	}
	e := &catalog.Entry{Dataset: d, Coverage: catalog.Coverage{Time: catalog.Period{From: at, To: at.Add(24 * time.Hour)}, Area: &catalog.Box{West: 125, South: 43, East: 126, North: 44}},
		Releases: []catalog.Release{{Version: 3, Made: at, Period: catalog.Period{From: at, To: at.Add(24 * time.Hour)}, Files: []catalog.Distribution{{Name: "data.csv", MediaType: "text/csv", Size: 12345, Rows: 144}, {Name: "data.parquet", MediaType: "application/vnd.apache.parquet", Size: 2345, Rows: 144}}}},
		Live:     []catalog.Distribution{{Name: "sensorthings", MediaType: "application/json", Service: "sta", URL: fmt.Sprintf("http://data.example.test/sta/v1.1/Datastreams(%d)", i)}}}
	for _, m := range catalog.Dimensions() {
		e.Measurements = append(e.Measurements, catalog.Measurement{Dimension: m, Value: 0.9875, At: at})
	}
	return e
}

// set publishes an entry, or what became of it. Holds mu, unless nobody reads yet.
func (r *register) set(e *catalog.Entry) {
	r.number++
	r.entries[e.Dataset.ID] = e
	r.changes = append(r.changes, catalog.Change{Number: r.number, At: e.Dataset.Modified, Dataset: e.Dataset.ID, Entry: e})
}

func (r *register) withdraw(id string) {
	d := *r.entries[id].Dataset
	d.State = catalog.Withdrawn
	r.set(&catalog.Entry{Dataset: &d})
}

func (r *register) snapshot() *catalog.Snapshot {
	s := catalog.NewSnapshot(r.number, slices.Collect(maps.Values(r.entries)), r.services)
	r.snapshots[s.Number], r.tags[s.Number] = s, r.about.Tag(s, r.digest)
	return s
}

func (r *register) digest(e *catalog.Entry) [32]byte {
	if _, found := r.digests[e]; !found {
		r.digests[e] = r.about.Digest(e, r.services)
	}
	return r.digests[e]
}

func (r *register) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range Formats() {
		switch req.URL.Path {
		case "/catalog." + f.Suffix:
			r.page(w, req, f)
			return
		case "/catalog/changes." + f.Suffix:
			after, _ := strconv.ParseInt(req.URL.Query().Get("after"), 10, 64)
			from, _ := slices.BinarySearchFunc(r.changes, after+1, func(c catalog.Change, n int64) int { return int(c.Number - n) })
			to := min(from+PerChanges, len(r.changes))
			known := func(id string) bool { e := r.entries[id]; return e != nil && e.Dataset.State == catalog.Published }
			w.Header().Set("Content-Type", f.MediaType)
			_, _ = w.Write(f.Append(nil, r.about.Changes(f, after, r.changes[from:to], r.services, known, to < len(r.changes))))
			return
		}
	}
	http.NotFound(w, req)
}

func (r *register) page(w http.ResponseWriter, req *http.Request, f Format) {
	r.between()
	q, number := req.URL.Query(), 1
	s := r.snapshots[r.number]
	if q.Has("snapshot") {
		n, _ := strconv.ParseInt(q.Get("snapshot"), 10, 64)
		number, _ = strconv.Atoi(q.Get("page"))
		if s = r.snapshots[n]; s == nil {
			http.Error(w, "the snapshot is no longer kept: begin with the first page", http.StatusGone)
			return
		}
	}
	if s == nil {
		s = r.snapshot()
	}
	if !q.Has("snapshot") {
		r.begun = s
	}
	w.Header().Set("Content-Type", f.MediaType)
	w.Header().Set("ETag", ETag(f, r.tags[s.Number], number))
	if req.Method == http.MethodHead {
		return
	}
	g, err := r.about.Page(f, s, number)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	r.written = f.Append(r.written[:0], g)
	_, _ = w.Write(r.written)
}

// serve answers for the base's name, wherever the server is.
func (r *register) serve(t testing.TB) *http.Client {
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
	}}}
}

// pkg is what a harvester keeps of a dataset.
type pkg struct{ name, abstract string }

// harvester does as ckanext-dcat 2.4.3 does.
type harvester struct {
	client *http.Client
	url    string
	kept   map[string]pkg // by address
	body   bytes.Buffer
	bytes  int
	pages  int
}

// said is a node of a page, as far as harvesters look.
type said struct {
	ID      string   `json:"@id"`
	Classes []string `json:"@type"`
	Title   []value  `json:"dct:title"`
	About   []value  `json:"dct:description"`
	Next    []ref    `json:"hydra:next"`
	Object  []ref    `json:"as:object"`
}

type value struct {
	Value string `json:"@value"`
}

type ref struct {
	ID string `json:"@id"`
}

const largest = 50 << 20

// get asks HEAD first; 405 and 400 fall back to GET, any other error ends the job.
func (h *harvester) get(url string) ([]byte, error) {
	resp, err := h.client.Head(url)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	if c := resp.StatusCode; c >= 400 && c != http.StatusMethodNotAllowed && c != http.StatusBadRequest {
		return nil, errors.New(resp.Status)
	}
	resp, err = h.client.Get(url)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= 400 {
		return nil, errors.New(resp.Status)
	}
	h.body.Reset()
	if _, err = h.body.ReadFrom(resp.Body); err == nil && h.body.Len() >= largest {
		err = errors.New("remote file is too big")
	}
	h.bytes += h.body.Len()
	h.pages++
	return h.body.Bytes(), err
}

// harvest reads all pages and returns the addresses that it deleted.
func (h *harvester) harvest() (deleted []string, err error) {
	var first [md5.Size]byte
	found, names := map[string]pkg{}, map[string]int{}
	for url := h.url; url != ""; {
		body, err := h.get(url)
		if err != nil {
			return nil, err
		}
		if sum := md5.Sum(body); url == h.url {
			first = sum
		} else if sum == first {
			break
		}
		nodes, err := read(body)
		if err != nil {
			return nil, err
		}
		url = ""
		for _, n := range nodes {
			if slices.Contains(n.Classes, "hydra:PartialCollectionView") && len(n.Next) > 0 {
				url = n.Next[0].ID
			}
			if !slices.Contains(n.Classes, "dcat:Dataset") {
				continue
			}
			if len(n.Title) == 0 {
				return nil, fmt.Errorf("%s has no title", n.ID)
			}
			if _, twice := found[n.ID]; twice {
				return nil, fmt.Errorf("%s is there twice", n.ID)
			}
			name := munge(n.Title[0].Value) // the Chinese one: the worst for a name
			if names[name]++; names[name] > 1 {
				return nil, fmt.Errorf("%s has the name %s of another", n.ID, name)
			}
			found[n.ID] = pkg{name, n.About[0].Value}
		}
	}
	for id := range h.kept {
		if _, still := found[id]; !still {
			deleted = append(deleted, id)
		}
	}
	h.kept = found
	return deleted, nil
}

func read(body []byte) ([]said, error) {
	var page struct {
		Graph []said `json:"@graph"`
	}
	return page.Graph, json.Unmarshal(body, &page)
}

// munge makes a name of a title: what is no ASCII letter or digit vanishes.
func munge(title string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(title) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' || r == '-':
			b.WriteRune(r)
		case r == ' ' || r == '/' || r == ':' || r == '.':
			b.WriteByte('-')
		}
	}
	name := strings.Trim(b.String(), "-")
	return name[:min(len(name), longestName)]
}

// truth is what a harvest of a snapshot must keep.
func (r *register) truth(s *catalog.Snapshot) map[string]pkg {
	all := map[string]pkg{}
	for _, e := range s.Entries {
		all[r.about.Base.Dataset(e.Dataset.ID)] = pkg{munge(Title(e.Dataset.Title.ZH, e.Dataset.ID)), e.Dataset.Abstract.ZH}
	}
	return all
}

// many is how many datasets there are; fewer where time is short.
func many() int {
	if testing.Short() {
		return 1000
	}
	return 10_000
}

// busy edits, withdraws and adds datasets.
func (r *register) busy(times int) {
	for range times {
		n := int(r.number)
		if id := usual(n*7919%r.first, n).Dataset.ID; r.entries[id].Dataset.State == catalog.Published {
			if n%3 == 0 {
				r.withdraw(id)
			} else {
				r.set(usual(n*7919%r.first, n))
			}
		}
		r.set(usual(20_000+n, n))
	}
}

// TestAHarvestIsOfOneSnapshotWhileTheCatalogueChanges edits, withdraws and adds
// datasets before every request of a harvest. What is harvested is the snapshot
// that the first page was of, and the next harvest deletes what was withdrawn
// since, and nothing else.
func TestAHarvestIsOfOneSnapshotWhileTheCatalogueChanges(t *testing.T) {
	r := newRegister(many())
	r.between = func() { r.busy(10) }
	h := &harvester{client: r.serve(t), url: "http://data.example.test/catalog.jsonld"}
	var before map[string]pkg
	for round := range 2 {
		deleted, err := h.harvest()
		if err != nil {
			t.Fatal(err)
		}
		truth := r.truth(r.begun)
		if !maps.Equal(h.kept, truth) {
			t.Errorf("round %d: %d datasets were harvested, and the snapshot has %d, or other ones", round, len(h.kept), len(truth))
		}
		withdrawn := 0
		for id := range before {
			if _, lives := truth[id]; !lives {
				withdrawn++
			}
		}
		for _, id := range deleted {
			if _, lives := truth[id]; lives {
				t.Errorf("round %d: %s was deleted and is there", round, id)
			}
		}
		if len(deleted) != withdrawn || round == 1 && withdrawn == 0 {
			t.Errorf("round %d: %d were deleted, and %d withdrawn", round, len(deleted), withdrawn)
		}
		before = truth
	}
}

// TestASnapshotThatIsNoLongerKeptEndsAHarvest and deletes nothing.
func TestASnapshotThatIsNoLongerKeptEndsAHarvest(t *testing.T) {
	r := newRegister(3 * PerPage)
	h := &harvester{client: r.serve(t), url: "http://data.example.test/catalog.jsonld"}
	if _, err := h.harvest(); err != nil {
		t.Fatal(err)
	}
	requests := 0
	r.between = func() {
		if requests++; requests == 4 {
			clear(r.snapshots)
			r.set(usual(0, 9))
		}
	}
	if deleted, err := h.harvest(); err == nil || len(deleted) > 0 || len(h.kept) != 3*PerPage {
		t.Errorf("%v, %d deleted, %d kept", err, len(deleted), len(h.kept))
	}
}

// TestWhoFollowsTheChangesHasWhatTheCatalogueHas applies upserts and tombstones
// to an old harvest.
func TestWhoFollowsTheChangesHasWhatTheCatalogueHas(t *testing.T) {
	r := newRegister(many())
	h := &harvester{client: r.serve(t), url: "http://data.example.test/catalog.jsonld"}
	if _, err := h.harvest(); err != nil {
		t.Fatal(err)
	}
	since := r.number
	r.busy(1000)
	for url := r.about.ChangesAddress(Formats()[1], since); url != ""; {
		resp, err := h.client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		nodes, err := read(body)
		if err != nil {
			t.Fatal(err)
		}
		url = ""
		for _, n := range nodes {
			switch {
			case len(n.Next) > 0:
				url = n.Next[0].ID
			case slices.Contains(n.Classes, "as:Delete"):
				delete(h.kept, n.Object[0].ID)
			case slices.Contains(n.Classes, "dcat:Dataset"):
				h.kept[n.ID] = pkg{munge(n.Title[0].Value), n.About[0].Value}
			}
		}
	}
	if truth := r.truth(r.snapshot()); !maps.Equal(h.kept, truth) {
		t.Errorf("%d datasets are kept, and there are %d, or other ones", len(h.kept), len(truth))
	}
}

// TestTheTagOfAPageIsOfWhatPersonsDecide and so is the time of a record.
func TestTheTagOfAPageIsOfWhatPersonsDecide(t *testing.T) {
	a, f := about("https://data.example"), Formats()[0]
	was := usual(1, 0)
	tag := func(e *catalog.Entry) string {
		s := catalog.NewSnapshot(1, []*catalog.Entry{usual(0, 0), e}, nil)
		return ETag(f, a.Tag(s, func(e *catalog.Entry) [32]byte { return a.Digest(e, nil) }), 1)
	}
	for name, c := range map[string]struct {
		change func(*catalog.Entry)
		same   bool
	}{
		"coverage":                    {func(e *catalog.Entry) { e.Coverage.Time.To = e.Coverage.Time.To.Add(time.Hour) }, true},
		"measurements":                {func(e *catalog.Entry) { e.Measurements[0].Value = 0.5 }, true},
		"the time of the newest data": {func(e *catalog.Entry) { e.Dataset.Data = e.Dataset.Data.Add(time.Hour) }, true},
		"a title":                     {func(e *catalog.Entry) { e.Dataset.Title.ZH = "路面温度" }, false},
		"a grade":                     {func(e *catalog.Entry) { e.Dataset.Grade = telemetry.Important }, false},
		"a release":                   {func(e *catalog.Entry) { e.Releases[0].Version++ }, false},
		"an interface":                {func(e *catalog.Entry) { e.Live = nil }, false},
		"a withdrawal":                {func(e *catalog.Entry) { e.Dataset.State = catalog.Withdrawn }, false},
	} {
		e := usual(1, 0)
		c.change(e)
		if same := tag(e) == tag(was); same != c.same {
			t.Errorf("%s: the tag is the same: %t", name, same)
		}
		if modified(e.Dataset) != modified(was.Dataset) {
			t.Errorf("%s: the record is modified", name)
		}
	}
}

// TestATitleMakesANameOfItsOwn for those who make names of titles.
func TestATitleMakesANameOfItsOwn(t *testing.T) {
	for _, title := range []string{"", "路面温度监测数据", "Road temperature", strings.Repeat("a long title ", 20), strings.Repeat("长", 200)} {
		if name := munge(Title(title, "road-temperature-220100")); !strings.Contains(name, "road-temperature-220100") {
			t.Errorf("%.30q becomes %q", title, name)
		}
	}
}

// TestAPageOfEveryFormatLinksToItsOwn and an address out of range is an error.
func TestAPageOfEveryFormatLinksToItsOwn(t *testing.T) {
	a := about("https://data.example")
	var entries []*catalog.Entry
	for i := range 2*PerPage + 1 {
		entries = append(entries, usual(i, 0))
	}
	s := catalog.NewSnapshot(42, entries, nil)
	for _, f := range Formats() {
		g, err := a.Page(f, s, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{1, 2, 3} {
			if want := "<" + a.Address(f, 42, n) + ">"; !strings.Contains(g.canonical(), want) {
				t.Errorf("%s does not name %s", f.Suffix, want)
			}
		}
	}
	for _, n := range []int{0, 4} {
		if _, err := a.Page(Formats()[0], s, n); err == nil || !strings.Contains(err.Error(), "1 to 3") {
			t.Errorf("page %d: %v", n, err)
		}
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

// BenchmarkHarvest is a full harvest of 10,000 datasets over HTTP, with what the
// harvester spends on reading JSON.
func BenchmarkHarvest(b *testing.B) {
	r := newRegister(10_000)
	h := &harvester{client: r.serve(b), url: "http://data.example.test/catalog.jsonld"}
	for _, e := range r.entries {
		r.digest(e)
	}
	before := cpu(b)
	for b.Loop() {
		if _, err := h.harvest(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((cpu(b)-before).Seconds()/float64(b.N), "cpu-s/op")
	b.ReportMetric(float64(h.bytes)/float64(b.N)/1e6, "MB/op")
	b.ReportMetric(float64(h.pages)/float64(b.N), "pages/op")
}

// BenchmarkPages writes all pages of 10,000 datasets.
func BenchmarkPages(b *testing.B) {
	r := newRegister(10_000)
	s := r.snapshot()
	for _, f := range Formats() {
		b.Run(f.Suffix, func(b *testing.B) {
			b.ReportAllocs()
			var out []byte
			for b.Loop() {
				size := 0
				for n := range Pages(s) {
					g, err := r.about.Page(f, s, n+1)
					if err != nil {
						b.Fatal(err)
					}
					out = f.Append(out[:0], g)
					size += len(out)
				}
				b.ReportMetric(float64(size)/1e6, "MB/op")
				if size > Pages(s)*largest {
					b.Fatal("harvesters take no page of this size")
				}
			}
		})
	}
}
