package mqtt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
)

// maxConnectBytes bounds the only packet that is taken from strangers.
const maxConnectBytes = 32 << 10

// limit is the largest packet that is read.
func (c *conn) limit() int {
	if c.version == 0 {
		return min(maxConnectBytes, c.s.cfg.MaxPacketBytes)
	}
	return c.s.cfg.MaxPacketBytes
}

// connect is a CONNECT that could be read.
type connect struct {
	version   byte
	clean     bool
	keepAlive uint16
	client    string
	user      string
	password  []byte
	hasUser   bool
	hasSecret bool
	will      *will
	// willRetain asks for a retained will: 3.1.1 has no way to refuse that.
	willRetain bool
	props      properties
}

// errVersion asks for the answer that clients of other versions understand.
var errVersion = errors.New("protocol version is neither 4 nor 5 [MQTT-3.1.2-2]")

// readConnect reads a CONNECT. Section 3.1.
func readConnect(body []byte) (*connect, error) {
	r := &reader{p: body}
	name := r.text()
	k := &connect{version: r.byte()}
	switch {
	case r.err != nil:
		return nil, r.err
	case string(name) == "MQIsdp", string(name) == "MQTT" && k.version != 4 && k.version != 5:
		return nil, errVersion
	case string(name) != "MQTT":
		return nil, violation("MQTT-3.1.2-1", "the protocol name is %.16q", name)
	}
	flags := r.byte()
	k.keepAlive = r.uint16()
	if err := checkFlags(k.version, flags); err != nil && r.err == nil {
		return nil, err
	}
	k.clean, k.willRetain, k.hasUser, k.hasSecret = flags&0x02 != 0, flags&0x20 != 0, flags&0x80 != 0, flags&0x40 != 0
	if k.version == 5 {
		k.props = r.properties(connectProperties())
	}
	k.client = string(r.text())
	if flags&0x04 != 0 {
		k.will = r.will(k.version)
	}
	if k.hasUser {
		k.user = string(r.text())
	}
	if k.hasSecret {
		k.password = r.binary()
	}
	return k, r.end()
}

func checkFlags(version, flags byte) error {
	will, qos := flags&0x04 != 0, flags>>3&3
	switch {
	case flags&0x01 != 0:
		return malformed("MQTT-3.1.2-3", "the reserved connect flag is set")
	case !will && (qos != 0 || flags&0x20 != 0):
		return malformed("MQTT-3.1.2-11", "there is no will, but a will QoS or will retain")
	case qos == 3:
		return malformed("MQTT-3.1.2-12", "the will QoS is 3")
	case version == 4 && flags&0xc0 == 0x40:
		return malformed("MQTT-3.1.2-22", "there is a password, but no user name")
	}
	return nil
}

func (r *reader) will(version byte) *will {
	if version == 5 {
		r.properties(willProperties())
	}
	w := &will{topic: string(r.text())}
	w.payload = append([]byte(nil), r.binary()...)
	if r.err == nil && !validTopic([]byte(w.topic)) {
		r.err = &fault{codeTopicInvalid, "the will topic is no topic name [MQTT-3.3.2-2]"}
	}
	return w
}

// connect answers a CONNECT: it finds out who the device is and takes over its
// client id. Section 3.1.4.
func (c *conn) connect(b *burst, body []byte) error {
	k, err := readConnect(body)
	if err != nil {
		return c.refuseUnread(b, err)
	}
	c.version, c.noProblem = k.version, k.props.noProblemInfo
	peer, code, over := c.login(k)
	if code == codeSuccess && k.client == "" && k.version == 4 && !k.clean {
		code = codeClientID // [MQTT-3.1.3-8]
	}
	if code == codeSuccess && len(k.client) > maxClientID {
		code = codeClientID
	}
	if code == codeSuccess && k.version == 5 && k.willRetain {
		code = codeRetain // [MQTT-3.2.2-13]
	}
	if code == codeSuccess {
		if over = c.entry.As(peer.Device.ID, k.client != "" && c.s.connected(peer.Device.ID, k.client)); over != nil {
			code = codeOver(over)
		}
	}
	c.s.metrics.connect(k.version, code)
	if code != codeSuccess {
		b.out = appendConnack(b.out, c.version, code, explain(over, int(k.props.maxPacket)))
		return &ending{how: ingest.LeftProtocol, text: "CONNECT refused"}
	}
	c.accept(b, k, peer)
	return nil
}

// refuseUnread answers a CONNECT that cannot be read. Strangers who do not
// speak MQTT get no answer.
func (c *conn) refuseUnread(b *burst, err error) error {
	if errors.Is(err, errVersion) {
		c.s.metrics.connect(0, codeVersion)
		b.out = appendConnack(b.out, 4, codeVersion, nil)
		return &ending{how: ingest.LeftProtocol, text: err.Error()}
	}
	c.s.metrics.connect(0, codeMalformed)
	return err
}

