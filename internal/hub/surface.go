package hub

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/songhua-io/hub/docs/runbooks"
	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/api"
	"github.com/songhua-io/hub/internal/backfill"
	"github.com/songhua-io/hub/internal/catalog/offer"
	"github.com/songhua-io/hub/internal/catalog/sensorthings"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/correction"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/ingest/desk"
	ingesthttp "github.com/songhua-io/hub/internal/ingest/http"
	"github.com/songhua-io/hub/internal/login"
	"github.com/songhua-io/hub/internal/query"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/telemetry"
	"github.com/songhua-io/hub/internal/traffic"
	"github.com/songhua-io/hub/internal/web"
)

func (h *hub) gate() gate {
	return gate{h.registry, h.tokens, h.authority, h.quotas, h.clock, h.enrolment.Knock}
}

// surface is everything that the HTTP door serves.
func (h *hub) surface(ctx context.Context) (http.Handler, error) {
	questions, err := h.questions()
	if err != nil {
		return nil, err
	}
	h.runLive(questions)
	if err := h.openRules(ctx, questions); err != nil {
		return nil, err
	}
	if err := h.openCatalog(ctx, questions); err != nil {
		return nil, err
	}
	if err := h.openReleases(); err != nil {
		return nil, err
	}
	if err := h.openPublisher(ctx, questions, releaseStore{h.releases}); err != nil {
		return nil, err
	}
	base, err := h.feedBase()
	if err != nil {
		return nil, err
	}
	if err := h.openFeed(ctx, questions, base); err != nil {
		return nil, err
	}
	h.runSources(questions)
	things, err := h.things()
	if err != nil {
		return nil, err
	}
	shown := h.catalogue(base)
	pages, err := web.New(web.Deps{AlertBook: h.alertBook(), Corrections: h.correctionPages(), Catalogue: shown, Runbooks: runbooks.Files, Desk: h.login, Sessions: h.sessions, Changes: h.changes, Compute: h.compute, Workload: h.workload, Roads: h.roads, UnitPlace: h.unitPlace, Now: h.clock, Version: h.options.Version, Log: h.log})
	if err != nil {
		return nil, err
	}
	rates := &rates{totals: h.pipeline.Totals, connections: h.mqtt.Connections, clock: h.clock}
	h.stack.start("rates", rates.run)
	beside := []api.Beside{
		{Pattern: "/prometheus/", ZH: "Prometheus 查询接口；Grafana 的数据源指向 /prometheus", EN: "Prometheus' HTTP API; Grafana's data source points at /prometheus",
			Action: access.ReadTelemetry, Handler: http.StripPrefix("/prometheus", questions.Handler())},
		{Pattern: "GET " + sensorthings.Root + "{path...}", ZH: "OGC SensorThings 1.1 只读接口", EN: "The OGC SensorThings API 1.1, to read",
			Handler: h.offers.Serve(questions.Beside(query.Beside{Name: "sensorthings", Answer: things.Answer, Fail: things.Fail}), things.Fail)},
		{Pattern: "GET /mqtt", ZH: "经 WebSocket 的 MQTT", EN: "MQTT over WebSocket", Own: true, Handler: h.mqtt.Handler()},
		h.metricsRoute(),
		{Pattern: "GET /{$}", ZH: "控制台页面", EN: "The console", Handler: pages},
		{Pattern: "GET /audit", ZH: "变更记录页面", EN: "The page of the record of changes", Handler: pages},
		{Pattern: "GET /alerts", ZH: "告警页面：当前告警、静默与历史", EN: "The page of alerts: what fires, silences, and what happened", Handler: pages},
		{Pattern: "POST /alerts/silences", ZH: "在页面上静默告警", EN: "Silence an alert on its page", Handler: pages},
		{Pattern: "POST /alerts/silences/{id}/end", ZH: "在页面上结束静默", EN: "End a silence on the page", Handler: pages},
		{Pattern: "GET /corrections", ZH: "更正页面：对已存样本的更正", EN: "The page of corrections: what was found wrong in stored samples", Handler: pages},
		{Pattern: "GET /corrections/{id}", ZH: "一项更正的页面：原始值、更正前后与现在", EN: "The page of a correction: its samples as they came, before, after and now", Handler: pages},
		{Pattern: "GET /compute", ZH: "算力页面", EN: "The page of compute", Handler: pages},
		{Pattern: "GET /compute/workloads/{id}", ZH: "任务页面：为何在此运行，或为何等待", EN: "The page of a workload: why it runs where it does, or why it waits", Handler: pages},
		{Pattern: "GET /roads", ZH: "道路页面：地图、路侧单元、事件", EN: "The page of roads: map, roadside units, events", Handler: pages},
		{Pattern: "GET /roads/units/{id}", ZH: "路侧单元页面", EN: "The page of a roadside unit", Handler: pages},
		{Pattern: "GET /roads/intersections/{node}", ZH: "路口信号页面", EN: "The page of an intersection's signals", Handler: pages},
		{Pattern: "GET /runbooks", ZH: "处置手册：每条告警的处理步骤", EN: "The runbooks: what to do about each alert", Handler: pages},
		{Pattern: "GET /runbooks/{alert}", ZH: "一条告警的处置手册", EN: "The runbook of an alert", Handler: pages},
		{Pattern: "/signin", ZH: "登录页面", EN: "Sign in to the pages", Handler: pages},
		{Pattern: "GET /signin/oidc", ZH: "前往登录服务（OpenID Connect）", EN: "Go to the OpenID Connect issuer to sign in", Handler: pages},
		{Pattern: "GET " + login.CallbackPath, ZH: "从登录服务返回", EN: "Come back from the issuer", Handler: pages},
		{Pattern: "POST /signout", ZH: "退出登录", EN: "Sign out of the pages", Handler: pages},
		{Pattern: "GET /static/", ZH: "页面所用的文件", EN: "Files of the pages", Handler: pages},
	}
	beside = append(beside, h.basemap()...)
	beside = append(beside, h.portal(pages, shown)...)
	imports := backfill.NewLedger(h.records, h.clock)
	beside = append(beside, h.importParts(imports))
	door := ingesthttp.New(h.cfg.HTTP, ingesthttp.Deps{Pipeline: h.pipeline, Gate: h.gate(), Mail: h.mail(), Units: h.traffic, Quotas: h.quotas, Log: h.log, Metrics: h.metrics})
	h.hurry = door.Hurry
	for _, r := range door.Routes() {
		beside = append(beside, api.Beside{Pattern: r.Pattern, ZH: r.ZH, EN: r.EN, Own: true, Handler: r.Handler})
	}
	return api.New(api.Deps{
		Releases: api.Releases{Store: h.releases, Make: h.makeRelease, Rebuild: h.rebuild, Budget: h.publisher.Budget}, Lineage: h.lineage, Rules: h.rules, Outlets: h.outlets, ExportOutlet: h.exportOutlet, Quality: h.quality, Roads: h.board, Freezes: h.freezer, Imports: imports, Corrections: h.corrections, Concerns: concerns(questions, h.catalog.Get), Steps: h.steps, Quotas: h.quotas, Registry: h.registry, Authority: h.authority, Enrolment: h.enrolment, Doors: h.doors, Presence: h.presence, Commands: h.commands, Twins: h.twins, Tokens: h.tokens, Sessions: h.sessions, Audit: h.audit, Models: h.models, Catalog: h.catalog, Scheduler: h.scheduler, Expression: questions.Instant, Desk: h.rejects(),
		Answers: records.Answers{DB: h.records, Now: h.clock}, Sealer: h.sealer, Rates: rates.now, Ready: h.ready,
		Version: h.options.Version, Log: h.log, Now: h.clock, Metrics: h.metrics, Beside: beside,
	})
}

