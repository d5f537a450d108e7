// Package api is the hub's HTTP surface for people and programs: it says which
// paths there are, checks who may take them, and turns JSON into questions to
// the owners of things and their answers and errors into JSON. It decides
// nothing else.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/audit"
	"github.com/songhua-io/hub/internal/authority"
	"github.com/songhua-io/hub/internal/backfill"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/outbox"
	"github.com/songhua-io/hub/internal/catalog/publish"
	"github.com/songhua-io/hub/internal/catalog/quality"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/catalog/release"
	"github.com/songhua-io/hub/internal/command"
	"github.com/songhua-io/hub/internal/correction"
	"github.com/songhua-io/hub/internal/enrolment"
	"github.com/songhua-io/hub/internal/model"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/rules"
	"github.com/songhua-io/hub/internal/schedule/loop"
	"github.com/songhua-io/hub/internal/traffic"
	"github.com/songhua-io/hub/internal/twin"
)

// Deps are the owners of things. All fields must be set but Beside.
type Deps struct {
	Quotas   *quota.Quotas
	Registry *registry.Registry
	Presence *registry.Presence
	Commands *command.Ledger
	Twins    *twin.Twins
	Tokens   *access.Tokens
	Sessions *access.Sessions
	Audit    *audit.Log
	Models   *model.Models
	Catalog  *register.Register
	Quality  *quality.Keeper
	Outlets  *outbox.Outbox
	Rules    *rules.Engine
	// ExportOutlet writes the whole catalogue by the template of an outlet, and says
	// what its codes lack for that.
	ExportOutlet func(outlet, format string) (body []byte, mediaType string, lacks []catalog.Problem, err error)
	Scheduler    *loop.Scheduler
	Releases     Releases
	// Lineage is where rows of a release come from, as far as the caller may see
	// it: a version of a dataset, 0 for the newest, and a row, -1 for all.
	Lineage func(ctx context.Context, dataset string, version int64, row int) (*publish.Lineage, error)
	// Expression returns why PromQL cannot be evaluated at one time, and where; nil
	// when it can.
	Expression func(string) error
	Desk       Desk
	// Roads is what roadside units told.
	Roads   traffic.Views
	Freezes Freezes
	// Imports are files of history, and how far they are in.
	Imports *backfill.Ledger
	// Corrections are those of stored samples.
	Corrections *correction.Log
	// Concerns reports whether a correction is about samples that a dataset is made of.
	Concerns func(ctx context.Context, dataset string, c *correction.Correction) (bool, error)
	// Steps are what was done about a ticket; without desk, what its filer may know.
	Steps     func(ctx context.Context, t *register.Ticket, desk bool) ([]register.Step, error)
	Authority *authority.Authority
	Enrolment *enrolment.Registrar
	// Doors says where a caller that reached the hub at a host finds its doors.
	Doors func(host string) map[string]string
	// Answers keeps what was answered to writes with an Idempotency-Key.
	Answers Answers
	// Sealer encrypts those answers: some hold a secret.
	Sealer *registry.Sealer
	// Rates says how busy the hub is.
	Rates func() Rates
	// Ready returns why the hub cannot do its work; nil when it can.
	Ready   func() error
	Version string
	Log     *slog.Logger
	Now     func() time.Time
	Metrics prometheus.Registerer
	// Beside are the paths that other packages answer.
	Beside []Beside
}

// Rates is how busy the hub is, over the last seconds.
type Rates struct {
	SamplesPerSecond, RejectsPerSecond float64
	Series, Connections                int
}

// Beside is a path that another package answers; routes.go lists it with all
// others.
type Beside struct {
	// Pattern is as [http.ServeMux] takes it.
	Pattern string
	ZH, EN  string // what it is for, in one sentence
	// Action is what a caller must be allowed to do; empty when the handler
	// asks itself.
	Action access.Action
	// Own handlers know their callers by other means than tokens (devices, by
	// their secret): nothing is done before them, and CallerOf finds nobody.
	Own     bool
	Handler http.Handler
}

// API is the surface, ready to be served.
type API struct {
	Deps
	mux    *http.ServeMux
	huma   huma.API
	routes []Route
	spec   []byte // the OpenAPI document
	flying flight
	// downloads are how many files are read at this moment.
	downloads atomic.Int64
	// taken are the downloads by grants that are on record.
	taken notedDownloads
}

