package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// Freeze makes a folder, which must not be there and lie on the same volume, that
// Open opens to what is stored now: all that was acknowledged. Commits wait only
// while names are linked. It costs the space of what is compacted or removed from
// the store before the folder is removed.
func (d *DB) Freeze(ctx context.Context, into string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("freeze the store in %s: %w", d.cfg.Dir, errors.Join(err, os.RemoveAll(into)))
		}
	}()
	if err := os.Mkdir(into, 0o700); err != nil {
		return err
	}
	// In compactions blocks become others, and logs lose their beginning.
	d.steady.Lock()
	defer d.steady.Unlock()
	parts := map[string]*part{into: d.recent}
	growing, err := d.linkLogs(into, parts)
	if err != nil {
		return err
	}
	for to, p := range parts {
		for _, b := range p.db.Blocks() {
			at := filepath.Join(to, filepath.Base(b.Dir()))
			err := linkTree(ctx, b.Dir(), at)
			if errors.Is(err, fs.ErrNotExist) && !exists(b.Dir()) {
				err = os.RemoveAll(at) // its time was over: the TSDB removes such blocks whenever it looks
			}
			if err != nil {
				return err
			}
		}
	}
	for _, g := range growing {
		if err := g.copy(ctx); err != nil {
			return err
		}
	}
	return replace(filepath.Join(into, "since"), frozen+"\n")
}

// linkLogs links the logs of all parts as they are between two commits, and adds
// late to the parts if it is there. What grows still is returned, to be copied.
func (d *DB) linkLogs(into string, parts map[string]*part) (growing []growingLog, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed != nil || d.closed {
		return nil, errors.Join(errors.New("it takes no commits any more"), d.failed)
	}
	if late := d.late.Load(); late != nil {
		parts[filepath.Join(into, filepath.Base(d.lateDir()))] = late
	}
	for to, p := range parts {
		for _, log := range []*journal{p.wal, p.wbl} {
			g, err := linkLog(log.dir, filepath.Join(to, filepath.Base(log.dir)))
			if err != nil {
				return nil, err
			}
			growing = append(growing, g)
		}
	}
	return growing, nil
}

// growingLog is the newest segment of a log.
type growingLog struct {
	from, to string
	size     int64
}

// linkLog links a log with its checkpoint, but for the newest segment.
func linkLog(dir, to string) (growingLog, error) {
	_, last, err := wlog.Segments(dir)
	if err != nil {
		return growingLog{}, err
	}
	newest := wlog.SegmentName(dir, last)
	info, err := os.Stat(newest)
	if err != nil {
		return growingLog{}, err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return growingLog{}, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return growingLog{}, err
	}
	for _, e := range entries {
		from, at := filepath.Join(dir, e.Name()), filepath.Join(to, e.Name())
		switch {
		case from == newest:
			continue
		case e.IsDir():
			err = linkTree(context.Background(), from, at)
		default:
			err = os.Link(from, at)
		}
		if err != nil {
			return growingLog{}, err
		}
	}
	return growingLog{newest, filepath.Join(to, filepath.Base(newest)), info.Size()}, nil
}

// copy copies what was there at the time of the freeze; a log only grows.
func (g growingLog) copy(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	from, err := os.Open(g.from)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(g.to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyN(to, from, g.size)
	return errors.Join(err, to.Close())
}

// linkTree makes a folder with the same files.
func linkTree(ctx context.Context, from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		return os.Link(path, filepath.Join(to, rel))
	})
}
