// Package load sends telemetry to a hub as fast as the hub answers, or at a
// given rate, and knows afterwards exactly which samples were acknowledged.
// Each transport is one function of one file; they share what is sent
// (Sequence), the record of acknowledgements (Ledger) and the figures (Result).
package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Config says what is sent. The zero values of Metrics, Window, Samples and
// Version mean 20, 1, 1 and 5.
type Config struct {
	// Address is host:port of the door (for HTTP, of the server).
	Address string
	// TLS, when set, is used towards the door.
	TLS *tls.Config
	// Connections is how many send; connection i is device Login(i).
	Connections int
	// Login returns the device and secret of a connection.
	Login func(connection int) (device, secret string)
	// Window is how many messages of a connection may wait for their acknowledgement.
	Window int
	// Samples is how many samples a message holds; it divides Metrics.
	Samples int
	// Metrics is how many series a device has, 1 to 100: load_00 and on.
	Metrics int
	Format  Format
	// Rate is messages a second over all connections; 0 is as fast as the window allows.
	Rate float64
	// Messages is how many each connection sends; 0 is until the context ends.
	Messages int
	// First is the number of the first message: what an earlier run stopped at.
	First int
	// Start is the time of sample 0. A device's samples are a millisecond apart per series.
	Start time.Time
	// Again makes a connection that breaks dial again and send anew what was not acknowledged.
	Again bool
	// Version is the MQTT version, 4 (3.1.1) or 5.
	Version byte
}

func (c Config) complete() Config {
	if c.Samples == 0 {
		c.Samples = 1
	}
	if c.Metrics == 0 {
		c.Metrics = max(20, c.Samples)
	}
	if c.Window == 0 {
		c.Window = 1
	}
	if c.Version == 0 {
		c.Version = 5
	}
	if c.Start.IsZero() {
		c.Start = time.Now()
	}
	return c
}

// Check says what cannot be sent like this.
func (c Config) Check() error {
	c = c.complete()
	switch {
	case c.Connections < 1:
		return fmt.Errorf("%d connections: at least one sends", c.Connections)
	case c.Window < 1 || c.Window > 60_000:
		return fmt.Errorf("window %d: 1 to 60000 messages may be unacknowledged", c.Window)
	case c.Samples < 1 || c.Metrics < 1 || c.Metrics > 100 || c.Metrics%c.Samples != 0:
		return fmt.Errorf("%d samples a message and %d metrics: the metrics, at most 100, are a multiple of the samples", c.Samples, c.Metrics)
	case !(c.Rate >= 0):
		return fmt.Errorf("rate %g: messages a second, or 0 for as fast as the hub answers", c.Rate)
	case c.Version != 4 && c.Version != 5:
		return fmt.Errorf("MQTT version %d: use 4 (3.1.1) or 5", c.Version)
	}
	return nil
}

// Line is one connection of a run: what it sends, what was acknowledged, how
// long that took. One goroutine owns it.
type Line struct {
	Config    Config
	Index     int
	Device    string
	Secret    string
	Sequence  *Sequence
	Ledger    Ledger
	Latencies Histogram
	// Refused counts messages that the hub answered but did not store whole.
	Refused int
	// Broken counts connections that broke.
	Broken int
}

// Result is what a run came to.
type Result struct {
	Elapsed      time.Duration
	Acknowledged int // messages
	Samples      int // in those messages
	Refused      int // messages answered but not stored whole
	Broken       int // connections that broke
	Latencies    Histogram
	Lines        []*Line
}

// MessagesPerSecond is the rate of acknowledged messages.
func (r *Result) MessagesPerSecond() float64 { return float64(r.Acknowledged) / r.Elapsed.Seconds() }

// SamplesPerSecond is the rate of samples in acknowledged messages.
func (r *Result) SamplesPerSecond() float64 { return float64(r.Samples) / r.Elapsed.Seconds() }

func (r *Result) String() string {
	return fmt.Sprintf("%d messages (%d samples) acknowledged in %s: %.0f messages/s, %.0f samples/s, p50 %s, p99 %s, most %s; %d refused, %d connections broke",
		r.Acknowledged, r.Samples, r.Elapsed.Round(time.Millisecond), r.MessagesPerSecond(), r.SamplesPerSecond(),
		r.Latencies.Quantile(0.5), r.Latencies.Quantile(0.99), r.Latencies.Max(), r.Refused, r.Broken)
}

// Sample is one sample that was sent.
type Sample struct {
	Device string
	Metric string
	Time   int64 // milliseconds since the Unix epoch
	Value  float64
}

// Each calls yield for every sample of every acknowledged message, until it
// returns false: what the hub must have.
func (r *Result) Each(yield func(Sample) bool) {
	for _, l := range r.Lines {
		for n := range l.Ledger.All {
			for j := range l.Config.Samples {
				if !yield(l.Sequence.Sample(n, j)) {
					return
				}
			}
		}
	}
}

// run drives all lines by one transport until ctx ends or all messages are
// acknowledged. A failed line ends the run.
func run(ctx context.Context, cfg Config, drive func(context.Context, *Line) error) (*Result, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	cfg = cfg.complete()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &Result{}
	var all sync.WaitGroup
	begin := time.Now()
	for i := range cfg.Connections {
		l := &Line{Config: cfg, Index: i}
		l.Device, l.Secret = cfg.Login(i)
		l.Sequence = NewSequence(cfg, l.Device)
		l.Ledger.First = cfg.First
		r.Lines = append(r.Lines, l)
	}
	for _, l := range r.Lines {
		all.Go(func() {
			if err := drive(ctx, l); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("connection %d of device %s: %w", l.Index, l.Device, err))
			}
		})
	}
	all.Wait()
	r.Elapsed = time.Since(begin)
	for _, l := range r.Lines {
		r.Acknowledged += l.Ledger.Count
		r.Refused += l.Refused
		r.Broken += l.Broken
		r.Latencies.Add(&l.Latencies)
	}
	r.Samples = r.Acknowledged * cfg.Samples
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return r, cause
	}
	return r, nil
}

// done reports whether the line has no message left to send after n.
func (l *Line) done(n int) bool {
	return l.Config.Messages > 0 && n >= l.Config.First+l.Config.Messages
}
