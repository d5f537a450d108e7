package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Draft is a release to be.
type Draft struct {
	// Dataset is what it is of, as published.
	Dataset *catalog.Dataset
	Table   *Table
	// Key names the columns that tell rows apart. Rows are put in their order.
	Key    []string
	Period catalog.Period
	// Replaces is the version that it corrects, and Reason why; 0: none.
	Replaces int64
	Reason   catalog.Text
	Recipe   Recipe
	// Privacy is the report of the privacy gate; nil: it did not go through it.
	Privacy []byte
}

// datasetID is what names a directory.
var datasetID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// ErrInvalid says that a draft cannot be a release.
var ErrInvalid = errors.New("cannot be released")

func (d *Draft) check() error {
	fault := func(format string, args ...any) error {
		return fmt.Errorf("dataset %s %w: %w", d.Dataset.ID, ErrInvalid, fmt.Errorf(format, args...))
	}
	switch {
	case !datasetID.MatchString(d.Dataset.ID):
		return fault("%.70q is no id of a dataset", d.Dataset.ID)
	case d.Period.From.IsZero() || !d.Period.To.After(d.Period.From):
		return fault("period %v to %v is none: it has a beginning and an end after it", d.Period.From, d.Period.To)
	case d.Replaces != 0 && (d.Reason.ZH == "" || d.Reason.EN == ""):
		return fault("it replaces version %d, and says not why in both languages", d.Replaces)
	case d.Recipe.Transform.ID == "":
		return fault("its recipe names no transform")
	case d.Privacy != nil && !json.Valid(d.Privacy):
		return fault("its privacy report is no JSON")
	}
	if err := d.Table.Check(); err != nil {
		return fault("%w", err)
	}
	for _, c := range d.Table.Columns {
		if c.Grade > d.Dataset.Grade {
			return fault("column %s is of grade %s, above that of the dataset, %s", c.Name, c.Grade, d.Dataset.Grade)
		}
	}
	if err := d.Table.checkValues(); err != nil {
		return fault("%w", err)
	}
	return nil
}

// manifest is that of the draft, without files.
func (d *Draft) manifest(version int64, t *Table) *Manifest {
	s := d.Dataset
	return &Manifest{
		Format: Format, Dataset: s.ID, Code: s.Code, Title: Text(s.Title), Version: version,
		Period: Period{d.Period.From.UTC(), d.Period.To.UTC()}, Grade: s.Grade.String(), Share: s.Share.Class, Open: s.Open.Class, Licence: s.Licence,
		Columns: infos(t), Key: slices.Clone(d.Key), Rows: int64(t.Rows), Recipe: d.Recipe, Replaces: d.Replaces, Reason: Text(d.Reason),
	}
}

