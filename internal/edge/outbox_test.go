package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/edge/source"
	"github.com/songhua-io/hub/internal/edge/spool"
	"github.com/songhua-io/hub/internal/edge/uplink"
	"github.com/songhua-io/hub/internal/telemetry"
)

// line is a link whose far end is the test: verdict, called with the lock held,
// says what becomes of a message; errCut ends the connection with all that is under way on it.
type line struct {
	latency time.Duration
	verdict func(uplink.Message) error

	cut chan struct{}

	mu       sync.Mutex
	lost     chan struct{} // of the connection that is up; closed with it
	arrived  []arrival
	attempts int
}

type arrival struct {
	at time.Time
	uplink.Message
}

var errCut = errors.New("the far end hangs up")

func newLine() *line {
	return &line{latency: 10 * time.Millisecond, verdict: func(uplink.Message) error { return nil }, cut: make(chan struct{}), lost: make(chan struct{})}
}

func (l *line) Run(ctx context.Context, up func(bool)) error {
	for {
		lost := make(chan struct{})
		l.mu.Lock()
		l.lost = lost
		l.mu.Unlock()
		up(true)
		select {
		case <-ctx.Done():
			return nil
		case <-l.cut:
		}
		close(lost)
		up(false)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(5 * time.Second):
		}
	}
}

func (l *line) Send(ctx context.Context, m uplink.Message) error {
	l.mu.Lock()
	lost := l.lost
	l.attempts++
	l.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-lost:
		return io.EOF
	case <-time.After(l.latency):
	}
	l.mu.Lock()
	err := l.verdict(m)
	if err == nil {
		l.arrived = append(l.arrived, arrival{time.Now(), m})
	}
	l.mu.Unlock()
	if err == errCut {
		select {
		case l.cut <- struct{}{}:
		case <-lost:
		case <-ctx.Done():
			return ctx.Err()
		}
		<-lost
		return io.EOF
	}
	return err
}

// since lists what arrived from the i-th on.
func (l *line) since(i int) []arrival {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.arrived[i:])
}

// sender is an outbox on a line, in a bubble of synctest.
type sender struct {
	t *testing.T
	*line
	spool *spool.Spool
	dir   string
}

func newSender(t *testing.T) *sender {
	s := &sender{t: t, line: newLine(), dir: t.TempDir()}
	s.open()
	return s
}

func (s *sender) open() {
	var err error
	if s.spool, err = spool.Open(spool.Config{Dir: s.dir, MaxBytes: 64 << 20}, slog.New(slog.DiscardHandler), time.Now); err != nil {
		s.t.Fatal(err)
	}
}

// reopen makes history of what waits.
func (s *sender) reopen() {
	s.t.Helper()
	if err := s.spool.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.open()
}

// start runs the outbox until the test ends.
func (s *sender) start(set func(*outbox)) {
	split, err := newSplitter("rsu-7")
	if err != nil {
		s.t.Fatal(err)
	}
	o := &outbox{spool: s.spool, link: s.line, split: split, log: slog.New(slog.DiscardHandler), limit: 128 << 10, window: 4, suspects: suspects{}}
	set(o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- o.run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, s.spool.Close()); err != nil {
			s.t.Error(err)
		}
	})
}

// raw appends a block of n bytes that begins with the name.
func (s *sender) raw(name string, n int) {
	s.t.Helper()
	data := append([]byte("\x00\x08v2x/uper"), name...)
	if _, err := s.spool.Append(spool.Block{Data: append(data, make([]byte, n-len(name))...)}); err != nil {
		s.t.Fatal(err)
	}
}

// samples appends one block of n samples with values from first on.
func (s *sender) samples(first, n int) {
	s.t.Helper()
	enc, err := newEncoder(1<<20, true)
	if err != nil {
		s.t.Fatal(err)
	}
	r := source.At(time.Now())
	for i := range n {
		r.Add("m", "1", float64(first+i), "n", fmt.Sprint(first+i))
	}
	blocks, err := enc.blocks([]source.Record{r.Record})
	if err != nil || len(blocks) != 1 {
		s.t.Fatal(len(blocks), err)
	}
	if _, err := s.spool.Append(blocks...); err != nil {
		s.t.Fatal(err)
	}
}