// Route is one path of the surface and what it takes to be let in.
type Route struct {
	Method, Path string
	Action       access.Action // empty: open to everybody, or asked by the handler
	ZH, EN       string
	op           *huma.Operation
}

// New returns the surface with everything that routes.go lists.
func New(d Deps) (*API, error) {
	a := &API{Deps: d, mux: http.NewServeMux(), flying: flight{names: map[string]bool{}}}
	a.huma = humago.New(newMeasured(a.mux, d.Metrics), huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI:    "3.1.0",
			Info:       &huma.Info{Title: "Songhua Hub", Version: d.Version},
			Components: &huma.Components{Schemas: huma.NewMapRegistry("#/components/schemas/", schemaName), SecuritySchemes: securitySchemes()},
		},
		Formats:                      huma.DefaultFormats,
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{withoutSecrets},
	})
	d.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "hub_api_downloads", Help: "Files of releases that are read at this moment; at 512 more are refused."},
		func() float64 { return float64(a.downloads.Load()) }))
	a.list()
	if err := a.describe(); err != nil {
		return nil, fmt.Errorf("describe the API: %w", err)
	}
	return a, nil
}

// schemaName keeps the types of the catalogue apart from others of their names.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.PkgPath() == reflect.TypeFor[register.Document]().PkgPath() {
		name = "Catalog" + name
	}
	if t.PkgPath() == reflect.TypeFor[release.Manifest]().PkgPath() {
		name = "Release" + name
	}
	return name
}

func securitySchemes() map[string]*huma.SecurityScheme {
	return map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "A token of `hub token add`. Grafana may send it as the password of basic authentication."},
	}
}

// ServeHTTP answers a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

// Routes lists every path, in the order of routes.go.
func (a *API) Routes() []Route { return a.routes }

// option changes how an operation is registered.
type option func(*huma.Operation)

func status(code int) option { return func(op *huma.Operation) { op.DefaultStatus = code } }

// keyed says that the owner of what is written takes care of idempotency keys.
func keyed(op *huma.Operation) { op.Metadata = map[string]any{"keyed": true} }

// large lets a body be as long as a batch of devices can be.
func large(op *huma.Operation) { op.MaxBodyBytes = 32 << 20 }

// on registers one operation of our own.
func on[I, O any](a *API, method, path string, action access.Action, zh, en string, h func(context.Context, *I) (*O, error), options ...option) {
	op := huma.Operation{
		Method: method, Path: path, OperationID: operationID(method, path), Summary: en,
		Tags: []string{tagOf(path)}, Extensions: map[string]any{"x-summary-zh": zh},
	}
	if action != "" {
		op.Security = []map[string][]string{{"token": {}}}
		op.Extensions["x-action"] = string(action)
	}
	for _, o := range options {
		o(&op)
	}
	op.Middlewares = huma.Middlewares{a.identify, a.admit(action), a.once(op.MaxBodyBytes)}
	if op.Metadata["keyed"] != nil {
		op.Middlewares = op.Middlewares[:2]
	}
	if first, ok := op.Metadata["direct"].(directly); ok {
		op.Middlewares = append(op.Middlewares, a.direct(first))
	}
	if action == "" {
		op.Middlewares = huma.Middlewares{a.stranger}
	}
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, in)
		if err != nil && errors.Is(context.Cause(ctx), access.ErrRevoked) {
			err = access.ErrRevoked // and whatever broke off for it
		}
		return out, a.problemOf(err)
	})
	a.routes = append(a.routes, Route{Method: method, Path: path, Action: action, ZH: zh, EN: en, op: a.operation(method, path)})
}

func (a *API) operation(method, path string) *huma.Operation {
	item := a.huma.OpenAPI().Paths[path]
	return map[string]*huma.Operation{
		http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPut: item.Put, http.MethodPatch: item.Patch, http.MethodDelete: item.Delete,
	}[method]
}

// beside registers a path that another package answers.
func (a *API) beside(b Beside) {
	method, path := splitPattern(b.Pattern)
	h := b.Handler
	if b.Action != "" {
		h = a.only(b.Action, h)
	}
	if !b.Own {
		h = a.counted(h)
	}
	a.mux.Handle(b.Pattern, h)
	a.routes = append(a.routes, Route{Method: method, Path: path, Action: b.Action, ZH: b.ZH, EN: b.EN})
}
