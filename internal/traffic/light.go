package traffic

import "github.com/songhua-io/hub/internal/road"

// lights are a set of lights.
type lights uint16

func set(all ...road.Light) (s lights) {
	for _, l := range all {
		s |= 1 << l
	}
	return s
}

func (s lights) has(l road.Light) bool { return l < 16 && s&(1<<l) != 0 }

var (
	green = set(road.FlashingGreen, road.PermissiveGreen, road.ProtectedGreen)
	// fallback are the lights that a controller goes to from any other: it fails,
	// is switched off, or nobody knows.
	fallback = set(road.LightUnavailable, road.Dark, road.FlashingRed, road.FlashingYellow)
)

// followers are the lights that may follow each, besides fallback, as GB 14886
// and GB 14887 have the order: green, perhaps flashing green, yellow, red, green.
// What was dark or unknown may show anything; what flashed goes on with red, or
// yellow before it.
var followers = [...]lights{
	road.LightUnavailable: ^lights(0),
	road.Dark:             ^lights(0), // an arrow that is lit for its phase only
	road.FlashingRed:      set(road.Red),
	road.Red:              set(road.PermissiveGreen, road.ProtectedGreen),
	road.FlashingGreen:    set(road.Yellow),
	road.PermissiveGreen:  set(road.ProtectedGreen, road.FlashingGreen, road.Yellow),
	road.ProtectedGreen:   set(road.PermissiveGreen, road.FlashingGreen, road.Yellow),
	road.Yellow:           set(road.Red),
	road.FlashingYellow:   set(road.Red, road.Yellow),
}

// legal reports whether a light may follow another. Lights of pedestrians have no
// yellow: theirs go from flashing green to red.
func legal(from, to road.Light, vehicles bool) bool {
	switch {
	case from == to || fallback.has(to) || int(from) >= len(followers):
		return true
	case from == road.FlashingGreen && to == road.Red:
		return !vehicles
	}
	return followers[from].has(to)
}

// failing are the bits of the status of an intersection in which the order of
// lights is suspended.
const failing = road.StatusFailureFlash | road.StatusFailureMode | road.StatusOff | road.StatusStandby
