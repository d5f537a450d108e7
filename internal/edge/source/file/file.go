// Package file follows a file to which some program adds lines of telemetry.
// Its place in the file is written down once the lines are in the spool, so a
// restart neither skips nor repeats what was read; a rotated file is read to
// its end before the new one begins, also when it was rotated while the agent
// was not there, as long as it lies beside the new one.
package file

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/edge/source"
)

// Config is one file.
type Config struct {
	source.Common
	source.Interval
	// Path is the file to follow.
	Path string `yaml:"path"`
	// Format is how its lines are written: auto, senml, json or influx.
	Format source.Format `yaml:"format"`
	// From is where a file begins that was never read before: start or end.
	From string `yaml:"from"`
}

// SetDefaults looks for new lines every second.
func (c *Config) SetDefaults() { c.Interval.Interval, c.From = time.Second, "start" }

// Check reports values that cannot be used.
func (c Config) Check(path string) []strict.Error {
	errs := append(c.CheckInterval(path), c.CheckTags(path)...)
	if c.Path == "" {
		errs = append(errs, strict.Fault(path, "path", "is empty; name the file to follow"))
	}
	if c.From != "start" && c.From != "end" {
		errs = append(errs, strict.Fault(path, "from", "%q is not start or end", c.From))
	}
	return errs
}

const (
	// chunk bounds what is read at once, and with it the longest line.
	chunk = 1 << 20
)

// New returns the source; places is the directory in which it writes its place
// down.
func New(cfg Config, device, places string, now func() time.Time) source.Source {
	return source.Func(func(ctx context.Context, put source.Put) error {
		f := &follower{
			cfg: cfg, put: source.Tagged(put, cfg.Tags),
			place:   filepath.Join(places, strings.NewReplacer("/", "-", " ", "-").Replace(cfg.Path)+".place"),
			decoder: source.Decoder{Format: cfg.Format.Format, Device: device, Now: now},
		}
		defer f.close()
		tick := time.NewTicker(cfg.Interval.Interval)
		defer tick.Stop()
		for {
			if err := f.follow(ctx); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
}

// place is where reading goes on: a file, told by its device and inode, and the
// offset behind the last line that is in the spool.
type place struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
	Offset int64  `json:"offset"`
	// Skip says that the offset is inside a line that is too long to be read.
	Skip bool `json:"skip,omitempty"`
}

func (p place) sameFile(o place) bool { return p.Device == o.Device && p.Inode == o.Inode }

type follower struct {
	cfg     Config
	put     source.Put
	place   string
	decoder source.Decoder

	file *os.File
	at   place
}

// follow reads what is new. When another file has the path, it reads the old
// one to its end, with a last line that has no end, and goes on with the new.
func (f *follower) follow(ctx context.Context) error {
	if f.file == nil {
		if err := f.resume(ctx); err != nil {
			return err
		}
	}
	for {
		now, err := identify(f.cfg.Path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		rotated := err != nil || !now.sameFile(f.at)
		if err := f.readAll(ctx, rotated); err != nil {
			return err
		}
		if !rotated {
			return nil
		}
		f.close()
		if err := f.begin(false); err != nil {
			return err
		}
	}
}

// resume opens the file in which reading ended, there or beside the path, or
// begins with the one at the path.
func (f *follower) resume(ctx context.Context) error {
	last, known, err := f.load()
	if err != nil {
		return err
	}
	if !known || last.Inode == 0 {
		return f.begin(!known && f.cfg.From == "end")
	}
	path, err := f.find(last)
	if err != nil {
		return err
	}
	if path == "" {
		lost := fmt.Errorf("%s was replaced and the file before it is gone: what it held behind byte %d was not read", f.cfg.Path, last.Offset)
		if err := f.put(ctx, source.Record{Faults: []error{lost}}); err != nil {
			return err
		}
		return f.begin(false)
	}
	if f.file, err = os.Open(path); err != nil {
		return err
	}
	f.at = last
	return nil
}

// find returns where the file of the place is; empty when it is gone.
func (f *follower) find(p place) (string, error) {
	if now, err := identify(f.cfg.Path); err == nil && now.sameFile(p) {
		return f.cfg.Path, nil
	}
	dir := filepath.Dir(f.cfg.Path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && info.Mode().IsRegular() && identity(info).sameFile(p) {
			return filepath.Join(dir, e.Name()), nil
		}
	}
	return "", nil
}

// begin opens the file at the path that was not read before.
func (f *follower) begin(atEnd bool) error {
	file, err := os.Open(f.cfg.Path)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	f.file, f.at = file, identity(info)
	if atEnd {
		f.at.Offset = info.Size()
	}
	return f.save()
}

// readAll puts the lines from the place on; with last also one without an end.
// A file that became shorter was emptied, and is read from its start.
func (f *follower) readAll(ctx context.Context, last bool) error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < f.at.Offset {
		f.at.Offset, f.at.Skip = 0, false
	}
	buf := make([]byte, min(chunk, info.Size()-f.at.Offset+1))
	for {
		n, err := f.file.ReadAt(buf, f.at.Offset)
		if err != nil && err != io.EOF {
			return err
		}
		r, used := f.take(buf[:n], last && err == io.EOF)
		if used == 0 {
			return nil
		}
		if err := f.put(ctx, r); err != nil {
			return err
		}
		f.at.Offset += int64(used)
		if err := f.save(); err != nil {
			return err
		}
	}
}

// take reads the whole lines of the text, all of it at the end of a file, and
// returns how much that was. A line longer than a chunk is a fault, and left
// out.
func (f *follower) take(text []byte, end bool) (source.Record, int) {
	if f.at.Skip {
		i := bytes.IndexByte(text, '\n') + 1
		if i == 0 && !end {
			return source.Record{}, len(text)
		}
		f.at.Skip = false
		if i == 0 {
			i = len(text)
		}
		return source.Record{}, i
	}
	whole := bytes.LastIndexByte(text, '\n') + 1
	switch {
	case end:
		whole = len(text)
	case whole == 0 && len(text) == chunk:
		f.at.Skip = true
		long := fmt.Errorf("%s: the line at byte %d is longer than %d B and is left out", f.cfg.Path, f.at.Offset, chunk)
		return source.Record{Faults: []error{long}, Dropped: 1}, len(text)
	}
	return f.decoder.Lines(text[:whole]), whole
}

func (f *follower) close() {
	if f.file != nil {
		_ = f.file.Close() // it was only read
		f.file = nil
	}
}

func (f *follower) load() (p place, known bool, err error) {
	data, err := os.ReadFile(f.place)
	if errors.Is(err, fs.ErrNotExist) {
		return place{}, false, nil
	}
	if err != nil {
		return place{}, false, err
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return place{}, true, nil // torn: the file is read again, none of it is skipped
	}
	return p, true, nil
}

// save writes the place by way of another file, so that a power loss leaves the
// old or the new one, whole.
func (f *follower) save() error {
	data, err := json.Marshal(f.at)
	if err != nil {
		return err
	}
	next, err := os.OpenFile(f.place+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = next.Write(data)
	if err == nil {
		err = next.Sync()
	}
	if err := errors.Join(err, next.Close()); err != nil {
		return err
	}
	return os.Rename(f.place+".new", f.place)
}

func identify(path string) (place, error) {
	info, err := os.Stat(path)
	if err != nil {
		return place{}, err
	}
	return identity(info), nil
}

func identity(info fs.FileInfo) place {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return place{}
	}
	return place{Device: uint64(st.Dev), Inode: st.Ino}
}
