// Package file follows a file to which some program adds lines of telemetry.
// Its place in the file is written down once the lines are in the spool, so a
// restart neither skips nor repeats what was read; a rotated file is read to
// its end before the new one begins.
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
}

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
		if err := f.open(); err != nil {
			return err
		}
	}
	for {
		now, err := identify(f.cfg.Path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		rotated := err != nil || now.Device != f.at.Device || now.Inode != f.at.Inode
		if err := f.readAll(ctx, rotated); err != nil {
			return err
		}
		if !rotated {
			return nil
		}
		f.close()
		if err := f.open(); err != nil {
			return err
		}
	}
}

// open opens the file at the place where reading ended, or anew.
func (f *follower) open() error {
	file, err := os.Open(f.cfg.Path)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	last, known, err := f.load()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	f.file, f.at = file, identity(info)
	switch {
	case known && last.Device == f.at.Device && last.Inode == f.at.Inode && last.Offset <= info.Size():
		f.at.Offset = last.Offset
	case !known && f.cfg.From == "end":
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
		f.at.Offset = 0
	}
	buf := make([]byte, min(chunk, info.Size()-f.at.Offset+1))
	for {
		n, err := f.file.ReadAt(buf, f.at.Offset)
		if err != nil && err != io.EOF {
			return err
		}
		text := buf[:n]
		whole := bytes.LastIndexByte(text, '\n') + 1
		switch {
		case last && err == io.EOF:
			whole = n
		case whole == 0 && n == chunk:
			return fmt.Errorf("%s: the line at byte %d is longer than %d B", f.cfg.Path, f.at.Offset, chunk)
		}
		if whole == 0 {
			return nil
		}
		if err := f.put(ctx, f.decoder.Lines(text[:whole])); err != nil {
			return err
		}
		f.at.Offset += int64(whole)
		if err := f.save(); err != nil {
			return err
		}
	}
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
		return place{}, false, nil // torn by a power loss: lines are read again, none is skipped
	}
	return p, true, nil
}

// save writes the place by way of another file, so that a crash leaves the old
// or the new one.
func (f *follower) save() error {
	data, err := json.Marshal(f.at)
	if err != nil {
		return err
	}
	if err := os.WriteFile(f.place+".new", data, 0o600); err != nil {
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
