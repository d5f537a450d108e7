package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// directory carries as files. A file is there whole or not at all, also after a
// loss of power.
type directory struct {
	dir  string
	most int
}

func (d *directory) carry(_ context.Context, doc document) ([]byte, error) {
	there, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, fmt.Errorf("%w; make it, and let the hub write to it", err)
	}
	for _, f := range there {
		if strings.HasPrefix(f.Name(), unfinished) { // of a hub that was killed; there is one sender
			_ = os.Remove(filepath.Join(d.dir, f.Name())) // else it is there the next time
		}
	}
	if len(there) >= d.most {
		return nil, fmt.Errorf("%s holds %d files; the platform is to fetch and remove them, or raise max_files", d.dir, len(there))
	}
	name := filepath.Join(d.dir, doc.name()+"."+doc.format)
	if doc.action == "withdraw" {
		name = filepath.Join(d.dir, doc.name()+".withdraw."+doc.format)
	}
	if err := place(name, doc.body); err != nil {
		return nil, err
	}
	return nil, nil
}

// unfinished begins the names of files that are being written.
const unfinished = ".part-"

func place(name string, body []byte) (err error) {
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, unfinished+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // that it was not placed is what counts
		}
	}()
	_, err = f.Write(body)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), name); err != nil {
		return err
	}
	parent, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}

// later reads the receipt that the platform put beside a file.
func (d *directory) later(doc document) ([]byte, error) {
	f, err := os.Open(filepath.Join(d.dir, doc.name()+".receipt.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was read only
	text, err := io.ReadAll(io.LimitReader(f, maxAnswer+1))
	if err == nil && len(text) > maxAnswer {
		err = fmt.Errorf("%s has more than %d bytes", f.Name(), maxAnswer)
	}
	return text, err
}
