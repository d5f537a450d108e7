package spool

import (
	"bufio"
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

	"golang.org/x/sys/unix"
)

const (
	segmentBytes = 4 << 20
	// segmentHeader is the magic and the number of the first block.
	segmentHeader = 16
	segmentMagic  = "SPOOLv1\n"
	segmentSuffix = ".seg"
	// recordHeader is length, sequence number, time of Append, samples, from,
	// to, checksum of the data, checksum of the header.
	recordHeader = 4 + 8 + 8 + 4 + 8 + 8 + 4 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segment is one file of blocks with consecutive numbers. The spool's lock
// guards it.
type segment struct {
	path  string
	first uint64
	count uint64 // of a sealed segment: up to the first of the next
	size  int64
	file  *os.File // nil until it is read or written
	newer int64    // time of the last Append in Unix milliseconds
}

// record is a block as it stands in a segment.
type record struct {
	Block
	at  int64 // time of Append in Unix milliseconds
	end int64 // offset behind it
}

// errDamaged is returned for bytes that are no record; damagedData when the
// header is sound, so that the extent of the loss is known.
var (
	errDamaged     = errors.New("damaged record")
	errDamagedData = errors.New("damaged block")
)

func appendRecord(dst []byte, b Block, at int64) []byte {
	head := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(b.Data)))
	dst = binary.LittleEndian.AppendUint64(dst, b.Seq)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(at))
	dst = binary.LittleEndian.AppendUint32(dst, b.Samples)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(b.From))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(b.To))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(b.Data, castagnoli))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[head:], castagnoli))
	return append(dst, b.Data...)
}

// parseHeader reads a record's header without its data.
func parseHeader(h []byte) (r record, length int, sum uint32, err error) {
	length = int(binary.LittleEndian.Uint32(h))
	r.Seq = binary.LittleEndian.Uint64(h[4:])
	r.at = int64(binary.LittleEndian.Uint64(h[12:]))
	r.Samples = binary.LittleEndian.Uint32(h[20:])
	r.From = int64(binary.LittleEndian.Uint64(h[24:]))
	r.To = int64(binary.LittleEndian.Uint64(h[32:]))
	sum = binary.LittleEndian.Uint32(h[40:])
	if binary.LittleEndian.Uint32(h[44:]) != crc32.Checksum(h[:44], castagnoli) || length > MaxBlock {
		return record{}, 0, 0, errDamaged
	}
	return r, length, sum, nil
}

func createSegment(dir string, first uint64) (*segment, error) {
	path := filepath.Join(dir, fmt.Sprintf("%016x%s", first, segmentSuffix))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	head := binary.LittleEndian.AppendUint64([]byte(segmentMagic), first)
	_, err = f.Write(head)
	err = errors.Join(err, f.Sync(), syncDir(dir))
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	return &segment{path: path, first: first, size: segmentHeader, file: f}, nil
}

// listSegments finds the segments of the directory, in order, without reading
// them: a sealed segment holds the numbers up to the next one's first.
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
		list = append(list, &segment{path: filepath.Join(dir, e.Name()), first: first, size: info.Size(), newer: info.ModTime().UnixMilli()})
	}
	slices.SortFunc(list, func(a, b *segment) int { return strings.Compare(a.path, b.path) })
	for i := range len(list) - 1 {
		list[i].count = list[i+1].first - list[i].first
	}
	return list, nil
}

// recover counts the blocks of the segment that was written last, and cuts off
// what follows the last sound record. It returns how many bytes it cut.
func (g *segment) recover() (cut int64, err error) {
	if err := g.open(os.O_RDWR); err != nil {
		return 0, err
	}
	switch head, err := g.magic(); {
	case err != nil:
		return 0, err
	case head == segmentMagic:
	case strings.HasPrefix(head, segmentMagic[:5]):
		return 0, fmt.Errorf("%s has the format %q; this program knows %q, use the program that wrote it", g.path, head, segmentMagic)
	default: // a crash while the segment began: nothing in it was promised
		cut, g.size = g.size, segmentHeader
		return cut, nil
	}
	end := g.scan(segmentHeader, func(r record, err error) bool {
		if err != nil || r.Seq != g.first+g.count {
			return false
		}
		g.count++
		g.newer = r.at
		return true
	})
	if cut = g.size - end; cut == 0 {
		return 0, nil
	}
	g.size = end
	return cut, errors.Join(g.file.Truncate(end), g.file.Sync())
}

