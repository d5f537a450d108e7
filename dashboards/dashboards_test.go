package dashboards

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/prometheus/prometheus/promql/parser"
)

// board is a dashboard as Grafana reads it, as far as the rules ask.
type board struct {
	file          string
	UID           string
	Title         string
	Description   string
	Tags          []string
	Editable      *bool
	SchemaVersion int
	Links         []struct {
		Type string
		Tags []string
	}
	Templating struct {
		List []struct {
			Name, Type string
			Query      json.RawMessage
			Refresh    int
		}
	}
	Panels []panel
}

type panel struct {
	ID          int
	Type        string
	Title       string
	Description string
	Datasource  struct{ UID string }
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct {
		RefID        string
		Expr         string
		LegendFormat string
		Interval     string
		Datasource   struct{ UID string }
		Instant      bool
	}
	FieldConfig struct {
		Defaults struct {
			Unit  string
			Links []struct{ URL string }
		}
		Overrides []struct {
			Properties []struct {
				ID    string
				Value json.RawMessage
			}
		}
	}
}

func boards(t *testing.T) []board {
	t.Helper()
	var all []board
	files, err := fs.Glob(Files, "*/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := fs.ReadFile(Files, file)
		if err != nil {
			t.Fatal(err)
		}
		b := board{file: file}
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, b)
	}
	if len(all) != 20 {
		t.Fatalf("%d dashboards, want 10 in each language", len(all))
	}
	return all
}

func TestRegenerationChangesNothing(t *testing.T) {
	out := t.TempDir()
	if text, err := exec.Command("go", "run", "./gen", "-out", out).CombinedOutput(); err != nil {
		t.Fatalf("go run ./gen: %v\n%s", err, text)
	}
	for _, b := range boards(t) {
		committed, err := fs.ReadFile(Files, b.file)
		if err != nil {
			t.Fatal(err)
		}
		made, err := os.ReadFile(filepath.Join(out, b.file))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(committed, made) {
			t.Errorf("%s is not what gen writes: run `go generate ./dashboards` and commit", b.file)
		}
	}
}

func TestBoardsCanBeProvisioned(t *testing.T) {
	uids := map[string]string{}
	for _, b := range boards(t) {
		if b.UID == "" || len(b.UID) > 40 || uids[b.UID] != "" {
			t.Errorf("%s: uid %q is empty, too long or that of %s", b.file, b.UID, uids[b.UID])
		}
		uids[b.UID] = b.file
		if b.Title == "" || b.Description == "" || len(b.Tags) == 0 {
			t.Errorf("%s has no title, description or tags", b.file)
		}
		if b.Editable == nil || *b.Editable {
			t.Errorf("%s is editable: changes would be lost at the next start", b.file)
		}
		if b.SchemaVersion != 39 {
			t.Errorf("%s: schema %d", b.file, b.SchemaVersion)
		}
		language := filepath.Dir(b.file)
		if len(b.Links) == 0 || b.Links[0].Type != "dashboards" || b.Links[0].Tags[0] != "songhua-"+language {
			t.Errorf("%s does not link to the boards of its language", b.file)
		}
		if hasHan(b.Title+b.Description) != (language == "zh") {
			t.Errorf("%s: title %q is in the wrong language", b.file, b.Title)
		}
	}
}

func hasHan(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return unicode.Is(unicode.Han, r) })
}

func TestVariables(t *testing.T) {
	for _, b := range boards(t) {
		vars := b.Templating.List
		if len(vars) == 0 || vars[0].Name != "datasource" || vars[0].Type != "datasource" {
			t.Errorf("%s has no ${datasource}", b.file)
		}
		for _, v := range vars {
			if v.Type == "query" && v.Refresh != 2 {
				t.Errorf("%s: variable %s is not read again when the time range changes", b.file, v.Name)
			}
		}
	}
}

