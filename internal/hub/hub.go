// Package hub puts the parts together. The picture, from top to bottom, is the
// order in which they are built; they stop from bottom to top, so that a door
// closes before what it feeds.
//
//	records   SQLite: devices, tokens, audit
//	   │
//	models, registry, access, audit  what is there and who may do what
//	sessions, login                  who is signed in to the pages, and how
//	authority, enrolment             certificates: the hub's, and those of devices
//	   │
//	stores    time series on this machine's disk, on an encrypted volume, and in an engine elsewhere behind a queue
//	   │
//	corrections  what was found wrong in them, laid over whatever is read
//	   │
//	traffic   journal of open minutes of roadside units
//	   │
//	ingest    decode → identify → validate → grade → observe → commit     desk: rejects
//	   │
//	presence  who is online; ends the series of those who left
//	   │
//	mail      commands and configurations for devices
//	   │
//	query     PromQL        rules  recorded series, alerts, who is told of them
//	   │
//	catalog   datasets, grants, objections, releases
//	   │
//	feed      the catalogue as it is read        outlets  CKAN, provincial platforms
//	   │
//	api       the HTTP surface        web  the pages
//	   │
//	doors     MQTT, CoAP, HTTP
//	   │
//	self      the hub's own metrics, on the way of every sample
package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/audit"
	"github.com/songhua-io/hub/internal/authority"
	"github.com/songhua-io/hub/internal/catalog/feed"
	"github.com/songhua-io/hub/internal/catalog/offer"
	"github.com/songhua-io/hub/internal/catalog/outbox"
	"github.com/songhua-io/hub/internal/catalog/publish"
	"github.com/songhua-io/hub/internal/catalog/quality"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/catalog/release"
	"github.com/songhua-io/hub/internal/command"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/correction"
	"github.com/songhua-io/hub/internal/enrolment"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/ingest/desk"
	"github.com/songhua-io/hub/internal/ingest/mqtt"
	"github.com/songhua-io/hub/internal/login"
	"github.com/songhua-io/hub/internal/model"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/rules"
	"github.com/songhua-io/hub/internal/rules/notify"
	"github.com/songhua-io/hub/internal/schedule/facility/agent"
	"github.com/songhua-io/hub/internal/schedule/live"
	"github.com/songhua-io/hub/internal/schedule/loop"
	"github.com/songhua-io/hub/internal/store"
	"github.com/songhua-io/hub/internal/store/local"
	"github.com/songhua-io/hub/internal/store/volume"
	"github.com/songhua-io/hub/internal/telemetry"
	"github.com/songhua-io/hub/internal/traffic"
	"github.com/songhua-io/hub/internal/traffic/intake"
	"github.com/songhua-io/hub/internal/twin"
)

// Options are what a run of the hub takes from its caller. All are required
// but Ready and Before.
type Options struct {
	Log     *slog.Logger
	Version string
	// Ready is called once every door is open, in a goroutine of its own; its
	// context ends when the hub begins to stop, and the hub waits for it.
	Ready func(context.Context, Addresses)
	// Before makes up the time before a demonstration, which no device tells of; nil:
	// there is none.
	Before func(Past) error
}

// Past keeps what was before a demonstration. What is handed in belongs to the
// caller again when a call returns.
type Past struct {
	Passages func([]Passage) error
	Track    func(Track) error
}

// Track is a series: a value each Step from Start on, NaN where there is none.
// Labels hold __name__.
type Track struct {
	Labels map[string]string
	Start  time.Time
	Step   time.Duration
	Values []float64
}

// Passage is how many motor vehicles passed the detector of a link in a minute,
// and the sum of their speeds in mm/s.
type Passage struct {
	Unit, From, To     string
	Minute             time.Time
	Vehicles, SpeedSum int64
}

// Addresses say where a running hub can be reached. Doors that are closed are
// empty.
type Addresses struct {
	Data      string `json:"data"`
	HTTP      string `json:"http"`  // base URL
	HTTPS     string `json:"https"` // base URL
	MQTT      string `json:"mqtt"`
	MQTTS     string `json:"mqtts"`
	CoAP      string `json:"coap"`
	CoAPS     string `json:"coaps"`
	TokenFile string `json:"token_file"`
}

// Names in the data directory.
const (
	addressFile  = "hub.json"
	secretsFile  = "secrets.key"
	recordsFile  = "records.db"
	seriesDir    = "series"
	deskDir      = "desk"
	authorityDir = "authority"
)

