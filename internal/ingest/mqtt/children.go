package mqtt

import (
	"strings"
	"sync"

	"github.com/songhua-io/hub/internal/telemetry"
)

// children are the devices behind a gateway whose mail its connection hears. The
// right to hear is asked for with each message, and of all every watchEvery: a
// device that the gateway may not speak for any more is heard no more, until it
// is subscribed to anew.
type children struct {
	mu   sync.Mutex
	ears map[string]*ears // by device; nil when the connection has ended
}

// most is how many subscriptions like this one a connection may have.
func (s *Server) most(sub subscription) int {
	if sub.child != "" {
		return maxBehind
	}
	return s.cfg.MaxSubscriptions
}

// child is how subscriptions and mail name a device: not, when it is the own.
func (c *conn) child(device string) string {
	if device == c.id {
		return ""
	}
	return device
}

// mayAnswer reports whether the connection may at this moment hear what the hub
// says to a device, and answer.
func (c *conn) mayAnswer(device string) bool {
	return device == c.id || telemetry.CheckDeviceID(device) == nil && c.s.deps.Gate.MayHear(c.peer.Load(), device)
}

// meansChild reports whether a subscription means commands or the configuration
// of one device behind the gateway, and notes which.
func (c *conn) meansChild(sub *subscription) bool {
	rest, ok := strings.CutPrefix(sub.filter, "devices/")
	device, _, _ := strings.Cut(rest, "/")
	base := "devices/" + device + "/"
	if !ok || c.s.deps.Mail == nil || !matches(sub.filter, base+commandsSuffix) && !matches(sub.filter, base+configSuffix) || !c.mayAnswer(device) {
		return false
	}
	sub.child = device
	return true
}

// hearChild begins or ends to hear of a device's mail, as the subscriptions mean
// it or not. Its caller is the connection's goroutine.
func (c *conn) hearChild(device string) {
	all := c.behind.Load()
	if all == nil {
		all = &children{ears: map[string]*ears{}}
		c.behind.Store(all)
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	e := all.ears[device]
	if e == nil {
		e = &ears{}
		all.ears[device] = e
	}
	c.hear(e, device)
	if e.stopCommands == nil && e.stopConfig == nil {
		delete(all.ears, device)
	}
}

// recheckChildren ends the subscriptions to devices that the gateway may not
// hear any more.
func (c *conn) recheckChildren() {
	all := c.behind.Load()
	if all == nil {
		return
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	for device, e := range all.ears {
		if c.mayAnswer(device) {
			continue
		}
		c.out.forget(device)
		e.deaf()
		delete(all.ears, device)
		c.s.metrics.refused.WithLabelValues("subscription").Inc()
		c.s.deps.Log.Info("mqtt subscription ended", "device", c.id, "of", device, "reason", "it is not behind this gateway any more, or disabled")
	}
}

// deafToChildren ends that the connection hears of others. It is the last that
// is done to them.
func (c *conn) deafToChildren() {
	all := c.behind.Load()
	if all == nil {
		return
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	for _, e := range all.ears {
		e.deaf()
	}
	all.ears = nil
}
