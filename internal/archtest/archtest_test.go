// Package archtest holds the tree to the table of imports in ARCHITECTURE.md:
// what a package may not know of is tested, not remembered.
package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/songhua-io/hub/"

type file struct {
	dir, name string
	imports   []string
	parsed    *ast.File
}

// tree parses every Go file that is not a test.
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
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		files = append(files, parse(t, filepath.ToSlash(rel), string(text)))
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

func parse(t *testing.T, name, text string) file {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	f := file{dir: path.Dir(name), name: name, parsed: parsed}
	for _, i := range parsed.Imports {
		imported, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		f.imports = append(f.imports, imported)
	}
	return f
}

// matches reports whether a pattern names a package: itself, or, with "/..." at
// its end, one below.
func matches(pattern, pkg string) bool {
	if root, ok := strings.CutSuffix(pattern, "/..."); ok {
		return strings.HasPrefix(pkg, root+"/")
	}
	return pattern == pkg
}

// ruleOf returns the most specific rule of a package.
func ruleOf(dir string) (best rule, found bool) {
	for _, r := range table {
		if matches(r.of, dir) && (!found || r.of == dir || best.of != dir && len(r.of) > len(best.of)) {
			best, found = r, true
		}
	}
	return best, found
}

// faults names each import of a file that the table does not allow.
func faults(f file) []string {
	r, ok := ruleOf(f.dir)
	if !ok {
		return []string{fmt.Sprintf("%s: the table of imports has no line for %s; say what it may know of, and why no more", f.name, f.dir)}
	}
	var all []string
	for _, i := range f.imports {
		own, ours := strings.CutPrefix(i, module)
		first, _, _ := strings.Cut(i, "/")
		switch {
		case ours:
			if !slices.ContainsFunc(slices.Concat(r.own, free), func(p string) bool { return matches(p, own) }) {
				all = append(all, fmt.Sprintf("%s imports %s: %s", f.name, own, r.reason))
			}
		case slices.ContainsFunc(r.never, func(p string) bool { return p == i || matches(p+"/...", i) }):
			all = append(all, fmt.Sprintf("%s imports %s: %s", f.name, i, r.reason))
		case strings.Contains(first, "."):
			if why := foreign(f.dir, i); why != "" {
				all = append(all, f.name+" imports "+i+why)
			}
		}
	}
	if r.pure {
		for _, call := range clocks(f.parsed) {
			all = append(all, fmt.Sprintf("%s uses time.%s: %s", f.name, call, r.reason))
		}
	}
	return all
}

// foreign says why a folder may not import a library; nothing when it may.
func foreign(dir, imported string) string {
	owner := -1
	for i, l := range libraries {
		if (l.path == imported || matches(l.path+"/...", imported)) && (owner < 0 || len(l.path) > len(libraries[owner].path)) {
			owner = i
		}
	}
	switch {
	case owner < 0:
		return ", which the table of libraries does not name: say which folder it lives behind, in an ADR too"
	case libraries[owner].folders == nil || slices.Contains(libraries[owner].folders, dir):
		return ""
	}
	return ", which belongs to " + strings.Join(libraries[owner].folders, ", ")
}

// clocks are the uses of the machine's clock.
func clocks(f *ast.File) (calls []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		pkg, ok := s.X.(*ast.Ident)
		if ok && pkg.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep"}, s.Sel.Name) {
			calls = append(calls, s.Sel.Name)
		}
		return true
	})
	return calls
}

func TestTheTableOfImports(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range tree(t) {
		for _, fault := range faults(f) {
			t.Error(fault)
		}
		r, _ := ruleOf(f.dir)
		seen[r.of] = true
	}
	for _, r := range table {
		tests := r.of == "internal/archtest" || strings.HasPrefix(r.of, "internal/hubtest")
		if r.reason == "" || !seen[r.of] && !tests {
			t.Errorf("the line of %s has no reason, or no package: take it away", r.of)
		}
	}
}

// TestTheTableSeesWhatIsForbidden: each of these was possible once.
func TestTheTableSeesWhatIsForbidden(t *testing.T) {
	for _, c := range []struct{ dir, imported, want string }{
		{"internal/ingest/mqtt", module + "internal/store/local", "a door knows"},
		{"internal/ingest/mqtt", module + "internal/registry", "a door knows"},
		{"internal/ingest/coap", module + "internal/ingest/mqtt", "a door knows"},
		{"internal/ingest/http", module + "internal/access", "a door knows"},
		{"internal/ingest/http", "database/sql", "a door knows"},
		{"internal/ingest", module + "internal/ingest/mqtt", "knows of no door"},
		{"internal/ingest", "net/http", "knows of no door"},
		{"internal/query", module + "internal/hub", "storage.Queryable"},
		{"internal/registry", module + "internal/config", "asks nobody"},
		{"internal/codec", module + "internal/edge", "bytes in"},
		{"internal/codec", "os", "bytes in"},
		{"internal/codec", "github.com/prometheus/client_golang/prometheus", "bytes in"},
		{"internal/telemetry", "golang.org/x/sync/errgroup", "standard library only"},
		{"internal/edge/spool", "golang.org/x/sync/errgroup", "opaque"},
		{"internal/edge", module + "internal/client", "client of the hub"},
		{"internal/edge/spool", module + "internal/telemetry", "opaque"},
		{"internal/edge/spool", "net/netip", "opaque"},
		{"internal/edge/source/udp", module + "internal/edge/source/mqtt", "no other source"},
		{"internal/store/local", module + "internal/store/storetest", "another engine"},
		{"internal/store/local", "go.etcd.io/bbolt", "belongs to internal/ingest/desk"},
		{"internal/api", "github.com/coder/websocket", "belongs to internal/ingest/mqtt"},
		{"internal/hub", "github.com/pion/dtls/v3", "belongs to internal/ingest/coap"},
		{"internal/query", "github.com/prometheus/prometheus/tsdb/wlog", "belongs to internal/backfill/file, internal/store/local"},
		{"internal/query", "github.com/prometheus/prometheus/web/api/v1", "nowhere"},
		{"internal/query", "github.com/stretchr/testify/assert", "does not name"},
		{"internal/helpers", "fmt", "no line for internal/helpers"},
	} {
		f := parse(t, c.dir+"/synthetic.go", fmt.Sprintf("package p\n\nimport _ %q\n", c.imported))
		if got := strings.Join(faults(f), "\n"); !strings.Contains(got, c.want) {
			t.Errorf("%s may import %s (%q), want %q", c.dir, c.imported, got, c.want)
		}
	}
	f := parse(t, "internal/codec/synthetic.go", "package p\n\nimport \"time\"\n\nvar now = time.Now\n")
	if got := strings.Join(faults(f), "\n"); !strings.Contains(got, "time.Now") {
		t.Errorf("a codec may read the clock: %q", got)
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