// values are the samples in what arrived, sorted, each once.
func (s *sender) values() (all []int) {
	s.t.Helper()
	for _, a := range s.since(0) {
		if a.Suffix != suffixSenMLCBOR {
			continue
		}
		m, err := unpacked(a.Message)
		if err != nil {
			s.t.Fatal(err)
		}
		var b telemetry.Batch
		if err := codec.Decode(&b, codec.SenMLCBOR, codec.Input{Payload: m.Payload, Now: time.Now().UnixMilli()}); err != nil {
			s.t.Fatal(err)
		}
		for _, v := range b.Samples {
			all = append(all, int(v.Value))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func unpacked(m uplink.Message) (uplink.Message, error) {
	u, err := uplink.NewUnpacker()
	if err != nil {
		return m, err
	}
	return u.Unpack(m)
}

// name is how a raw block begins.
func (a arrival) name() string { return string(a.Payload[:4]) }

func TestThePresentGoesFirstAndHistoryAtItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, old = 10_000, 30
		s := newSender(t)
		for i := range old {
			s.raw(fmt.Sprintf("h%03d", i), size)
		}
		s.reopen()
		s.start(func(o *outbox) { o.backfill = size }) // one of them a second
		began := time.Now()
		for i := range 20 {
			time.Sleep(time.Second / 2)
			before := time.Now()
			s.raw(fmt.Sprintf("n%03d", i), size)
			time.Sleep(s.latency)
			synctest.Wait()
			if got := s.since(0); !slices.ContainsFunc(got, func(a arrival) bool { return a.name() == fmt.Sprintf("n%03d", i) }) {
				t.Errorf("new block %d is not there %s after it came", i, time.Since(before))
			}
		}
		time.Sleep(time.Minute)
		history := 0
		for _, a := range s.since(0) {
			if a.name()[0] != 'h' {
				continue
			}
			if a.name() != fmt.Sprintf("h%03d", history) {
				t.Errorf("%s came as number %d of the history", a.name(), history)
			}
			history++
			if most := 1 + int(a.at.Sub(began)/time.Second); history > most {
				t.Errorf("after %s %d blocks of history came, at most %d may", a.at.Sub(began), history, most)
			}
		}
		if history != old || s.spool.Stats().Blocks != 0 {
			t.Errorf("%d blocks of history came, %d wait", history, s.spool.Stats().Blocks)
		}
	})
}

func TestHistoryTakesHalfOfTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSender(t)
		for i := range 10 {
			s.raw(fmt.Sprintf("h%03d", i), 100)
		}
		s.reopen()
		s.latency = time.Hour
		s.start(func(*outbox) {})
		time.Sleep(time.Minute)
		synctest.Wait()
		if s.attempts != 2 {
			t.Errorf("%d blocks of history are under way in a window of 4", s.attempts)
		}
	})
}

func TestAPauseThatTheHubAsksForIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSender(t)
		asked := time.Time{}
		s.verdict = func(uplink.Message) error {
			if asked.IsZero() {
				asked = time.Now()
				return &uplink.Later{After: time.Minute}
			}
			return nil
		}
		s.start(func(*outbox) {})
		s.raw("a000", 100)
		time.Sleep(2 * time.Minute)
		got := s.since(0)
		if len(got) != 1 || got[0].at.Sub(asked) < time.Minute {
			t.Errorf("%+v, the pause began at %s", got, asked)
		}
	})
}

func TestWhatTheHubRefusesGoesToTheLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSender(t)
		s.verdict = func(m uplink.Message) error {
			if m.Suffix == suffixSenMLCBOR {
				return &uplink.Refused{Detail: "no"}
			}
			return nil
		}
		s.start(func(*outbox) {})
		s.samples(0, 7)
		s.raw("a000", 100)
		time.Sleep(time.Second)
		synctest.Wait()
		lost := s.spool.Losses()
		if len(lost) != 1 || lost[0].Samples != 7 || lost[0].Reason != spool.ReasonRefused || len(s.since(0)) != 1 || s.spool.Stats().Blocks != 0 {
			t.Errorf("%+v, %d arrived, %+v", lost, len(s.since(0)), s.spool.Stats())
		}
	})
}

func TestWhatWasUnderWayIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSender(t)
		n := 0
		s.verdict = func(uplink.Message) error {
			if n++; n%5 == 3 {
				return errCut
			}
			return nil
		}
		s.start(func(*outbox) {})
		for i := range 40 {
			s.raw(fmt.Sprintf("a%03d", i), 100)
		}
		time.Sleep(10 * time.Minute)
		got := map[string]bool{}
		for _, a := range s.since(0) {
			got[a.name()] = true
		}
		if len(got) != 40 || s.spool.Stats().Blocks != 0 || s.spool.Stats().LostBlocks != 0 {
			t.Errorf("%d of 40 arrived, %+v", len(got), s.spool.Stats())
		}
	})
}

