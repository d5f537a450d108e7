package file

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
)

// ID is the SHA-256 of a file and of how it is read: another file, or the same one
// read otherwise, is another import. Of a block its description stands for the
// whole: it holds the number that no two blocks share. Size is 0 for a block.
func ID(ctx context.Context, path string, o Options, say func(done, all int64)) (id string, size int64, err error) {
	name := path
	if o.Format == Blocks {
		name = filepath.Join(path, "meta.json")
	}
	f, err := openRegular(name)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	hash, buf, done := sha256.New(), make([]byte, 1<<20), int64(0)
	for {
		n, err := f.Read(buf)
		hash.Write(buf[:n])
		if done += int64(n); err == io.EOF {
			break
		} else if err != nil {
			return "", 0, fmt.Errorf("read %s: %w", name, err)
		}
		if err := ctx.Err(); err != nil {
			return "", 0, err
		}
		say(done, info.Size())
	}
	hash.Write([]byte(o.Fingerprint()))
	if o.Format != Blocks {
		size = done
	}
	return hex.EncodeToString(hash.Sum(nil)), size, nil
}
