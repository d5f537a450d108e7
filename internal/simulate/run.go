package simulate

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// Doors are the addresses of the hub's doors.
type Doors struct {
	MQTT string // host:port
	CoAP string // host:port, plain UDP on loopback
	HTTP string // http://host:port
	// Admin is the token with which the fleet's devices are registered.
	Admin string
	// Told is called once all of the history is sent, and does not wait; nil: nobody asks.
	Told func()
}

// How history is sent beside what is live: History back from the start, in
// pieces, the newest first, at most HistoryRate readings a second.
const (
	History     = 54 * time.Hour
	HistoryRate = 100_000

	piece = 45 * time.Minute
)

const (
	workers   = 8   // connections are shared out among them by device
	queueSize = 128 // events that wait for a worker; when full, the fleet waits
)

// Run registers the fleet and reports what it measures until ctx ends; the
// hours before fill in behind. Roadside units play a road net beside it. A hub that is away for a while is waited for:
// devices keep the last of their readings and send them when it is back.
// secret gives the secret under which a device is registered and signs in.
func Run(ctx context.Context, c Config, doors Doors, secret func(id string) string, log *slog.Logger) error {
	fleet, road := New(c), newRoadside(c, doors, secret, log)
	if err := register(ctx, slices.Concat(fleet.Devices, road.devices), doors, secret); err != nil {
		return err
	}
	crew := newCrew(fleet, doors, secret, log)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return road.run(ctx) })
	for _, w := range crew.workers {
		g.Go(func() error { return w.run(ctx) })
	}
	g.Go(func() error { return crew.play(ctx, fleet) })
	return g.Wait()
}

// crew is the workers, and which of them looks after a device.
type crew struct {
	workers [workers]*worker
	telling atomic.Int32 // workers whose history is not sent yet
	of      map[*Device]*worker
}

func newCrew(f *Fleet, doors Doors, secret func(string) string, log *slog.Logger) *crew {
	c := &crew{of: make(map[*Device]*worker, len(f.Devices))}
	limit := rate.NewLimiter(HistoryRate, HistoryRate/4)
	for i := range c.workers {
		c.workers[i] = &worker{queue: make(chan Event, queueSize), stations: map[*Device]*station{}, limit: limit, log: log}
	}
	for i, d := range f.Devices {
		w := c.workers[i%workers]
		w.stations[d] = &station{dev: d, doors: doors, secret: secret(d.ID), log: log.With("device", d.ID)}
		w.order = append(w.order, d)
		c.of[d] = w
	}
	c.telling.Store(workers)
	for _, w := range c.workers {
		w.done = func() {
			if c.telling.Add(-1) == 0 && doors.Told != nil {
				doors.Told()
			}
		}
	}
	return c
}

// play hands each event to the worker of its device when its time comes.
func (c *crew) play(ctx context.Context, f *Fleet) error {
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
		case c.of[e.Device].queue <- e:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// worker reports for its share of the devices, live events before history.
type worker struct {
	queue    chan Event
	stations map[*Device]*station
	order    []*Device
	limit    *rate.Limiter // of all workers' history
	log      *slog.Logger

	told    int    // pieces of history sent
	toldAll bool   // all of them are
	done    func() // says so
}

func (w *worker) run(ctx context.Context) error {
	defer func() {
		for _, s := range w.stations {
			s.hangUp()
		}
	}()
	for ctx.Err() == nil {
		select {
		case e := <-w.queue:
			w.report(ctx, e)
			continue
		default:
		}
		if w.recall(ctx) {
			continue
		}
		select {
		case e := <-w.queue:
			w.report(ctx, e)
		case <-ctx.Done():
		}
	}
	return nil
}

func (w *worker) report(ctx context.Context, e Event) {
	s := w.stations[e.Device]
	if e.Leaves {
		s.vanish()
		return
	}
	s.deliver(ctx, e.Readings, e.Garbled)
}

// recall sends the next piece of history of the next device, and reports
// whether there was one. Pieces of all devices come before older ones of any.
func (w *worker) recall(ctx context.Context) bool {
	if w.toldAll {
		return false
	}
	if w.told == len(w.order)*int(History/piece) {
		w.toldAll = true
		w.log.Info("simulated history is sent", "devices", len(w.order))
		w.done()
		return false
	}
	d := w.order[w.told%len(w.order)]
	to := d.start.Add(-time.Duration(w.told/len(w.order)) * piece)
	w.told++
	rs := d.between(to.Add(-piece), to)
	if d.absence(time.Now()) != present {
		return true // who is away sends nothing
	}
	if err := w.limit.WaitN(ctx, min(len(rs), w.limit.Burst())); err != nil {
		return false // ctx has ended
	}
	w.stations[d].deliver(ctx, rs, false)
	return true
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
