// Package archtest holds the tree to the table of imports in ARCHITECTURE.md:
// what a package may not know of is tested, not remembered.
package archtest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/songhua-io/hub/"

// forbidden are the edges that may not exist: from a folder and all below it,
// to a package, by pattern, with the reason.
var forbidden = []struct{ from, to, reason string }{
	{"internal/telemetry", `\.`, "the nouns depend on the standard library only, so that everything may depend on them"},
	{"internal/telemetry", `^(net|os|database)(/|$)`, "nouns do no I/O"},

	{"internal/codec", `^(net|os|database|log)(/|$)`, "a codec is bytes in, samples out"},
	{"internal/codec", module + `internal/(registry|store|records|ingest|api|access)`, "a codec knows of no device but the one it is told"},

	{"internal/edge", module + `internal/(store|registry|records|ingest|query|api|hub)`, "the agent is a client of the hub and shares only the nouns and the formats"},
	{"internal/edge/spool", `^net(/|$)`, "the spool keeps opaque blocks"},
	{"internal/edge/spool", module + `internal/(codec|edge/source|edge/uplink)`, "the spool keeps opaque blocks"},
	{"internal/edge", `database/sql`, "a database costs the agent 6 MB"},
	{"cmd/edge-agent", module + `internal/(store|registry|records|ingest|query|api|hub|web)`, "the agent stays small"},

	{"internal/ingest", `database/sql|net/http`, "ingest knows of no transport and no database"},
	{"internal/ingest", module + `internal/(registry|records|store|api|query|access|hub|web)`, "ingest names what it needs as interfaces of its own"},
	{"internal/ingest/mqtt", module + `internal/ingest/(coap|http)`, "a door knows of no other door"},
	{"internal/ingest/coap", module + `internal/ingest/(mqtt|http)`, "a door knows of no other door"},
	{"internal/ingest/http", module + `internal/ingest/(mqtt|coap)`, "a door knows of no other door"},

	{"internal/store", module + `internal/(ingest|query|registry|records|api|hub)`, "an engine keeps series and knows of nobody who uses them"},
	{"internal/query", module + `internal/(ingest|registry|records|store/|hub|api)`, "queries read any storage.Queryable"},
	{"internal/query", `prometheus/prometheus/(tsdb$|web)`, "web/api/v1 costs 18 MB and 58 modules; the engine is reached through its contract"},

	{"internal/registry", module + `internal/(ingest|store|query|api|hub)`, "the registry is asked; it asks nobody"},
	{"internal/registry", `^net/http$`, "status codes are chosen in api"},
	{"internal/access", module + `internal/(ingest|store|query|api|hub)`, "who may do what is decided without knowing what it is done to"},
	{"internal/model", module + `internal/(ingest|store|query|api|registry|hub)`, "a model says what a kind of device is and knows of no device"},
	{"internal/records", module + `internal/`, "records speaks SQL, no domain words"},
	{"internal/api", module + `internal/(store|records|hub)`, "the API asks the owners of things"},
	{"internal/api", `database/sql`, "the API asks the owners of things"},
	{"internal/web", module + `internal/(store|records|hub|registry)`, "pages show what the API gives"},
	{"internal/simulate", module + `internal/(ingest|store|registry|records|hub|api)`, "the simulator is a client like any other"},
}

// owners are the only folders that may import a heavy library.
var owners = []struct {
	library string
	folders []string
}{
	{`^github.com/eclipse/paho`, []string{"internal/ingest/mqtt", "internal/edge/uplink", "internal/edge/source", "internal/simulate", "internal/hubtest"}},
	{`^github.com/plgd-dev/go-coap`, []string{"internal/ingest/coap", "internal/edge/uplink", "internal/simulate"}},
	{`^github.com/prometheus/prometheus/tsdb$`, []string{"internal/store/local"}},
	{`^github.com/prometheus/prometheus/promql`, []string{"internal/query", "internal/store", "dashboards"}},
	{`^(modernc.org/sqlite|github.com/pressly/goose)`, []string{"internal/records"}},
	{`^github.com/danielgtaylor/huma`, []string{"internal/api"}},
	{`^github.com/santhosh-tekuri/jsonschema`, []string{"internal/model"}},
	{`^github.com/spf13/cobra`, []string{"cmd"}},
}

type file struct {
	dir, name string
	imports   []string
}

// tree parses the imports of every Go file that is not a test.
func tree(t *testing.T) []file {
	t.Helper()
	root := filepath.Join("..", "..")
	var files []file
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			nested := p != root && exists(filepath.Join(p, "go.mod"))
			if nested || slices.Contains([]string{".git", "testdata", "node_modules", "bin"}, e.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		f := file{dir: path.Dir(filepath.ToSlash(rel)), name: filepath.ToSlash(rel)}
		for _, i := range parsed.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, name)
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("only %d files found: the walk is wrong", len(files))
	}
	return files
}

func exists(p string) bool { _, err := os.Stat(p); return err == nil }

// within reports whether a folder is root or lies below it. The transports
// below ingest are no part of ingest.
func within(dir, root string) bool {
	if root == "internal/ingest" && strings.HasPrefix(dir, "internal/ingest/") {
		return false
	}
	return dir == root || strings.HasPrefix(dir, root+"/")
}

func TestForbiddenImports(t *testing.T) {
	files := tree(t)
	for _, rule := range forbidden {
		to := regexp.MustCompile(rule.to)
		for _, f := range files {
			if !within(f.dir, rule.from) {
				continue
			}
			for _, i := range f.imports {
				inside := strings.HasPrefix(i, module+rule.from)
				if to.MatchString(i) && !inside {
					t.Errorf("%s imports %s: %s", f.name, i, rule.reason)
				}
			}
		}
	}
}

func TestHeavyLibrariesLiveBehindOneFolder(t *testing.T) {
	for _, f := range tree(t) {
		for _, i := range f.imports {
			for _, o := range owners {
				at := slices.ContainsFunc(o.folders, func(dir string) bool { return f.dir == dir || strings.HasPrefix(f.dir, dir+"/") })
				if regexp.MustCompile(o.library).MatchString(i) && !at {
					t.Errorf("%s imports %s, which belongs to %s", f.name, i, strings.Join(o.folders, ", "))
				}
			}
		}
	}
}

func TestNoPackageIsNamedForNothing(t *testing.T) {
	for _, f := range tree(t) {
		for _, word := range []string{"util", "utils", "common", "helper", "helpers", "types", "models", "pkg", "misc"} {
			if slices.Contains(strings.Split(f.dir, "/"), word) {
				t.Errorf("%s: a folder named %s says nothing of what it holds", f.name, word)
			}
		}
	}
}

func TestEveryPackageSaysWhatItPromises(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range tree(t) {
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", f.name), nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		documented[f.dir] = documented[f.dir] || parsed.Doc != nil
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s has no package comment", dir)
		}
	}
}
