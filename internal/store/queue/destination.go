package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/songhua-io/hub/internal/telemetry"
)

// Series is one series of a batch. Whoever is given one reads it, and keeps none
// of it when the call returns, but the labels, which never change.
type Series struct {
	Labels []telemetry.Label // sorted by name
	// Points are in the order in which they were committed. Their Series means
	// nothing here.
	Points []telemetry.Point
}

// Destination is where a queue forwards to. Send may be called from several
// goroutines; the points of one series are always sent by one of them, in the
// order in which they were committed.
type Destination interface {
	// Send returns nil when all of the batch is stored there, durable as the
	// server defines it. Sending the same again must change nothing there: it
	// happens after a crash or a lost answer. A *[Refused] says that the server
	// will never take these points; all others of the batch it has stored. Any
	// other error is tried again, after a pause that grows, or that a *[Later]
	// asks for. The queue never gives up by itself.
	Send(ctx context.Context, batch []Series) error
}

// Refused is the error of a Send of which some points will never be taken.
type Refused struct{ Points []RefusedPoint }

// RefusedPoint is a point that will never be taken: the indexes of its series in
// the batch and of itself in the series, and why.
type RefusedPoint struct {
	Series, Point int
	Reason        telemetry.Reason
	Detail        string
}

func (r *Refused) Error() string {
	if len(r.Points) == 0 {
		return "points were refused"
	}
	first := r.Points[0]
	return fmt.Sprintf("%d points were refused for good, the first as %s: %s", len(r.Points), first.Reason, first.Detail)
}

// Later is the error of a Send that may be tried again, when After has passed.
type Later struct {
	After time.Duration
	Err   error
}

func (l *Later) Error() string { return fmt.Sprintf("%v; to be tried again after %v", l.Err, l.After) }

// Unwrap returns what went wrong.
func (l *Later) Unwrap() error { return l.Err }
