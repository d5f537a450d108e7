package hub

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/outbox"
	"github.com/songhua-io/hub/internal/catalog/publish"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/catalog/source"
	"github.com/songhua-io/hub/internal/correction"
	"github.com/songhua-io/hub/internal/personal"
	"github.com/songhua-io/hub/internal/query"
)

// manySteps bounds the corrections of a ticket that its thread shows, the newest.
const manySteps = 100

// steps are what was done about a ticket: corrections, the versions that were
// released because of them, and who outside has those; in order of time, and last
// what is still to come. Who filed it is shown what is public alone. Art. 27
func (h *hub) steps(ctx context.Context, t *register.Ticket, desk bool) ([]register.Step, error) {
	all := h.correctionSteps(t)
	made, err := h.publisher.MadeFor(ctx, t.ID())
	if err != nil {
		return nil, err
	}
	for i := range made {
		rec, err := h.catalog.Get(made[i].Dataset)
		if err != nil || !desk && !rec.Public() {
			continue
		}
		all = append(all, h.releaseSteps(&made[i], desk)...)
	}
	slices.SortStableFunc(all, func(a, b register.Step) int {
		if a.At.IsZero() != b.At.IsZero() {
			return cmp.Compare(b.At.Unix(), a.At.Unix())
		}
		return a.At.Compare(b.At)
	})
	return all, nil
}

func (h *hub) correctionSteps(t *register.Ticket) (all []register.Step) {
	part, _ := h.corrections.List(correction.Filter{Ticket: t.ID()}, manySteps)
	for _, c := range part {
		s := register.Step{Kind: register.StepCorrected, At: time.UnixMilli(c.At).UTC(), Correction: c.ID, From: time.UnixMilli(c.From).UTC(), To: time.UnixMilli(c.To).UTC()}
		if _, _, found := personal.Find(c.Reason); !found {
			s.Reason = catalog.Text{ZH: c.Reason, EN: c.Reason}
		}
		all = append(all, s)
	}
	return all
}

// releaseSteps are that a version is out, and what destinations have of it.
func (h *hub) releaseSteps(m *publish.Made, desk bool) []register.Step {
	out := register.Step{Kind: register.StepReleased, At: m.Released, Dataset: m.Dataset, Version: m.Version, Replaces: m.Replaces, Reason: m.Reason}
	if kept, err := h.releases.Get(m.Dataset, m.Version); err == nil && kept.Diff != nil {
		out.Rows = &register.StepRows{Added: kept.Diff.Added, Removed: kept.Diff.Removed, Changed: kept.Diff.Changed}
	}
	all := []register.Step{out}
	rec, _ := h.catalog.Get(m.Dataset)
	given := rec != nil && rec.State == catalog.Published && rec.Dataset().Open.Class != catalog.None
	entries := h.outlets.Of(m.Dataset)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		s := register.Step{Kind: register.StepTold, At: m.Told[name], Dataset: m.Dataset, Version: m.Version, Destination: name}
		if s.At.IsZero() {
			if !given { // nobody is to have it at the moment
				continue
			}
			s.Kind = register.StepWaiting
			if e := entries[name]; e != nil && e.Problem != (catalog.Text{}) {
				s.Kind = register.StepRefused
				if desk {
					s.Reason = e.Problem
				}
			}
		}
		all = append(all, s)
	}
	return all
}

// toldOf returns a context whose transaction also notes which versions a destination
// has that were made because of tickets.
func toldOf(ctx context.Context, destination string, it outbox.Item, at time.Time) context.Context {
	if it.Entry == nil || it.Entry.Latest() == nil || it.Entry.Dataset.Open.Class == catalog.None {
		return ctx
	}
	return publish.Told(ctx, destination, it.Dataset, it.Entry.Latest().Version, at)
}

// concerns says whether a correction is about samples that a dataset is made of.
func concerns(q *query.API, dataset func(id string) (*register.Record, error)) func(context.Context, string, *correction.Correction) (bool, error) {
	return func(ctx context.Context, id string, c *correction.Correction) (bool, error) {
		rec, err := dataset(id)
		if err != nil {
			return false, err
		}
		d := rec.Dataset()
		selector := source.Selector(d)
		if selector == "" { // roads are made of what passed, which is no series
			return false, nil
		}
		found, err := q.Selected(ctx, query.Scope{Region: d.Region}, selector, time.UnixMilli(c.From), time.UnixMilli(c.To), maxSelected)
		return slices.ContainsFunc(found, c.About), err
	}
}
