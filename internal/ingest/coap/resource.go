package coap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Content formats of answers.
const (
	formatText = 0
	formatLink = 40
	formatJSON = 50
)

// maxAnswer bounds the payload of an answer: it fits in a datagram that no
// network takes apart (RFC 7252 section 4.6).
const maxAnswer = 1024

// resources is the body of /.well-known/core (RFC 6690).
const resources = `</devices/{id}/telemetry>;rt="telemetry";if="hub.report";ct="110 112 50 0",` +
	`</devices/{id}/v2x>;rt="v2x";if="hub.report";ct="42 50",` +
	`</devices/{id}/commands>;rt="commands";if="hub.mail";ct=50;obs,` +
	`</devices/{id}/config>;rt="config";if="hub.mail";ct=50;obs`

func text(c code, s string) answer {
	return answer{code: c, format: formatText, payload: []byte(s)}
}

func busy(s string) answer {
	a := text(unavailable, s)
	a.maxAge = 1
	return a
}

// report is what a request brings, once it is clear who sends it.
type report struct {
	device  string
	format  codec.Format
	topic   string // that stands for the kind of a V2X message
	payload []byte
}

// serve decides on a request: it returns a report to ingest, or an answer. The
// sender is known when peer is not nil.
func (d *Door) serve(x *exchange, now time.Time) (peer *ingest.Peer, rep report, a answer, ingestIt bool) {
	m := &x.msg
	switch {
	case m.proxied:
		return nil, rep, text(proxyingNotSupported, "the hub is no proxy"), false
	case m.critical != 0:
		return nil, rep, text(badOption, fmt.Sprintf("option %d is not understood", m.critical)), false
	case m.is(".well-known", "core"):
		return nil, rep, wellKnown(m, len(x.datagram)), false
	case d.deps.Mail != nil && m.mailed():
		if peer, a = d.authenticate(x); peer != nil {
			if _, over := d.deps.Quotas.Hear(peer.Device.ID, peer.Token, x.from.addr.Addr().Unmap(), x.sender.Door, now); over != nil {
				return peer, rep, failure(over), false
			}
			a = d.mail(x, peer, now)
		}
		return peer, rep, a, false
	case m.depth < 3 || m.depth > 4 || string(m.path[0]) != "devices" || m.depth == 4 && string(m.path[2]) != "telemetry" ||
		string(m.path[2]) != "telemetry" && string(m.path[2]) != "v2x":
		return nil, rep, text(notFound, "POST to /devices/{id}/telemetry"), false
	case m.code != post:
		return nil, rep, text(methodNotAllowed, "use POST"), false
	}
	peer, a = d.authenticate(x)
	if peer == nil {
		return nil, rep, a, false
	}
	device := string(m.path[1])
	if device != peer.Device.ID && !d.deps.Gate.MaySpeak(peer, device) {
		a = text(forbidden, "not permitted to send telemetry of this device; send to your own path")
		return peer, rep, d.reject(peer.Device.ID, telemetry.ReasonNotPermitted, m, a), false
	}
	f, topic, why := d.format(m)
	if why != "" {
		a = text(unsupportedFormat, why)
		return peer, rep, d.reject(device, telemetry.ReasonUnsupported, m, a), false
	}
	payload, a, done := d.whole(x, peer, now)
	if done && a.code == tooLarge {
		d.reject(device, telemetry.ReasonTooLarge, m, a)
	}
	if done {
		return peer, rep, a, false
	}
	return peer, report{device, f, topic, payload}, answer{}, true
}

// reject makes a reject of a message that is not read, and returns its answer.
func (d *Door) reject(device string, reason telemetry.Reason, m *message, a answer) answer {
	format := "no content format"
	if m.format >= 0 {
		format = fmt.Sprintf("content format %d", m.format)
	}
	d.deps.Pipeline.Refuse(device, reason, fmt.Sprintf("/%.64s with %s: %s", m.resource(), format, a.payload))
	return a
}

func (m *message) is(path ...string) bool {
	if m.depth != len(path) {
		return false
	}
	for i, s := range path {
		if string(m.path[i]) != s {
			return false
		}
	}
	return true
}

// resource is the path as one word.
func (m *message) resource() string {
	return string(bytes.Join(m.path[:min(m.depth, maxSegments)], []byte("/")))
}

// format returns what a report is written in, and for V2X the topic that stands
// for its kind; or why it is not taken.
func (d *Door) format(m *message) (f codec.Format, topic, why string) {
	if string(m.path[2]) == "v2x" {
		return d.v2xFormat(m)
	}
	f, ok := m.telemetryFormat()
	if !ok {
		why = "send content format 110, 112, 50 or 0 to /devices/{id}/telemetry"
	}
	return f, "", why
}

func (d *Door) v2xFormat(m *message) (f codec.Format, topic, why string) {
	f, ok := codec.V2XFromContentFormat(m.format)
	switch {
	case d.deps.Units == nil:
		return f, "", "V2X messages are not taken by this hub"
	case !ok && m.format >= 0:
		return f, "", "send V2X with content format 42 (frames, or an uplink) or 50 (JSON)"
	case len(m.about) == 0:
		return codec.V2X, "", ""
	}
	if topic, ok = d.deps.Units.ByKind(string(m.about)); !ok {
		why = fmt.Sprintf("kind %.32q is none of a V2X message", m.about)
	}
	return codec.V2X, topic, why
}

