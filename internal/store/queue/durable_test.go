package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/songhua-io/hub/internal/store/disk"
)

// forgetful is a server that has what it took on its disk seven seconds later,
// and loses what is younger when it is killed.
type forgetful struct {
	mu      sync.Mutex
	disk    map[string]int // how often a point came, by what it is
	memory  []taken
	process int
	down    bool
	stalled chan struct{} // while it is, closed when it goes on
	came    int
}

type taken struct {
	at   time.Time
	what string
}

func (s *forgetful) Unflushed() time.Duration { return 10 * time.Second }

var errDown = errors.New("connection refused")

func (s *forgetful) wait() {
	s.mu.Lock()
	stalled := s.stalled
	s.mu.Unlock()
	if stalled != nil {
		<-stalled
	}
}

func (s *forgetful) Process(context.Context) (string, error) {
	s.wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return "", errDown
	}
	return fmt.Sprint(s.process), nil
}

func (s *forgetful) Send(_ context.Context, batch []Series) error {
	time.Sleep(3 * time.Millisecond) // of the bubble
	s.wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return errDown
	}
	for _, series := range batch {
		for _, p := range series.Points {
			s.memory = append(s.memory, taken{time.Now(), fmt.Sprint(series.Labels, p.Time, p.Value)})
			s.came++
		}
	}
	return nil
}

// flush is what the server does all the time.
func (s *forgetful) flush() {
	for len(s.memory) > 0 && time.Since(s.memory[0].at) >= 7*time.Second {
		s.disk[s.memory[0].what]++
		s.memory = s.memory[1:]
	}
}

func (s *forgetful) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
	s.memory, s.down = nil, true
}

func (s *forgetful) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = false
	s.process++
}

// has returns how often each point is there.
func (s *forgetful) has() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]int{}
	for _, m := range s.memory {
		all[m.what]++
	}
	for what, n := range s.disk {
		all[what] += n
	}
	return all
}

// steady is a load with a server that forgets.
type steady struct {
	*rig
	to   *forgetful
	want map[string]bool
	n    int
}

func newSteady(t *testing.T) *steady {
	to := &forgetful{disk: map[string]int{}}
	l := &steady{rig: newRig(t, to, func(c *Config) { c.BatchSamples = 50 }), to: to, want: map[string]bool{}}
	l.rig.close()
	l.on.segment = 8 << 10
	l.on.sync = func(*os.File) error { return nil } // nothing is killed but in name
	l.rig.open()
	l.Queue.sleep = nap
	l.start()
	return l
}

func nap(ctx context.Context, _ time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(100 * time.Millisecond):
		return true
	}
}

// load commits for that long.
func (l *steady) load(long time.Duration) {
	for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		p := at(l.n, float64(l.n))
		l.put(l.n%17, p)
		l.want[fmt.Sprint(labelsOf(l.n%17), p.Time, p.Value)] = true
		l.n++
	}
}

// killHub goes on with another process from what is on the disk at this moment.
func (l *steady) killHub() {
	l.kill()
	l.open()
	l.Queue.sleep = nap
}

func (l *steady) check() {
	l.t.Helper()
	l.settle()
	has := l.to.has()
	for what := range l.want {
		if has[what] == 0 {
			l.t.Fatalf("%s was committed and is gone; %d of %d are there", what, len(has), len(l.want))
		}
	}
	if len(has) != len(l.want) {
		l.t.Errorf("%d points, want %d", len(has), len(l.want))
	}
}

// TestAServerThatForgetsHasAllInTheEnd, whichever of both is killed when.
func TestAServerThatForgetsHasAllInTheEnd(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 7))
			l := newSteady(t)
			defer l.rig.close()
			for range 12 {
				l.load(time.Duration(rng.IntN(9000)) * time.Millisecond)
				switch rng.IntN(4) {
				case 0:
					l.killHub()
					l.rig.start()
				case 1:
					l.to.kill()
					l.load(time.Duration(rng.IntN(2000)) * time.Millisecond)
					l.to.start()
				case 2:
					l.to.kill()
					l.killHub()
					l.to.start()
					l.rig.start()
				case 3:
					l.killHub()
					l.to.kill()
					l.to.start()
					l.rig.start()
				}
			}
			l.check()
			expect(t, "waiting", 0, l.pending.Load())
		})
	}
}

