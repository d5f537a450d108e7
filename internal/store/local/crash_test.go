package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/tsdb/wlog"
	"golang.org/x/sys/unix"

	"github.com/songhua-io/hub/internal/store"
	"github.com/songhua-io/hub/internal/telemetry"
)

func TestKilledStoreHasEveryCommit(t *testing.T) {
	s := newSite(t)
	var want []value
	for round := range 5 {
		for i := range 50 {
			v := value{time.Duration(round*50+i) * time.Second, float64(i)}
			s.take("probe", v, value{-v.At - time.Hour, float64(i)})
			want = append(want, v, value{-v.At - time.Hour, float64(i)})
		}
		s.kill()
	}
	slices.SortFunc(want, func(a, b value) int { return int(a.At - b.At) })
	s.holds("probe", want...)
}

// newestSegment returns the newest segment that is not empty.
func newestSegment(t *testing.T, dir string) string {
	t.Helper()
	_, last, err := wlog.Segments(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := last; i >= 0; i-- {
		name := wlog.SegmentName(dir, i)
		if st, err := os.Stat(name); err == nil && st.Size() > 0 {
			return name
		}
	}
	t.Fatalf("%s has no segment with content", dir)
	return ""
}

// A power cut leaves what was synced and any part of what came after it.
func TestLogsCutAnywhereBehindTheLastCommit(t *testing.T) {
	for _, log := range []string{"wal", "wbl"} {
		t.Run(log, func(t *testing.T) {
			s := newSite(t)
			acknowledged := []value{{-2 * time.Hour, 3}, {-time.Hour, 2}, {0, 1}}
			s.take("probe", acknowledged[2])
			s.take("probe", acknowledged[:2]...)
			name := newestSegment(t, filepath.Join(s.dir, log))
			durable := size(t, name)
			for i := range 20 {
				s.take("probe", value{time.Duration(i+1) * time.Second, 1}, value{-time.Duration(i+1) * time.Second, 1})
			}
			whole := size(t, name)
			if whole <= durable {
				t.Fatalf("%s did not grow", name)
			}
			for _, end := range []int64{durable, durable + 1, durable + 6, durable + 8, durable + 40, (durable + whole) / 2, whole - 1} {
				cut := t.TempDir()
				if err := os.CopyFS(cut, os.DirFS(s.dir)); err != nil {
					t.Fatal(err)
				}
				if err := os.Truncate(filepath.Join(cut, log, filepath.Base(name)), end); err != nil {
					t.Fatal(err)
				}
				after := &site{T: t, dir: cut, now: s.now}
				after.open()
				after.take("probe", acknowledged...)
				after.take("probe", value{time.Hour, 9}, value{-3 * time.Hour, 9})
				after.kill()
				got := after.stored("probe")
				for _, v := range append(acknowledged, value{time.Hour, 9}, value{-3 * time.Hour, 9}) {
					if !slices.Contains(got, v) {
						t.Errorf("cut at %d of %d: %v is lost", end, whole, v)
					}
				}
				if err := after.Close(); err != nil {
					t.Errorf("cut at %d: close: %v", end, err)
				}
			}
		})
	}
}

func size(t *testing.T, file string) int64 {
	t.Helper()
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return st.Size()
}

func TestSecondProcessIsRefusedAndAnOldLockIsNot(t *testing.T) {
	s := newSite(t)
	if db, err := tryOpen(s.dir); err == nil {
		db.Close()
		t.Fatal("a store in use was opened again")
	} else if !strings.Contains(err.Error(), s.dir) || !strings.Contains(err.Error(), "another process uses it") {
		t.Errorf("the error does not say what to do: %v", err)
	}
	s.take("probe", value{0, 1})
	s.kill() // the copy holds the lock file of a process that is gone
	s.holds("probe", value{0, 1})
}

// synced counts what is made durable, and fails when told to.
type synced struct {
	files []string
	fail  error
}

func (d *synced) sync(f *os.File) error {
	d.files = append(d.files, filepath.Join(filepath.Base(filepath.Dir(f.Name())), filepath.Base(f.Name())))
	return d.fail
}

func (d *synced) watch(s *site) {
	for _, p := range []*part{s.recent, s.late.Load()} {
		if p != nil {
			p.wal.sync, p.wbl.sync = d.sync, d.sync
		}
	}
	s.sync = d.sync
}

func TestCommitSyncsWhatItWrote(t *testing.T) {
	s := newSite(t)
	var d synced
	d.watch(s)
	expect := func(want ...string) {
		t.Helper()
		if !slices.Equal(d.files, want) {
			t.Errorf("synced %v, want %v", d.files, want)
		}
		d.files = nil
	}
	s.take("probe", value{0, 1})
	expect("wal/00000000", "wbl/00000000")
	s.take("probe", value{time.Second, 1})
	expect("wal/00000000")
	s.take("probe", value{-time.Second, 1})
	expect("wal/00000000", "wbl/00000000")
	s.take("probe", value{-time.Second, 1})
	expect()
	s.take("probe", value{-90 * day, 1}) // opens the late part, which syncs its logs first
	expect("wal/00000000", "wbl/00000000", "wal/00000000", "wbl/00000000")
}

// Segments hold 128 MiB; the rotation is made here as the TSDB makes it.
func TestRotationSyncsTheSegmentBefore(t *testing.T) {
	s := newSite(t)
	var d synced
	d.watch(s)
	s.take("probe", value{0, 1})
	d.files = nil
	for _, n := range []string{"00000001", "00000002"} {
		if err := os.WriteFile(filepath.Join(s.dir, "wal", n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.take("probe", value{time.Second, 1})
	if want := []string{"wal/00000000", "wal/00000001", "wal/00000002"}; !slices.Equal(d.files, want) {
		t.Errorf("synced %v, want %v", d.files, want)
	}
}

func TestFailedSyncStopsTheStore(t *testing.T) {
	s := newSite(t)
	s.take("probe", value{0, 1})
	d := synced{fail: os.NewSyscallError("fdatasync", syscall.EIO)}
	d.watch(s)
	err := s.Commit([]*telemetry.Write{s.write("probe", value{time.Second, 2})})
	if !errors.Is(err, store.ErrFailed) || !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), s.dir) {
		t.Fatalf("commit over a failing disk: %v", err)
	}
	d.fail = nil
	if err := s.Commit([]*telemetry.Write{s.write("probe", value{2 * time.Second, 3})}); !errors.Is(err, store.ErrFailed) {
		t.Fatalf("commit after a failed one: %v", err)
	}
	s.kill()
	s.take("probe", value{time.Second, 2}, value{2 * time.Second, 3})
	s.holds("probe", value{0, 1}, value{time.Second, 2}, value{2 * time.Second, 3})
}

func TestFullDiskStopsTheStore(t *testing.T) {
	s := newSite(t)
	s.take("probe", value{0, 1})
	s.free = func(string) (uint64, error) { return reserve - 1, nil }
	err := s.Commit([]*telemetry.Write{s.write("probe", value{time.Second, 2})})
	if !errors.Is(err, store.ErrFailed) || !strings.Contains(err.Error(), "free space") {
		t.Fatalf("commit to a full disk: %v", err)
	}
	if err := s.DB.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "free space") {
		t.Errorf("run on a full disk ends with %v", err)
	}
}

func TestFailedWriteStopsTheStore(t *testing.T) {
	for _, log := range []string{"wal", "wbl"} {
		t.Run(log, func(t *testing.T) {
			s := newSite(t)
			s.take("probe", value{0, 1})
			want := []value{{-time.Hour, 1}, {0, 1}}
			s.take("probe", want...)
			fill(t, newestSegment(t, filepath.Join(s.dir, log)))
			_, err := untilFailure(s, log == "wbl")
			if !errors.Is(err, store.ErrFailed) || !strings.Contains(err.Error(), s.dir) {
				t.Fatalf("commit to a full disk: %v", err)
			}
			if log == "wal" && !strings.Contains(err.Error(), "free space") {
				t.Errorf("the error does not say what to do: %v", err)
			}
			left := t.TempDir()
			if err := os.CopyFS(left, os.DirFS(s.dir)); err != nil {
				t.Fatal(err)
			}
			after := &site{T: t, dir: left, now: s.now}
			after.open()
			got := after.stored("probe")
			for _, v := range want {
				if !slices.Contains(got, v) {
					t.Errorf("%v was acknowledged and is lost", v)
				}
			}
			after.take("probe", value{48 * time.Hour, 1})
		})
	}
}

// fill makes every further write to an open file fail for want of space.
func fill(t *testing.T, file string) {
	t.Helper()
	full, err := unix.Open("/dev/full", unix.O_WRONLY, 0)
	if err != nil {
		skipUnlessCI(t, fmt.Sprintf("no /dev/full: %v", err))
	}
	defer unix.Close(full)
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		skipUnlessCI(t, err.Error())
	}
	filled := 0
	for _, e := range fds {
		target, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		if err != nil || target != file {
			continue
		}
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_ACCMODE == unix.O_RDONLY {
			continue
		}
		if err := unix.Dup3(full, fd, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		filled++
	}
	if filled != 1 {
		t.Fatalf("%s is open for writing %d times", file, filled)
	}
}

// untilFailure commits until it fails and returns what was acknowledged.
func untilFailure(s *site, behind bool) ([]value, error) {
	sign := time.Duration(1)
	if behind {
		sign = -1
	}
	var acknowledged []value
	for i := range 10_000 {
		var vs []value
		for j := range 30 {
			vs = append(vs, value{sign * time.Duration(i*30+j+1) * time.Second, float64(j)})
		}
		if err := s.Commit([]*telemetry.Write{s.write("probe", vs...)}); err != nil {
			return acknowledged, err
		}
		acknowledged = append(acknowledged, vs...)
	}
	return acknowledged, errors.New("no commit failed")
}

func TestReadOnlyDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "series")
	if err := os.Mkdir(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		// Root writes where it likes, except on a file system mounted read-only.
		if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_RDONLY, "size=1m"); err != nil {
			skipUnlessCI(t, fmt.Sprintf("cannot mount: %v", err))
		}
		defer syscall.Unmount(dir, syscall.MNT_DETACH) // the failed store never lets go of its files
	}
	db, err := tryOpen(dir)
	if err == nil {
		db.Close()
		t.Fatal("a read-only directory was opened")
	}
	if !strings.Contains(err.Error(), dir) {
		t.Errorf("the error does not name the directory: %v", err)
	}
}

func skipUnlessCI(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func TestRealFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=33m"); err != nil {
		skipUnlessCI(t, fmt.Sprintf("cannot mount a small disk: %v", err))
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH) // the failed store never lets go of its files
	s := &site{T: t, dir: dir, now: time.Now().Truncate(time.Millisecond)}
	s.open()
	acknowledged, err := untilFailure(s, false)
	if !errors.Is(err, store.ErrFailed) || !strings.Contains(err.Error(), "free space") {
		t.Errorf("commits to a full disk end with: %v", err)
	}
	s.Close()
	if _, err := tryOpen(dir); err == nil || !strings.Contains(err.Error(), "free space") {
		t.Errorf("open on a full disk: %v", err)
	}
	if err := syscall.Mount("none", dir, "", syscall.MS_REMOUNT, "size=200m"); err != nil {
		t.Fatal(err)
	}
	s.open()
	s.holds("probe", acknowledged...)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
