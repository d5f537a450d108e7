package loop

import (
	"context"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/schedule"
)

// Network says how far places lie from one another.
type Network struct {
	// Links are what was measured or agreed; they hold both ways.
	Links []Link `yaml:"links"`
	// City is the way within a city, where no link says.
	City Way `yaml:"city"`
	// Province is the way within a province.
	Province Way `yaml:"province"`
	// Country is the way between provinces.
	Country Way `yaml:"country"`
}

// Link is the way between two ends.
type Link struct {
	// From is a facility or a division code (GB/T 2260); 220000 counts for all that
	// lies within.
	From string `yaml:"from"`
	// To is the other end, of the same sort.
	To  string `yaml:"to"`
	Way `yaml:",inline"`
}

// Way is what it takes to go between two places.
type Way struct {
	// RTTMillis is the round trip in milliseconds.
	RTTMillis float64 `yaml:"rtt_ms"`
	// GbitPerSecond is how much goes through.
	GbitPerSecond float64 `yaml:"gbit_per_second"`
	// CostPerGB is in yuan.
	CostPerGB float64 `yaml:"cost_per_gb"`
	// KWhPerGB is the energy that it takes.
	KWhPerGB float64 `yaml:"kwh_per_gb"`
}

// DefaultNetwork has no links, and schedule.DefaultTiers.
func DefaultNetwork() Network {
	t := schedule.DefaultTiers
	return Network{City: wayOf(t.City), Province: wayOf(t.Province), Country: wayOf(t.Country)}
}

func wayOf(w schedule.Way) Way {
	return Way{w.RoundTripMillis, w.GbitPerSecond, w.CostPerGB, w.KWhPerGB}
}

func (w Way) way() schedule.Way {
	return schedule.Way{RoundTripMillis: w.RTTMillis, GbitPerSecond: w.GbitPerSecond, CostPerGB: w.CostPerGB, KWhPerGB: w.KWhPerGB}
}

func (n Network) network() schedule.Network {
	out := schedule.Network{Tiers: schedule.Tiers{City: n.City.way(), Province: n.Province.way(), Country: n.Country.way()}}
	for _, l := range n.Links {
		out.Links = append(out.Links, schedule.Link{From: l.From, To: l.To, Way: l.way()})
	}
	return out
}

// Check implements strict.Checker.
func (n Network) Check(path string) []strict.Error { return n.network().Check(path) }

// Network is the one that counts: what was declared, else that of the
// configuration, whose version is 0. It must not be changed.
func (s *Scheduler) Network() schedule.Network {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.network
}

// PutNetwork declares the network anew and returns its version; see
// ledger.PutNetwork. The next decision goes by it.
func (s *Scheduler) PutNetwork(ctx context.Context, n schedule.Network) (int64, error) {
	s.declaring.Lock() // so that the one that counts is the one on disk
	defer s.declaring.Unlock()
	version, err := s.ledger.PutNetwork(ctx, n)
	if err != nil {
		return 0, err
	}
	n.Version = version
	s.mu.Lock()
	defer s.mu.Unlock()
	s.network = n
	s.cluster.SetNetwork(&n)
	s.changed()
	return version, nil
}
