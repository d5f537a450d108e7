// Package edge is the agent that runs beside sensors, roadside units and
// compute nodes: what a source gave it is on disk before the source hears so,
// and stays there until the hub acknowledged it.
//
//	source ─┐                        ┌─ live ────┐
//	source ─┼─► batcher ─► spool ────┤           ├─► outbox ─► uplink ─► hub
//	self   ─┘   (blocks,   (disk,    └─ history ─┘   (window,  (MQTT or
//	            one fsync)  bounds)                   rates)    CoAP)
//
//go:generate go run ../config/gen -root ../.. -o docs.go -package edge internal/edge internal/edge/source internal/edge/source/host internal/edge/source/gpu internal/edge/source/scrape internal/edge/source/snmp internal/edge/source/modbus internal/edge/source/command internal/edge/source/file internal/edge/source/mqtt internal/edge/source/udp internal/edge/source/push internal/edge/trust
package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/edge/source"
	"github.com/songhua-io/hub/internal/edge/spool"
	"github.com/songhua-io/hub/internal/edge/uplink"
	"github.com/songhua-io/hub/internal/edge/uplink/coap"
	"github.com/songhua-io/hub/internal/edge/uplink/mqtt"
	"github.com/songhua-io/hub/internal/progress"
)

// agent is what Run builds.
type agent struct {
	now     func() time.Time
	log     *slog.Logger
	spool   *spool.Spool
	batcher *batcher
	outbox  *outbox
	rejects *rejects
	sources []*source.Supervisor
}

// Run runs an agent until the context ends, which is no error. cfg must have
// passed its checks. It fails when the spool cannot be opened or its disk can no
// longer be trusted.
func Run(ctx context.Context, cfg Config, log *slog.Logger, now func() time.Time) error {
	renew, err := newRenewer(cfg, log, now)
	if err != nil {
		return err
	}
	a, err := open(cfg, log, now)
	if err != nil {
		return err
	}
	limit := int(cfg.Uplink.MaxMessage)
	for _, n := range cfg.Sources.list(env{cfg.Device, cfg.Data, limit, log, now}) {
		a.sources = append(a.sources, source.Supervise(n.name, n.source, limit, log, now))
	}
	report := &self{agent: a, interval: cfg.StatusInterval, started: now()}
	supervised := append(a.sources[:len(a.sources):len(a.sources)], source.Supervise("self", report, limit, log, now))
	put := source.Tagged(a.batcher.put, cfg.Tags)

	// Sources stop first, so that what they hold reaches the spool; the batcher
	// ends when all of them did. The outbox needs no order: what it did not
	// send stays in the spool.
	g, ctx := errgroup.WithContext(ctx)
	var running sync.WaitGroup
	for _, s := range supervised {
		running.Add(1)
		g.Go(func() error {
			defer running.Done()
			return s.Run(ctx, put, func(err error) bool { return errors.Is(err, spool.ErrBroken) })
		})
	}
	g.Go(func() error {
		running.Wait()
		close(a.batcher.done)
		return nil
	})
	g.Go(func() error {
		a.batcher.run()
		return nil
	})
	g.Go(func() error { return a.outbox.run(ctx) })
	g.Go(func() error { return renew.run(ctx) })
	log.Info("agent_started", "device", cfg.Device, "hub", cfg.Uplink.URL, "sources", len(a.sources))
	return errors.Join(g.Wait(), a.spool.Close())
}

// Drain sends what is in the spool and returns when nothing waits any more. The
// line shows how many blocks wait.
func Drain(ctx context.Context, cfg Config, log *slog.Logger, now func() time.Time, line *progress.Line) error {
	a, err := open(cfg, log, now)
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

// open builds everything but the sources.
func open(cfg Config, log *slog.Logger, now func() time.Time) (*agent, error) {
	told := newRejects(log)
	link, err := newLink(cfg, log, told.add)
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
			spool: sp, link: link, split: split, log: log, suspects: suspects{},
			limit: int(cfg.Uplink.MaxMessage), window: cfg.Uplink.Window, backfill: float64(cfg.Uplink.BackfillRate),
		},
	}, nil
}

func newLink(cfg Config, log *slog.Logger, told func(uplink.Rejects)) (uplink.Link, error) {
	address, err := url.Parse(cfg.Uplink.URL)
	if err != nil {
		return nil, fmt.Errorf("uplink.url: %w", err)
	}
	id, err := cfg.identity()
	if err != nil {
		return nil, err
	}
	if slices.Contains(coap.Schemes(), address.Scheme) {
		return coap.New(address, id, log, told)
	}
	return mqtt.New(address, id, log, told), nil
}
