package mqtt

import (
	"fmt"
	"time"
)

// Config bounds what strangers and devices may ask of the MQTT doors.
type Config struct {
	// MaxPacketBytes is the largest packet that is read, at most 1 MiB; larger ones end their connection.
	MaxPacketBytes int `yaml:"max_packet_bytes"`
	// MaxConnections is how many connections may be open at once, over TCP, TLS and WebSocket together.
	MaxConnections int `yaml:"max_connections"`
	// MaxConnectionsPerAddress is how many of them may come from one IPv4 address or IPv6 /64 network. It is high because gateways behind one
	// address translation, and load tests on loopback, are one address; lower it where devices have their own.
	MaxConnectionsPerAddress int `yaml:"max_connections_per_address"`
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
		MaxPacketBytes:           256 << 10,
		MaxConnections:           20_000,
		MaxConnectionsPerAddress: 10_000,
		ConnectTimeout:           10 * time.Second,
		MaxKeepAlive:             time.Hour,
		ReceiveMaximum:           1024,
		MaxSubscriptions:         16,
		MaxQueueBytes:            256 << 10,
		MaxUnfoldedBytes:         4 << 20,
		MaxHold:                  10 * time.Second,
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
	maxInFlight   = 32 // unacknowledged QoS 1 messages towards a client
	maxListed     = 50 // rejects listed in one message on the rejects topic
)

// Check reports the first bound that makes no sense.
func (c Config) Check() error {
	switch {
	case c.MaxPacketBytes < 1<<10 || c.MaxPacketBytes > mostPacket:
		return fmt.Errorf("max_packet_bytes %d: use %d to %d", c.MaxPacketBytes, 1<<10, mostPacket)
	case c.ReceiveMaximum < 1 || c.ReceiveMaximum > 65535:
		return fmt.Errorf("receive_maximum %d: use 1 to 65535", c.ReceiveMaximum)
	case c.MaxKeepAlive < time.Second || c.MaxKeepAlive > 65535*time.Second:
		return fmt.Errorf("max_keep_alive %s: use 1s to 18h12m15s", c.MaxKeepAlive)
	case c.ConnectTimeout <= 0:
		return fmt.Errorf("connect_timeout %s: it must be above 0", c.ConnectTimeout)
	case c.MaxConnections < 1 || c.MaxConnectionsPerAddress < 1:
		return fmt.Errorf("max_connections %d and max_connections_per_address %d: both must be above 0", c.MaxConnections, c.MaxConnectionsPerAddress)
	}
	return nil
}