func (m *message) telemetryFormat() (codec.Format, bool) {
	if m.depth == 4 {
		return codec.FromSuffix(m.path[3])
	}
	if m.format < 0 {
		return codec.Auto, true
	}
	return codec.FromContentFormat(m.format)
}

// authenticate finds the peer: of the DTLS session, or by the token where
// plain CoAP is taken.
func (d *Door) authenticate(x *exchange) (*ingest.Peer, answer) {
	from := x.from.addr.Addr().Unmap()
	if s := x.from.session; s != nil {
		if over := s.admit(); over != nil {
			return nil, failure(over)
		}
		x.sender = d.deps.Quotas.Sender(quota.CoAPS, s.peer.Token, from)
		return s.peer, answer{}
	}
	if !d.cfg.PlainBeyondLoopback && !from.IsLoopback() {
		d.metrics.refuse(refusedPlain)
		return nil, text(forbidden, "use DTLS")
	}
	c := ingest.Credentials{Secret: x.msg.secret, Door: "coap", Address: from}
	if x.msg.depth >= 2 {
		c.About = string(x.msg.path[1])
	}
	peer, err := d.deps.Gate.Authenticate(context.Background(), c)
	var over *quota.Exceeded
	switch {
	case err == nil:
		x.sender = d.deps.Quotas.Sender(quota.CoAP, peer.Token, from)
		return peer, answer{}
	case errors.As(err, &over):
		d.metrics.refuse(refusedAuth)
		return nil, failure(over)
	case errors.Is(err, ingest.ErrUnauthorized):
		d.metrics.refuse(refusedAuth)
		return nil, text(unauthorized, "add ?token=<device secret>")
	}
	d.fault("device could not be authenticated", x.from.addr, err)
	return nil, busy("secrets cannot be checked at this moment")
}

// whole returns the payload of a message that is complete with this datagram;
// until then the answer for the block.
func (d *Door) whole(x *exchange, peer *ingest.Peer, now time.Time) (payload []byte, a answer, done bool) {
	m := &x.msg
	if !m.block1.set {
		if len(m.payload) > d.cfg.MaxMessage || x.cut {
			return nil, d.transfers.tooLarge(), true
		}
		return m.payload, answer{}, false
	}
	key := transferKey{from: x.from.addr, session: x.from.session, sender: peer.Device.ID, resource: m.resource(), tag: string(m.tag)}
	payload, a, refused := d.transfers.add(key, m.block1, m.size1, m.payload, now)
	if refused != "" {
		d.metrics.refuse(refused)
	}
	return payload, a, a.code != empty
}

// wellKnown lists the resources. Strangers get pieces of it that are no larger
// than three times what they sent (RFC 7252 section 11.3).
func wellKnown(m *message, asked int) answer {
	if m.code != get {
		return text(methodNotAllowed, "use GET")
	}
	b := m.block2
	if !b.set {
		b = block{szx: 6, set: true}
	}
	overhead := 4 + len(m.token) + 2 + 4 + 1
	for b.szx > 0 && overhead+min(b.size(), len(resources)) > amplification*asked {
		if b.num > 0 {
			break // the sender asks for the size that it was given before
		}
		b.szx--
	}
	if b.offset() >= len(resources) {
		return text(badRequest, "there is no such block")
	}
	end := min(b.offset()+b.size(), len(resources))
	b.more = end < len(resources)
	a := answer{code: content, format: formatLink, payload: []byte(resources[b.offset():end])}
	if b.more || b.num > 0 {
		a.block2 = b
	}
	return a
}

// outcome is the answer for a message that went through the pipeline.
func outcome(msg *ingest.Message) answer {
	a := answer{code: changed, format: -1}
	if len(msg.Rejects) == 0 {
		return a
	}
	a.format = formatJSON
	a.payload = ingest.AppendAnswer(nil, msg.Accepted, msg.Rejects, maxAnswer)
	if msg.Accepted > 0 {
		return a
	}
	a.code = badRequest
	if msg.Rejects[0].Index >= 0 {
		return a
	}
	switch msg.Rejects[0].Reason {
	case telemetry.ReasonUnknownDevice:
		a.code = notFound
	case telemetry.ReasonDeviceDisabled, telemetry.ReasonNotPermitted:
		a.code = forbidden
	case telemetry.ReasonTooLarge, telemetry.ReasonDecompression:
		a.code = tooLarge
	case telemetry.ReasonUnsupported:
		a.code = unsupportedFormat
	}
	return a
}

// failure is the answer for what was refused as a whole (RFC 8516 section 3).
func failure(err error) answer {
	if over := (*quota.Exceeded)(nil); errors.As(err, &over) {
		a := text(tooManyRequests, over.Error())
		a.maxAge = uint32(over.Seconds())
		return a
	}
	if errors.Is(err, ingest.ErrBusy) {
		return busy(err.Error())
	}
	return busy("nothing was stored; send it again")
}
