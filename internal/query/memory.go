package query

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/prometheus/promql"
)

// samples is the memory for samples that all running questions share: half of
// it in equal parts, one for each that may run, and the rest for one at a time
// that needs more. Together they never hold more than Config.MaxSamples.
type samples struct {
	share int           // what every question may hold
	most  int           // what the one that leased the rest may hold
	lease chan struct{} // holds a token while the rest is taken
}

func newSamples(c Config) *samples {
	share := max(1, c.MaxSamples/2/c.MaxConcurrency)
	return &samples{share, max(share, c.MaxSamples-share*(c.MaxConcurrency-1)), make(chan struct{}, 1)}
}

// take waits until nobody has the rest; free must be called.
func (s *samples) take(ctx context.Context) (free func(), f *failure) {
	select {
	case s.lease <- struct{}{}:
		return func() { <-s.lease }, nil
	case <-ctx.Done():
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, &failure{timedOut, fmt.Errorf("query timed out waiting for memory: it holds more than %d samples, and such queries run one at a time; narrow its selectors or time range, ask again, or raise query.max_samples: %w", s.share, ctx.Err())}
	}
	return nil, &failure{canceled, ctx.Err()}
}

func tooManySamples(err error) bool {
	var many promql.ErrTooManySamples
	return errors.As(err, &many)
}

// answers is the memory that encoded answers take until they are sent. The
// first chunk of each is not counted.
type answers struct {
	taken atomic.Int64 // bytes
	max   int64
}

const chunk = 64 << 10

// body is an answer on its way into memory: a list of chunks, so that a long
// one is never copied to grow. Writers append to b and call seal now and then.
// After the first failure nothing is kept.
type body struct {
	b       []byte
	sealed  [][]byte
	size    int64 // bytes of sealed
	memory  *answers
	failure *failure
}

// seal puts b aside once it is a chunk and reports whether there is room for
// more.
func (b *body) seal() bool {
	if len(b.b) < chunk || b.failure != nil {
		return b.failure == nil
	}
	n := int64(len(b.b))
	if now := b.memory.taken.Add(n); now > b.memory.max {
		b.memory.taken.Add(-n)
		own := b.size + n
		b.drop()
		b.failure = &failure{full, errNoRoom}
		if own > b.memory.max {
			b.failure = &failure{costly, errAnswerTooLarge(b.memory.max)}
		}
		return false
	}
	b.size += n
	b.sealed = append(b.sealed, b.b)
	b.b = make([]byte, 0, chunk+chunk/16)
	return true
}

// Write implements io.Writer for encoders of the standard library.
func (b *body) Write(p []byte) (int, error) {
	b.b = append(b.b, p...)
	if !b.seal() {
		return 0, b.failure.err
	}
	return len(p), nil
}

// drop gives the memory back.
func (b *body) drop() {
	b.memory.taken.Add(-b.size)
	b.b, b.sealed, b.size = b.b[:0], nil, 0
}

var errNoRoom = errors.New("the answers being sent take all the memory of query.max_answer_bytes; try again in a second, narrow the question, or raise it")

// errAnswerTooLarge is what a question gets whose answer alone is more than all
// answers may take.
type errAnswerTooLarge int64

func (e errAnswerTooLarge) Error() string {
	return fmt.Sprintf("the answer has more than %d bytes; narrow its selectors or time range, take a longer step, or raise query.max_answer_bytes", int64(e))
}