// login asks the gate. A connection over its quota is not looked at.
func (c *conn) login(k *connect) (*ingest.Peer, byte, *quota.Exceeded) {
	if over := c.entry.Over; over != nil {
		return nil, codeOver(over), over
	}
	if k.props.authMethod {
		return nil, codeAuthMethod, nil // [MQTT-4.12.0-1]
	}
	cred := ingest.Credentials{ID: k.user, Secret: k.password, Door: c.door, Address: addressOf(c.net.RemoteAddr())}
	if cert := c.certificate(); cert != nil && !k.hasSecret {
		if k.user != "" && k.user != cert.Subject.CommonName {
			return nil, codeNotAuthorized, nil
		}
		cred.ID, cred.Certificate = cert.Subject.CommonName, cert
	} else if !k.hasSecret {
		return nil, codeBadLogin, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.s.cfg.ConnectTimeout)
	defer cancel()
	peer, err := c.s.deps.Gate.Authenticate(ctx, cred)
	var over *quota.Exceeded
	switch {
	case err == nil:
		c.sender = c.s.deps.Quotas.Sender(quota.DoorOf(c.door), peer.Token, cred.Address)
		return peer, codeSuccess, nil
	case errors.As(err, &over):
		return nil, codeOver(over), over
	case errors.Is(err, ingest.ErrUnauthorized):
		c.s.deps.Log.Info("mqtt login refused", "device", clip(k.user, 64), "address", cred.Address.String(), "error", err)
		return nil, codeBadLogin, nil
	}
	c.s.deps.Log.Error("mqtt login failed", "device", clip(k.user, 64), "error", err)
	return nil, codeUnavailable, nil
}

// codeOver is the reason code of a quota that is used up.
func codeOver(over *quota.Exceeded) byte {
	if over.Arriving() {
		return codeRate
	}
	return codeQuota
}

// explain are the properties that say which quota is used up and when to come
// again, where the client takes a packet of their size: 0 is any. CONNACK and
// DISCONNECT may carry them whatever the client asked for [MQTT-3.1.2-29].
func explain(over *quota.Exceeded, most int) []byte {
	if over == nil {
		return nil
	}
	list := appendReason(nil, over.Error())
	list = appendUser(list, "retry-after", strconv.Itoa(over.Seconds()))
	if most > 0 && len(list)+12 > most {
		return nil
	}
	return list
}

// certificate is the verified one of the client; nil when it showed none.
func (c *conn) certificate() *x509.Certificate {
	state := c.trust
	if t, ok := c.net.(*tls.Conn); ok {
		of := t.ConnectionState()
		state = &of
	}
	if state == nil || len(state.VerifiedChains) == 0 {
		return nil
	}
	return state.PeerCertificates[0]
}

// accept makes the connection that of its device and answers CONNACK.
func (c *conn) accept(b *burst, k *connect, peer *ingest.Peer) {
	c.id, c.client, c.will = peer.Device.ID, k.client, k.will
	c.own = "devices/" + c.id + "/telemetry"
	c.maxPacket, c.inFlight = int(k.props.maxPacket), maxInFlight
	if k.props.receiveMaximum > 0 {
		c.inFlight = min(c.inFlight, int(k.props.receiveMaximum))
	}
	var list []byte
	if c.client == "" {
		c.client = "hub-" + strconv.FormatInt(c.s.deps.Clock().UnixMilli(), 36) + "-" + strconv.FormatUint(c.s.names.Add(1), 36)
		list = appendText(append(list, propAssignedID), c.client) // [MQTT-3.2.2-16]
	}
	keepAlive := time.Duration(k.keepAlive) * time.Second
	if c.version == 5 && (keepAlive == 0 || keepAlive > c.s.cfg.MaxKeepAlive) {
		keepAlive = c.s.cfg.MaxKeepAlive
		list = appendProperty16(list, propServerKeepAlive, int(keepAlive/time.Second)) // [MQTT-3.2.2-21]
	}
	c.silence.Store((keepAlive + keepAlive/2).Milliseconds())
	c.heard.Store(c.s.deps.Clock().UnixMilli())
	c.peer.Store(peer)
	c.s.enter(c)
	c.s.deps.Presence.Connected(c.id, c.door)
	b.out = appendConnack(b.out, c.version, codeSuccess, c.s.abilities(list, k.props))
}

