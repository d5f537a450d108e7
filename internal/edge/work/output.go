package work

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
)

const (
	stdoutFile = "stdout"
	stderrFile = "stderr"
	// maxTail bounds what of the outputs is told to the hub, in bytes.
	maxTail = 1 << 10
)

// bounded is a file that keeps the newest: when it is full it becomes the older
// half, NAME.1, and begins anew.
type bounded struct {
	path string
	half int64
	f    *os.File
	size int64
}

func newBounded(path string, half int64) *bounded { return &bounded{path: path, half: half} }

// Write fails when the disk does.
func (b *bounded) Write(p []byte) (int, error) {
	if b.f != nil && b.size+int64(len(p)) > b.half {
		if err := b.Close(); err != nil {
			return 0, err
		}
		if err := os.Rename(b.path, b.path+".1"); err != nil {
			return 0, err
		}
	}
	if b.f == nil {
		f, err := os.OpenFile(b.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return 0, err
		}
		b.f, b.size = f, 0
	}
	n, err := b.f.Write(p)
	b.size += int64(n)
	return n, err
}

// Close ends the file.
func (b *bounded) Close() error {
	if b.f == nil {
		return nil
	}
	f := b.f
	b.f = nil
	return f.Close()
}

// drain reads an output to its end. Where the disk fails the rest is read and
// not kept: the program goes on.
func drain(in *os.File, b *bounded) {
	defer in.Close()
	_, err := io.Copy(b, in)
	if err != nil {
		_, _ = io.Copy(io.Discard, in)
	}
	_ = b.Close() // what is missing is seen in the file
}

// tail is the end of what was written to stderr, else to stdout.
func tail(dir string) string {
	for _, name := range []string{stderrFile, stdoutFile} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		st, err := f.Stat()
		if err == nil && st.Size() > maxTail {
			_, err = f.Seek(-maxTail, io.SeekEnd)
		}
		var text []byte
		if err == nil {
			text, err = io.ReadAll(io.LimitReader(f, maxTail))
		}
		_ = f.Close() // it was only read
		if text = bytes.TrimSpace(text); err == nil && len(text) > 0 {
			return strings.ToValidUTF8(string(text), "\uFFFD")
		}
	}
	return ""
}