// metricsRoute is open where only this machine can reach it; elsewhere a
// scraper needs a token.
func (h *hub) metricsRoute() api.Beside {
	r := api.Beside{Pattern: "GET /metrics", ZH: "枢纽自身的指标", EN: "The hub's own metrics",
		Handler: promhttp.HandlerFor(h.metrics, promhttp.HandlerOpts{EnableOpenMetrics: true})}
	if loopbackOnly(h.cfg.Listen.HTTP) && (h.cfg.Listen.HTTPS == config.Off || loopbackOnly(h.cfg.Listen.HTTPS)) {
		r.Own = true
	} else {
		r.Action = access.ReadHub
	}
	return r
}

// questions is the Prometheus API over the store.
func (h *hub) questions() (*query.API, error) {
	secret := &grades{registry: h.registry}
	return query.New(h.cfg.Query, query.Source{
		Store: h.allSeries(),
		AsOf:  correction.AsOf,
		Visible: func(r *http.Request) (query.Scope, bool) {
			c := access.CallerOf(r.Context())
			d := access.Allow(c, access.ReadTelemetry, access.Anywhere)
			hidden, err := secret.hidden(max(c.Grade, telemetry.General))
			if err != nil {
				h.log.Error("grades_not_known", "error", err)
			}
			_, offered := offer.ReadingOf(r.Context())
			return query.Scope{Region: c.Region, Hidden: hidden}, (d.Allowed || offered) && err == nil
		},
		Periods:   &periods{registry: h.registry, presence: h.presence},
		Metadata:  h.metadata,
		Rules:     h.promRules,
		Unit:      h.unitOf,
		Settings:  h.settings,
		Build:     query.BuildInfo{Version: h.options.Version},
		Started:   h.started,
		Retention: h.cfg.Store.Retention.String(),
		Clock:     h.clock,
	}, h.log, h.metrics)
}

// things is the SensorThings API over the devices, the models and the store.
func (h *hub) things() (*sensorthings.API, error) {
	return sensorthings.New(h.cfg.SensorThings, sensorthings.Deps{Devices: h.registry, Models: h.models, Sight: sightOf, Base: h.cfg.Pages.Base, Clock: h.clock, Metrics: h.metrics})
}

