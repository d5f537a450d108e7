package coap

import (
	"context"
	"errors"
	"time"

	"github.com/songhua-io/hub/internal/ingest"
)

// The resources on which a device hears from the hub and answers, beneath
// /devices/{id}: GET with Observe on commands and on config, POST to
// commands/{cid}/reply and to config/reported (docs/formats/commands.md).
const (
	commandsSegment = "commands"
	configSegment   = "config"
)

// mailed reports whether a request is about mail.
func (m *message) mailed() bool {
	if m.depth < 3 || string(m.path[0]) != "devices" {
		return false
	}
	switch m.depth {
	case 3:
		return string(m.path[2]) == commandsSegment || string(m.path[2]) == configSegment
	case 4:
		return string(m.path[2]) == configSegment && string(m.path[3]) == "reported"
	case 5:
		return string(m.path[2]) == commandsSegment && string(m.path[4]) == "reply"
	}
	return false
}

// mail answers a request about mail of a known sender. The zero answer comes
// later by itself.
func (d *Door) mail(x *exchange, peer *ingest.Peer, now time.Time) answer {
	m := &x.msg
	device := string(m.path[1])
	switch {
	case !d.mayHear(peer, device):
		return text(forbidden, "not permitted to hear or answer for this device; use your own path")
	case m.depth == 3 && m.code == get:
		return d.observe(x, peer, device)
	case m.depth == 3 || m.code != post:
		return text(methodNotAllowed, "GET with Observe on commands and config, POST to commands/{cid}/reply and config/reported")
	}
	payload, a, done := d.whole(x, peer, now)
	if done {
		return a
	}
	payload = append([]byte(nil), payload...)
	if m.depth == 4 {
		return d.later(x, func(ctx context.Context) error { return d.deps.Mail.Reported(ctx, device, payload) })
	}
	id := string(m.path[3])
	return d.later(x, func(ctx context.Context) error { return d.deps.Mail.Reply(ctx, device, id, payload) })
}

// mayHear reports whether a peer may at this moment hear what the hub says to a
// device, and answer.
func (d *Door) mayHear(peer *ingest.Peer, device string) bool {
	return device == peer.Device.ID || d.deps.Gate.MayHear(peer, device)
}

// maxLater bounds the requests that wait for the disk besides telemetry.
const maxLater = 256

// later answers an exchange when do has returned, without holding up others.
func (d *Door) later(x *exchange, do func(context.Context) error) answer {
	select {
	case d.waiting <- struct{}{}:
	default:
		return busy("too many answers are being kept; send it again")
	}
	late := &exchange{from: x.from, print: x.print, msg: message{kind: x.msg.kind, id: x.msg.id, token: append([]byte(nil), x.msg.token...), mute: x.msg.mute, block1: x.msg.block1}, known: true}
	go func() {
		defer func() { <-d.waiting }()
		late.answer = d.heard(do(context.Background()), late)
		d.close(late)
		if len(late.out) > 0 {
			d.fault("answer not sent", late.from.addr, late.from.send(late.out))
		}
	}()
	return answer{}
}

// heard is the answer for what became of a reply or report.
func (d *Door) heard(err error, x *exchange) answer {
	switch {
	case err == nil:
		return answer{code: changed, format: -1}
	case errors.Is(err, ingest.ErrNoCommand):
		return text(notFound, err.Error())
	case errors.Is(err, ingest.ErrRefusedMail):
		return text(badRequest, err.Error())
	}
	d.fault("a device's answer could not be kept", x.from.addr, err)
	return busy("it could not be kept; send it again")
}
