package publish

import (
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/catalog/gate"
	"github.com/songhua-io/hub/internal/config/strict"
)

// Config says when releases are made, and what roads have to meet before.
type Config struct {
	// At is the time of day, of China (UTC+8), at which the days before are released, as in 02:30.
	At string `yaml:"at"`
	// Delay is how long after its end a day is released at the earliest.
	Delay time.Duration `yaml:"delay"`
	// LookBack is how many days back all released days are looked at again for late data, daily; of days before, those that are known to have changed.
	LookBack int `yaml:"look_back"`
	// Reviewer is who looks at what the privacy gate decides; the report of each release names them.
	Reviewer string `yaml:"reviewer"`
	// Returning is within how many minutes no vehicle comes round to the same detector again, 1 to 15: as many vehicles as pass within them are different ones. Ids of vehicles change, and cannot tell.
	Returning int `yaml:"returning"`
	// Zones are areas whose roads are not released.
	Zones []gate.Zone `yaml:"zones"`
}

// DefaultConfig returns what holds for a hub without a config file.
func DefaultConfig() Config {
	return Config{At: "02:30", Delay: time.Hour, LookBack: 7, Reviewer: "", Returning: 1}
}

const maxLookBack = 366

// Check implements strict.Checker.
func (c Config) Check(path string) []strict.Error {
	faults := slices.Concat(
		strict.Between(path, "delay", c.Delay, 0, 7*24*time.Hour),
		strict.Between(path, "look_back", c.LookBack, 1, maxLookBack),
		strict.Between(path, "returning", c.Returning, 1, 15),
		c.policy().Check(path),
	)
	if _, err := c.at(); err != nil {
		faults = append(faults, strict.Fault(path, "at", "%q is no time of day; write it as in 02:30", c.At))
	}
	return faults
}

// at is the time of day since midnight.
func (c Config) at() (time.Duration, error) {
	t, err := time.Parse("15:04", c.At)
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, err
}

// policy is what roads have to meet.
func (c Config) policy() gate.Policy {
	p := gate.VehicleFlow()
	p.Zones = c.Zones
	return p
}
