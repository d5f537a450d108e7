package mqtt

import (
	"fmt"

	"github.com/songhua-io/hub/internal/ingest"
)

// Reason codes of MQTT 5, section 2.4, as far as the server sends them.
const (
	codeSuccess         byte = 0x00
	codeNoSubscribers   byte = 0x10
	codeNoSubscription  byte = 0x11
	codeWithWill        byte = 0x04
	codeUnspecified     byte = 0x80
	codeMalformed       byte = 0x81
	codeProtocol        byte = 0x82
	codeImplementation  byte = 0x83
	codeVersion         byte = 0x84
	codeClientID        byte = 0x85
	codeBadLogin        byte = 0x86
	codeNotAuthorized   byte = 0x87
	codeUnavailable     byte = 0x88
	codeShuttingDown    byte = 0x8b
	codeAuthMethod      byte = 0x8c
	codeKeepAlive       byte = 0x8d
	codeTakenOver       byte = 0x8e
	codeFilterInvalid   byte = 0x8f
	codeTopicInvalid    byte = 0x90
	codeIDNotFound      byte = 0x92
	codeReceiveMaximum  byte = 0x93
	codeAliasInvalid    byte = 0x94
	codePacketTooLarge  byte = 0x95
	codeQuota           byte = 0x97
	codeAdministrative  byte = 0x98
	codePayloadFormat   byte = 0x99
	codeRetain          byte = 0x9a
	codeSharedForbidden byte = 0x9e
	codeRate            byte = 0x9f
)

// fault ends a connection: the client broke the protocol or a bound.
type fault struct {
	code byte // of the DISCONNECT that MQTT 5 clients get
	text string
}

func (f *fault) Error() string { return f.text }

func malformed(clause, format string, args ...any) error {
	return &fault{codeMalformed, fmt.Sprintf(format, args...) + " [" + clause + "]"}
}

func violation(clause, format string, args ...any) error {
	return &fault{codeProtocol, fmt.Sprintf(format, args...) + " [" + clause + "]"}
}

// ending is why a connection ends. The first one counts.
type ending struct {
	how  ingest.Leaving
	code byte // of the DISCONNECT for MQTT 5 clients; codeSuccess sends none
	text string
	will bool // the will is published
}

func (e *ending) Error() string { return string(e.how) + ": " + e.text }
