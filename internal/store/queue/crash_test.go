package queue

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/songhua-io/hub/internal/store"
	"github.com/songhua-io/hub/internal/store/disk"
	"github.com/songhua-io/hub/internal/telemetry"
)

// TestMain commits to a queue instead of running the tests when the environment
// says so, until it is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("QUEUE_TEST_DIR"); dir != "" {
		os.Exit(work(dir))
	}
	os.Exit(m.Run())
}

// say is a destination that tells what it has before it says so.
type say struct{}

func (say) Send(_ context.Context, batch []Series) error {
	var b strings.Builder
	for _, s := range batch {
		for _, p := range s.Points {
			fmt.Fprintf(&b, "sent %d\n", int64(p.Value))
		}
	}
	_, err := os.Stdout.WriteString(b.String())
	return err
}

// work commits samples with rising values from the environment's first, tells of
// each once it is durable, and forwards. Before the sync that the environment
// names it kills itself; it ends after 60 commits.
func work(dir string) int {
	first, _ := strconv.Atoi(os.Getenv("QUEUE_TEST_FIRST"))
	fatal, _ := strconv.Atoi(os.Getenv("QUEUE_TEST_KILL"))
	var syncs atomic.Int64
	sync := func(f *os.File) error {
		if syncs.Add(1) == int64(fatal) {
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
		return disk.Sync(f)
	}
	cfg := DefaultConfig()
	cfg.Dir, cfg.BatchSamples, cfg.BatchWait = dir, 16, time.Millisecond
	q, err := open(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), say{}, nil, ground{sync, 1 << 10, 0})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	for round := range 60 {
		w := &telemetry.Write{}
		for i := range 10 {
			n := first + round*10 + i
			w.Points = append(w.Points, telemetry.Point{Series: q.Series(labelsOf(n % 33)), Time: at(n, 0).Time, Value: float64(n)})
		}
		if err := q.Commit([]*telemetry.Write{w}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Printf("kept %d\n", first+round*10)
		if round%10 == 9 {
			if err := q.Settle(ctx); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
	}
	cancel()
	if err := errors.Join(<-ended, q.Close()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestKilledBeforeEverySync: what Commit returned for is with the destination in
// the end, in whichever process, and what is sent again is bounded.
func TestKilledBeforeEverySync(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 9
	}
	for fatal := 1; ; fatal += step {
		dir := t.TempDir()
		kept, sent := map[int]bool{}, map[int]int{}
		run := func(first, fatal int) (killed bool) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "QUEUE_TEST_DIR="+dir, "QUEUE_TEST_FIRST="+strconv.Itoa(first), "QUEUE_TEST_KILL="+strconv.Itoa(fatal))
			cmd.Stderr = t.Output()
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			for lines.Scan() {
				what, number, _ := strings.Cut(lines.Text(), " ")
				n, err := strconv.Atoi(number)
				switch {
				case err != nil:
				case what == "kept":
					for i := range 10 {
						kept[n+i] = true
					}
				default:
					sent[n]++
				}
			}
			return cmd.Wait() != nil
		}
		killed := run(0, fatal)
		if run(10_000, 0) {
			t.Fatalf("kill before sync %d: the next process failed", fatal)
		}
		again := 0
		for n := range kept {
			if sent[n] == 0 {
				t.Fatalf("kill before sync %d: sample %d was kept and is gone", fatal, n)
			}
		}
		for _, times := range sent {
			again += times - 1
		}
		// What came between two positions, which are written once a second: here, no
		// more than all.
		if again > 600 {
			t.Errorf("kill before sync %d: %d samples were sent again", fatal, again)
		}
		if !killed {
			if fatal < 60 {
				t.Errorf("only %d syncs", fatal)
			}
			return
		}
	}
}

// onSmallDisk mounts a file system of the size, which a container may not be
// allowed to.
func onSmallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI mounts a small file system: ", err)
		}
		t.Skip("a small file system cannot be mounted here: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestADiskWithoutRoomRefusesAndComesRight: a commit for which there is no room
// takes nothing, and breaks nothing.
func TestADiskWithoutRoomRefusesAndComesRight(t *testing.T) {
	to := newSink()
	var down atomic.Bool
	down.Store(true)
	to.fault = func([]Series) error {
		if down.Load() {
			return errors.New("away")
		}
		return nil
	}
	dir := onSmallDisk(t, 1<<20)
	r := newRig(t, to)
	r.close()
	r.dir = dir
	r.open()
	defer r.close()
	r.start()
	kept := 0
	for {
		w := &telemetry.Write{}
		for i := range 500 {
			w.Points = append(w.Points, telemetry.Point{Series: r.Series(labelsOf(kept % 77)), Time: at(500*kept+i, 0).Time, Value: float64(kept) * 1.23456789})
		}
		err := r.Commit([]*telemetry.Write{w})
		if errors.Is(err, store.ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		kept++
	}
	if err := r.Full(); !errors.Is(err, store.ErrFull) || !strings.Contains(err.Error(), "disk") {
		t.Error(err)
	}
	down.Store(false)
	r.settle()
	expect(t, "samples", 500*kept, to.total())
	r.put(1, at(0, 1), at(1, 2)) // labels that the failed commit named
	r.put(kept%77, at(0, 1), at(1, 2))
	for end := time.Now().Add(3 * time.Minute); r.Full() != nil; { // Run looks every second
		if time.Now().After(end) {
			t.Fatal(r.Full())
		}
		runtime.Gosched()
	}
	r.settle()
	expect(t, "samples", 500*kept+4, to.total())
	r.stop()
}
