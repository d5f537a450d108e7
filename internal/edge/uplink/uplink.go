// Package uplink is the contract between the agent and the ways to its hub: a
// message is sent, and the answer says whether the hub has it.
package uplink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/edge/backoff"
	"github.com/songhua-io/hub/internal/edge/trust"
)

// Message is one message of the agent's device.
type Message struct {
	// Suffix is what follows devices/{id}/ in the topic or path: telemetry/json,
	// v2x/uper, config/reported, commands/{id}/reply.
	Suffix  string
	Payload []byte
	// Zstd says that the payload is compressed. A link whose protocol cannot
	// carry that sends it unpacked.
	Zstd bool
	// Samples is how many samples of ours are in it; 0 in what is handed on as
	// it is.
	Samples uint32
}

// Link carries messages to the hub. Run keeps it connected until the context
// ends and calls up with true and false as the connection comes and goes. Send
// may be called by several goroutines; it returns nil when the hub acknowledged
// the message, a *[TooLarge] when it may take the message in parts, a *[Refused]
// when it never will, a *[Later] when it asks for a pause, and any other error
// when the message is to be sent again once the link is up.
type Link interface {
	Run(ctx context.Context, up func(bool)) error
	Send(ctx context.Context, m Message) error
}

// Inbox takes what the hub says to the agent. Its functions are called from any
// goroutine and return soon. A link asks the hub only for what has a function.
type Inbox struct {
	// Rejects takes what the hub says of samples; it is required.
	Rejects func(Rejects)
	// Wanted takes the wanted configuration: at the beginning of a connection
	// when there is one, and each new one.
	Wanted func(message []byte)
	// Command takes a command, which may have come before. It returns nil once
	// the agent will not forget it; only then the link confirms it.
	Command func(message []byte) error
}

// Topics of what the hub says, beneath devices/{id}/.
const (
	Commands = "commands"
	Config   = "config"
)

// MaxHeard bounds what is read of the hub's mail at once, in bytes: its largest
// is a configuration of 64 KiB, or sixteen commands with parameters of 16 KiB.
const MaxHeard = 512 << 10

// ErrDown is returned by Send while there is no connection.
var ErrDown = errors.New("not connected to the hub")

// Refused says that the hub will not take a message however often it is sent.
type Refused struct{ Detail string }

func (e *Refused) Error() string { return "the hub refused the message: " + e.Detail }

// TooLarge says that the hub takes no message of this size.
type TooLarge struct{ Detail string }

func (e *TooLarge) Error() string { return "the message is too large: " + e.Detail }

// Later says that the hub asks to be left alone for a while.
type Later struct{ After time.Duration }

func (e *Later) Error() string { return fmt.Sprintf("the hub asks for a pause of %s", e.After) }

// Identity is who the agent is towards the hub. What stands in files is read
// for every connection, so that new ones need no restart.
type Identity struct {
	Device string
	Secret Secret
	TLS    trust.TLS
}

// Secret is the device's secret: Value, or what stands in File.
type Secret struct{ Value, File string }

// Read returns the secret of this moment; empty when there is none.
func (s Secret) Read() (string, error) {
	if s.File == "" {
		return s.Value, nil
	}
	text, err := os.ReadFile(s.File)
	if err != nil {
		return "", fmt.Errorf("uplink.secret_file: %w", err)
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" {
		return "", fmt.Errorf("uplink.secret_file: %s is empty; write the secret that `hub device add` printed into it", s.File)
	}
	return secret, nil
}

// stable is how long a connection lasts that counts as a good one.
const stable = 30 * time.Second

// Reconnect calls session again and again until the context ends. Pauses grow,
// and begin small again after a session that lasted.
func Reconnect(ctx context.Context, session func(context.Context) error, failed func(err error, retryIn time.Duration)) error {
	var pause backoff.Backoff
	for {
		began := time.Now()
		err := session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > stable {
			pause.Reset()
		}
		wait := pause.Next()
		failed(err, wait)
		if !backoff.Sleep(ctx, wait) {
			return nil
		}
	}
}
