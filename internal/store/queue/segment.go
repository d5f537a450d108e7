package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/songhua-io/hub/internal/store/disk"
)

const (
	// segmentBytes is how large a segment becomes, unless the labels in it are
	// many: then it grows until they are an eighth of it, or it is a quarter of the
	// queue.
	segmentBytes  = 64 << 20
	labelShare    = 8
	segmentMagic  = "SHQUEUE1"
	segmentHeader = len(segmentMagic) + 8 // and the number of the first sample
	segmentSuffix = ".seg"
)

// segment is one file of frames with consecutive numbers. It names the labels
// of every series in it, so that it is read without those before it. The queue's
// lock guards it.
type segment struct {
	path  string
	first uint64 // number of its first sample
	end   uint64 // of the first one behind it
	size  int64
}

func createSegment(dir string, first uint64, sync func(*os.File) error) (*segment, *os.File, error) {
	path := filepath.Join(dir, fmt.Sprintf("%016x%s", first, segmentSuffix))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, nil, err
	}
	_, err = f.Write(binary.LittleEndian.AppendUint64([]byte(segmentMagic), first))
	if err = errors.Join(err, sync(f), disk.SyncDir(dir)); err != nil {
		return nil, nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	return &segment{path: path, first: first, end: first, size: int64(segmentHeader)}, f, nil
}

// listSegments finds the segments of the directory, in order, without reading
// them: each holds the numbers up to the next one's first.
func listSegments(dir string) ([]*segment, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []*segment
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		if !ok {
			continue
		}
		first, err := strconv.ParseUint(name, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("%s is no segment's name; move it elsewhere", e.Name())
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		list = append(list, &segment{path: filepath.Join(dir, e.Name()), first: first, end: first, size: info.Size()})
	}
	slices.SortFunc(list, func(a, b *segment) int { return strings.Compare(a.path, b.path) })
	for i := range len(list) - 1 {
		list[i].end = list[i+1].first
	}
	return list, nil
}

// recover finds the end of the segment that was written last, and cuts off what
// follows the last sound frame: no Commit returned for it. Damage with a sound
// frame behind it is no torn end; readers tell of it.
func (s *segment) recover(sync func(*os.File) error) (cut int64, err error) {
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := s.check(f); err != nil {
		return 0, err
	}
	end := int64(segmentHeader)
	err = scan(f, end, s.size, s.first, func(h head, body []byte, at int64) error {
		if body != nil {
			s.end, end = h.end(), at+frameHeader+int64(h.length)
		}
		return nil
	})
	if err != nil || end >= s.size {
		return 0, err
	}
	cut, s.size = s.size-end, end
	return cut, errors.Join(f.Truncate(end), sync(f))
}

// check reads the segment's header. One that a crash cut short begins anew.
func (s *segment) check(f *os.File) error {
	b := make([]byte, segmentHeader)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return err
	}
	want := binary.LittleEndian.AppendUint64([]byte(segmentMagic), s.first)
	switch {
	case string(b[:n]) == string(want):
		return nil
	case n < segmentHeader || string(b) == string(make([]byte, segmentHeader)):
		if s.size <= int64(segmentHeader) {
			s.size = int64(segmentHeader)
			_, err := f.WriteAt(want, 0)
			return err
		}
		return nil // damage, which readers get over
	case strings.HasPrefix(string(b), segmentMagic[:7]) && string(b[:8]) != segmentMagic:
		return fmt.Errorf("%s has the format %q; this program knows %q, use the program that wrote it", s.path, b[:8], segmentMagic)
	}
	return nil
}

// scan calls visit for each frame from offset up to end, in order; next is the
// number of the sample that should come first. A frame whose body is damaged
// comes without it. What is no frame is searched for the next one.
func scan(f io.ReaderAt, offset, end int64, next uint64, visit func(h head, body []byte, at int64) error) error {
	w := window{file: f}
	for offset < end {
		h, body, at, err := w.frame(offset, end, next)
		if err == io.EOF {
			return nil
		}
		if err != nil && !errors.Is(err, errDamaged) {
			return err
		}
		if err := visit(h, body, at); err != nil {
			return err
		}
		offset, next = at+frameHeader+int64(h.length), h.end()
	}
	return nil
}

// window is the part of a file that was read last.
type window struct {
	file   io.ReaderAt
	buf    []byte // what stands at offset
	offset int64
}

const windowBytes = 256 << 10

// bytes returns n bytes from offset on, fewer at the end. They are valid until
// the next call.
func (w *window) bytes(offset, end int64, n int) ([]byte, error) {
	n = int(min(int64(n), max(0, end-offset)))
	if skip := offset - w.offset; skip >= 0 && skip+int64(n) <= int64(len(w.buf)) {
		return w.buf[skip : skip+int64(n)], nil
	}
	want := int(min(int64(max(n, windowBytes)), end-offset))
	if cap(w.buf) < want || cap(w.buf) > 4*windowBytes && want <= windowBytes {
		w.buf = make([]byte, max(want, windowBytes))
	}
	got, err := w.file.ReadAt(w.buf[:want], offset)
	w.buf, w.offset = w.buf[:got], offset
	if err != nil && err != io.EOF {
		w.buf = w.buf[:0]
		return nil, err
	}
	return w.buf[:min(n, got)], nil
}

// frame returns the first frame from offset on whose number is not below next,
// and where it stands; io.EOF when there is none. With errDamaged it comes
// without body.
func (w *window) frame(offset, end int64, next uint64) (h head, body []byte, at int64, err error) {
	for at = offset; ; at++ {
		b, err := w.bytes(at, end, frameHeader)
		if err != nil {
			return head{}, nil, 0, err
		}
		if len(b) < frameHeader {
			return head{}, nil, 0, io.EOF
		}
		var sound bool
		if h, sound = parseHead(b); sound && h.first >= next && at+frameHeader+int64(h.length) <= end {
			break
		}
	}
	body, err = w.bytes(at+frameHeader, end, h.length)
	switch {
	case err != nil:
		return head{}, nil, 0, err
	case len(body) < h.length || crc32.Checksum(body, castagnoli) != h.sum:
		return h, nil, at, errDamaged
	}
	return h, body, at, nil
}

// isFull reports whether an error says that the disk has no room.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
