package web

import (
	"context"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/catalog/register"
)

// threadEntry is what was said or done about a ticket.
type threadEntry struct {
	At time.Time // zero: not yet
	// Message is what was said; nil: Step was done.
	Message *register.Message
	Step    *register.Step
}

// Kind is the class of the entry: own of who filed the ticket, theirs of the office,
// step of what was done.
func (e threadEntry) Kind() string {
	switch {
	case e.Step != nil:
		return "step"
	case e.Message.By != "":
		return "theirs"
	}
	return "own"
}

// threadOf is all that was said and done about a ticket in order of time, and then
// what is still to come. What was done and cannot be read is left out: what was said
// is shown all the same.
func (p *pages) threadOf(ctx context.Context, t *register.Ticket, desk bool) (all []threadEntry) {
	for i := range t.Thread {
		all = append(all, threadEntry{At: t.Thread[i].At, Message: &t.Thread[i]})
	}
	if p.Catalogue.Steps == nil {
		return all
	}
	steps, err := p.Catalogue.Steps(ctx, t, desk)
	if err != nil {
		p.Log.Error("steps_not_read", "ticket", t.ID(), "error", err)
	}
	var open []threadEntry
	for i := range steps {
		if e := (threadEntry{At: steps[i].At, Step: &steps[i]}); e.At.IsZero() {
			open = append(open, e)
		} else {
			all = append(all, e)
		}
	}
	slices.SortStableFunc(all, func(a, b threadEntry) int { return a.At.Compare(b.At) })
	return append(all, open...)
}