// magic returns the first bytes of the file, fewer when there are not as many.
func (g *segment) magic() (string, error) {
	head := make([]byte, len(segmentMagic))
	n, err := g.file.ReadAt(head, 0)
	if err == io.EOF {
		err = nil
	}
	return string(head[:n]), err
}

// scan calls visit for each record from offset on until it returns false, and
// returns the offset behind the last record for which it returned true. A
// record whose data is damaged comes with errDamagedData and its header; any
// other error ends the scan.
func (g *segment) scan(offset int64, visit func(record, error) bool) int64 {
	in := bufio.NewReaderSize(io.NewSectionReader(g.file, offset, g.size-offset), 64<<10)
	for {
		r, err := readRecord(in, offset)
		if err == io.EOF {
			return offset
		}
		if !visit(r, err) || err != nil && !errors.Is(err, errDamagedData) {
			return offset
		}
		offset = r.end
	}
}

// readRecord reads the record at offset from in; io.EOF at the very end.
func readRecord(in io.Reader, offset int64) (record, error) {
	r, length, sum, err := readHeader(in, offset)
	if err != nil {
		return record{}, err
	}
	r.Data = make([]byte, length)
	if _, err := io.ReadFull(in, r.Data); err != nil {
		return record{}, errDamaged
	}
	if crc32.Checksum(r.Data, castagnoli) != sum {
		r.Data = nil
		return r, errDamagedData
	}
	return r, nil
}

// readHeader reads a record up to its data.
func readHeader(in io.Reader, offset int64) (r record, length int, sum uint32, err error) {
	var head [recordHeader]byte
	switch n, err := io.ReadFull(in, head[:]); {
	case err == io.EOF && n == 0:
		return record{}, 0, 0, io.EOF
	case err != nil:
		return record{}, 0, 0, errDamaged
	}
	if r, length, sum, err = parseHeader(head[:]); err != nil {
		return record{}, 0, 0, err
	}
	r.end = offset + recordHeader + int64(length)
	return r, length, sum, nil
}

// header reads the record at the offset without its data.
func (g *segment) header(offset int64) (record, error) {
	r, _, _, err := readHeader(io.NewSectionReader(g.file, offset, g.size-offset), offset)
	return r, err
}

// record reads the record at the offset.
func (g *segment) record(offset int64) (record, error) {
	return readRecord(io.NewSectionReader(g.file, offset, g.size-offset), offset)
}

func (g *segment) open(flag int) (err error) {
	if g.file == nil {
		g.file, err = os.OpenFile(g.path, flag, 0)
	}
	return err
}

// write appends a record; when it fails the segment is as it was.
func (g *segment) write(rec []byte) error {
	if _, err := g.file.WriteAt(rec, g.size); err != nil {
		return errors.Join(err, g.file.Truncate(g.size))
	}
	g.size += int64(len(rec))
	g.count++
	g.newer = int64(binary.LittleEndian.Uint64(rec[12:]))
	return nil
}

// seal makes what was written durable; nothing is written behind it.
func (g *segment) seal() error {
	if g.file == nil {
		return nil
	}
	return g.file.Sync()
}

func (g *segment) close() {
	if g.file != nil {
		_ = g.file.Close() // what was promised is synced
		g.file = nil
	}
}

// end is the number behind the last block.
func (g *segment) end() uint64 { return g.first + g.count }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// lockDir keeps a second process out for as long as the file is open.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close() // nothing was written to it
		return nil, fmt.Errorf("spool %s is in use by another process; stop it or choose another directory", dir)
	}
	return f, nil
}
