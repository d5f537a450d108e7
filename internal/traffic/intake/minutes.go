package intake

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/telemetry"
	"github.com/songhua-io/hub/internal/traffic"
)

// minutesAtOnce is how many minutes of units share a commit.
const minutesAtOnce = 256

// closeMinutes writes the samples of minutes that are over. They are on the way of
// every other sample of the unit; a minute that was written before the hub was
// killed, and is again, changes nothing.
func (in *Intake) closeMinutes() error {
	var over []traffic.Minute
	in.deps.Board.Close(in.deps.Clock(), func(m traffic.Minute) { over = append(over, m) })
	if len(over) == 0 {
		return nil
	}
	// What a sample counts must be there after a restart: else the minute would
	// come out as another one.
	if err := in.journal.sync(); err != nil {
		return err
	}
	var d ingest.Delivery
	for len(over) > 0 {
		some := over[:min(len(over), minutesAtOnce)]
		over = over[len(some):]
		if err := in.write(&d, some); err != nil {
			return err
		}
	}
	return nil
}

// write makes the samples of minutes durable, and then forgets the minutes. Those
// for which the hub has no room now are written a second later.
func (in *Intake) write(d *ingest.Delivery, some []traffic.Minute) error {
	d.Reset()
	for _, m := range some {
		one := d.Add(m.Unit, codec.Traffic, nil)
		one.Derived = true
		one.Decode = func(b *telemetry.Batch, _ codec.Input) error {
			appendMinute(b, m)
			return nil
		}
	}
	err := in.deps.Ingest(d)
	if later := (*quota.Exceeded)(nil); errors.Is(err, ingest.ErrBusy) || errors.Is(err, ingest.ErrClosed) || errors.As(err, &later) {
		return nil
	}
	if err != nil {
		return err
	}
	if in.deps.Over != nil {
		if err := in.deps.Over(some); err != nil {
			in.deps.Log.Warn("passages_not_kept", "error", err, "note", "the minutes are told again in a second")
			return nil
		}
	}
	for _, m := range some {
		in.written(m)
	}
	in.metrics.minutes.Add(float64(len(some)))
	return nil
}

func (in *Intake) written(m traffic.Minute) {
	s := in.shard(m.Unit)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.record = in.deps.Board.Written(m, s.record[:0]); len(s.record) > 0 {
		in.journal.append(chunkRecord, s.record)
	}
}

// appendMinute adds the samples of a minute, at its end. What is not known is no
// sample.
func appendMinute(b *telemetry.Batch, m traffic.Minute) {
	end := m.Start.Add(time.Minute).UnixMilli()
	for i, s := range m.Samples {
		if math.IsNaN(s.Value) || math.IsInf(s.Value, 0) {
			continue
		}
		mark := b.Mark()
		for _, t := range s.Tags {
			b.AddTag([]byte(t.Name), []byte(t.Value))
		}
		b.Samples = append(b.Samples, telemetry.Sample{
			Metric: []byte(s.Metric), Tags: b.EndTags(mark), Unit: []byte(s.Unit), Time: end, Value: s.Value, Index: int32(i),
		})
	}
}

// reports are what units said last of themselves, on the way to who compares it
// with what they are to be. Its bound is the units.
type reports struct {
	mu   sync.Mutex
	all  map[string]*road.Status
	wake chan struct{}
}

func (r *reports) init() { r.all, r.wake = map[string]*road.Status{}, make(chan struct{}, 1) }

func (r *reports) put(device string, s *road.Status) {
	r.mu.Lock()
	r.all[device] = s
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reports) take() map[string]*road.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all
	r.all = map[string]*road.Status{}
	return all
}

// report tells what units say of themselves until ctx ends.
func (in *Intake) report(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-in.reports.wake:
		}
		for device, s := range in.reports.take() {
			if in.deps.Reported != nil {
				in.deps.Reported(ctx, device, s)
			}
		}
	}
}