// settings is the configuration in force, without secrets.
func (h *hub) settings() string {
	shown := h.cfg
	return string(strict.Annotate(&shown, nil))
}

// metadata is what devices told of their metrics, and what the hub's own help
// texts say of its own.
func (h *hub) metadata() map[string][]query.Metadata {
	all := map[string][]query.Metadata{}
	for name, m := range h.registry.Metadata() {
		all[name] = []query.Metadata{{Type: m.Type, Unit: m.Unit, Help: m.Help}}
	}
	for _, m := range h.models.List() {
		for _, metric := range m.Metrics {
			if metric.Unit != "" {
				all[metric.Name] = withUnit(all[metric.Name], metric.Unit)
			}
		}
	}
	all[presenceMetric] = []query.Metadata{{Type: "gauge", Help: "1 while a device is online, 0.5 while it is late, 0 while it is offline."}}
	for name, help := range poolMetrics {
		all[name] = []query.Metadata{{Type: "gauge", Help: help}}
	}
	for _, d := range traffic.Definitions() {
		all[d.Name] = []query.Metadata{{Type: "gauge", Unit: d.Unit, Help: d.EN}}
	}
	families, err := h.metrics.Gather()
	if err != nil {
		h.log.Warn("own_metrics_not_gathered", "error", err)
	}
	for _, f := range families {
		all[f.GetName()] = []query.Metadata{{Type: strings.ToLower(f.GetType().String()), Help: f.GetHelp()}}
	}
	return all
}

// unitOf is the unit that a device's model gives a metric. Without a device it is
// what models and senders say of the metric, where all of them say the same.
func (h *hub) unitOf(device, metric string) string {
	if device != "" {
		if d := h.registry.Device(device); d != nil {
			if m := d.Model.Metric([]byte(metric)); m != nil {
				return m.Unit
			}
		}
		return ""
	}
	known := h.metadata()[metric]
	if len(known) != 1 {
		return ""
	}
	return known[0].Unit
}

// withUnit puts what a model says before what senders said.
func withUnit(known []query.Metadata, unit string) []query.Metadata {
	own := query.Metadata{Type: "gauge", Unit: unit}
	if len(known) > 0 {
		own.Type = known[0].Type
	}
	if slices.Contains(known, own) {
		return known
	}
	return append([]query.Metadata{own}, known...)
}

// rejects is the desk as the API knows it.
func (h *hub) rejects() api.Desk { return rejects{h} }

type rejects struct{ *hub }

func chosen(f api.RejectFilter) desk.Filter {
	return desk.Filter{
		ID: f.ID, Device: f.Device, Stage: telemetry.Stage(f.Stage), Reason: telemetry.Reason(f.Reason), Since: f.Since, Until: f.Until, Sees: f.Sees,
	}
}

// List implements api.Desk.
func (r rejects) List(ctx context.Context, q api.RejectQuery) (api.RejectPage, error) {
	page, err := r.desk.List(ctx, desk.Query{Filter: chosen(q.RejectFilter), Limit: q.Limit, Cursor: q.Cursor, Payloads: q.Payloads})
	if errors.Is(err, desk.ErrID) {
		err = fmt.Errorf("%w: %w", api.ErrNoReject, err)
	}
	out := api.RejectPage{Next: page.Next}
	for _, e := range page.Entries {
		entry := api.RejectEntry{ID: e.ID, At: e.Time, Device: e.Device, Format: e.Format.String(), Size: e.Size, Payload: e.Payload, Count: e.RejectCount}
		if len(e.Rejects) > 0 {
			first := e.Rejects[0]
			entry.Stage, entry.Reason, entry.Detail, entry.Index = string(first.Stage), string(first.Reason), first.Detail, first.Index
		}
		out.Entries = append(out.Entries, entry)
	}
	return out, err
}

// Replay implements api.Desk.
func (r rejects) Replay(ctx context.Context, f api.RejectFilter) (int, error) {
	n, err := r.desk.Replay(ctx, chosen(f), r.pipeline.Ingest)
	var over *quota.Exceeded
	switch {
	case errors.As(err, &over):
		err = &api.Later{Err: over, After: over.After}
	case errors.Is(err, ingest.ErrBusy):
		err = &api.Later{Err: ingest.ErrBusy, After: time.Second}
	case errors.Is(err, ingest.ErrClosed):
		err = &api.Later{Err: ingest.ErrClosed, After: 10 * time.Second, Closing: true}
	}
	return n, err
}

// Drop implements api.Desk.
func (r rejects) Drop(ctx context.Context, f api.RejectFilter) (int, error) {
	return r.desk.Drop(ctx, chosen(f))
}

// quiet takes what net/http has to say about single strangers to the debug level.
func quiet(to *slog.Logger) *log.Logger { return slog.NewLogLogger(to.Handler(), slog.LevelDebug) }
