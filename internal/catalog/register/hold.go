package register

import (
	"context"
	"fmt"
	"slices"

	"github.com/songhua-io/hub/internal/catalog"
)

// hold is somebody who reads a dataset at this moment.
type hold struct {
	dataset string
	items   []string
	grant   int64 // 0: by no grant
	end     context.CancelCauseFunc
}

// Open returns why an item of a dataset may not be given out now; nil when it
// may. An empty item asks for the dataset as a whole. It answers from memory, and
// goes by every change that has returned.
func (r *Register) Open(dataset, item string) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.opened(dataset, item)
}

// opened is Open for those who hold mu.
func (r *Register) opened(dataset, item string) error {
	rec := r.byID[dataset]
	switch {
	case rec == nil:
		return fmt.Errorf("dataset %.70q %w", dataset, ErrUnknown)
	case rec.State != catalog.Published:
		return fmt.Errorf("dataset %s %w: it is %s (%s)", dataset, ErrShut, rec.State, rec.Reason)
	case item != "" && !slices.ContainsFunc(rec.dataset.Items, func(it catalog.Item) bool { return it.Name == item }):
		return fmt.Errorf("item %.70q of dataset %s %w: there is no such item", item, dataset, ErrShut)
	}
	return nil
}

// Hold returns a context for who reads items of a dataset, all when none is
// named, by a grant where number is not 0: it ends with the reason as its cause
// as soon as one of them may not be given out any more. Release it in the end.
func (r *Register) Hold(ctx context.Context, dataset string, items []string, grant int64) (held context.Context, release func(), err error) {
	ctx, end := context.WithCancelCause(ctx)
	h := &hold{dataset, items, grant, end}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.broken(h); err != nil {
		end(err)
		return nil, nil, err
	}
	r.holds[h] = true
	return ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.holds, h)
		end(nil)
	}, nil
}

// broken returns why a hold ends; nil while it does not.
func (r *Register) broken(h *hold) error {
	if err := r.opened(h.dataset, ""); err != nil {
		return err
	}
	for _, item := range h.items {
		if err := r.opened(h.dataset, item); err != nil {
			return err
		}
	}
	if h.grant == 0 {
		return nil
	}
	g := r.grants[h.grant]
	switch {
	case g == nil || g.State != Granted || !g.Expires.IsZero() && !r.now().Before(g.Expires):
		return fmt.Errorf("grant %s %w: it is not in force", GrantID(h.grant), ErrShut)
	case g.Dataset != h.dataset:
		return fmt.Errorf("grant %s %w for dataset %s: it is for %s", g.ID(), ErrShut, h.dataset, g.Dataset)
	case len(g.Scope.Items) > 0 && (len(h.items) == 0 || slices.ContainsFunc(h.items, func(i string) bool { return !slices.Contains(g.Scope.Items, i) })):
		return fmt.Errorf("grant %s %w for more than the items %v of dataset %s", g.ID(), ErrShut, g.Scope.Items, g.Dataset)
	}
	return nil
}

// shut ends the holds that may not go on, after a change. The caller holds mu.
func (r *Register) shut() {
	r.generation++
	for h := range r.holds {
		if err := r.broken(h); err != nil {
			h.end(err)
			delete(r.holds, h)
		}
	}
}
