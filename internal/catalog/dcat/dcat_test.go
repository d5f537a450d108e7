package dcat

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/telemetry"
)

// canonical are the triples as sorted N-Quads: what URDNA2015 makes of a graph
// all of whose nodes have addresses.
func (g *Graph) canonical() string {
	var lines []string
	for _, n := range g.nodes {
		for i := range n.properties {
			p := &n.properties[i]
			b := append(append([]byte("<"), n.id...), "> <"...)
			b = append(append(b, g.full(string(p.name))...), "> "...)
			o := p.object
			switch o.kind {
			case word:
				o = to(g.full(o.value))
			case typed:
				o.tag = "<" + g.full(o.tag) + ">"
			}
			lines = append(lines, string(append(turtleObject(b, &o), " .\n"...)))
		}
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "")
}

func (g *Graph) hash() string {
	sum := sha256.Sum256([]byte(g.canonical()))
	return hex.EncodeToString(sum[:])
}

// odd are texts that serialisers stumble over.
var odd = []string{
	"", " ", "路面温度监测数据", `say "so"`, `'''`, `"""`, `back\slash \n \u0041`, "tab\tand\nlines\r\nof\rall kinds", "]]>", "<b>&amp;</b>", "&#0;",
	"\x00\x01\x08\x0b\x0c\x1f", "\x7f\u0085\u009f", "\ufffe\uffff\ufdd0\U0001fffe", "bad \xff\xfe utf-8", "\xed\xa0\x80", "👩‍🌾 🚜", "עברית \u202eةيبرع", "e\u0301", "𠮷野家",
	"@prefix x: <y> .", "{\"@id\": \"x\"}", "-->", "?>", "%", "\u2028\u2029", strings.Repeat("长", 300), strings.Repeat("long ", 40),
}

var texts = rapid.OneOf(rapid.SampledFrom(odd), rapid.String(), rapid.StringMatching(`[ -~]{1,30}`))

func aText(t *rapid.T, label string) catalog.Text {
	return catalog.Text{ZH: texts.Draw(t, label), EN: texts.Draw(t, label)}
}

// times has those that XML Schema cannot write, too.
var times = rapid.Custom(func(t *rapid.T) time.Time {
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		return time.Time{}
	case 1:
		return time.Date(rapid.SampledFrom([]int{-5, 0, 10000, 12026}).Draw(t, "year"), 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).In(time.FixedZone("", 8*3600))
})

