package mqtt

import (
	"encoding/binary"
)

// Property identifiers of MQTT 5, section 2.2.2.2.
const (
	propPayloadFormat   = 0x01
	propMessageExpiry   = 0x02
	propContentType     = 0x03
	propResponseTopic   = 0x08
	propCorrelation     = 0x09
	propSubscriptionID  = 0x0b
	propSessionExpiry   = 0x11
	propAssignedID      = 0x12
	propServerKeepAlive = 0x13
	propAuthMethod      = 0x15
	propAuthData        = 0x16
	propProblemInfo     = 0x17
	propWillDelay       = 0x18
	propResponseInfo    = 0x19
	propReason          = 0x1f
	propReceiveMaximum  = 0x21
	propAliasMaximum    = 0x22
	propAlias           = 0x23
	propRetainAvailable = 0x25
	propUser            = 0x26
	propMaxPacket       = 0x27
	propSharedAvailable = 0x2a
)

// allow is a set of property identifiers.
type allow uint64

func allowed(ids ...byte) allow {
	var a allow
	for _, id := range ids {
		a |= 1 << id
	}
	return a
}

// Which packet may carry what; the table of section 2.2.2.2.
func connectProperties() allow {
	return allowed(propSessionExpiry, propAuthMethod, propAuthData, propProblemInfo, propResponseInfo, propReceiveMaximum, propAliasMaximum, propUser, propMaxPacket)
}

func willProperties() allow {
	return allowed(propWillDelay, propPayloadFormat, propMessageExpiry, propContentType, propResponseTopic, propCorrelation, propUser)
}

func publishProperties() allow {
	return allowed(propPayloadFormat, propMessageExpiry, propAlias, propResponseTopic, propCorrelation, propUser, propContentType)
}

// properties are the values that the server acts on. Others are checked and
// passed over.
type properties struct {
	sessionExpiry  uint32
	receiveMaximum uint16 // 0: not given
	maxPacket      uint32 // 0: not given
	alias          uint16 // 0: not given
	subscription   int    // 0: not given
	noProblemInfo  bool
	authMethod     bool
}

// properties reads a property list; those not in may are violations.
func (r *reader) properties(may allow) properties {
	var ps properties
	n := r.varint()
	if len(r.p) < n {
		r.fail("MQTT-2.2.2-1", "the properties are longer than their packet")
		return ps
	}
	list := reader{p: r.p[:n], err: r.err}
	r.p = r.p[n:]
	var seen allow
	for len(list.p) > 0 && list.err == nil {
		id := list.byte()
		if id >= 64 || may&(1<<id) == 0 {
			list.err = malformed("MQTT-2.2.2-1", "property 0x%02x may not stand here", id)
			break
		}
		if seen&(1<<id) != 0 && id != propUser {
			list.err = violation("MQTT-2.2.2-1", "property 0x%02x stands twice", id)
			break
		}
		seen |= 1 << id
		list.property(id, &ps)
	}
	r.err = list.err
	return ps
}

// property reads the value of one property and refuses what section 3 calls a
// protocol error.
func (r *reader) property(id byte, ps *properties) {
	refuse := func(bad bool, code byte, text string) {
		if bad && r.err == nil {
			r.err = &fault{code, text}
		}
	}
	switch id {
	case propPayloadFormat:
		refuse(r.byte() > 1, codeProtocol, "the payload format indicator is neither 0 nor 1 [MQTT-3.3.2.3.2]")
	case propMessageExpiry, propWillDelay:
		r.uint32()
	case propSessionExpiry:
		ps.sessionExpiry = r.uint32()
	case propContentType, propReason:
		r.text()
	case propResponseTopic:
		refuse(!validTopic(r.text()), codeProtocol, "the response topic is no topic name [MQTT-3.3.2-14]")
	case propCorrelation, propAuthData:
		r.binary()
	case propAuthMethod:
		r.text()
		ps.authMethod = true
	case propSubscriptionID:
		ps.subscription = r.varint()
		refuse(ps.subscription == 0, codeProtocol, "the subscription identifier is 0 [MQTT-3.8.2.1.2]")
	case propProblemInfo:
		b := r.byte()
		refuse(b > 1, codeProtocol, "request problem information is neither 0 nor 1 [MQTT-3.1.2.11.7]")
		ps.noProblemInfo = b == 0
	case propResponseInfo:
		refuse(r.byte() > 1, codeProtocol, "request response information is neither 0 nor 1 [MQTT-3.1.2.11.6]")
	case propReceiveMaximum:
		ps.receiveMaximum = r.uint16()
		refuse(ps.receiveMaximum == 0, codeProtocol, "the receive maximum is 0 [MQTT-3.1.2.11.3]")
	case propMaxPacket:
		ps.maxPacket = r.uint32()
		refuse(ps.maxPacket == 0, codeProtocol, "the maximum packet size is 0 [MQTT-3.1.2.11.4]")
	case propAliasMaximum:
		r.uint16()
	case propAlias:
		ps.alias = r.uint16()
		refuse(ps.alias == 0 || ps.alias > maxAliases, codeAliasInvalid, "the topic alias is 0 or above the maximum [MQTT-3.3.2-8] [MQTT-3.3.2-9]")
	case propUser:
		r.text()
		r.text()
	}
}

// appendProperties adds the length of list and list.
func appendProperties(p, list []byte) []byte {
	return append(appendLength(p, len(list)), list...)
}

func appendReason(p []byte, text string) []byte {
	if text == "" {
		return p
	}
	return appendText(append(p, propReason), text)
}

func appendUser(p []byte, name, value string) []byte {
	return appendText(appendText(append(p, propUser), name), value)
}

func appendProperty16(p []byte, id byte, v int) []byte {
	return binary.BigEndian.AppendUint16(append(p, id), uint16(v))
}

func appendProperty32(p []byte, id byte, v int) []byte {
	return binary.BigEndian.AppendUint32(append(p, id), uint32(v))
}