// abilities adds what MQTT 5 clients are told of the server. A session ends
// with its connection: the expiry is 0 whatever was asked for. What clients
// publish is not retained; what the hub retains for them they get all the same.
func (s *Server) abilities(list []byte, asked properties) []byte {
	if asked.sessionExpiry > 0 {
		list = appendProperty32(list, propSessionExpiry, 0)
	}
	list = appendProperty16(list, propReceiveMaximum, s.cfg.ReceiveMaximum)
	list = appendProperty32(list, propMaxPacket, s.cfg.MaxPacketBytes)
	list = appendProperty16(list, propAliasMaximum, maxAliases)
	return append(list, propRetainAvailable, 0, propSharedAvailable, 0)
}

// appendConnack adds a CONNACK; session present is never set. Section 3.2.
func appendConnack(p []byte, version, code byte, list []byte) []byte {
	if version != 5 {
		return append(p, typeConnack<<4, 2, 0, returnCode(code))
	}
	return appendPacket(p, typeConnack<<4, appendProperties([]byte{0, code}, list))
}

// returnCode is what MQTT 3.1.1 has for a reason code. Table 3.1 of 3.1.1.
func returnCode(code byte) byte {
	switch code {
	case codeSuccess:
		return 0
	case codeVersion:
		return 1
	case codeClientID:
		return 2
	case codeBadLogin:
		return 4
	case codeNotAuthorized:
		return 5
	}
	return 3
}

// addressOf returns the address behind a, invalid when a is no IP address.
func addressOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return ap.Addr().Unmap()
}

// packet takes every packet but PUBLISH.
func (c *conn) packet(b *burst, head byte, body []byte) error {
	kind, flags := head>>4, head&0x0f
	if c.version == 0 && kind != typeConnect {
		return violation("MQTT-3.1.0-1", "the first packet is no CONNECT")
	}
	wants := byte(0)
	if kind == typePubrel || kind == typeSubscribe || kind == typeUnsubscribe {
		wants = 2
	}
	if flags != wants {
		return malformed("MQTT-2.1.3-1", "the reserved flags of packet type %d are %#x", kind, flags)
	}
	switch kind {
	case typeConnect:
		if c.version != 0 {
			return violation("MQTT-3.1.0-2", "CONNECT came twice")
		}
		return c.connect(b, body)
	case typePuback:
		return c.puback(body)
	case typePubrel:
		return c.pubrel(b, body)
	case typeSubscribe:
		return c.subscribe(b, body)
	case typeUnsubscribe:
		return c.unsubscribe(b, body)
	case typePingreq:
		if len(body) > 0 {
			return malformed("MQTT-3.12.0-1", "PINGREQ has a body")
		}
		if !c.answeredPing() {
			b.out = append(b.out, typePingresp<<4, 0)
		}
		return nil
	case typeDisconnect:
		return c.goodbye(body)
	}
	return violation("MQTT-4.13.1-1", "a client may not send packet type %d here", kind)
}

// goodbye takes a DISCONNECT. With reason code 0x04 the will is published.
// Section 3.14.
func (c *conn) goodbye(body []byte) error {
	e := &ending{how: ingest.LeftDisconnect, text: "the client said DISCONNECT"}
	if c.version == 4 {
		if len(body) > 0 {
			return malformed("MQTT-3.14.1-1", "DISCONNECT has a body")
		}
		return e
	}
	if len(body) > 0 {
		r := reader{p: body}
		e.will = r.byte() != codeSuccess
		if len(r.p) > 0 {
			r.properties(allowed(propSessionExpiry, propReason, propUser))
		}
		if err := r.end(); err != nil {
			return err
		}
	}
	return e
}

// identified reads the packet identifier, reason code and properties of the
// acknowledgements a client sends. Sections 3.4 to 3.7.
func (c *conn) identified(body []byte) (uint16, error) {
	if len(body) == 2 {
		return binary.BigEndian.Uint16(body), nil
	}
	r := reader{p: body}
	id := r.uint16()
	if c.version == 5 {
		r.byte()
		if len(r.p) > 0 {
			r.properties(allowed(propReason, propUser))
		}
	}
	return id, r.end()
}

// pubrel ends the exchange of a QoS 2 message. [MQTT-4.3.3-11]
func (c *conn) pubrel(b *burst, body []byte) error {
	id, err := c.identified(body)
	if err != nil {
		return err
	}
	_, known := c.received[id]
	delete(c.received, id)
	b.out = appendPubcomp(b.out, c.version, id, known)
	return nil
}

func appendPubcomp(p []byte, version byte, id uint16, known bool) []byte {
	if known || version != 5 {
		return append(p, typePubcomp<<4, 2, byte(id>>8), byte(id))
	}
	return append(p, typePubcomp<<4, 3, byte(id>>8), byte(id), codeIDNotFound)
}