// Put makes a release of a draft, the next version of its dataset. It is durable
// and whole when Put returns, and nothing is there when it fails.
func (s *Store) Put(ctx context.Context, d Draft) (*Manifest, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	t, err := d.Table.Ordered(d.Key)
	if err != nil {
		return nil, fmt.Errorf("dataset %s %w: %w", d.Dataset.ID, ErrInvalid, err)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	id := d.Dataset.ID
	s.mu.RLock()
	version := max(s.next[id], 1)
	s.mu.RUnlock()
	m := d.manifest(version, t)
	if err := s.compare(m, t); err != nil {
		return nil, err
	}
	m.Made = s.deps.Clock().UTC()
	tmp := filepath.Join(s.deps.Dir, making+id)
	if err := s.make(ctx, tmp, m, t, d); err != nil {
		return nil, errors.Join(fmt.Errorf("release %s: %w", of(id, version), err), os.RemoveAll(tmp), os.RemoveAll(s.path(id, version)))
	}
	s.mu.Lock()
	s.all[id], s.next[id] = append(s.all[id], m.slim()), version+1
	s.mu.Unlock()
	s.deps.Changed(id)
	return m, nil
}

// compare says what is different from the version that is replaced.
func (s *Store) compare(m *Manifest, t *Table) error {
	if m.Replaces == 0 {
		return nil
	}
	was, err := s.known(m.Dataset, m.Replaces)
	if err != nil {
		return fmt.Errorf("what release %s replaces: %w", of(m.Dataset, m.Version), err)
	}
	if was.Removed != nil {
		return nil
	}
	before, err := s.Table(m.Dataset, m.Replaces)
	if err != nil {
		return fmt.Errorf("what release %s replaces: %w", of(m.Dataset, m.Version), err)
	}
	m.Diff, err = Diff(before, t, m.Key)
	if err != nil {
		return fmt.Errorf("dataset %s %w: %w", m.Dataset, ErrInvalid, err)
	}
	return nil
}

// isSealed says of a dataset whether its releases are stored encrypted.
func isSealed(d *catalog.Dataset) bool { return d.Grade >= telemetry.Important }

// Takes says why no release of a dataset can be kept, with what to do about it; nil:
// it can. The error wraps ErrKey.
func (s *Store) Takes(d *catalog.Dataset) error {
	if isSealed(d) && s.deps.Keys == nil {
		return fmt.Errorf("dataset %s is of grade %s, its releases are stored encrypted, and %w: %s", d.ID, d.Grade, ErrKey, noKey)
	}
	return nil
}

// make writes a release into a directory of its own, and then to its place.
func (s *Store) make(ctx context.Context, tmp string, m *Manifest, t *Table, d Draft) error {
	if err := errors.Join(os.RemoveAll(tmp), os.Mkdir(tmp, 0o700)); err != nil {
		return err
	}
	s.step("directory made")
	var key *dataKey
	if isSealed(d.Dataset) {
		var err error
		if key, err = s.deps.Keys.newDataKey(of(m.Dataset, m.Version)); err != nil {
			return err
		}
		m.sealed = true
	}
	if err := s.write(ctx, tmp, m, t, d.Privacy, key); err != nil {
		return err
	}
	if err := syncDir(tmp); err != nil {
		return err
	}
	s.step("directory durable")
	if err := s.deps.Noted(ctx, Made, m); err != nil {
		return err
	}
	s.step("noted")
	home := filepath.Join(s.deps.Dir, m.Dataset)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	if err := syncDir(s.deps.Dir); err != nil {
		return err
	}
	s.step("dataset made")
	if err := os.Rename(tmp, s.path(m.Dataset, m.Version)); err != nil {
		return err
	}
	s.step("renamed")
	return syncDir(home)
}

// write writes all files at once, then the manifest and the index.
func (s *Store) write(ctx context.Context, dir string, m *Manifest, t *Table, privacy []byte, key *dataKey) error {
	all := forms(t)
	if privacy != nil {
		all = append(all, form{PrivacyFile, "application/json", false, func(_ context.Context, _ *Table, _ *Manifest, w io.Writer) error {
			_, err := w.Write(privacy)
			return err
		}})
	}
	x := &index{}
	if key != nil {
		x.Key = &key.wrap
	}
	if err := s.writeFiles(ctx, shelf{dir: dir, index: x, key: key}, m, t, all); err != nil {
		return err
	}
	s.step("manifest")
	return s.writeIndex(dir, x)
}

// writeFiles writes all forms of a table at once, and then the manifest that says
// what they are.
func (s *Store) writeFiles(ctx context.Context, to shelf, m *Manifest, t *Table, all []form) error {
	x := to.index
	x.Files = make([]kept, len(all), len(all)+1)
	m.Files = make([]File, len(all))
	g, ctx := errgroup.WithContext(ctx)
	for i, f := range all {
		g.Go(func() (err error) {
			x.Files[i], err = to.write(f.name, func(w io.Writer) error { return f.write(ctx, t, m, w) })
			m.Files[i] = File{Name: f.name, MediaType: f.media, Size: x.Files[i].Size, SHA256: x.Files[i].SHA256}
			if f.rows {
				m.Files[i].Rows = m.Rows
			}
			s.step("file " + f.name)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	text, err := m.Encode()
	if err != nil {
		return err
	}
	k, err := to.write(ManifestFile, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
	x.Files = append(x.Files, k)
	return err
}

func (s *Store) writeIndex(dir string, x *index) error {
	if x.Key != nil {
		for i := range x.Files {
			x.Files[i].SHA256 = "" // who guesses what is in a sealed file could try
		}
	}
	text, err := json.Marshal(x)
	if err != nil {
		return err
	}
	if err := writeDurable(filepath.Join(dir, indexFile), summed(text)); err != nil {
		return err
	}
	s.step("index")
	return nil
}

// shelf is where files are written, and by which key they are sealed; nil: by none.
type shelf struct {
	dir   string
	index *index
	key   *dataKey
	// room is asked before so many bytes are written; nil: there is as much as the
	// disk has.
	room func(bytes int) error
	// passing says that files need not outlive the process.
	passing bool
}

// write writes a file in chunks, durably where it is to stay.
func (to *shelf) write(name string, write func(io.Writer) error) (k kept, err error) {
	seal, err := to.key.sealing(name)
	if err != nil {
		return k, err
	}
	f, err := os.OpenFile(filepath.Join(to.dir, to.index.stored(name)), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return k, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	c, err := newChunks(f, name, seal)
	if err != nil {
		return k, err
	}
	c.room = to.room
	if err := write(c); err != nil {
		return k, err
	}
	if err := c.finish(); err != nil {
		return k, err
	}
	if to.passing {
		return c.kept, nil
	}
	return c.kept, f.Sync()
}

// writeDurable writes a file that is there as a whole or as it was before.
func writeDurable(path string, text []byte) error {
	dir, name := filepath.Split(path)
	tmp := filepath.Join(dir, making+name)
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
