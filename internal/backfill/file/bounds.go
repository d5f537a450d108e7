package file

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"unicode/utf8"
)

// Bounds of the texts of a record, and of a part: a hub takes less of the first,
// and says so; more would only be memory.
const (
	maxText  = 8 << 10 // bytes of device, metric and tags of a sample
	partText = 4 << 20 // bytes of those of all series of a part
)

// foreign are files that hold text of another form than is read, by how they begin.
var foreign = []struct{ begin, is string }{
	{"\x1f\x8b", "compressed with gzip; unpack it first (gunzip -k)"},
	{"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it first (zstd -d)"},
	{"BZh", "compressed with bzip2; unpack it first (bunzip2 -k)"},
	{"PK\x03\x04", "a ZIP archive or a spreadsheet (XLSX); unpack it, or save it as CSV"},
	{"\xff\xfe", "UTF-16; convert it first (iconv -f UTF-16 -t UTF-8)"},
	{"\xfe\xff", "UTF-16; convert it first (iconv -f UTF-16 -t UTF-8)"},
}

// openText opens a file of text at a mark that lies in it. What cannot be read
// twice, a pipe for one, is no file of history: it is read once for its hash.
func openText(path string, at Mark) (*os.File, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	if err := readable(f, at); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path) // opening a pipe would wait for who writes to it
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s is a directory; name a file, or a block of Prometheus with --format %s", path, Blocks)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file: it is read more than once, and again when an import goes on; write it to a file first", path)
	}
	return os.Open(path)
}

func readable(f *os.File, at Mark) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if at.Offset > info.Size() {
		return fmt.Errorf("it has %d bytes, and %d were imported: it is another file by now", info.Size(), at.Offset)
	}
	var begin [4]byte
	n, err := f.ReadAt(begin[:], 0)
	if err != nil && err != io.EOF {
		return err
	}
	for _, k := range foreign {
		if bytes.HasPrefix(begin[:n], []byte(k.begin)) {
			return fmt.Errorf("it is %s", k.is)
		}
	}
	_, err = f.Seek(at.Offset, io.SeekStart)
	return err
}

// fits reports whether the texts of a sample are such as a hub may take; else it is
// a fault of their line.
func (p *Part) fits(line int64, device, metric string, tags []string) bool {
	n, valid := len(device)+len(metric), utf8.ValidString(device) && utf8.ValidString(metric)
	for _, t := range tags {
		n += len(t)
		valid = valid && utf8.ValidString(t)
	}
	switch {
	case n > maxText:
		p.fault(line, "device, metric and tags have %d bytes together; at most %d are read", n, maxText)
	case !valid:
		p.fault(line, "device, metric or a tag is no UTF-8; convert the file first (iconv -f GBK -t UTF-8)")
	default:
		return true
	}
	return false
}
