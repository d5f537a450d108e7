package ingest

import "time"

// Config bounds what devices may send.
type Config struct {
	// FutureSkew is how far a sample's time may lie ahead of the hub's clock.
	FutureSkew time.Duration `yaml:"future_skew"`
	// Windows narrows the accepted times for single kinds of devices.
	Windows map[string]Window `yaml:"windows"`
	// MaxSeries is how many time series all devices together may have in use.
	MaxSeries int `yaml:"max_series"`
	// MaxTags is how many tags a sample may carry.
	MaxTags int `yaml:"max_tags"`
	// MaxNameBytes is the longest metric or tag name.
	MaxNameBytes int `yaml:"max_name_bytes"`
	// MaxValueBytes is the longest tag value.
	MaxValueBytes int `yaml:"max_value_bytes"`
	// MaxMessageSamples is how many samples one message may hold.
	MaxMessageSamples int `yaml:"max_message_samples"`
	// MaxPending is how many samples may wait for the store before doors refuse.
	MaxPending int `yaml:"max_pending"`
}

// Window is what times a kind of device may report.
type Window struct {
	// Future is how far ahead of the hub's clock; 0 means future_skew.
	Future time.Duration `yaml:"future"`
	// Past is how far back; 0 means as far as the store keeps.
	Past time.Duration `yaml:"past"`
}

// DefaultConfig returns the bounds of a hub without a config file.
func DefaultConfig() Config {
	return Config{
		FutureSkew:        10 * time.Minute,
		MaxSeries:         2_000_000,
		MaxTags:           16,
		MaxNameBytes:      200,
		MaxValueBytes:     256,
		MaxMessageSamples: 100_000,
		MaxPending:        4_000_000,
	}
}
