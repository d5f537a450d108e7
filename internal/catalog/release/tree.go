package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// VerifyTree reads what a store that nobody has open keeps in a directory, and
// reports what is not what was written. It needs no keys: sums are of what is stored.
// It changes nothing; what a kill left half done is no damage, as the next Open
// removes it. A directory that is absent was never written to. The error says why it
// could not look.
func VerifyTree(ctx context.Context, dir string, report func(damage string)) error {
	s := &Store{deps: Deps{Dir: dir}}
	datasets, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read releases: %w", err)
	}
	for _, d := range datasets {
		if !d.IsDir() || d.Name()[0] == '.' {
			continue
		}
		entries, err := os.ReadDir(filepath.Join(dir, d.Name()))
		if err != nil {
			return fmt.Errorf("read releases: %w", err)
		}
		for _, e := range entries {
			name := versionName.FindStringSubmatch(e.Name())
			if name == nil || name[2] == "" && slices.ContainsFunc(entries, func(o fs.DirEntry) bool { return o.Name() == e.Name()+goneEnd }) {
				continue
			}
			v, err := strconv.ParseInt(name[1], 10, 64)
			if err == nil && name[2] != "" {
				err = verifyGone(filepath.Join(dir, d.Name(), e.Name()))
			} else if err == nil {
				err = s.verifyStored(d.Name(), v)
			}
			if err != nil {
				report(fmt.Sprintf("release %s: %v", of(d.Name(), v), err))
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}

func verifyGone(path string) error {
	text, err := readSummed(path)
	if err == nil {
		_, err = ParseManifest(text)
	}
	return err
}

// verifyStored compares the files of a version with its index.
func (s *Store) verifyStored(id string, v int64) error {
	x, err := s.index(id, v)
	if err != nil {
		return err
	}
	var all []error
	for _, k := range x.Files {
		all = append(all, verifyKept(filepath.Join(s.path(id, v), x.stored(k.Name)), k))
	}
	return errors.Join(all...)
}

func verifyKept(path string, k kept) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it is read only
	r, err := newReader(f, k, nil)
	if err != nil {
		return err
	}
	defer r.unpack.Close()
	return r.check()
}
