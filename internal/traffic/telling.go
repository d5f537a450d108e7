package traffic

import (
	"math"
	"slices"
	"sync"

	"github.com/songhua-io/hub/internal/road"
)

// Bounds of what is told by several units.
const (
	maxTellings = 65_536
	// nearBy is how far the places of one event may lie apart for two units; or as
	// far as the event itself reaches, within nearMost.
	nearBy   = 100.0
	nearMost = 500.0
	// tile is how large the tiles are that places are found by, in degrees: more
	// than nearMost.
	tile = 0.01
)

// telling is that a unit tells of an event somewhere.
type telling struct {
	unit, key string
	kind      int
	at        road.Position
	radius    float64
}

type tileKey struct{ kind, y, x int }

// teller names a telling.
type teller struct{ unit, key string }

// tellings are the events that are going on, by type and place. They have a lock
// of their own: units ask for those of others while they are locked themselves.
type tellings struct {
	mu    sync.Mutex
	tiles map[tileKey][]telling
	where map[teller]tileKey
}

func (t *telling) tile() tileKey {
	return tileKey{t.kind, int(math.Floor(t.at.Lat / tile)), int(math.Floor(t.at.Lon / tile))}
}

func (t *telling) placed() bool { return !math.IsNaN(t.at.Lat) && !math.IsNaN(t.at.Lon) }

// put keeps a telling in the place of the one before. One without a place, or one
// too many, is that of nobody else.
func (s *tellings) put(t telling) {
	s.mu.Lock()
	defer s.mu.Unlock()
	who := teller{t.unit, t.key}
	s.remove(who)
	if !t.placed() || len(s.where) >= maxTellings {
		return
	}
	if s.where == nil {
		s.tiles, s.where = map[tileKey][]telling{}, map[teller]tileKey{}
	}
	k := t.tile()
	s.tiles[k], s.where[who] = append(s.tiles[k], t), k
}

// drop forgets a telling.
func (s *tellings) drop(unit, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(teller{unit, key})
}

func (s *tellings) remove(who teller) {
	k, there := s.where[who]
	if !there {
		return
	}
	delete(s.where, who)
	s.tiles[k] = slices.DeleteFunc(s.tiles[k], func(t telling) bool { return t.unit == who.unit && t.key == who.key })
	if len(s.tiles[k]) == 0 {
		delete(s.tiles, k)
	}
}

// near are the tellings of other units that are of the same.
func (s *tellings) near(t telling) (others []telling) {
	if !t.placed() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := t.tile()
	for dy := -1; dy <= 1; dy++ {
		for dx := -1; dx <= 1; dx++ {
			for _, o := range s.tiles[tileKey{t.kind, at.y + dy, at.x + dx}] {
				if o.unit != t.unit && metres(t.at, o.at) <= min(nearMost, max(nearBy, t.radius, o.radius)) {
					others = append(others, o)
				}
			}
		}
	}
	return others
}
