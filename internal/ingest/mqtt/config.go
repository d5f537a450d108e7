package mqtt

import (
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Config bounds what strangers and devices may ask of the MQTT doors.
type Config struct {
	// MaxPacketBytes is the largest packet that is read, at most 1 MiB; larger ones end their connection.
	MaxPacketBytes int `yaml:"max_packet_bytes"`
	// MaxConnections is how many connections may be open at once, over TCP, TLS and WebSocket together.
	MaxConnections int `yaml:"max_connections"`
	// ConnectTimeout is how long a connection may take until its CONNECT is read, the TLS handshake included.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// MaxKeepAlive is the longest keep-alive; MQTT 5 clients that ask for more, or for none, are told this one.
	MaxKeepAlive time.Duration `yaml:"max_keep_alive"`
	// ReceiveMaximum is how many QoS 1 and 2 messages a client may have unacknowledged (MQTT 5 enforces it, 3.1.1 for QoS 2 only).
	ReceiveMaximum int `yaml:"receive_maximum"`
	// MaxSubscriptions is how many subscriptions a connection may have.
	MaxSubscriptions int `yaml:"max_subscriptions"`
	// MaxQueueBytes is how much may wait for a subscriber that reads slowly; one that needs more is disconnected.
	MaxQueueBytes int `yaml:"max_queue_bytes"`
	// MaxUnfoldedBytes is the largest size that a gzip or zstd payload may unfold to.
	MaxUnfoldedBytes int `yaml:"max_unfolded_bytes"`
	// MaxHold is how long a connection is held still when its device sends too fast or the store is busy, before an MQTT 5 client is told so (0x97).
	MaxHold time.Duration `yaml:"max_hold"`
}

// DefaultConfig returns the bounds of a hub without a config file.
func DefaultConfig() Config {
	return Config{
		MaxPacketBytes:   256 << 10,
		MaxConnections:   20_000,
		ConnectTimeout:   10 * time.Second,
		MaxKeepAlive:     time.Hour,
		ReceiveMaximum:   1024,
		MaxSubscriptions: 16,
		MaxQueueBytes:    256 << 10,
		MaxUnfoldedBytes: 4 << 20,
		MaxHold:          10 * time.Second,
	}
}

// Bounds that are no one's choice.
const (
	maxClientID   = 256     // bytes; a client id is remembered for as long as its connection lives
	maxAliases    = 16      // topic aliases of a connection, towards the hub
	maxTopicBytes = 512     // longest topic name or filter; own topics have under 200
	mostPacket    = 1 << 20 // MaxPacketBytes at most
	unfoldRatio   = 100     // unfolded bytes per compressed byte, beyond unfoldFree
	unfoldFree    = 64 << 10
	maxInFlight   = 32   // unacknowledged QoS 1 messages towards a client
	maxListed     = 50   // rejects listed in one message on the rejects topic
	maxBehind     = 2000 // subscriptions of a gateway to mail of devices behind it
)

// Check returns every bound that makes no sense.
func (c Config) Check(path string) []strict.Error {
	return slices.Concat(
		strict.Between(path, "max_packet_bytes", c.MaxPacketBytes, 1<<10, mostPacket),
		strict.AtLeast(path, "max_connections", c.MaxConnections, 1),
		strict.AtLeast(path, "connect_timeout", c.ConnectTimeout, time.Millisecond),
		strict.Between(path, "max_keep_alive", c.MaxKeepAlive, time.Second, 65535*time.Second),
		strict.Between(path, "receive_maximum", c.ReceiveMaximum, 1, 65535),
		strict.AtLeast(path, "max_subscriptions", c.MaxSubscriptions, 0),
		strict.AtLeast(path, "max_queue_bytes", c.MaxQueueBytes, 1<<10),
		strict.AtLeast(path, "max_unfolded_bytes", c.MaxUnfoldedBytes, 1<<10),
		strict.AtLeast(path, "max_hold", c.MaxHold, 0),
	)
}