func TestAMessageThatTheHubCallsTooLargeIsSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, most = 1000, 5000
		s := newSender(t)
		s.verdict = func(m uplink.Message) error {
			m, err := unpacked(m) // as a CoAP link does before it sends
			if err == nil && len(m.Payload) > most {
				return &uplink.TooLarge{Detail: "4.13"}
			}
			return err
		}
		s.start(func(*outbox) {})
		s.samples(0, n)
		s.raw("big ", most+1)
		s.raw("a000", 10)
		time.Sleep(time.Minute)
		if got := s.values(); len(got) != n {
			t.Errorf("%d of %d samples arrived", len(got), n)
		}
		if st, l := s.spool.Stats(), s.spool.Losses(); st.Blocks != 0 || len(l) != 1 || l[0].Blocks != 1 || l[0].Samples != 0 {
			t.Errorf("%+v %+v: what cannot be split is to be lost, and nothing else", st, l)
		}
	})
}

func TestOfASplitMessageOnlyWhatIsRefusedIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSender(t)
		pieces := 0
		s.verdict = func(m uplink.Message) error {
			switch m, err := unpacked(m); {
			case err != nil:
				return err
			case len(m.Payload) > 2000:
				return &uplink.TooLarge{Detail: "4.13"}
			}
			if pieces++; pieces == 2 {
				return &uplink.Refused{Detail: "no"}
			}
			return nil
		}
		s.start(func(*outbox) {})
		s.samples(0, 256)
		time.Sleep(time.Minute)
		got, l := s.values(), s.spool.Losses()
		if len(l) != 1 || int(l[0].Samples)+len(got) != 256 || len(got) < 128 {
			t.Errorf("%d arrived, lost %+v", len(got), l)
		}
	})
}

func TestAMessageLargerThanTheBoundIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSender(t)
		s.verdict = func(m uplink.Message) error {
			if len(m.Payload) > 700 {
				t.Errorf("%d B are sent", len(m.Payload))
			}
			return nil
		}
		s.samples(0, 500) // by a config with another bound
		s.raw("big ", 701)
		s.reopen()
		s.start(func(o *outbox) { o.limit = 700 })
		time.Sleep(time.Minute)
		if got, st := s.values(), s.spool.Stats(); len(got) != 500 || st.LostBlocks != 1 || st.LostSamples != 0 || st.Blocks != 0 {
			t.Errorf("%d samples arrived, %+v", len(got), st)
		}
	})
}

func TestABlockThatEndsItsConnectionIsSentInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSender(t)
		s.verdict = func(m uplink.Message) error {
			if len(m.Payload) > 800 {
				return errCut // as a hub does that reads no larger packet
			}
			return nil
		}
		for i := range 3 {
			s.samples(1000*i, 1000)
		}
		s.reopen()
		s.start(func(*outbox) {})
		for i := range 60 {
			s.raw(fmt.Sprintf("a%03d", i), 100)
			time.Sleep(10 * time.Second)
		}
		if got, st := s.values(), s.spool.Stats(); len(got) != 3000 || st.LostBlocks != 0 || st.Blocks != 0 {
			t.Errorf("%d samples arrived, %+v", len(got), st)
		}
	})
}

func TestABlockThatEndsEveryConnectionIsGivenUpWhileOthersPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSender(t)
		var takes atomic.Bool
		s.verdict = func(m uplink.Message) error {
			if !takes.Load() || len(m.Payload) > 800 {
				return errCut
			}
			return nil
		}
		s.raw("big ", 900)
		s.reopen()
		s.start(func(*outbox) {})
		// A hub that takes nothing at all says nothing about the block.
		s.raw("a000", 100)
		time.Sleep(time.Hour)
		if st := s.spool.Stats(); st.LostBlocks != 0 || st.Blocks != 2 {
			t.Errorf("%+v", st)
		}
		takes.Store(true)
		for i := range 60 {
			s.raw(fmt.Sprintf("b%03d", i), 100)
			time.Sleep(10 * time.Second)
		}
		if st := s.spool.Stats(); st.LostBlocks != 1 || st.Blocks != 0 || len(s.since(0)) != 61 {
			t.Errorf("%+v, %d arrived", st, len(s.since(0)))
		}
	})
}