// hub holds the parts between their building and their end.
type hub struct {
	cfg     config.Config
	options Options
	log     *slog.Logger
	clock   func() time.Time
	// encrypted says by what means a directory's volume is encrypted, or why it
	// is not.
	encrypted func(dir string) (string, error)
	metrics   *prometheus.Registry
	started   time.Time
	stack     *stack

	records     *records.DB
	quotas      *quota.Quotas
	sealer      *registry.Sealer
	models      *model.Models
	registry    *registry.Registry
	tokens      *access.Tokens
	sessions    *access.Sessions
	audit       *audit.Log
	login       *login.Desk
	series      *local.DB
	graded      *local.DB // on an encrypted volume; nil when there is none,
	ungraded    string    // and why
	far         remote    // the engine elsewhere; nil when there is none
	farGraded   remote    // the same for series of grade important and core, if they may go there
	plain       store.Engine
	closed      store.Engine // of series of grade important and core; nil when there is no place for them
	desk        *desk.Desk
	board       *traffic.Board
	traffic     *intake.Intake
	pipeline    *ingest.Pipeline
	presence    *registry.Presence
	commands    *command.Ledger
	twins       *twin.Twins
	fleet       *agent.Fleet
	orders      *orders
	steward     *stewardship
	relief      *relief
	mqtt        *mqtt.Server
	hurry       func() // ends the waiting of HTTP requests
	authority   *authority.Authority
	enrolment   *enrolment.Registrar
	scheduler   *loop.Scheduler
	live        *live.Feed
	catalog     *register.Register
	freezer     *freezer
	offers      *offer.Access
	quality     *quality.Keeper
	feed        *feed.Feed
	outlets     *outbox.Outbox
	passages    *publish.Passages
	touched     *publish.Touched
	publisher   *publish.Publisher
	releases    *release.Store
	rules       *rules.Engine
	notifier    *notify.Notifier
	late        lateness
	corrections *correction.Log

	at Addresses
}

// Run builds a hub, runs it until ctx ends or a part fails, and stops it. It
// returns nil after an orderly end: what was received is stored and answered.
func Run(ctx context.Context, cfg config.Config, o Options) error {
	h := &hub{cfg: cfg, options: o, log: o.Log, clock: time.Now, encrypted: volume.Encrypted, started: time.Now(), metrics: prometheus.NewRegistry(), stack: newStack(o.Log)}
	h.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := h.build(ctx); err != nil {
		return errors.Join(err, h.stack.stop())
	}
	err := h.stack.wait(ctx)
	h.log.Info("hub_stopped", "uptime_seconds", time.Since(h.started).Seconds())
	return err
}

func (h *hub) build(ctx context.Context) error {
	h.quotas = quota.New(h.cfg.Quotas, h.started, h.metrics)
	for _, step := range []func(context.Context) error{
		h.openRecords, h.openAuthority, h.followModels, h.openStore, h.runIngest, h.runPresence, h.runMail, h.runSchedule, h.openDoors, h.runQuality, h.announce,
	} {
		if err := step(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
	}
	return nil
}

func (h *hub) openRecords(ctx context.Context) error {
	dir, err := filepath.Abs(h.cfg.Data)
	if err != nil {
		return fmt.Errorf("data directory %q: %w", h.cfg.Data, err)
	}
	h.at.Data = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create the data directory: %w; choose another with --data", err)
	}
	if h.records, err = records.Open(ctx, filepath.Join(dir, recordsFile)); err != nil {
		return err
	}
	h.stack.onStop("records", h.records.Close)
	if err := h.openAudit(); err != nil { // and it ends after all that write to it
		return err
	}
	if h.sealer, err = registry.OpenSealer(filepath.Join(dir, secretsFile)); err != nil {
		return err
	}
	if err := h.openModels(ctx); err != nil {
		return err
	}
	if h.registry, err = registry.Open(ctx, registry.Config{Records: h.records, Sealer: h.sealer, Log: h.log, Now: h.clock, Model: h.models.View}); err != nil {
		return err
	}
	if h.tokens, err = access.OpenTokens(ctx, h.records, h.clock); err != nil {
		return err
	}
	if h.at.TokenFile, err = h.tokens.EnsureAdmin(ctx, dir, h.notedAdmin); err != nil {
		return err
	}
	h.tokens.Watch(h.metrics)
	return h.openLogin(ctx)
}

