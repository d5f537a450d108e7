package hub

import (
	"sync"

	"github.com/songhua-io/hub/internal/query"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// grades says what callers may not see, by what the registry and the models say
// now: a change counts for the next question. Art. 74(3)
type grades struct {
	registry *registry.Registry

	mu      sync.Mutex
	version uint64                         // of the gradings from which above was made
	above   [telemetry.Core + 1]*gradedOut // by the highest grade that may be seen; nil when not made yet
}

type gradedOut struct{ *query.Hidden }

// hidden returns what is above a grade.
func (g *grades) hidden(may telemetry.Grade) (*query.Hidden, error) {
	if may >= telemetry.Core {
		return nil, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := g.registry.Gradings(); now != g.version { // read before what it is the number of
		g.version = now
		clear(g.above[:])
	}
	if g.above[may] == nil {
		h, err := query.Hide(above(g.registry, may)...)
		if err != nil {
			return nil, err
		}
		g.above[may] = &gradedOut{h}
	}
	return g.above[may].Hidden, nil
}

// above lists whole devices, removed ones among them, and single metrics of
// others, by model.
func above(r *registry.Registry, may telemetry.Grade) (parts []query.HiddenPart) {
	devices, departed := r.Graded()
	whole := query.HiddenPart{}
	for id, g := range departed {
		if g > may {
			whole.Devices = append(whole.Devices, id)
		}
	}
	some := map[*telemetry.Model][]string{}
	for _, d := range devices {
		if d.EffectiveGrade() > may {
			whole.Devices = append(whole.Devices, d.ID)
		} else if d.HighestGrade() > may {
			some[d.Model] = append(some[d.Model], d.ID)
		}
	}
	parts = append(parts, whole)
	for model, ids := range some {
		parts = append(parts, query.HiddenPart{Devices: ids, Metrics: model.Above(may)})
	}
	return parts
}
