package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/prometheus/prometheus/tsdb/wlog"

	"github.com/songhua-io/hub/internal/store/disk"
)

// journal makes a write-ahead log of the TSDB durable. The TSDB writes its
// logs without waiting for the disk, so each sync goes through a descriptor of
// our own on the newest segment, and through the older ones of a rotation since
// the last sync first.
//
// The descriptor stays open from one sync to the next: the kernel reports a
// failed write-back once to every descriptor that was open when it happened.
type journal struct {
	dir   string
	index int
	file  *os.File
	sync  func(*os.File) error
}

// openJournal makes what a process before left in the log durable: a point
// found there is answered as stored.
func openJournal(dir string, sync func(*os.File) error) (*journal, error) {
	first, last, err := wlog.Segments(dir)
	if err != nil {
		return nil, err
	}
	if last < 0 {
		return nil, fmt.Errorf("%s has no segment", dir)
	}
	j := &journal{dir: dir, index: first, sync: sync}
	if j.file, err = os.Open(wlog.SegmentName(dir, first)); err != nil {
		return nil, err
	}
	if err := errors.Join(j.flush(), disk.SyncDir(dir)); err != nil {
		return nil, errors.Join(err, j.file.Close())
	}
	return j, nil
}

// flush returns when everything written to the log so far is on the disk.
func (j *journal) flush() error {
	rotated := false
	for {
		next, err := os.Open(wlog.SegmentName(j.dir, j.index+1))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
		if err := errors.Join(j.sync(j.file), j.file.Close()); err != nil {
			return errors.Join(err, next.Close())
		}
		j.file, rotated = next, true
		j.index++
	}
	if err := j.sync(j.file); err != nil {
		return err
	}
	if rotated {
		return disk.SyncDir(j.dir)
	}
	return nil
}

func (j *journal) close() error { return j.file.Close() }
