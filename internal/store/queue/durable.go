package queue

import (
	"context"
	"hash/fnv"
	"slices"
	"sync"
	"time"
)

// Forgetful is a [Destination] whose server answers before the samples are on its
// disk, and loses them when it is killed. What it took stays in the queue until
// it has been one process for long enough, and is sent again when it has not.
type Forgetful interface {
	Destination
	// Unflushed is how long the server may lose what it took; 0 is not at all.
	Unflushed() time.Duration
	// Process names the process that answers now. One with a name that never was
	// before may not have what others took. Several may stand behind one address.
	Process(ctx context.Context) (string, error)
}

// maxSeen bounds the processes of a server that are remembered.
const maxSeen = 64

// watch is what is known of a server that forgets.
type watch struct {
	server Forgetful // nil when what is forwarded is durable
	lose   time.Duration
	every  time.Duration // between two questions

	asking sync.Mutex // held while the server is asked

	// Guarded by the queue's mu.
	last      time.Time // when it answered last
	steady    time.Time // since when it answers without a pause
	reached   []reach   // how far shards were, in order of time
	seen      []uint64  // processes, the one that answered last at the end
	strangers []uint64  // processes for which the shards have yet to go back
	turn      context.CancelFunc
	silent    bool // it does not say which process it is
}

// reach is how far each shard was at a time.
type reach struct {
	at   time.Time
	done []uint64
}

func watchOf(to Destination) watch {
	server, ok := to.(Forgetful)
	if !ok || server.Unflushed() == 0 {
		return watch{}
	}
	lose := server.Unflushed()
	return watch{server: server, lose: lose, every: min(max(lose/4, 250*time.Millisecond), 30*time.Second)}
}

// durableOf returns the number below which all of a shard is on the server's
// disk. q.mu is held.
func (q *Queue) durableOf(lane int) uint64 {
	if q.watch.server == nil {
		return q.doneOf(lane)
	}
	return q.lanes[lane].durable
}

// look asks the server which process it is, at first and as long as it may lose
// something.
func (q *Queue) look(ctx context.Context) error {
	if q.watch.server == nil {
		return nil
	}
	tick := time.NewTicker(q.watch.every)
	defer tick.Stop()
	for ctx.Err() == nil {
		q.mu.Lock()
		ask := q.mayLose() || q.watch.last.IsZero()
		q.mu.Unlock()
		if ask {
			q.hear(ctx)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}

// mayLose reports whether a kill of the server now could cost samples that it has
// taken or is about to. q.mu is held.
func (q *Queue) mayLose() bool {
	for i := range q.lanes {
		if l := &q.lanes[i]; len(l.under) > 0 || l.durable < q.doneOf(i) {
			return true
		}
	}
	return false
}

// hear asks, and says once when there is no answer.
func (q *Queue) hear(ctx context.Context) {
	err := q.ask(ctx)
	q.mu.Lock()
	defer q.mu.Unlock()
	if err != nil && ctx.Err() == nil && !q.watch.silent {
		q.log.Warn("engine_process_unknown", "error", err, "way_out", "what the engine may lose stays in the queue until it tells its start time again")
	}
	q.watch.silent = err != nil
}

// ask finds out whether the server is a process that was seen before. If it is,
// what was forwarded long enough ago is durable there; if not, everything else is
// forwarded again.
func (q *Queue) ask(ctx context.Context) error {
	w := &q.watch
	w.asking.Lock()
	defer w.asking.Unlock()
	began := time.Now()
	q.mu.Lock()
	now := reach{at: began, done: q.allDone()}
	q.mu.Unlock()
	name, err := w.server.Process(ctx)
	if err != nil {
		return err
	}
	h := fnv.New64a()
	h.Write([]byte(name)) //nolint:errcheck // it cannot fail
	process := h.Sum64()

	q.mu.Lock()
	defer q.mu.Unlock()
	if time.Since(w.last) > 2*w.every+2*time.Second {
		w.steady = time.Now() // one that was stalled had no time to flush
	}
	w.last = time.Now()
	switch at := slices.Index(w.seen, process); {
	case at >= 0:
		w.seen = append(slices.Delete(w.seen, at, at+1), process)
	case q.mayLose():
		if !slices.Contains(w.strangers, process) {
			w.strangers = append(w.strangers, process)
		}
		if w.turn != nil { // newForwarder goes back
			w.turn()
		}
		return nil
	default:
		q.meet(process)
	}
	if len(w.strangers) > 0 {
		return nil
	}
	w.reached = append(w.reached, now)
	for len(w.reached) > 0 && !began.Before(later(w.reached[0].at, w.steady).Add(w.lose)) {
		for i, done := range w.reached[0].done {
			q.lanes[i].durable = max(q.lanes[i].durable, done)
		}
		w.reached = w.reached[1:]
	}
	q.dropDone()
	if q.full.Load() != nil {
		q.measure()
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// meet remembers a process. q.mu is held.
func (q *Queue) meet(process uint64) {
	w := &q.watch
	w.seen = append(w.seen, process)
	w.seen = slices.Delete(w.seen, 0, max(0, len(w.seen)-maxSeen))
}

// goBack has the shards forward again what the server may have lost. q.mu is
// held, and no shard runs.
func (q *Queue) goBack() {
	w := &q.watch
	if len(w.strangers) == 0 {
		return
	}
	again := uint64(0)
	for i := range q.lanes {
		l := &q.lanes[i]
		again = max(again, q.doneOf(i)-l.durable)
	}
	for i := range q.lanes {
		q.lanes[i] = lane{done: q.lanes[i].durable, durable: q.lanes[i].durable}
	}
	q.farthest = max(q.farthest, q.read)
	q.read = 0
	for _, process := range w.strangers {
		q.meet(process)
	}
	w.reached, w.strangers = nil, nil
	if again > 0 {
		q.log.Info("engine_restarted", "samples_at_most", again, "then", "what it may have lost is forwarded again")
	}
}