// TestAServerThatGoesOnIsNotSentAgain what it has, whatever becomes of the hub;
// and what is on its disk does not stay on ours.
func TestAServerThatGoesOnIsNotSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSteady(t)
		defer l.rig.close()
		for range 5 {
			l.load(30 * time.Second)
			if n := len(l.segmentFiles()); n < 2 || n > 6 {
				t.Errorf("%d segments, of some 3 KiB/s", n)
			}
			l.settle()
			l.rig.close()
			l.rig.open()
			l.Queue.sleep = nap
			l.rig.start()
		}
		l.check()
		expect(t, "samples that came", len(l.want), l.to.came)
		time.Sleep(30 * time.Second)
		expect(t, "segments left", 1, len(l.segmentFiles()))

		// A restart after that costs nothing, in the hub's life or between two.
		l.to.kill()
		l.to.start()
		l.load(time.Second)
		l.check()
		if again := l.to.came - len(l.want); again > 50 {
			t.Errorf("%d samples were sent again", again)
		}
	})
}

// TestSeveralProcessesBehindOneAddress are each new once.
func TestSeveralProcessesBehindOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSteady(t)
		defer l.rig.close()
		for i := range 300 {
			l.load(time.Second)
			l.to.mu.Lock()
			l.to.process = i % 3
			l.to.mu.Unlock()
		}
		l.check()
		if again := l.to.came - len(l.want); again > 3*1000 {
			t.Errorf("%d samples of %d were sent again", again, len(l.want))
		}
		if n := len(l.segmentFiles()); n > 6 {
			t.Errorf("%d segments", n)
		}
	})
}

// TestAStalledServerHasNotFlushed: time in which it does not answer is none in
// which it may have written.
func TestAStalledServerHasNotFlushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSteady(t)
		defer l.rig.close()
		l.load(20 * time.Second)
		goOn := make(chan struct{})
		l.to.mu.Lock()
		l.to.flush()
		l.to.stalled = goOn
		l.to.mu.Unlock()
		time.Sleep(time.Minute)
		l.to.mu.Lock()
		for i := range l.to.memory { // its clock of flushes stood still
			l.to.memory[i].at = l.to.memory[i].at.Add(time.Minute)
		}
		l.to.stalled = nil
		l.to.mu.Unlock()
		close(goOn)
		time.Sleep(4 * time.Second)
		l.to.kill()
		l.to.start()
		l.check()
	})
}

// TestWhatIsLostOnDiskIsCountedOnce, also when the shards go back over it.
func TestWhatIsLostOnDiskIsCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSteady(t)
		defer l.rig.close()
		l.rig.stop()
		for i := range 10 {
			l.put(0, at(i, 1))
		}
		l.rig.close()
		file := l.segmentFiles()[0]
		flip(t, file, offsets(t, file)[4]+frameHeader+3)
		l.rig.open()
		l.Queue.sleep = nap
		l.rig.start()
		l.settle()
		l.to.kill()
		l.to.start()
		l.settle()
		expect(t, "points", 9, len(l.to.has()))
		expect(t, "lost", 1, testutil.ToFloat64(l.metrics.lost))
		expect(t, "waiting", 0, l.pending.Load())
	})
}

// TestPositionsOfBeforeAreRead: they say of each shard what is forwarded, and
// what was forwarded counts as durable.
func TestPositionsOfBeforeAreRead(t *testing.T) {
	dir := t.TempDir()
	b := make([]byte, 2*positionHalf)
	copy(b, positionMagic1)
	le := binary.LittleEndian
	le.PutUint64(b[8:], 7)
	le.PutUint32(b[16:], 2)
	le.PutUint64(b[positionHeader:], 4711)
	le.PutUint64(b[positionHeader+8:], 4712)
	le.PutUint32(b[20:], crc32.Checksum(b[positionHeader:positionHeader+16], castagnoli))
	if err := os.WriteFile(filepath.Join(dir, "positions"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	old := positions{done: []uint64{4711, 4712}, durable: []uint64{4711, 4712}}
	full := positions{done: slices.Repeat([]uint64{3}, maxShards), durable: slices.Repeat([]uint64{2}, maxShards), seen: slices.Repeat([]uint64{9}, maxSeen)}
	for _, next := range []positions{full, {done: []uint64{5}, durable: []uint64{4}}} {
		p, err := openPositions(dir)
		if err != nil {
			t.Fatal(err)
		}
		if !p.equal(old) {
			t.Fatalf("%v, want %v", p.positions, old)
		}
		if err := errors.Join(p.write(next, disk.Sync), p.file.Close()); err != nil {
			t.Fatal(err)
		}
		old = next
	}
}
