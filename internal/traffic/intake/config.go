package intake

import (
	"slices"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/traffic"
)

// Config bounds what is watched on the road.
type Config struct {
	// MaxUnits is how many roadside units are watched.
	MaxUnits int `yaml:"max_units"`
	// MaxIntersections is how many intersections one unit may tell of.
	MaxIntersections int `yaml:"max_intersections"`
	// MaxLinks is how many roads between two nodes the map of one unit may have.
	MaxLinks int `yaml:"max_links"`
	// MaxEvents is how many events and signs one unit may tell of at once.
	MaxEvents int `yaml:"max_events"`
}

// DefaultConfig returns the bounds of a hub without a config file.
func DefaultConfig() Config {
	return Config{MaxUnits: 20_000, MaxIntersections: 16, MaxLinks: 256, MaxEvents: 256}
}

// Board is what a board is made with.
func (c Config) Board() traffic.Config {
	return traffic.Config{MaxUnits: c.MaxUnits, MaxNodes: c.MaxIntersections, MaxLinks: c.MaxLinks, MaxEvents: c.MaxEvents}
}

// Check returns every bound that makes no sense.
func (c Config) Check(path string) []strict.Error {
	return slices.Concat(
		strict.AtLeast(path, "max_units", c.MaxUnits, 1),
		strict.AtLeast(path, "max_intersections", c.MaxIntersections, 1),
		strict.AtLeast(path, "max_links", c.MaxLinks, 1),
		strict.AtLeast(path, "max_events", c.MaxEvents, 1),
	)
}
