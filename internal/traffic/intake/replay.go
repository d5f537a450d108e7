package intake

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// errTorn says that a file ends within a group: the last write before the end did
// not come through, and nothing of it was acknowledged.
var errTorn = errors.New("ends within a group")

// restore applies all journals, and returns the highest number among them.
func (in *Intake) restore() (last uint64, err error) {
	for _, dir := range in.deps.Dirs {
		n, err := in.restoreFrom(dir)
		if err != nil {
			return 0, err
		}
		last = max(last, n)
	}
	return last, nil
}

// part is a file of a journal.
type part struct {
	path     string
	number   uint64
	snapshot bool
}

// parts lists the files of a journal, the oldest first, a snapshot before the log
// of its number.
func parts(dir string) (all []part, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		for _, name := range []string{logName, snapshotName} {
			p := part{path: filepath.Join(dir, e.Name()), snapshot: name == snapshotName}
			if n, scan := fmt.Sscanf(e.Name(), name, &p.number); scan == nil && n == 1 && fmt.Sprintf(name, p.number) == e.Name() {
				all = append(all, p)
			}
		}
	}
	slices.SortFunc(all, func(a, b part) int {
		if a.number == b.number && a.snapshot != b.snapshot {
			if a.snapshot {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.number, b.number)
	})
	return all, err
}

// restoreFrom applies the newest snapshot and the logs from it on.
func (in *Intake) restoreFrom(dir string) (last uint64, err error) {
	all, err := parts(dir)
	if err != nil || len(all) == 0 {
		return 0, err
	}
	first := 0
	for i, p := range all {
		if p.snapshot {
			first = i
		}
	}
	for _, p := range all[first:] {
		err := readPart(p.path, in.apply)
		switch {
		case errors.Is(err, errTorn) && !p.snapshot:
			in.deps.Log.Warn("traffic_journal_torn", "file", filepath.Base(p.path), "note", "the last write did not come through and was not acknowledged")
		case err != nil:
			return 0, fmt.Errorf("%s: %w; what follows cannot be read: to start without the minutes in it that were open, move it to another directory", p.path, err)
		}
		last = max(last, p.number)
	}
	return last, nil
}

func (in *Intake) apply(kind byte, data []byte) error {
	switch kind {
	case chunkKey:
		if !in.keys.apply(data) {
			return fmt.Errorf("a key has %d octets", len(data))
		}
	case chunkRecord:
		return in.deps.Board.Apply(data)
	}
	return nil // of a later edition
}

// readPart hands out the chunks of a file.
func readPart(path string, apply func(kind byte, data []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it is read only
	info, err := f.Stat()
	if err != nil {
		return err
	}
	r, left := bufio.NewReaderSize(f, 1<<20), info.Size()
	if left < int64(len(magic)) {
		return errTorn
	}
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(r, head); err != nil {
		return err
	}
	if string(head) != magic {
		return fmt.Errorf("it begins with %q, and this program reads %q: it is damaged, or a newer version wrote it; run that one or a newer one, or restore a backup from before the upgrade", head, magic)
	}
	left -= int64(len(magic))
	var group []byte
	for left > 0 {
		at := info.Size() - left
		if group, left, err = readGroup(r, group, left); err != nil {
			return fmt.Errorf("byte %d: %w", at, err)
		}
		if err := eachChunk(group, apply); err != nil {
			return fmt.Errorf("byte %d: %w", at, err)
		}
	}
	return nil
}

// readGroup reads a group into the memory of the one before. One that is not whole
// is torn where nothing follows it.
func readGroup(r io.Reader, into []byte, left int64) (group []byte, after int64, err error) {
	var head [groupHead]byte
	if left < groupHead {
		return into, 0, errTorn
	}
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return into, 0, err
	}
	left -= groupHead
	n := int64(binary.LittleEndian.Uint32(head[:]))
	if n > left || n == 0 {
		return into, 0, errTorn
	}
	into = slices.Grow(into[:0], int(n))[:n]
	if _, err := io.ReadFull(r, into); err != nil {
		return into, 0, err
	}
	left -= n
	if crc32.Checksum(into, castagnoli) == binary.LittleEndian.Uint32(head[4:]) {
		return into, left, nil
	}
	if left == 0 {
		return into, 0, errTorn
	}
	return into, 0, fmt.Errorf("the checksum of %d octets is wrong, and more follows them", n)
}

func eachChunk(group []byte, apply func(kind byte, data []byte) error) error {
	for len(group) > 0 {
		n, width := binary.Uvarint(group[1:])
		if width <= 0 || n > uint64(len(group)-1-width) {
			return fmt.Errorf("a chunk is longer than its group")
		}
		data := group[1+width : 1+width+int(n)]
		if err := apply(group[0], data); err != nil {
			return err
		}
		group = group[1+width+int(n):]
	}
	return nil
}

// removeOlder removes what the newest snapshot stands for.
func (in *Intake) removeOlder() error {
	var total int64
	for i, dir := range in.deps.Dirs {
		all, err := parts(dir)
		if err != nil {
			return err
		}
		for _, p := range all {
			if i == 0 && p.number >= in.journal.number {
				if info, err := os.Stat(p.path); err == nil {
					total += info.Size()
				}
				continue
			}
			if err := os.Remove(p.path); err != nil {
				return err
			}
		}
	}
	in.metrics.bytes.Set(float64(total))
	return nil
}
