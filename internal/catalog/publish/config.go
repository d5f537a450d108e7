package publish

import (
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
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
	// Returning is within how many minutes no vehicle comes round to the same detector again, 1 to 1440: as many vehicles as pass within them are different ones. Ids of vehicles change, and cannot tell. What is longer than a bin counts for the longer bins alone, in which quiet roads are shown.
	Returning int `yaml:"returning"`
	// DayBudget is how much ε of a day of data all datasets with noise may spend together; 0 sets no bound beside those of the datasets.
	DayBudget float64 `yaml:"day_budget"`
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
		strict.Between(path, "returning", c.Returning, 1, 1440),
		strict.Between(path, "day_budget", c.DayBudget, 0, 1000),
		c.policy(nil).Check(path),
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

// personPolicy is what series about persons have to meet: none of k may stand out.
func personPolicy(n *catalog.Noise) gate.Policy {
	p := gate.Personal()
	p.MaxSharePercent = gate.Energy().MaxSharePercent
	if n != nil {
		p.MicroEpsilon = n.MicroEpsilon
	}
	return p
}

// policy is what roads have to meet, with the noise of a dataset; nil: none.
func (c Config) policy(n *catalog.Noise) gate.Policy {
	p := gate.VehicleFlow()
	p.Zones = c.Zones
	if n != nil {
		p.MicroEpsilon, p.NoiseBound = n.MicroEpsilon, n.Bound
	}
	return p
}