func TestPanels(t *testing.T) {
	for _, b := range boards(t) {
		ids := map[int]bool{}
		for _, p := range b.Panels {
			if ids[p.ID] || p.Title == "" {
				t.Errorf("%s: panel %d %q: id taken or no title", b.file, p.ID, p.Title)
			}
			ids[p.ID] = true
			if p.GridPos.X+p.GridPos.W > 24 {
				t.Errorf("%s: %q sticks out", b.file, p.Title)
			}
			if p.Type == "row" {
				continue
			}
			if p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
				t.Errorf("%s: %q has no description, unit, query or ${datasource}", b.file, p.Title)
			}
			if filepath.Dir(b.file) == "zh" && !hasHan(p.Description) {
				t.Errorf("%s: %q is not described in Chinese", b.file, p.Title)
			}
			for _, q := range p.Targets {
				if q.Datasource.UID != "${datasource}" {
					t.Errorf("%s: %q asks %q", b.file, p.Title, q.Datasource.UID)
				}
				checkExpr(t, b.file+": "+p.Title, q.Expr)
			}
		}
	}
}

var counterUse = regexp.MustCompile(`(rate|increase)\(`)

// checkExpr holds a query to PromQL and to the rules about counters.
func checkExpr(t *testing.T, where, expr string) {
	t.Helper()
	tree, err := parser.NewParser(parser.Options{}).ParseExpr(expand(expr, "x", ""))
	if err != nil {
		t.Errorf("%s: %s: %v", where, expr, err)
		return
	}
	counted := false
	parser.Inspect(tree, func(n parser.Node, _ []parser.Node) error {
		if s, ok := n.(*parser.VectorSelector); ok {
			counted = counted || strings.HasSuffix(s.Name, "_total") || strings.HasSuffix(s.Name, "_bucket")
		}
		return nil
	})
	rated := counterUse.MatchString(expr)
	if counted != rated {
		t.Errorf("%s: counters are rated and nothing else is: %s", where, expr)
	}
	if rated && !strings.Contains(expr, "[$__rate_interval]") {
		t.Errorf("%s: no $__rate_interval: %s", where, expr)
	}
}

// expand puts values in the place of Grafana's variables. Grafana makes the rate
// interval four times the step of a query that names its least step, and of the
// data source's (timeInterval) otherwise.
func expand(expr, device, step string) string {
	interval, rate := "15s", "1m"
	if step == "1m" {
		interval, rate = "1m", "4m"
	}
	return strings.NewReplacer(
		"$__rate_interval", rate, "$__interval", interval, "$__range", "15m", "${metric:regex}", ".+",
		"$job", ".*", "$kind", ".*", "$region", ".*", "$site", ".*", "$device", device, "$facility", ".*", "$node", "2201.1",
	).Replace(expr)
}

func TestListsLeadToTheDevice(t *testing.T) {
	uids := map[string]bool{}
	for _, b := range boards(t) {
		uids[b.UID] = true
	}
	link := regexp.MustCompile(`/d/([a-z-]+)\?`)
	for _, b := range boards(t) {
		text, err := fs.ReadFile(Files, b.file)
		if err != nil {
			t.Fatal(err)
		}
		found := link.FindAllSubmatch(text, -1)
		if len(found) == 0 && (strings.HasSuffix(b.file, "fleet.json") || strings.HasSuffix(b.file, "nodes.json")) {
			t.Errorf("%s does not lead to single devices", b.file)
		}
		for _, m := range found {
			if !uids[string(m[1])] {
				t.Errorf("%s leads to %s, which is none of ours", b.file, m[1])
			}
		}
	}
}

func TestBothLanguagesAskTheSame(t *testing.T) {
	asked := map[string]map[string]string{"en": {}, "zh": {}}
	for _, b := range boards(t) {
		var all []string
		for _, p := range b.Panels {
			for _, q := range p.Targets {
				all = append(all, q.Expr)
			}
		}
		asked[filepath.Dir(b.file)][filepath.Base(b.file)] = strings.Join(all, "\n")
	}
	for name, en := range asked["en"] {
		if asked["zh"][name] != en {
			t.Errorf("%s differs between the languages", name)
		}
	}
}
