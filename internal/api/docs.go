package api

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/songhua-io/hub/internal/access"
)

//go:embed docs.html
var docsHTML string

func splitPattern(pattern string) (method, path string) {
	method, path, ok := strings.Cut(pattern, " ")
	if !ok {
		return "", pattern
	}
	return method, strings.TrimSpace(path)
}

// tagOf is the first noun of a path: "devices" of /api/v1/devices/{id}.
func tagOf(path string) string {
	path = strings.TrimPrefix(strings.TrimPrefix(path, "/"), "api/v1/")
	if i := strings.IndexAny(path, "/:"); i >= 0 {
		path = path[:i]
	}
	return path
}

// describe adds the paths of others to the OpenAPI document and freezes it.
func (a *API) describe() error {
	for _, r := range a.routes {
		if r.op == nil && r.Method != "" {
			a.describeBeside(r)
		}
	}
	spec, err := json.Marshal(a.huma.OpenAPI())
	a.spec = spec
	return err
}

// describeBeside says of a path that others answer what is known here: that it
// is there, what for, and its parameters.
func (a *API) describeBeside(r Route) {
	path := strings.ReplaceAll(strings.TrimSuffix(r.Path, "{$}"), "...}", "}")
	op := &huma.Operation{
		Method: r.Method, Path: path, OperationID: operationID(r.Method, path), Summary: r.EN, Tags: []string{tagOf(path)},
		Extensions: map[string]any{"x-summary-zh": r.ZH},
		Responses:  map[string]*huma.Response{"default": {Description: "See the documents of this path."}},
	}
	for _, name := range regexp.MustCompile(`\{([a-z_]+)\}`).FindAllStringSubmatch(path, -1) {
		op.Parameters = append(op.Parameters, &huma.Param{Name: name[1], In: "path", Required: true, Schema: &huma.Schema{Type: "string"}})
	}
	if r.Action != "" {
		op.Security = []map[string][]string{{"token": {}}}
		op.Extensions["x-action"] = string(r.Action)
	}
	a.huma.OpenAPI().AddOperation(op)
}

func (a *API) openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/openapi+json")
	w.Write(a.spec) //nolint:errcheck // the caller is gone
}

// docsRoute is a route as the page shows it.
type docsRoute struct {
	Route
	Summary      string
	Roles        []string
	Parameters   []docsField
	Fields       []docsField
	Idempotently bool
}

type docsField struct {
	Name, Type, Doc string
	Required        bool
}

type docsGroup struct {
	Tag    string
	Routes []docsRoute
}

// docsPage lists every path, server-rendered from what the API checks by: no
// script, nothing from elsewhere.
func (a *API) docsPage(w http.ResponseWriter, r *http.Request) {
	zh := r.URL.Query().Get("lang") == "zh" || r.URL.Query().Get("lang") == "" && strings.HasPrefix(r.Header.Get("Accept-Language"), "zh")
	page, err := template.New("docs").Parse(docsHTML)
	var body bytes.Buffer
	if err == nil {
		err = page.Execute(&body, map[string]any{"ZH": zh, "Version": a.Version, "Groups": a.docsGroups(zh)})
	}
	if err != nil {
		a.problemOf(err).(*problem).write(w)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'")
	w.Header().Set("Vary", "Accept-Language")
	w.Write(body.Bytes()) //nolint:errcheck // the caller is gone
}

func (a *API) docsGroups(zh bool) (groups []docsGroup) {
	for _, r := range a.routes {
		d := docsRoute{Route: r, Summary: r.EN}
		if zh {
			d.Summary = r.ZH
		}
		for _, role := range access.Roles() {
			if r.Action != "" && access.May(role, r.Action) {
				d.Roles = append(d.Roles, string(role))
			}
		}
		if r.op != nil {
			d.Parameters, d.Fields = a.parameters(r.op), a.fields(r.op)
			d.Idempotently = r.Method != http.MethodGet
		}
		at := slices.IndexFunc(groups, func(g docsGroup) bool { return g.Tag == tagOf(r.Path) })
		if at < 0 {
			groups, at = append(groups, docsGroup{Tag: tagOf(r.Path)}), len(groups)
		}
		groups[at].Routes = append(groups[at].Routes, d)
	}
	return groups
}

func (a *API) parameters(op *huma.Operation) (all []docsField) {
	for _, p := range op.Parameters {
		doc := p.Description
		if p.Schema != nil && doc == "" {
			doc = p.Schema.Description
		}
		all = append(all, docsField{p.Name, p.In, doc, p.Required})
	}
	return all
}

// fields lists the top level of a request's body.
func (a *API) fields(op *huma.Operation) (all []docsField) {
	if op.RequestBody == nil || op.RequestBody.Content["application/json"] == nil {
		return nil
	}
	schema := op.RequestBody.Content["application/json"].Schema
	if schema.Ref != "" {
		schema = a.huma.OpenAPI().Components.Schemas.SchemaFromRef(schema.Ref)
	}
	for name, s := range schema.Properties {
		all = append(all, docsField{name, s.Type, s.Description, slices.Contains(schema.Required, name)})
	}
	slices.SortFunc(all, func(x, y docsField) int { return strings.Compare(x.Name, y.Name) })
	return all
}
