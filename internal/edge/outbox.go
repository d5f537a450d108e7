package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/edge/spool"
	"github.com/songhua-io/hub/internal/edge/uplink"
)

const (
	// saveEvery is how often the spool writes down what was delivered.
	saveEvery = time.Second
	// retryPause is the pause after a message failed while the link is up.
	retryPause = time.Second
)

// outbox sends what is in the spool: the live lane first, and history with at
// most half of the window and at a bounded rate.
type outbox struct {
	spool  *spool.Spool
	link   uplink.Link
	split  *splitter
	log    *slog.Logger
	limit  int // of a message, in bytes
	window int
	// backfill bounds history in bytes a second; 0 means no bound.
	backfill float64
	// onUp is called with each connection; nil is nothing.
	onUp func()
	// hurried has an entry when a flush is wanted.
	hurried chan struct{}
	// untilEmpty makes run return when nothing waits.
	untilEmpty bool

	connections, delivered atomic.Uint64

	up        bool
	inFlight  int
	history   int       // of inFlight
	resume    time.Time // nothing is sent before
	historyAt time.Time // no history is sent before
	hurry     bool      // history has no bound until none waits
	suspects  suspects
}

// result is what became of a block. With a *[uplink.Refused] its samples are
// those refused.
type result struct {
	block spool.Block
	lane  spool.Lane
	err   error
}

// run works until the context ends or the spool fails.
func (o *outbox) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	ups := make(chan bool)
	g.Go(func() error {
		return o.link.Run(ctx, func(up bool) {
			select {
			case ups <- up:
			case <-ctx.Done():
			}
		})
	})
	g.Go(func() error {
		defer cancel() // in a drain the link ends with the last message
		return o.dispatch(ctx, ups)
	})
	return g.Wait()
}

func (o *outbox) dispatch(ctx context.Context, ups <-chan bool) error {
	results := make(chan result, o.window)
	defer func() { // a send in flight ends with the context; its block stays in the spool
		for ; o.inFlight > 0; o.inFlight-- {
			o.settle(<-results)
		}
	}()
	save := time.NewTicker(saveEvery)
	defer save.Stop()
	for {
		wait, err := o.fill(ctx, results)
		if err != nil {
			return err
		}
		if o.untilEmpty && o.inFlight == 0 && o.spool.Stats().Blocks == 0 {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			return nil
		case o.up = <-ups:
			if o.up {
				o.connections.Add(1)
				o.resume = time.Time{}
				if o.onUp != nil {
					o.onUp()
				}
			}
		case <-o.hurried:
			o.hurry, o.historyAt = true, time.Time{}
		case r := <-results:
			o.inFlight--
			err = o.settle(r)
		case <-save.C:
			err = o.spool.Save()
		case <-o.spool.Wake():
		case <-timer.C:
		}
		timer.Stop()
		if errors.Is(err, spool.ErrBroken) {
			return err
		}
		if err != nil {
			o.log.Error("spool_failed", "error", err)
		}
	}
}

// fill sends as long as the window, the link and the lanes allow, and returns
// how long to wait at most before it is to be called again.
func (o *outbox) fill(ctx context.Context, results chan<- result) (time.Duration, error) {
	for o.up && o.inFlight < o.window {
		now := time.Now()
		if d := o.resume.Sub(now); d > 0 {
			return d, nil
		}
		lane := spool.Live
		b, ok, err := o.spool.Take(lane)
		if err == nil && !ok && 2*o.history < o.window {
			if d := o.historyAt.Sub(now); d > 0 {
				return d, nil
			}
			lane = spool.History
			if b, ok, err = o.spool.Take(lane); ok {
				o.charge(now, len(b.Data))
			}
		}
		if err != nil {
			return 0, err
		}
		if !ok {
			o.hurry = o.hurry && o.history > 0
			break
		}
		o.inFlight++
		if lane == spool.History {
			o.history++
		}
		n := o.suspects.sizes(b.Seq, o.limit)
		go func() {
			var err error
			b.Samples, err = o.send(ctx, b, n)
			results <- result{b, lane, err}
		}()
	}
	return time.Hour, nil
}

// flush sends what waits now without the bound on history.
func (o *outbox) flush() { signal(o.hurried) }

func (o *outbox) charge(now time.Time, n int) {
	if o.backfill > 0 && !o.hurry {
		o.historyAt = now.Add(time.Duration(float64(n) / o.backfill * float64(time.Second)))
	}
}

func (o *outbox) send(ctx context.Context, b spool.Block, n sizes) (uint32, error) {
	m, err := message(b)
	if err != nil {
		return b.Samples, &uplink.Refused{Detail: err.Error()}
	}
	return o.split.send(ctx, o.link, m, n)
}

// settle tells the spool what became of a block.
func (o *outbox) settle(r result) error {
	if r.lane == spool.History {
		o.history--
	}
	refused, later := (*uplink.Refused)(nil), (*uplink.Later)(nil)
	switch {
	case r.err == nil:
		o.delivered.Add(1)
		delete(o.suspects, r.block.Seq)
		return o.spool.Ack(r.block.Seq)
	case errors.As(r.err, &refused):
		return o.refuse(r.block, refused.Detail)
	case errors.As(r.err, &later):
		o.resume = time.Now().Add(later.After)
		o.log.Warn("hub_asks_for_pause", "pause", later.After)
	case !errors.Is(r.err, context.Canceled):
		o.resume = time.Now().Add(retryPause)
		o.log.Debug("message_failed", "error", fmt.Sprint(r.err))
		if errors.Is(r.err, uplink.ErrDown) {
			break // it was not under way
		}
		o.suspects.lost(r.block.Seq, o.delivered.Load())
		if o.suspects.hopeless(r.block.Seq) {
			return o.refuse(r.block, fmt.Sprintf("%d connections ended with it: %v", o.suspects[r.block.Seq].losses, r.err))
		}
	}
	o.spool.Release(r.block.Seq)
	return nil
}

func (o *outbox) refuse(b spool.Block, why string) error {
	o.log.Error("message_refused", "detail", why, "samples", b.Samples)
	delete(o.suspects, b.Seq)
	return o.spool.Refuse(b)
}
