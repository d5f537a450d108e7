package coap

import (
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Check returns every bound that makes no sense.
func (c Config) Check(path string) []strict.Error {
	return slices.Concat(
		strict.AtLeast(path, "max_message", c.MaxMessage, 1<<10),
		strict.AtLeast(path, "max_transfers", c.MaxTransfers, 1),
		strict.AtLeast(path, "max_transfers_per_address", c.MaxTransfersPerAddress, 1),
		strict.AtLeast(path, "max_transfer_memory", c.MaxTransferMemory, 1<<10),
		strict.AtLeast(path, "max_remembered", c.MaxRemembered, 1),
		strict.AtLeast(path, "max_sessions", c.MaxSessions, 1),
		strict.AtLeast(path, "max_handshakes", c.MaxHandshakes, 1),
		strict.AtLeast(path, "handshake_timeout", c.HandshakeTimeout, time.Millisecond),
		strict.AtLeast(path, "session_idle", c.SessionIdle, time.Millisecond),
	)
}