var (
	links   = rapid.OneOf(rapid.SampledFrom([]string{"", "https://creativecommons.org/licenses/by/4.0/", "https://例え.cn/路?q=水 平&x=<>#f", "http://[::1]:80/a/../b/./c", "javascript:alert(1)", "http://", "https://h/%zz", "mailto:a@b", "https://h/a//b?[x]#[y]"}), rapid.Map(texts, func(s string) string { return "https://example.org/" + s }))
	classes = rapid.SampledFrom(catalog.Classes())
	ids     = rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?`)
)

func aTerms(t *rapid.T) catalog.Terms {
	terms := catalog.Terms{Class: classes.Draw(t, "class"), Condition: aText(t, "condition"), Scope: aText(t, "scope"), Purpose: aText(t, "purpose")}
	for range rapid.IntRange(0, 2).Draw(t, "laws") {
		terms.Basis = append(terms.Basis, catalog.Law{Title: aText(t, "law"), Article: texts.Draw(t, "article"), URL: links.Draw(t, "url")})
	}
	return terms
}

func aPeriod(t *rapid.T) catalog.Period {
	return catalog.Period{From: times.Draw(t, "from"), To: times.Draw(t, "to")}
}

func aFile(t *rapid.T, name string) catalog.Distribution {
	d := catalog.Distribution{Name: name, MediaType: rapid.SampledFrom([]string{"text/csv", "application/json", "application/geo+json", "application/vnd.apache.parquet", "application/x-ndjson", "no type"}).Draw(t, "media"),
		Size: rapid.Int64Range(0, 1<<50).Draw(t, "size"), Rows: rapid.Int64Range(0, 1<<40).Draw(t, "rows")}
	d.SHA256 = sha256.Sum256([]byte(name))
	return d
}

// anEntry is all that a register may hold of a dataset, at any state.
func anEntry(t *rapid.T, id string, services []catalog.Service, others []string) *catalog.Entry {
	d := &catalog.Dataset{
		ID: id, Code: texts.Draw(t, "code"), Title: aText(t, "title"), Abstract: aText(t, "abstract"),
		Provider: catalog.Provider{Name: aText(t, "provider"), Code: catalog.CreditCode(rapid.SampledFrom([]string{"", "112200000000000005", "91 /x"}).Draw(t, "credit"))},
		Contact:  catalog.Contact{Name: aText(t, "contact"), Phone: rapid.SampledFrom([]string{"", "0431 1234-5678", "+86 431", "call me"}).Draw(t, "phone"), Email: rapid.SampledFrom([]string{"", "data@hub.example", "not an address", "\"a b\"@c"}).Draw(t, "mail")},
		Path:     catalog.Path{texts.Draw(t, "class"), texts.Draw(t, "item"), texts.Draw(t, "order"), texts.Draw(t, "detail")},
		Share:    aTerms(t), Open: aTerms(t), Grade: telemetry.Grade(rapid.IntRange(0, 3).Draw(t, "grade")), Personal: rapid.Bool().Draw(t, "personal"),
		Cycle:     catalog.Cycle{Kind: rapid.SampledFrom([]catalog.CycleKind{"", catalog.Continuous, catalog.Periodic, catalog.Irregular, catalog.Never}).Draw(t, "cycle"), Period: rapid.SampledFrom([]time.Duration{0, time.Hour, 10 * time.Minute, 24 * time.Hour, 1500 * time.Millisecond}).Draw(t, "period")},
		Retention: rapid.SampledFrom([]time.Duration{0, time.Hour, 3 * 365 * 24 * time.Hour}).Draw(t, "retention"), Licence: links.Draw(t, "licence"), Related: others,
		State:   rapid.SampledFrom([]catalog.State{catalog.Published, catalog.Published, catalog.Published, catalog.Draft, catalog.Suspended, catalog.Withdrawn}).Draw(t, "state"),
		Created: times.Draw(t, "created"), Published: times.Draw(t, "published"), Modified: times.Draw(t, "modified"), Data: times.Draw(t, "data"),
	}
	d.Source.Bin = rapid.SampledFrom([]time.Duration{0, time.Minute, 15 * time.Minute}).Draw(t, "bin")
	for range rapid.IntRange(0, 3).Draw(t, "keywords") {
		d.Keywords = append(d.Keywords, aText(t, "keyword"))
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "items") {
		d.Items = append(d.Items, catalog.Item{Name: fmt.Sprint("item_", i), Title: aText(t, "item"), Type: rapid.SampledFrom(catalog.Types()).Draw(t, "type"), Unit: texts.Draw(t, "unit"),
			Length: rapid.IntRange(0, 9).Draw(t, "length"), Share: classes.Draw(t, "share"), Open: classes.Draw(t, "open"), Grade: telemetry.Grade(rapid.IntRange(0, 3).Draw(t, "grade")), Empty: aText(t, "empty")})
	}
	e := &catalog.Entry{Dataset: d, Coverage: catalog.Coverage{Time: aPeriod(t)}}
	if rapid.Bool().Draw(t, "area") {
		e.Coverage.Area = &catalog.Box{West: rapid.Float64Range(-200, 200).Draw(t, "w"), East: rapid.Float64Range(-200, 200).Draw(t, "e"), South: rapid.Float64().Draw(t, "s"), North: rapid.Float64Range(-90, 90).Draw(t, "n")}
	}
	for v := range rapid.IntRange(0, 2).Draw(t, "releases") {
		r := catalog.Release{Version: int64(v + 1), Period: aPeriod(t), Made: times.Draw(t, "made")}
		for i := range rapid.IntRange(0, 2).Draw(t, "files") {
			r.Files = append(r.Files, aFile(t, fmt.Sprintf("data-%d.csv", i)))
		}
		e.Releases = append(e.Releases, r)
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "live") {
		l := aFile(t, fmt.Sprint("live-", i))
		l.URL, l.Service = links.Draw(t, "url"), rapid.SampledFrom([]string{services[0].ID, services[1].ID, "none"}).Draw(t, "service")
		e.Live = append(e.Live, l)
	}
	for range rapid.IntRange(0, 4).Draw(t, "measured") {
		e.Measurements = append(e.Measurements, catalog.Measurement{Dimension: rapid.SampledFrom(catalog.Dimensions()).Draw(t, "dimension"), Value: rapid.OneOf(rapid.Float64(), rapid.Float64Range(0, 1)).Draw(t, "value"), At: times.Draw(t, "at")})
	}
	return e
}

// state is what a register may hold, and changes that led there.
type state struct {
	entries  []*catalog.Entry
	services []catalog.Service
	changes  []catalog.Change
}

var states = rapid.Custom(func(t *rapid.T) state {
	var s state
	for _, id := range []string{"sta", texts.Draw(t, "id")} {
		s.services = append(s.services, catalog.Service{ID: id, Title: aText(t, "service"), Endpoint: links.Draw(t, "endpoint"), Description: links.Draw(t, "description"), Standard: links.Draw(t, "standard")})
	}
	names := rapid.SliceOfNDistinct(ids, 0, 4, rapid.ID).Draw(t, "ids")
	for _, id := range names {
		s.entries = append(s.entries, anEntry(t, id, s.services, append(names, "gone")))
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "changes") {
		c := catalog.Change{Number: int64(i + 7), At: times.Draw(t, "at"), Dataset: "gone", Reason: aText(t, "reason")}
		if len(names) > 0 && rapid.Bool().Draw(t, "upsert") {
			c.Entry = rapid.SampledFrom(s.entries).Draw(t, "entry")
			c.Dataset = c.Entry.Dataset.ID
		}
		s.changes = append(s.changes, c)
	}
	return s
})

func about(base string) *About {
	b, err := catalog.ParseBase(base)
	if err != nil {
		panic(err)
	}
	return &About{Base: b, Title: catalog.Text{ZH: "物联感知数据目录", EN: "Sensing data"}, Abstract: catalog.Text{ZH: "由感知中枢生成的公共数据目录"},
		Publisher: catalog.Provider{Name: catalog.Text{ZH: "某市政务服务和数字化建设管理局"}, Code: "112200000000000005"}}
}

// document is what tools/dcat/check.mjs reads.
type document struct {
	Name  string   `json:"name"`
	Files []string `json:"files"`
	Hash  string   `json:"hash"`
	SHACL bool     `json:"shacl"`
}

// readers are where tools/dcat is installed; the test is skipped where it is not.
func readers(t *testing.T) (node, modules string) {
	t.Helper()
	lock, err := os.ReadFile(filepath.Join("..", "..", "..", "tools", "dcat", "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(lock)
	modules = filepath.Join(cache, "songhua", "dcat-"+hex.EncodeToString(sum[:6]), "node_modules")
	node, err = exec.LookPath("node")
	if err == nil {
		_, err = os.Stat(modules)
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("this needs Node and readers of RDF; scripts/install-test-tools and scripts/install-dcat-tools install them: %v", err)
		}
		t.Skipf("this needs Node and readers of RDF; scripts/install-test-tools and scripts/install-dcat-tools install them: %v", err)
	}
	return node, modules
}

// shapes are the official ones of DCAT-AP, which lie beside the checkout.
func shapes(t *testing.T) (files []string) {
	t.Helper()
	dir := ""
	for root, err := filepath.Abs("."); err == nil && dir == "" && root != filepath.Dir(root); root = filepath.Dir(root) {
		at := filepath.Join(root, "shared", "catalog", "dcat-ap-3.0.1")
		if _, err := os.Stat(at); err == nil {
			dir = at
		}
	}
	if dir == "" {
		t.Log("the shapes of DCAT-AP are not there (../shared/catalog): nothing is validated against them")
		return nil
	}
	for _, f := range []string{"shapes.ttl", "range.ttl", "dcat-ap-SHACL.ttl"} {
		files = append(files, filepath.Join(dir, f))
	}
	return files
}

// check has documents read by the readers of others, and validated.
func check(t *testing.T, docs []document) {
	node, modules := readers(t)
	dir := t.TempDir()
	script, err := os.ReadFile(filepath.Join("..", "..", "..", "tools", "dcat", "check.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "check.mjs"), script, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	var in bytes.Buffer
	enc := json.NewEncoder(&in)
	for _, d := range docs {
		if err := enc.Encode(d); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(node, append([]string{filepath.Join(dir, "check.mjs")}, shapes(t)...)...)
	cmd.Stdin = &in
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

// write writes a graph in all serialisations.
func write(t *testing.T, dir, name string, g *Graph) document {
	d := document{Name: name, Hash: g.hash(), SHACL: true}
	for _, f := range Formats() {
		file := filepath.Join(dir, name+"."+f.Suffix)
		if err := os.WriteFile(file, f.Append(nil, g), 0o600); err != nil {
			t.Fatal(err)
		}
		d.Files = append(d.Files, file)
	}
	return d
}

// TestEveryStateIsSaidInEveryFormatAndByTheShapes makes states of the register,
// and has every page of them read by parsers of others: all three serialisations
// must carry the triples that were meant, and the official shapes find nothing.
func TestEveryStateIsSaidInEveryFormatAndByTheShapes(t *testing.T) {
	if testing.Short() {
		t.Skip("a thousand states, read by others; make test")
	}
	const count = 1000
	dir := t.TempDir()
	docs := []document{write(t, dir, "vocabulary", Vocabulary(about("https://vocabulary.example").Base))}
	for i := range count {
		s, a := states.Example(i), about(fmt.Sprintf("https://s%d.example/hub", i))
		snap := catalog.NewSnapshot(int64(i), s.entries, s.services)
		var plain string
		for j, f := range Formats() {
			g, err := a.Page(f, snap, 1)
			if err != nil {
				t.Fatal(err)
			}
			if j == 0 {
				plain = withoutView(g)
				docs = append(docs, write(t, dir, fmt.Sprint("state-", i), g))
				sound(t, g)
			} else if withoutView(g) != plain {
				t.Errorf("state %d: the page of %s says something else", i, f.Suffix)
			}
		}
		if i%4 != 0 {
			continue
		}
		g := a.Changes(Formats()[0], 6, s.changes, s.services, func(id string) bool { return snap.Find(id) != nil }, true)
		docs = append(docs, write(t, dir, fmt.Sprint("changes-", i), g))
		sound(t, g)
	}
	slices.SortStableFunc(docs, func(a, b document) int { return strings.Compare(a.Name[:1], b.Name[:1]) })
	check(t, docs)
}

// withoutView leaves out the links to pages, which are of one format.
func withoutView(g *Graph) string {
	return strings.Join(slices.DeleteFunc(strings.Split(g.canonical(), "\n"), func(line string) bool { return strings.Contains(line, "?snapshot=") }), "\n")
}

// sound checks what the shapes do not.
func sound(t *testing.T, g *Graph) {
	t.Helper()
	described := map[string]int{}
	for _, n := range g.nodes {
		for _, p := range n.properties {
			if p.object.tag == "xsd:dateTime" {
				if _, err := time.Parse(time.RFC3339, p.object.value); err != nil {
					t.Errorf("%s %s: %v", n.id, p.name, err)
				}
			} else if slices.Contains([]name{"dct:modified", "dct:issued", "dcat:startDate", "dcat:endDate", "as:published", "prov:generatedAtTime"}, p.name) {
				t.Errorf("%s %s is no time: %q", n.id, p.name, p.object.value)
			}
			if local, own := strings.CutPrefix(string(p.name), "hub:"); own && !slices.ContainsFunc(properties, func(c concept) bool { return c.local == local }) {
				t.Errorf("%s is not in the vocabulary", p.name)
			}
			if p.name == "rdf:type" && p.object.value == "dcat:Dataset" {
				described[n.id]++
			}
			if strings.ContainsAny(n.id, "<>\"{}|^`\\ \t\n") || p.object.kind == link && strings.ContainsAny(p.object.value, "<>\"{}|^`\\ \t\n") {
				t.Errorf("%s %s %s is no address", n.id, p.name, p.object.value)
			}
		}
	}
	for id := range described {
		titles := 0
		for _, p := range g.byID[id].properties {
			if p.name == "dct:title" {
				titles++
				if own := id[strings.LastIndex(id, "/")+1:]; !strings.Contains(p.object.value, own) {
					t.Errorf("a title of %s does not have its id: %q", id, p.object.value)
				}
			}
		}
		if titles == 0 {
			t.Errorf("%s has no title: one such dataset ends a harvest", id)
		}
	}
}
