package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/songhua-io/hub/internal/catalog"
)

// Remove takes the files of a release away for good. Its manifest stays, with
// the reason: who has the files can still tell that they are what was released.
func (s *Store) Remove(ctx context.Context, dataset string, version int64, reason catalog.Text) (*Manifest, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	m, err := s.known(dataset, version)
	if err != nil || m.Removed != nil {
		return m, err
	}
	gone := *m
	gone.Removed = &Removal{At: s.deps.Clock().UTC(), Reason: Text(reason)}
	if gone.Diff != nil { // rows of data that are gone are gone too
		counts := *gone.Diff
		counts.Examples, gone.Diff = nil, &counts
	}
	text, err := gone.Encode()
	if err != nil {
		return nil, err
	}
	if err := s.deps.Noted(ctx, Removed, &gone); err != nil {
		return nil, err
	}
	s.step("removal noted")
	if err := writeDurable(s.path(dataset, version)+goneEnd, summed(text)); err != nil {
		return nil, fmt.Errorf("remove release %s: %w", of(dataset, version), err)
	}
	s.step("tombstone")
	s.replace(&gone)
	s.cuts.forget(dataset, version)
	s.deps.Changed(dataset)
	return &gone, s.erase(dataset, version)
}

// erase removes a version's directory; what is left of it when the hub is killed
// is removed when it opens.
func (s *Store) erase(dataset string, version int64) error {
	entries, err := os.ReadDir(s.path(dataset, version))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		err = errors.Join(err, os.Remove(filepath.Join(s.path(dataset, version), e.Name())))
		s.step("file removed")
	}
	s.forget(dataset, version)
	return errors.Join(err, os.Remove(s.path(dataset, version)), syncDir(filepath.Join(s.deps.Dir, dataset)))
}

// replace puts what is known of a version in place of what was.
func (s *Store) replace(m *Manifest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Clone(s.all[m.Dataset])
	for i := range all {
		if all[i].Version == m.Version {
			all[i] = m
		}
	}
	s.all[m.Dataset] = all
}

// forget drops what is known of files that are other ones now, or gone.
func (s *Store) forget(dataset string, version int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir := s.path(dataset, version)
	for path := range s.sound {
		if filepath.Dir(path) == dir {
			delete(s.sound, path)
		}
	}
}

// Seal encrypts the releases of a dataset that lie in plain: its grade was raised
// since they were made. What the disk keeps of blocks that are free is not its
// to say.
func (s *Store) Seal(ctx context.Context, dataset string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	for _, m := range s.List(dataset) {
		if m.sealed {
			continue
		}
		x, err := s.index(dataset, m.Version)
		if err != nil {
			return err
		}
		if err := s.seal(ctx, m, x); err != nil {
			return fmt.Errorf("seal release %s: %w", of(dataset, m.Version), err)
		}
	}
	return nil
}

// seal writes the files of a release once more, sealed; the new index makes
// them those of the release.
func (s *Store) seal(ctx context.Context, m *Manifest, was *index) error {
	key, err := s.deps.Keys.newDataKey(of(m.Dataset, m.Version))
	if err != nil {
		return err
	}
	dir, is := s.path(m.Dataset, m.Version), &index{Key: &key.wrap}
	to := shelf{dir: dir, index: is, key: key}
	for _, k := range was.Files {
		r, err := s.file(m.Dataset, m.Version, was, k.Name)
		if err != nil {
			return err
		}
		sealed, err := to.write(k.Name, func(w io.Writer) error {
			_, err := io.Copy(w, r)
			return err
		})
		if err := errors.Join(err, r.Close(), ctx.Err()); err != nil {
			return err
		}
		is.Files = append(is.Files, sealed)
		s.step("file sealed")
	}
	if err := s.deps.Noted(ctx, Sealed, m); err != nil {
		return err
	}
	if err := s.writeIndex(dir, is); err != nil {
		return err
	}
	s.forget(m.Dataset, m.Version)
	sealed := *m
	sealed.sealed = true
	s.replace(&sealed)
	return errors.Join(s.tidy(m.Dataset, m.Version, is), syncDir(dir))
}

// note is what the record of changes has of a release: enough to tell whether a
// manifest is the one that was made.
type note struct {
	Dataset string `json:"dataset"`
	Version int64  `json:"version"`
	SHA256  string `json:"manifest_sha256"`
	Rows    int64  `json:"rows"`
}

// Note returns what to put on record of a release.
func (m *Manifest) Note() (string, error) {
	text, err := m.Encode()
	if err != nil {
		return "", err
	}
	told, err := json.Marshal(note{m.Dataset, m.Version, hexSum(text), m.Rows})
	return string(told), err
}
