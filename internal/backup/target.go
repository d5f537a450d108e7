package backup

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Target is a place that objects are kept at, by name: parts of [a-zA-Z0-9._-],
// joined by slashes. Its methods may be called from any goroutine.
type Target interface {
	// Put keeps an object whole or not at all, and returns when it is durable.
	// Under a name that is taken it replaces what is there.
	Put(ctx context.Context, name string, data []byte) error
	// Get reads an object; fs.ErrNotExist tells that there is none.
	Get(ctx context.Context, name string) ([]byte, error)
	// List calls f with the objects whose names begin with a prefix, in no order.
	List(ctx context.Context, prefix string, f func(name string, size int64) error) error
	// Delete removes an object; one that is not there is no error.
	Delete(ctx context.Context, name string) error
	// String names the place for people, without credentials.
	String() string
	// Close ends the use of it. What Put took is there whether or not it is called.
	Close() error
}

// directory is a target in a folder.
type directory string

// OpenDirectory returns a target in a folder, which is created when absent.
func OpenDirectory(dir string) (Target, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	return directory(abs), nil
}

func (d directory) String() string { return string(d) }

func (d directory) Close() error { return nil }

func (d directory) path(name string) string {
	return filepath.Join(string(d), filepath.FromSlash(name))
}

func (d directory) Put(_ context.Context, name string, data []byte) error {
	path := d.path(name)
	if err := makeDurable(filepath.Dir(path), string(d)); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".unfinished-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// makeDurable makes a folder and those above it, up to and with root, so that
// they are there after a power cut.
func makeDurable(dir, root string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for ; ; dir = filepath.Dir(dir) {
		if err := syncDir(filepath.Dir(dir)); err != nil {
			return err
		}
		if dir == root || filepath.Dir(dir) == dir {
			return nil
		}
	}
}

// syncDir makes the entries of a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (d directory) Get(_ context.Context, name string) ([]byte, error) {
	return os.ReadFile(d.path(name))
}

func (d directory) List(ctx context.Context, prefix string, f func(string, int64) error) error {
	from := d.path(prefix[:strings.LastIndexByte(prefix, '/')+1])
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case e.IsDir() || strings.HasPrefix(e.Name(), ".unfinished-"):
			return nil
		}
		rel, err := filepath.Rel(string(d), path)
		if name := filepath.ToSlash(rel); err == nil && strings.HasPrefix(name, prefix) {
			info, err := e.Info()
			if err != nil {
				return err
			}
			return f(name, info.Size())
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (d directory) Delete(_ context.Context, name string) error {
	if err := os.Remove(d.path(name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
