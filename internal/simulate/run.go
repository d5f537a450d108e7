package simulate

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// Doors are the addresses of the hub's doors.
type Doors struct {
	MQTT string // host:port
	CoAP string // host:port, plain UDP on loopback
	HTTP string // http://host:port
	// Admin returns the token with which the fleet's devices are registered.
	Admin func() string
}

// How history is sent before a fleet goes live: History back from the start,
// oldest first, at most HistoryRate readings a second.
const (
	History     = 6 * time.Hour
	HistoryRate = 100_000

	historySlice = 45 * time.Minute
)

const (
	workers   = 8   // connections are shared out among them by device
	queueSize = 128 // events that wait for a worker; when full, the fleet waits
)

// Run registers the fleet, sends its last hours and then what it measures,
// until ctx ends. A hub that is away for a while is waited for: devices keep
// the last of their readings and send them when it is back. secret gives the
// secret under which a device is registered and signs in.
func Run(ctx context.Context, c Config, doors Doors, secret func(id string) string, log *slog.Logger) error {
	fleet := New(c)
	if err := register(ctx, fleet, doors, secret); err != nil {
		return err
	}
	crew := newCrew(fleet, doors, secret, log)
	defer crew.close()
	begin, sent := time.Now(), 0
	err := crew.backfill(ctx, fleet, &sent)
	if err != nil || ctx.Err() != nil {
		return err
	}
	log.Info("simulated fleet is live", "devices", len(fleet.Devices), "history_readings", sent, "history_seconds", time.Since(begin).Seconds())
	return crew.live(ctx, fleet)
}

// crew is the workers and the stations, one per device, that each looks after.
type crew struct {
	stations map[*Device]*station
	shares   [workers][]*station
	log      *slog.Logger
}

func newCrew(f *Fleet, doors Doors, secret func(string) string, log *slog.Logger) *crew {
	c := &crew{stations: make(map[*Device]*station, len(f.Devices)), log: log}
	for i, d := range f.Devices {
		s := &station{dev: d, doors: doors, secret: secret(d.ID), log: log.With("device", d.ID)}
		c.stations[d] = s
		c.shares[i%workers] = append(c.shares[i%workers], s)
	}
	return c
}

func (c *crew) close() {
	for _, s := range c.stations {
		s.hangUp()
	}
}

// backfill sends every device's history in slices of time, so that the
// province's past fills up evenly.
func (c *crew) backfill(ctx context.Context, f *Fleet, sent *int) error {
	if len(f.Devices) == 0 {
		return nil
	}
	start := f.Devices[0].start
	limit := rate.NewLimiter(HistoryRate, HistoryRate/4)
	for from := start.Add(-History); from.Before(start); from = from.Add(historySlice) {
		to := from.Add(historySlice)
		if to.After(start) {
			to = start
		}
		g, gctx := errgroup.WithContext(ctx)
		counts := [workers]int{}
		for w, share := range c.shares {
			g.Go(func() error {
				for _, s := range share {
					rs := s.dev.between(from, to)
					if err := limit.WaitN(gctx, min(len(rs), HistoryRate/4)); err != nil {
						return nil // ctx has ended, or will before the readings may go
					}
					s.deliver(gctx, rs, false)
					counts[w] += len(rs)
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		for _, n := range counts {
			*sent += n
		}
	}
	return nil
}

// between returns what the device measured from a time on until before another.
func (d *Device) between(from, to time.Time) []Reading {
	first := d.start.Add(d.phase)
	t := first.Add(-first.Sub(from).Truncate(d.Period))
	var out []Reading
	for ; t.Before(to); t = t.Add(d.Period) {
		if !t.Before(from) && d.Present(t) {
			out = d.Read(t, out)
		}
	}
	return out
}

// live hands each event to the worker of its device when its time comes.
func (c *crew) live(ctx context.Context, f *Fleet) error {
	g, ctx := errgroup.WithContext(ctx)
	queues := map[*Device]chan Event{}
	for _, share := range c.shares {
		q := make(chan Event, queueSize)
		for _, s := range share {
			queues[s.dev] = q
		}
		g.Go(func() error { return c.work(ctx, q) })
	}
	g.Go(func() error {
		timer := time.NewTimer(0)
		defer timer.Stop()
		for len(f.Devices) > 0 {
			e := f.Next()
			timer.Reset(time.Until(e.At))
			select {
			case <-timer.C:
			case <-ctx.Done():
				return nil
			}
			select {
			case queues[e.Device] <- e:
			case <-ctx.Done():
				return nil
			}
		}
		return nil
	})
	return g.Wait()
}

func (c *crew) work(ctx context.Context, q <-chan Event) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-q:
			s := c.stations[e.Device]
			if e.Leaves {
				s.vanish()
				continue
			}
			s.deliver(ctx, e.Readings, e.Garbled)
		}
	}
}
