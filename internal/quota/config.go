package quota

import (
	"slices"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Config bounds what one device, one token and one address may ask of the hub.
type Config struct {
	// Device is what one device may use, whatever address it comes from.
	Device DeviceConfig `yaml:"device"`
	// Token is what one token of the API may use.
	Token TokenConfig `yaml:"token"`
	// Address is what one IPv4 address or IPv6 /64 network may use. It is high because gateways behind one address translation, a
	// reverse proxy, and load tests on loopback are one address; lower it where devices have their own.
	Address AddressConfig `yaml:"address"`
}

// DeviceConfig is the quota of one device.
type DeviceConfig struct {
	// Connections is how many MQTT connections, DTLS sessions and waiting HTTP requests a device may have at once.
	Connections int `yaml:"connections"`
	// MessagesPerSecond is how many messages may come of a device, on average over two seconds.
	MessagesPerSecond int `yaml:"messages_per_second"`
	// BytesPerSecond is how many bytes their payloads may have, unfolded; on average over two seconds.
	BytesPerSecond int `yaml:"bytes_per_second"`
	// SamplesPerSecond is how many samples and states they may hold, on average over two seconds.
	SamplesPerSecond int `yaml:"samples_per_second"`
	// Series is how many time series a device may have.
	Series int `yaml:"series"`
	// CallsPerSecond is how often a device may ask for commands and its configuration, answer and report; on average over two seconds.
	CallsPerSecond int `yaml:"calls_per_second"`
}

// TokenConfig is the quota of one token.
type TokenConfig struct {
	// Connections is how many calls of a token may be under way at once: queries, streams of events, and requests that wait, those for devices of a gateway among them.
	Connections int `yaml:"connections"`
	// CallsPerSecond is how often a token may call the API, queries and pages included; on average over two seconds.
	CallsPerSecond int `yaml:"calls_per_second"`
	// PlacementCallsPerSecond is how often a token of role scheduler may submit workloads, report their progress, and ask for, renew, commit or release reservations, besides its other calls; on average over two seconds.
	PlacementCallsPerSecond int `yaml:"placement_calls_per_second"`
	// MessagesPerSecond is how many messages a token of role gateway may send, besides what their devices may; 0 is no bound.
	MessagesPerSecond int `yaml:"messages_per_second"`
	// BytesPerSecond is how many bytes these may have; 0 is no bound.
	BytesPerSecond int `yaml:"bytes_per_second"`
	// SeriesPerHour is how many time series they may begin, besides what their devices may have; after a restart of the hub each that goes on counts as begun. 0 is no bound.
	SeriesPerHour int `yaml:"series_per_hour"`
}

// AddressConfig is the quota of one address.
type AddressConfig struct {
	// Connections is how many connections and DTLS sessions an address may have open, at all doors together.
	Connections int `yaml:"connections"`
	// ConnectionsPerSecond is how many an address may open, on average over ten seconds.
	ConnectionsPerSecond int `yaml:"connections_per_second"`
	// FailuresPerMinute is how often an address may show wrong credentials before it is told to come later; what is right is taken all the same. About one device it may err 20 times a minute.
	FailuresPerMinute int `yaml:"failures_per_minute"`
	// CallsPerSecond is how often callers without a token may call the API from an address, on average over two seconds.
	CallsPerSecond int `yaml:"calls_per_second"`
	// MessagesPerSecond is how many messages of devices may come from an address; 0 is no bound.
	MessagesPerSecond int `yaml:"messages_per_second"`
	// BytesPerSecond is how many bytes these may have; 0 is no bound.
	BytesPerSecond int `yaml:"bytes_per_second"`
	// SeriesPerHour is how many time series they may begin; 0 is no bound.
	SeriesPerHour int `yaml:"series_per_hour"`
}

// DefaultConfig returns the quotas of a hub without a config file.
func DefaultConfig() Config {
	return Config{
		Device:  DeviceConfig{Connections: 64, MessagesPerSecond: 50_000, BytesPerSecond: 16 << 20, SamplesPerSecond: 100_000, Series: 2_000, CallsPerSecond: 500},
		Token:   TokenConfig{Connections: 1_000, CallsPerSecond: 1_000, PlacementCallsPerSecond: 20_000, MessagesPerSecond: 200_000, BytesPerSecond: 64 << 20, SeriesPerHour: 1_000_000},
		Address: AddressConfig{Connections: 10_000, ConnectionsPerSecond: 1_000, FailuresPerMinute: 100, CallsPerSecond: 500},
	}
}

// most keeps what a bucket reckons with within its integers.
const most = 1 << 30

// Check returns every quota that makes no sense.
func (d DeviceConfig) Check(path string) []strict.Error {
	return slices.Concat(
		strict.Between(path, "connections", d.Connections, 1, most),
		strict.Between(path, "messages_per_second", d.MessagesPerSecond, 1, most),
		strict.Between(path, "bytes_per_second", d.BytesPerSecond, 1, most),
		strict.Between(path, "samples_per_second", d.SamplesPerSecond, 1, most),
		strict.Between(path, "series", d.Series, 1, most),
		strict.Between(path, "calls_per_second", d.CallsPerSecond, 1, most),
	)
}

// Check returns every quota that makes no sense.
func (t TokenConfig) Check(path string) []strict.Error {
	return slices.Concat(
		strict.Between(path, "connections", t.Connections, 1, most),
		strict.Between(path, "calls_per_second", t.CallsPerSecond, 1, most),
		strict.Between(path, "placement_calls_per_second", t.PlacementCallsPerSecond, 1, most),
		strict.Between(path, "messages_per_second", t.MessagesPerSecond, 0, most),
		strict.Between(path, "bytes_per_second", t.BytesPerSecond, 0, most),
		strict.Between(path, "series_per_hour", t.SeriesPerHour, 0, most),
	)
}

// Check returns every quota that makes no sense.
func (a AddressConfig) Check(path string) []strict.Error {
	return slices.Concat(
		strict.Between(path, "connections", a.Connections, 1, most),
		strict.Between(path, "connections_per_second", a.ConnectionsPerSecond, 1, most/10),
		strict.Between(path, "failures_per_minute", a.FailuresPerMinute, 1, most),
		strict.Between(path, "calls_per_second", a.CallsPerSecond, 1, most),
		strict.Between(path, "messages_per_second", a.MessagesPerSecond, 0, most),
		strict.Between(path, "bytes_per_second", a.BytesPerSecond, 0, most),
		strict.Between(path, "series_per_hour", a.SeriesPerHour, 0, most),
	)
}
