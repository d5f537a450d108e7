// Package tee keeps series twice: in a near engine for some hot days, and in a
// far one for years. What it took is in both, and what is too old for the near
// one is in the far one alone. A query of hot days asks the near engine alone;
// reading joins both, each point once.
package tee

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/prometheus/prometheus/storage"

	"github.com/songhua-io/hub/internal/store"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Since is a near engine that says from when on it holds all that was committed:
// one that began later than the far engine, or lost its oldest to a bound of
// space. Before that, the far engine is asked too. Without it the near engine is
// taken to hold all of the hot time.
type Since interface{ Since() time.Time }

// Tee is a store.Engine made of two.
type Tee struct {
	near, far store.Engine
	hot       time.Duration
	now       func() time.Time

	mu  sync.RWMutex // guards the ids
	ids ids

	// Of the committing goroutine.
	writes  []*telemetry.Write
	origins [][]int // of the points of writes, in those of the caller
}

// ids leads from those of the near engine, which are the tee's own, to those of
// the far one.
type ids struct {
	far     map[telemetry.SeriesID]telemetry.SeriesID
	retired map[telemetry.SeriesID]telemetry.SeriesID // forgotten since the last commit ended
	leaving map[telemetry.SeriesID]telemetry.SeriesID // forgotten before
}

// of returns the far engine's id of one of ours, also one just forgotten.
func (i *ids) of(id telemetry.SeriesID) telemetry.SeriesID {
	for _, m := range []map[telemetry.SeriesID]telemetry.SeriesID{i.far, i.retired, i.leaving} {
		if far, ok := m[id]; ok {
			return far
		}
	}
	return 0
}

// New returns the engine of both, which closes them. The near engine must keep
// what is younger than hot.
func New(near, far store.Engine, hot time.Duration) *Tee {
	return &Tee{near: near, far: far, hot: hot, now: time.Now, ids: ids{far: map[telemetry.SeriesID]telemetry.SeriesID{}, retired: map[telemetry.SeriesID]telemetry.SeriesID{}}}
}

// Series implements store.Engine.
func (t *Tee) Series(labels []telemetry.Label) telemetry.SeriesID {
	t.mu.RLock()
	id := t.near.Series(labels)
	_, known := t.ids.far[id]
	t.mu.RUnlock()
	if known {
		return id
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	id = t.near.Series(labels) // it may have been forgotten meanwhile
	if _, known := t.ids.far[id]; !known {
		t.ids.far[id] = t.far.Series(labels)
	}
	return id
}

// Forget implements store.Engine. As with the engines, an id still counts in the
// next commit to begin.
func (t *Tee) Forget(forgotten []telemetry.SeriesID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var far []telemetry.SeriesID
	for _, id := range forgotten {
		if f, ok := t.ids.far[id]; ok {
			far = append(far, f)
			t.ids.retired[id] = f
			delete(t.ids.far, id)
		}
	}
	t.near.Forget(forgotten)
	t.far.Forget(far)
}

// recycle lets go of ids that no commit can bring any more.
func (t *Tee) recycle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.ids.retired)+len(t.ids.leaving) > 0 {
		t.ids.leaving, t.ids.retired = t.ids.retired, map[telemetry.SeriesID]telemetry.SeriesID{}
	}
}

// Commit implements store.Engine. The near engine decides what is taken, but for
// what is too old for it: about that the far one decides. A crash between the
// two leaves points in the near one that were not acknowledged; they come again.
func (t *Tee) Commit(writes []*telemetry.Write) error {
	if err := t.near.Commit(writes); err != nil {
		return err
	}
	n := t.forward(writes)
	if n == 0 {
		return nil
	}
	if err := t.far.Commit(t.writes[:n]); err != nil {
		return err
	}
	for i, w := range writes[:n] {
		settle(w, t.writes[i], t.origins[i])
	}
	t.recycle()
	return nil
}

// forward makes the writes of the far engine, one for each of the near one up to
// the last that has a point for it, and returns how many.
func (t *Tee) forward(writes []*telemetry.Write) (n int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var last, lastFar telemetry.SeriesID // points of one series often follow each other
	for i, w := range writes {
		if len(t.writes) == i {
			t.writes, t.origins = append(t.writes, &telemetry.Write{}), append(t.origins, nil)
		}
		to, refused := t.writes[i], w.Refused
		to.Reset()
		t.origins[i] = t.origins[i][:0]
		for j, p := range w.Points {
			if len(refused) > 0 && refused[0].Index == j {
				reason := refused[0].Reason
				if refused = refused[1:]; reason != telemetry.ReasonTimePast {
					continue
				}
			}
			if p.Series != last || lastFar == 0 {
				last, lastFar = p.Series, t.ids.of(p.Series)
			}
			p.Series = lastFar
			to.Points = append(to.Points, p)
			t.origins[i] = append(t.origins[i], j)
		}
		if len(to.Points) > 0 {
			n = i + 1
		}
	}
	return n
}

// settle strikes from the refusals of the near engine what the far one took, and
// names its reason where it did not take it either. What the near engine has is
// taken whatever the far one says.
func settle(w, far *telemetry.Write, origin []int) {
	if len(w.Refused) == 0 {
		return
	}
	took := w.Refused[:0]
	at, refused := 0, far.Refused
	for _, r := range w.Refused {
		if r.Reason != telemetry.ReasonTimePast {
			took = append(took, r)
			continue
		}
		for origin[at] != r.Index {
			at++
		}
		for len(refused) > 0 && refused[0].Index < at {
			refused = refused[1:]
		}
		if len(refused) > 0 && refused[0].Index == at {
			took = append(took, telemetry.Refusal{Index: r.Index, Reason: refused[0].Reason})
		}
	}
	w.Refused = took
}

// Oldest implements store.Engine.
func (t *Tee) Oldest(now time.Time) time.Time {
	near, far := t.near.Oldest(now), t.far.Oldest(now)
	if far.Before(near) {
		return far
	}
	return near
}

// Full returns why nothing more should be taken; nil while there is room.
func (t *Tee) Full() error {
	for _, e := range []store.Engine{t.near, t.far} {
		if f, ok := e.(interface{ Full() error }); ok {
			if err := f.Full(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Settle implements store.Settler.
func (t *Tee) Settle(ctx context.Context) error {
	for _, e := range []store.Engine{t.near, t.far} {
		if s, ok := e.(store.Settler); ok {
			if err := s.Settle(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// Run implements store.Engine.
func (t *Tee) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return t.near.Run(ctx) })
	g.Go(func() error { return t.far.Run(ctx) })
	return g.Wait()
}

// Close implements store.Engine.
func (t *Tee) Close() error { return errors.Join(t.near.Close(), t.far.Close()) }

var (
	_ store.Engine      = (*Tee)(nil)
	_ store.Settler     = (*Tee)(nil)
	_ storage.Queryable = (*Tee)(nil)
)
