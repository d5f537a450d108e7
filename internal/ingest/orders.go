package ingest

import (
	"context"
	"errors"
)

// Orders is what the hub asks of roadside units in the dialects that they speak,
// and what they answer. Doors carry it; they know no dialect. All methods may be
// called from any goroutine.
type Orders interface {
	// Hears returns the topics on which orders come that a topic filter may mean;
	// ok is false when the peer may not hold the filter.
	Hears(p *Peer, filter string) (topics []OrderTopic, ok bool)
	// Answered takes what a unit says about an order and returns when it is durable;
	// handled is false for topics of anything else. Errors: ErrNoCommand,
	// ErrRefusedMail, ErrNotYours.
	Answered(ctx context.Context, p *Peer, topic string, payload []byte) (handled bool, err error)
}

// OrderTopic is where orders of one kind reach a unit.
type OrderTopic struct {
	Topic string
	// Listen is Mail.Listen for those orders: the messages are as the unit reads
	// them.
	Listen func(deliver func(Command) bool) (stop func())
}

// ErrNotYours refuses who speaks for a roadside unit and may not.
var ErrNotYours = errors.New("is not the sender's to speak for")
