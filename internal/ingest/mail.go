package ingest

import (
	"context"
	"errors"
)

// Mail is what the hub has to say to devices, and what they answer. Doors
// carry it; they decide nothing about it. All methods may be called from any
// goroutine.
type Mail interface {
	// Listen hands a device's commands to deliver: those that wait, the oldest
	// first, and from then on each as it is issued, until stop is called. A
	// command that was handed to deliver is on record as sent. deliver does not
	// block; false says that the door could not take it, and no other is handed
	// to it. After stop returned deliver is not called again.
	Listen(device string, deliver func(Command) bool) (stop func())
	// Reply takes a device's answer to a command and returns when it is
	// durable. Errors: ErrNoCommand, ErrRefusedMail.
	Reply(ctx context.Context, device, command string, payload []byte) error
	// Wanted returns the configuration that a device is to have, as the message
	// that devices read; nil when nobody wants anything of it.
	Wanted(ctx context.Context, device string) ([]byte, error)
	// Watch calls changed with every new wanted configuration of a device until
	// stop is called. changed does not block.
	Watch(device string, changed func(wanted []byte)) (stop func())
	// Reported takes the configuration that a device says it has and returns
	// when it is durable. Errors: ErrRefusedMail.
	Reported(ctx context.Context, device string, payload []byte) error
}

// Command is a command as a door carries it.
type Command struct {
	ID string
	// Message is the JSON object that the device reads (docs/formats/commands.md).
	Message []byte
	// Received is called when the device has confirmed that it has the command:
	// PUBACK, the acknowledgement of a notification, or its next request. It
	// does not block, and a second call does nothing.
	Received func()
}

// Errors of mail, wrapped with the thing they are about; devices read them.
var (
	ErrNoCommand   = errors.New("is no command of this device")
	ErrRefusedMail = errors.New("is refused")
)
