package edge

import (
	"context"
	"encoding/json"
	"time"

	"github.com/songhua-io/hub/internal/edge/source"
	"github.com/songhua-io/hub/internal/edge/spool"
	"github.com/songhua-io/hub/internal/telemetry"
)

// selfName is the name of the source that reports the agent.
const selfName = "self"

// self is the source that reports the agent: its sources, its spool, and what
// was lost.
type self struct {
	agent    *agent
	interval time.Duration
	// moments are those of the losses reported, lately.
	moments map[lossMoment]struct{}
}

// Run reports the losses first, so that the hub has them as soon as it has
// anything.
func (s *self) Run(ctx context.Context, put source.Put) error {
	return source.Every(ctx, s.interval, put, func(ctx context.Context) (source.Record, error) {
		if err := s.reportLosses(ctx, put); err != nil {
			return source.Record{}, err
		}
		return s.read(), nil
	})
}

func (s *self) read() source.Record {
	a, now := s.agent, s.agent.now()
	r := source.At(now)
	for _, st := range a.roster.statuses() {
		up := 0.0
		if st.Up {
			up = 1
		}
		r.Add("edge_source_up", "1", up, "source", st.Name)
		r.Add("edge_source_samples_total", "1", float64(st.Samples), "source", st.Name)
		r.Add("edge_source_failures_total", "1", float64(st.Failures), "source", st.Name)
		r.Add("edge_source_dropped_total", "1", float64(st.Dropped), "source", st.Name)
		if !st.Last.IsZero() {
			r.Add("edge_source_age_seconds", "s", now.Sub(st.Last).Seconds(), "source", st.Name)
		}
	}
	sp := a.spool.Stats()
	r.Add("edge_spool_blocks", "1", float64(sp.Blocks))
	r.Add("edge_spool_bytes", "By", float64(sp.Bytes))
	r.Add("edge_spool_lost_samples_total", "1", float64(sp.LostSamples))
	r.Add("edge_spool_lost_blocks_total", "1", float64(sp.LostBlocks))
	r.Add("edge_refused_samples_total", "1", float64(a.batcher.refused.Load()))
	r.Add("edge_rejected_samples_total", "1", float64(a.rejects.count()))
	r.Add("edge_uplink_connections_total", "1", float64(a.outbox.connections.Load()))
	r.Add("edge_uplink_messages_total", "1", float64(a.outbox.delivered.Load()))
	r.Add("edge_config_version", "1", float64(a.remote.version.Load()))
	r.Add("edge_uptime_seconds", "s", now.Sub(a.started).Seconds())
	return r.Record
}

// lossReport is the value of the state edge_loss. Times are milliseconds since
// the Unix epoch, 0 when not known.
type lossReport struct {
	From    int64        `json:"from"`
	To      int64        `json:"to"`
	Blocks  uint64       `json:"blocks"`
	Samples uint64       `json:"samples"`
	Reason  spool.Reason `json:"reason"`
}

// reportLosses puts each entry of the ledger into the spool and takes it out of
// the ledger once it is there. A crash between the two reports it twice.
func (s *self) reportLosses(ctx context.Context, put source.Put) error {
	for _, l := range s.agent.spool.Losses() {
		r, err := s.loss(l)
		if err != nil {
			return err
		}
		if err := put(ctx, r); err != nil {
			return err
		}
		if err := s.agent.spool.Reported(l); err != nil {
			return err
		}
	}
	return nil
}

// loss is the record of one entry: samples, of which the hub keeps every one,
// and the state, of which it keeps the last.
func (s *self) loss(l spool.Loss) (source.Record, error) {
	value, err := json.Marshal(lossReport{l.From, l.To, l.Blocks, l.Samples, l.Reason})
	if err != nil {
		return source.Record{}, err
	}
	now := s.agent.now()
	r := source.At(s.lossTime(l, now))
	r.Add("edge_loss_samples", "1", float64(l.Samples), "reason", string(l.Reason))
	if l.From != 0 {
		r.Add("edge_loss_from_seconds", "s", float64(l.From)/1000, "reason", string(l.Reason))
	}
	r.States = []telemetry.State{{Name: []byte("edge_loss"), Value: value, Time: now.UnixMilli()}}
	return r.Record, nil
}

// lossMoment is where a loss stands in its series.
type lossMoment struct {
	reason spool.Reason
	ms     int64
}

// maxMoments bounds the moments that are remembered.
const maxMoments = 1000

// lossTime is the time of the last sample lost, or now when that is not known
// or lies in the future. Two losses of one reason and time would be one sample
// with two values, so the second one stands a millisecond later.
func (s *self) lossTime(l spool.Loss, now time.Time) time.Time {
	m := lossMoment{l.Reason, l.To}
	if m.ms <= 0 || m.ms > now.UnixMilli() {
		m.ms = now.UnixMilli()
	}
	if s.moments == nil || len(s.moments) >= maxMoments {
		s.moments = map[lossMoment]struct{}{}
	}
	for {
		if _, taken := s.moments[m]; !taken {
			s.moments[m] = struct{}{}
			return time.UnixMilli(m.ms)
		}
		m.ms++
	}
}
