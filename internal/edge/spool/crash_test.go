package spool

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain appends to a spool instead of running the tests when the environment
// says so, until it is killed.
func TestMain(m *testing.M) {
	switch dir := os.Getenv("SPOOL_TEST_DIR"); {
	case dir == "":
		os.Exit(m.Run())
	case os.Getenv("SPOOL_TEST_LIMIT") != "":
		os.Exit(fillDisk(dir))
	default:
		os.Exit(writeForever(dir))
	}
}

// writeForever appends from several goroutines, delivers every third block, and
// prints each number once its call returned.
func writeForever(dir string) int {
	s, err := Open(Config{Dir: dir, MaxBytes: 1 << 30}, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var out sync.Mutex
	say := func(what string, seq uint64) {
		out.Lock()
		defer out.Unlock()
		fmt.Printf("%s %d\n", what, seq)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				seq, err := s.Append(Block{Samples: 1, Data: make([]byte, rand.IntN(20_000))})
				if err != nil {
					panic(err)
				}
				say("kept", seq)
			}
		})
	}
	wg.Go(func() {
		for {
			b, ok, err := s.Take(Live)
			if err != nil {
				panic(err)
			}
			if !ok {
				<-s.Wake()
				continue
			}
			if b.Seq%3 == 0 {
				say("delivered", b.Seq) // said before, as a hub would know it
				if err := s.Ack(b.Seq); err != nil {
					panic(err)
				}
			}
		}
	})
	wg.Go(func() {
		for range time.Tick(time.Millisecond) {
			if err := s.Save(); err != nil {
				panic(err)
			}
		}
	})
	wg.Wait()
	return 0
}

func TestEveryBlockWhoseAppendReturnedSurvivesAKill(t *testing.T) {
	dir := t.TempDir()
	kept, delivered := map[uint64]bool{}, map[uint64]bool{}
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		killInMidWrite(t, dir, kept, delivered, 200+rand.IntN(800))
		s := open(t, dir, func(c *Config) { c.MaxBytes = 1 << 30 })
		if lost := s.Losses(); len(lost) > 0 {
			t.Fatalf("round %d: %+v", round, lost)
		}
		left := map[uint64]bool{}
		for _, seq := range take(t, s, History, 1<<30) {
			left[seq] = true
		}
		for seq := range kept {
			if !left[seq] && !delivered[seq] {
				t.Errorf("round %d: block %d was kept and is gone", round, seq)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(kept) < rounds*100 {
		t.Errorf("only %d blocks were written", len(kept))
	}
}

// killInMidWrite runs the writer, notes n lines of what it says, kills it, and
// notes the rest that it had said.
func killInMidWrite(t *testing.T, dir string, kept, delivered map[uint64]bool, n int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SPOOL_TEST_DIR="+dir)
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
		seq, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			continue // the last line was cut by the kill
		}
		if what == "kept" {
			kept[seq] = true
		} else {
			delivered[seq] = true
		}
		if n--; n == 0 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // says that it was killed
	if n > 0 {
		t.Fatal("the writer ended by itself")
	}
}

// fillDisk runs with a limit on the size of files, which stands in for a disk
// that is full: writes beyond it fail in the same place.
func fillDisk(dir string) int {
	s, err := Open(Config{Dir: dir, MaxBytes: 1 << 30}, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 300_000, Max: 300_000}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	kept := 0
	for range 100 {
		if _, err = s.Append(Block{Samples: 1, Data: make([]byte, 10_000)}); err != nil {
			break
		}
		kept++
	}
	_, again := s.Append(Block{Samples: 1, Data: make([]byte, 10_000)})
	if err == nil || again == nil || errors.Is(again, ErrBroken) {
		fmt.Fprintln(os.Stderr, "a write beyond the limit passed, or broke the spool:", err, again)
		return 1
	}
	fmt.Println(kept)
	return 0
}

func TestAWriteThatTheDiskRefusesCostsOnlyItself(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SPOOL_TEST_DIR="+dir, "SPOOL_TEST_LIMIT=1")
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	kept, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil || kept == 0 {
		t.Fatal(kept, err)
	}
	s := open(t, dir)
	defer s.Close()
	expect(t, "left", kept, len(take(t, s, History, 999)))
	put(t, s, 1)
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

func TestOnAFullDiskTheOldestGo(t *testing.T) {
	dir := onSmallDisk(t, 10<<20)
	s := open(t, dir, func(c *Config) { c.MaxBytes = 1 << 30 })
	defer s.Close()
	data := make([]byte, 512<<10)
	for i := range 60 {
		putData(t, s, i, data)
	}
	if s.Stats().LostBlocks == 0 {
		t.Fatal("the disk is not full")
	}
	for _, l := range s.Losses() {
		expect(t, "reason", ReasonDiskFull, l.Reason)
	}
	left := append(take(t, s, History, 99), take(t, s, Live, 99)...)
	slices.Sort(left)
	expect(t, "the newest are left", numbers(s.Stats().LostBlocks+1, 60), left)
}

func TestADirectoryThatCannotBeWritten(t *testing.T) {
	if os.Getuid() == 0 {
		file := t.TempDir() + "/file" // root may write everywhere but beneath a file
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(Config{Dir: file + "/spool", MaxBytes: MinBytes}, slog.New(slog.DiscardHandler), time.Now)
		if err == nil || !strings.Contains(err.Error(), file) {
			t.Error(err)
		}
		return
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Config{Dir: dir, MaxBytes: MinBytes}, slog.New(slog.DiscardHandler), time.Now)
	if !errors.Is(err, os.ErrPermission) {
		t.Error(err)
	}
}

func TestAfterAFailedFsyncNothingIsKept(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, 1)
	// A device that takes every write and fails every fsync.
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	sound := s.active().file
	s.active().file = null
	if _, err := s.Append(Block{Data: []byte("unsynced")}); !errors.Is(err, ErrBroken) || !errors.Is(err, unix.EINVAL) {
		t.Errorf("the fsync failed and Append says %v", err)
	}
	s.active().file = sound // a disk that seems well again is trusted no more
	if _, err := s.Append(Block{Data: []byte("later")}); !errors.Is(err, ErrBroken) {
		t.Error(err)
	}
	if _, _, err := s.Take(Live); !errors.Is(err, ErrBroken) {
		t.Error(err)
	}
	if err := errors.Join(s.Close(), null.Close()); err != nil {
		t.Error(err)
	}
	s = open(t, dir)
	defer s.Close()
	expect(t, "left", 1, len(take(t, s, History, 99)))
}
