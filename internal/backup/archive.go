package backup

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// archive is a target in one file: a tar that holds one backup, and that anybody
// can look into. While it is made it has another name; Close gives it its own.
type archive struct {
	path string
	made bool // by this process

	mu    sync.Mutex
	file  *os.File
	tar   *tar.Writer // nil: to read
	at    map[string]span
	whole bool // the manifest is there
}

// span is where an object lies in the file.
type span struct{ offset, size int64 }

// CreateArchive returns a target in a file that is not there yet. What is made is
// there, under its name, once a backup was finished and Close has returned.
func CreateArchive(path string) (Target, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%s: %w; choose a name that is not taken: a file holds one backup", path, fs.ErrExist)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".unfinished-*")
	if err != nil {
		return nil, err
	}
	return &archive{path: path, made: true, file: f, tar: tar.NewWriter(f), at: map[string]span{}}, nil
}

// OpenArchive returns a target to read from in a file.
func OpenArchive(path string) (Target, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	a := &archive{path: path, file: f, at: map[string]span{}}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s is no backup, or is damaged: %w", path, err), f.Close())
		}
		offset, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		a.at[h.Name] = span{offset, h.Size}
	}
}

func (a *archive) String() string { return a.path }

func (a *archive) Put(_ context.Context, name string, data []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tar == nil {
		return fmt.Errorf("%s is finished: a file holds one backup; choose a folder for more", a.path)
	}
	// Times and owners say nothing here.
	if err := a.tar.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o600, Format: tar.FormatPAX, ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	offset, err := a.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if _, err := a.tar.Write(data); err != nil {
		return err
	}
	if err := a.tar.Flush(); err != nil {
		return err
	}
	a.at[name] = span{offset, int64(len(data))}
	a.whole = a.whole || strings.HasSuffix(name, manifestName)
	return nil
}

func (a *archive) Get(_ context.Context, name string) ([]byte, error) {
	a.mu.Lock()
	at, ok := a.at[name]
	a.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("%s of %s: %w", name, a.path, fs.ErrNotExist)
	}
	data := make([]byte, at.size)
	if _, err := a.file.ReadAt(data, at.offset); err != nil {
		return nil, fmt.Errorf("%s of %s: %w", name, a.path, err)
	}
	return data, nil
}

func (a *archive) List(_ context.Context, prefix string, f func(string, int64) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, at := range a.at {
		if strings.HasPrefix(name, prefix) {
			if err := f(name, at.size); err != nil {
				return err
			}
		}
	}
	return nil
}

// Delete forgets an object of a file that is made; the lock is one.
func (a *archive) Delete(_ context.Context, name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.at, name)
	return nil
}

// Close gives a file its name once the backup in it is whole, and removes what is
// not.
func (a *archive) Close() error {
	if !a.made {
		return a.file.Close()
	}
	err := errors.Join(a.tar.Close(), a.file.Sync(), a.file.Close())
	if err != nil || !a.whole {
		return errors.Join(err, os.Remove(a.file.Name()))
	}
	// A link fails where the name was taken meanwhile; a rename would replace it.
	if err := errors.Join(os.Link(a.file.Name(), a.path), os.Remove(a.file.Name())); err != nil {
		return err
	}
	return syncDir(filepath.Dir(a.path))
}
