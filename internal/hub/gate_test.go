package hub

import (
	"testing"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/registry"
)

// What a door says of a connection's end is what presence shows of it.
func TestEveryLeavingIsAReasonOfPresence(t *testing.T) {
	for how, want := range map[ingest.Leaving]registry.Reason{
		ingest.LeftDisconnect: registry.ReasonDisconnect, ingest.LeftLost: registry.ReasonLost, ingest.LeftKeepAlive: registry.ReasonKeepAlive,
		ingest.LeftWill: registry.ReasonLastWill, ingest.LeftTakenOver: registry.ReasonTakenOver, ingest.LeftRevoked: registry.ReasonRevoked,
		ingest.LeftProtocol: registry.ReasonProtocol, ingest.LeftShutdown: registry.ReasonShutdown,
	} {
		if got := reasonOf(how); got != want {
			t.Errorf("%s becomes %q, want %q", how, got, want)
		}
	}
}
