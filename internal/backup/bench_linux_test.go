package backup

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/sys/unix"
)

var (
	restoreGB  = flag.Float64("restore.gb", 0.25, "`gigabytes` that the benchmarks back up and restore; the disk needs four fifths of that, and 0.6 GB")
	restoreDir = flag.String("restore.dir", "", "`directory` on the disk to be measured")
)

// fileSize is that of the files of the benchmarks, about that of a block's chunks.
const fileSize = 256 << 20

// BenchmarkBackup and BenchmarkRestore measure a hub's data of -restore.gb, of which
// zstd leaves three quarters as it does of a store's blocks. A file goes as soon as it
// is at the place, and as soon as it is restored and durable, so that the disk need
// not hold all of it twice. Nothing of the place is in memory when the restore begins.
//
//	go test ./internal/backup -run '^$' -bench Restore -restore.gb 10 -restore.dir /srv/scratch -benchtime 1x -timeout 1h
func BenchmarkBackup(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		m := newMeasured(b)
		b.StartTimer()
		m.backUp(b)
	}
}

func BenchmarkRestore(b *testing.B) {
	m := newMeasured(b)
	m.backUp(b)
	for b.Loop() {
		m.restore(b)
	}
}

// measured is a place with a backup of generated files.
type measured struct {
	repository *Repository
	identity   *age.X25519Identity
	root, into string
	point      Point
	size       int64
	dir        string
}

func newMeasured(b *testing.B) *measured {
	b.Helper()
	dir, err := os.MkdirTemp(*restoreDir, "songhua-restore-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			b.Error(err)
		}
	})
	m := &measured{root: filepath.Join(dir, "root"), into: filepath.Join(dir, "back"), dir: dir, size: int64(*restoreGB * 1e9)}
	if m.identity, err = age.GenerateX25519Identity(); err != nil {
		b.Fatal(err)
	}
	if m.repository, err = Create(b.Context(), directory(filepath.Join(dir, "place")), []string{m.identity.Recipient().String()}); err != nil {
		b.Fatal(err)
	}
	if err := os.Mkdir(m.root, 0o700); err != nil {
		b.Fatal(err)
	}
	return m
}

// backUp makes a file, backs it up, and leaves a hole of its size in its place: the
// next backup takes it for unchanged. The last one has all files.
func (m *measured) backUp(b *testing.B) {
	b.Helper()
	plan := Plan{At: noon, Sources: []Source{{Root: m.root}}, Memory: filepath.Join(m.dir, "memory.json")}
	var took, spent time.Duration
	for i := int64(0); i*fileSize < m.size; i++ {
		b.StopTimer()
		path, n := filepath.Join(m.root, fmt.Sprintf("%06d", i)), min(fileSize, m.size-i*fileSize)
		generate(b, path, n, uint64(i))
		plan.At = plan.At.Add(time.Second)
		begin, used := time.Now(), cpu()
		b.StartTimer()
		result, err := m.repository.Write(b.Context(), plan)
		if err != nil {
			b.Fatal(err)
		}
		took, spent = took+time.Since(begin), spent+cpu()-used
		m.point = result.Point
		hollow(b, path, n)
	}
	told(b, "backup", m.size, took, spent)
}

func (m *measured) restore(b *testing.B) {
	b.Helper()
	b.StopTimer()
	forget(b, filepath.Join(m.dir, "place"))
	if err := os.RemoveAll(m.into); err != nil {
		b.Fatal(err)
	}
	begin, used := time.Now(), cpu()
	b.StartTimer()
	x := Restoration{Point: m.point, Identities: []age.Identity{m.identity}, Into: map[string]string{"": m.into}, durable: os.Remove}
	if _, err := m.repository.Restore(b.Context(), x); err != nil {
		b.Fatal(err)
	}
	told(b, "restore", m.size, time.Since(begin), cpu()-used)
}

func told(b *testing.B, what string, bytes int64, took, spent time.Duration) {
	b.ReportMetric(float64(bytes)/1e6/took.Seconds(), what+"-MB/s")
	b.ReportMetric(float64(spent.Microseconds())/1e3/(float64(bytes)/1e6), what+"-cpu-ms/MB")
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// generate writes runs of noise and of words.
func generate(b *testing.B, path string, n int64, seed uint64) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	noise := rand.New(rand.NewPCG(seed, 1))
	block := make([]byte, 1<<20)
	for left := n; left > 0; left -= int64(len(block)) {
		block = block[:min(int64(cap(block)), left)]
		for i := 0; i+8 <= len(block); i += 8 {
			if i%1024 < 760 {
				binary.LittleEndian.PutUint64(block[i:], noise.Uint64())
			} else {
				copy(block[i:], "device-1")
			}
		}
		if _, err := f.Write(block); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
}

// hollow makes a hole of a file that looks unchanged.
func hollow(b *testing.B, path string, n int64) {
	b.Helper()
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range []int64{0, n} {
		if err := os.Truncate(path, size); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		b.Fatal(err)
	}
}

// forget takes the files below a directory out of the kernel's memory.
func forget(b *testing.B, dir string) {
	b.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
	if err != nil {
		b.Fatal(err)
	}
}
