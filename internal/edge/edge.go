// Package edge is the agent that runs beside sensors, roadside units and
// compute nodes: what a source gave it is on disk before the source hears so,
// and stays there until the hub acknowledged it.
//
//	source ─┐                        ┌─ live ────┐
//	source ─┼─► batcher ─► spool ────┤           ├─► outbox ─► uplink ─► hub
//	self   ─┘   (blocks,   (disk,    └─ history ─┘   (window,  (MQTT,     │
//	            one fsync)  bounds)                   rates)    CoAP,     │
//	roster ◄── remote (config that the hub wants) ◄──────────── HTTP) ◄───┘
//	           commands (a closed list)
//
//go:generate go run ../config/gen -root ../.. -o docs.go -package edge internal/edge internal/edge/work internal/edge/source internal/edge/source/host internal/edge/source/gpu internal/edge/source/scrape internal/edge/source/snmp internal/edge/source/modbus internal/edge/source/command internal/edge/source/file internal/edge/source/mqtt internal/edge/source/udp internal/edge/source/push internal/edge/trust
package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/edge/source"
	"github.com/songhua-io/hub/internal/edge/spool"
	"github.com/songhua-io/hub/internal/edge/uplink"
	"github.com/songhua-io/hub/internal/edge/uplink/coap"
	"github.com/songhua-io/hub/internal/edge/uplink/http"
	"github.com/songhua-io/hub/internal/edge/uplink/mqtt"
	"github.com/songhua-io/hub/internal/edge/work"
	"github.com/songhua-io/hub/internal/progress"
)

// agent is what Run builds.
type agent struct {
	now      func() time.Time
	log      *slog.Logger
	version  string
	started  time.Time
	spool    *spool.Spool
	batcher  *batcher
	outbox   *outbox
	rejects  *rejects
	roster   *roster
	remote   *remote
	commands *commands
	work     *work.Runner
}

// Run runs an agent until the context ends, which is no error. cfg must have
// passed its checks. It fails when the spool cannot be opened or its disk can no
// longer be trusted.
func Run(ctx context.Context, cfg Config, log *slog.Logger, now func() time.Time) error {
	renew, err := newRenewer(cfg, log, now)
	if err != nil {
		return err
	}
	down, err := newCommands(cfg.Data, log, now)
	if err != nil {
		return err
	}
	wants := newRemote(cfg, log)
	jobs, err := newWork(cfg, wants, log, now)
	if err != nil {
		return err
	}
	var in uplink.Inbox
	if cfg.Remote.Enabled {
		in = uplink.Inbox{Wanted: wants.take, Command: down.take}
	}
	a, err := open(cfg, in, log, now)
	if err != nil {
		return err
	}
	a.version, a.started, a.remote, a.commands, a.work = cfg.Version, now(), wants, down, jobs
	a.roster = newRoster(a.batcher.put, int(cfg.Uplink.MaxMessage), log, now)
	wants.use, wants.send = a.use(&self{agent: a}), a.outbox.link.Send
	down.do, down.send = a.act, a.outbox.link.Send
	if cfg.Remote.Enabled {
		a.outbox.onUp = func() { signal(wants.tell); signal(down.wake) }
		cfg = wants.restore()
	}

	// Sources stop first, so that what they hold reaches the spool; the batcher
	// ends when all of them did. The outbox needs no order: what it did not
	// send stays in the spool.
	g, ctx := errgroup.WithContext(ctx)
	wants.use(ctx, cfg)
	g.Go(func() error {
		defer close(a.batcher.done)
		return a.roster.run(ctx)
	})
	g.Go(func() error {
		a.batcher.run()
		return nil
	})
	g.Go(func() error { return a.outbox.run(ctx) })
	g.Go(func() error { return renew.run(ctx) })
	if cfg.Remote.Enabled {
		g.Go(func() error { return wants.run(ctx) })
		g.Go(func() error { return down.run(ctx) })
		g.Go(func() error { return jobs.Run(ctx) })
	}
	log.Info("agent_started", "device", cfg.Device, "hub", cfg.Uplink.URL, "sources", len(a.roster.statuses()))
	return errors.Join(g.Wait(), a.spool.Close())
}

// use returns how the agent becomes one of another config: what of it may
// change while it runs.
func (a *agent) use(report *self) func(context.Context, Config) []*running {
	return func(ctx context.Context, cfg Config) []*running {
		put := source.Tagged(a.batcher.put, cfg.Tags)
		a.roster.put.Store(&put)
		list := cfg.Sources.list(env{cfg.Device, cfg.Data, int(cfg.Uplink.MaxMessage), a.log, a.now})
		return a.roster.set(ctx, append(list, named{selfName, "status_interval", cfg.StatusInterval.String(), func() source.Source {
			report.interval = cfg.StatusInterval // the one before has ended
			return report
		}}))
	}
}

// Drain sends what is in the spool and returns when nothing waits any more. The
// line shows how many blocks wait.
func Drain(ctx context.Context, cfg Config, log *slog.Logger, now func() time.Time, line *progress.Line) error {
	a, err := open(cfg, uplink.Inbox{}, log, now)
	if err != nil {
		return err
	}
	a.outbox.backfill, a.outbox.untilEmpty = 0, true
	stop := line.Every(func() { line.Say("%d blocks wait", a.spool.Stats().Blocks) })
	err = a.outbox.run(ctx)
	stop()
	if left := a.spool.Stats().Blocks; err == nil && left > 0 {
		err = fmt.Errorf("stopped before the end: %d blocks still wait in %s", left, SpoolDir(cfg))
	}
	return errors.Join(err, a.spool.Close())
}

// SpoolDir is where the spool of the config lies.
func SpoolDir(cfg Config) string { return filepath.Join(cfg.Data, "spool") }

// open builds the way from the batcher to the hub.
func open(cfg Config, in uplink.Inbox, log *slog.Logger, now func() time.Time) (*agent, error) {
	told := newRejects(log)
	in.Rejects = told.add
	link, err := newLink(cfg, log, in)
	if err != nil {
		return nil, err
	}
	enc, err := newEncoder(int(cfg.Uplink.MaxMessage), cfg.Uplink.Compress)
	if err != nil {
		return nil, err
	}
	split, err := newSplitter(cfg.Device)
	if err != nil {
		return nil, err
	}
	sp, err := spool.Open(spool.Config{Dir: SpoolDir(cfg), MaxBytes: int64(cfg.Spool.MaxSize), MaxAge: cfg.Spool.MaxAge}, log, now)
	if err != nil {
		return nil, err
	}
	return &agent{
		now: now, log: log, spool: sp, rejects: told,
		batcher: newBatcher(sp, enc),
		outbox: &outbox{
			spool: sp, link: link, split: split, log: log, suspects: suspects{}, hurried: make(chan struct{}, 1),
			limit: int(cfg.Uplink.MaxMessage), window: cfg.Uplink.Window, backfill: float64(cfg.Uplink.BackfillRate),
		},
	}, nil
}

func newLink(cfg Config, log *slog.Logger, in uplink.Inbox) (uplink.Link, error) {
	address, err := url.Parse(cfg.Uplink.URL)
	if err != nil {
		return nil, fmt.Errorf("uplink.url: %w", err)
	}
	id, err := cfg.identity()
	if err != nil {
		return nil, err
	}
	switch {
	case slices.Contains(coap.Schemes(), address.Scheme):
		return coap.New(address, id, log, in)
	case slices.Contains(http.Schemes(), address.Scheme):
		return http.New(address, id, log, in), nil
	}
	return mqtt.New(address, id, log, in), nil
}