func (h *hub) openLogin(ctx context.Context) error {
	var err error
	if h.sessions, err = access.OpenSessions(ctx, h.cfg.Pages, access.SessionsDeps{Records: h.records, Tokens: h.tokens, Clock: h.clock, Metrics: h.metrics}); err != nil {
		return err
	}
	h.login, err = login.New(h.cfg.OIDC, login.Deps{Sessions: h.sessions, Audit: h.audit, Log: h.log, Clock: h.clock, Metrics: h.metrics})
	if err != nil {
		return err
	}
	h.stack.start("login", h.login.Run)
	return nil
}

func (h *hub) openStore(ctx context.Context) error {
	var err error
	if h.series, err = h.openSeries(ctx, "series", filepath.Join(h.at.Data, seriesDir)); err != nil {
		return err
	}
	if err := h.openGraded(ctx); err != nil {
		return err
	}
	if err := h.openRemote(); err != nil {
		return err
	}
	if h.touched, err = publish.NewTouched(ctx, h.records, h.cfg.Releases.Publish, h.metrics); err != nil {
		return err
	}
	h.corrections, err = correction.Open(ctx, correction.Deps{Records: h.records, Store: h.rawSeries(), Touched: h.correctsPast, Clock: h.clock, Metrics: h.metrics})
	return err
}

func (h *hub) runIngest(ctx context.Context) error {
	var err error
	if h.desk, err = desk.Open(filepath.Join(h.at.Data, deskDir), h.cfg.Desk, desk.Deps{Log: h.log, Clock: h.clock, Metrics: h.metrics}); err != nil {
		return err
	}
	h.stack.onStop("desk file", h.desk.Close)
	h.stack.start("desk", h.desk.Run)
	h.runRemote()
	if err := h.openTraffic(ctx); err != nil {
		return err
	}
	h.pipeline = ingest.New(h.cfg.Ingest, ingest.Deps{
		Store: ingestStore{h.plain}, Sealed: h.sealed(), Full: h.full, Unsealed: h.ungraded, Directory: h.registry, Notes: notes{h.registry}, Desk: h.desk, Roads: h.traffic, Late: &h.late, Past: h.touched, Quotas: h.quotas,
		// No device is heard before the doors open, and presence is there by then.
		Period: func(device string) time.Duration { return h.presence.Of(device).Period },
		Log:    h.log, Clock: h.clock, Metrics: h.metrics,
	})
	if h.freezer, err = h.newFreezer(); err != nil {
		return err
	}
	h.stack.start("ingest", h.pipeline.Run)
	h.stack.start("traffic", h.traffic.Run) // its samples are ingest's to store
	h.stack.start("own metrics", (&self{
		gatherer: h.metrics, store: h.plain, pipeline: h.pipeline, clock: h.clock, log: h.log,
		series: map[string]telemetry.SeriesID{},
	}).run)
	return nil
}

func (h *hub) runPresence(ctx context.Context) error {
	ends := newStanding(h.plain, h.sealedPresence(), h.pipeline, h.registry, h.clock, h.log)
	var err error
	h.presence, err = registry.NewPresence(ctx, registry.PresenceConfig{
		Registry: h.registry, Records: h.records, Activity: activity{h.pipeline}, On: ends.turn,
		Log: h.log, Now: h.clock, Metrics: h.metrics,
	})
	if err != nil {
		return err
	}
	ends.presence = h.presence
	h.stack.start("presence series", ends.run)
	h.stack.start("presence", h.presence.Run)
	return nil
}

func (h *hub) runMail(ctx context.Context) error {
	// Nothing is wanted anew before the doors open.
	h.twins = twin.New(twin.Deps{Records: h.records, Check: checks{h}.Config, Changed: func(device string) { h.steward.want(device) }, Clock: h.clock})
	var err error
	h.commands, err = command.Open(ctx, h.cfg.Commands, command.Deps{
		Records: h.records, Registered: func(id string) bool { return h.registry.Device(id) != nil }, Check: checks{h}.Command,
		Log: h.log, Clock: h.clock, Metrics: h.metrics,
	})
	if err != nil {
		return err
	}
	h.stack.start("commands", h.commands.Run)
	if err := h.openOrders(); err != nil {
		return err
	}
	h.fleet = agent.New(agent.Deps{Ask: h.order, Reported: h.reported, Online: h.online, Nodes: h.nodes})
	return nil
}
