package intake

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// The format is that of docs/formats/traffic.md.
const (
	magic         = "songhua traffic 1\n"
	groupHead     = 8 // length and checksum
	chunkKey      = 1
	chunkRecord   = 2
	logName       = "%016d.log"
	snapshotName  = "%016d.snapshot"
	unfinished    = ".tmp"
	snapshotGroup = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// journal is the file that records go to. A group is what is written by one
// write, and made durable by one fsync, for all that wait.
type journal struct {
	dir     string
	clock   func() time.Time
	metrics *metrics
	broken  chan struct{} // closed after a failed write

	mu      sync.Mutex
	turn    sync.Cond // of mu: writing ended
	pending []byte    // the group that fills, with room for its head
	spare   []byte
	next    uint64 // chunks that were appended,
	done    uint64 // and of them durable
	writing bool
	failed  error
	file    file
	number  uint64
	size    int64
	since   time.Time
}

// file is what the journal does with its file.
type file interface {
	Write([]byte) (int, error)
	Sync() error
	Close() error
}

// ErrBroken is wrapped by every error after a failed write or fsync: what the disk
// holds is not known, and nothing may be acknowledged any more.
var ErrBroken = errors.New("the journal of traffic cannot go on after a failed write")

func newJournal(dir string, m *metrics, clock func() time.Time) *journal {
	j := &journal{dir: dir, clock: clock, metrics: m, broken: make(chan struct{})}
	j.turn.L = &j.mu
	return j
}

// append adds a chunk to the group that fills.
func (j *journal) append(kind byte, data []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.pending) == 0 {
		j.pending = append(j.pending, make([]byte, groupHead)...)
	}
	j.pending = appendChunk(j.pending, kind, data)
	j.next++
}

func appendChunk(to []byte, kind byte, data []byte) []byte {
	to = binary.AppendUvarint(append(to, kind), uint64(len(data)))
	return append(to, data...)
}

// sync returns when all that was appended before is durable. Of those that wait,
// one writes for all.
func (j *journal) sync() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for want := j.next; j.done < want || j.failed != nil; {
		switch {
		case j.failed != nil:
			return j.failed
		case j.writing:
			j.turn.Wait()
		default:
			j.lead()
		}
	}
	return nil
}

// lead writes the group that has filled. j.mu is held, and given up meanwhile.
func (j *journal) lead() {
	group, upTo, to := j.pending, j.next, j.file
	j.pending, j.spare, j.writing = j.spare[:0], nil, true
	j.mu.Unlock()
	err := j.write(to, group)
	j.mu.Lock()
	j.writing = false
	j.size += int64(len(group))
	if j.spare = group; cap(group) > 4*snapshotGroup {
		j.spare = nil
	}
	if err != nil {
		j.failed = fmt.Errorf("%w: %w", ErrBroken, err)
		close(j.broken)
	} else {
		j.done = upTo
	}
	j.turn.Broadcast()
}

func (j *journal) write(to file, group []byte) error {
	begin := j.clock()
	seal(group)
	if _, err := to.Write(group); err != nil {
		return err
	}
	if err := to.Sync(); err != nil {
		return err
	}
	j.metrics.fsync.Observe(j.clock().Sub(begin).Seconds())
	j.metrics.bytes.Add(float64(len(group)))
	return nil
}

// seal fills in the head of a group.
func seal(group []byte) {
	binary.LittleEndian.PutUint32(group, uint32(len(group)-groupHead))
	binary.LittleEndian.PutUint32(group[4:], crc32.Checksum(group[groupHead:], castagnoli))
}

// begin creates the file of a number, which is written from here on. What was
// appended before is in the file before.
func (j *journal) begin(number uint64) error {
	f, err := create(filepath.Join(j.dir, fmt.Sprintf(logName, number)))
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.writing {
		j.turn.Wait()
	}
	if j.file != nil && len(j.pending) > 0 && j.failed == nil {
		j.lead()
	}
	old := j.file
	j.file, j.number, j.size, j.since = f, number, int64(len(magic)), j.clock()
	j.metrics.bytes.Add(float64(len(magic)))
	if old == nil || j.failed != nil {
		return j.failed
	}
	return old.Close()
}

// create makes a file of the journal with its head durable in it.
func create(path string) (file, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err = f.WriteString(magic); err == nil {
		err = errors.Join(f.Sync(), syncDir(filepath.Dir(path)))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	return f, nil
}

// syncDir makes the entries of a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// length is that of the file that is written, and since when it is.
func (j *journal) length() (size int64, since time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.size, j.since
}

func (j *journal) close() error {
	err := j.sync()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return err
	}
	return errors.Join(err, j.file.Close())
}

// rotate begins another file, and gives up those before it once a snapshot of all
// that is open lies beside it. A record is in the old file, and then in the
// snapshot, or in the new one, or in both: the second time it changes nothing.
func (in *Intake) rotate() error {
	if err := in.journal.begin(in.journal.number + 1); err != nil {
		return err
	}
	return in.snapshot()
}

// snapshot writes what is open beside the file that is written, and removes all
// that is older.
func (in *Intake) snapshot() error {
	path := filepath.Join(in.journal.dir, fmt.Sprintf(snapshotName, in.journal.number))
	if err := os.Remove(path + unfinished); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := create(path + unfinished)
	if err != nil {
		return err
	}
	in.keys.forget(in.deps.Clock())
	w := snapshotWriter{to: f}
	err = in.keys.each(func(hour int64, is key) error { return w.add(chunkKey, appendKey(nil, hour, is)) })
	if err == nil {
		err = in.deps.Board.Snapshot(func(record []byte) error { return w.add(chunkRecord, record) })
	}
	if err == nil {
		err = w.flush()
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("snapshot: %w", err), os.Remove(path+unfinished))
	}
	if err := errors.Join(os.Rename(path+unfinished, path), syncDir(in.journal.dir)); err != nil {
		return err
	}
	return in.removeOlder()
}

// snapshotWriter writes groups of some size.
type snapshotWriter struct {
	to    file
	group []byte
}

func (w *snapshotWriter) add(kind byte, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	if len(w.group) == 0 {
		w.group = append(w.group, make([]byte, groupHead)...)
	}
	w.group = appendChunk(w.group, kind, data)
	if len(w.group) < snapshotGroup {
		return nil
	}
	return w.flush()
}

func (w *snapshotWriter) flush() error {
	if len(w.group) == 0 {
		return nil
	}
	seal(w.group)
	_, err := w.to.Write(w.group)
	w.group = w.group[:0]
	return err
}
