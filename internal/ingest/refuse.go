package ingest

import "github.com/songhua-io/hub/internal/telemetry"

// Refuse makes a reject of a message whose bytes its door has not kept: one
// that is too large to be read, or of a kind that is not read at all. It is
// counted at stage door, and the desk keeps it without a payload. Device is
// who sent it or whom it speaks of; a door calls Refuse for senders that it
// knows only. It does not block.
func (p *Pipeline) Refuse(device string, reason telemetry.Reason, detail string) {
	m := Message{Device: device}
	m.Refuse(reason, detail)
	p.metrics.rejects.WithLabelValues(string(telemetry.StageDoor), string(reason)).Inc()
	p.rejected.Add(1)
	if s := p.source(device); s != nil {
		s.rejects.Add(1)
	}
	p.deps.Desk.Keep(p.deps.Clock(), &m)
}
