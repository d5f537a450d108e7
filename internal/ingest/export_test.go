package ingest

import "time"

// Sweep does what Run does every minute, at a time of the test's.
func (p *Pipeline) Sweep(now time.Time) {
	p.sweep(now)
	for i := range p.holdings {
		p.holdings[i].giveBack()
	}
}

// NotesPause is the least time between two writes of notes.
const NotesPause = notesPause
