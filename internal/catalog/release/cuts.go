package release

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// CutDeps are what cuts of releases are made with. The zero value makes none.
type CutDeps struct {
	// Dir is the directory of cuts; what is in it when a store opens is removed.
	Dir string
	// Max is how many bytes all of them have on disk at most.
	Max int64
	// Where says of all rows of a release, in their order, where they were measured.
	// It answers the same as long as the release is there.
	Where func(ctx context.Context, dataset string, version int64) ([]Stretch, error)
}

// Errors of cuts, wrapped with which one.
var (
	// ErrCutsFull says that those that are read at this moment leave no room.
	ErrCutsFull = errors.New("has no room beside those that are read at this moment")
	// ErrCutLarge says that one is larger than all may be.
	ErrCutLarge = errors.New("is larger than all cuts may be")
)

// cuts keeps cuts of releases that somebody has asked for: as many as there is
// room for, those that were read last. Each is sealed with a key that is in memory
// alone: none can be read once the hub has stopped, of whatever grade it is.
type cuts struct {
	store  *Store
	making chan struct{} // holds one while a cut is made: one at a time, which bounds their memory

	mu    sync.Mutex
	all   map[string]*shelved
	use   CutUse
	reads int64 // counts them, to tell which cut was read last
}

// shelved is a cut that was made.
type shelved struct {
	id       string
	manifest *Manifest
	shelf    shelf
	bytes    int64 // on disk
	readers  int
	read     int64 // when it was last, by the count of reads
	gone     bool  // its release is: it goes with its last reader
}

// CutUse counts cuts.
type CutUse struct {
	// Bytes are those on disk now, and Kept is of how many cuts.
	Bytes int64
	Kept  int
	// Made, Found and Dropped are how many were made, were there when asked for, and
	// made room, since the hub began.
	Made, Found, Dropped int64
}

func newCuts(s *Store) (*cuts, error) {
	dir := s.deps.Cuts.Dir
	if dir == "" {
		return nil, nil
	}
	c := &cuts{store: s, making: make(chan struct{}, 1), all: map[string]*shelved{}}
	return c, errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700))
}

// CutUse returns how much there is of cuts.
func (s *Store) CutUse() CutUse {
	if s.cuts == nil {
		return CutUse{}
	}
	s.cuts.mu.Lock()
	defer s.cuts.mu.Unlock()
	u := s.cuts.use
	u.Kept = len(s.cuts.all)
	return u
}

// id names a cut of a release.
func (c *Cut) id(m *Manifest) (string, error) {
	text, err := canonical(struct {
		Dataset string `json:"dataset"`
		Version int64  `json:"version"`
		Cut     *Cut   `json:"cut"`
	}{m.Dataset, m.Version, c})
	return hexSum(text), err
}

// Describe is the manifest of a cut: as it was made, or, where known is false,
// what can be said before it is: no rows, and no sizes and hashes of files.
func (s *Store) Describe(m *Manifest, c *Cut) (_ *Manifest, known bool) {
	if s.cuts != nil {
		if id, err := c.id(m); err == nil {
			s.cuts.mu.Lock()
			defer s.cuts.mu.Unlock()
			if x := s.cuts.all[id]; x != nil {
				return x.manifest, true
			}
		}
	}
	return m.cut(c), false
}

// OpenCut opens a file of a cut of a release, and returns the manifest of the cut.
// The first time all its files are made, one cut after the other; ctx ends that.
func (s *Store) OpenCut(ctx context.Context, dataset string, version int64, c *Cut, name string) (*Manifest, *Content, error) {
	m, err := s.known(dataset, version)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case m.Removed != nil:
		return nil, nil, fmt.Errorf("release %d of dataset %s %w: its files were removed (%s)", version, dataset, ErrUnknown, m.Removed.Reason.EN)
	case s.cuts == nil:
		return nil, nil, fmt.Errorf("release %s %w: this hub makes no cuts", of(dataset, version), ErrNoCut)
	case name != ManifestFile && m.cut(c).File(name) == nil:
		return nil, nil, fmt.Errorf("file %.140q of that part of release %s %w", name, of(dataset, version), ErrUnknown)
	}
	x, err := s.cuts.get(ctx, m, c)
	if err != nil {
		return nil, nil, err
	}
	content, err := s.cuts.open(x, name)
	if err != nil {
		s.cuts.put(x)
		return nil, nil, err
	}
	return x.manifest, content, nil
}

// get returns a cut, made if need be, with its caller among its readers.
func (c *cuts) get(ctx context.Context, m *Manifest, of *Cut) (*shelved, error) {
	id, err := of.id(m)
	if err != nil {
		return nil, err
	}
	if x := c.take(id); x != nil {
		return x, nil
	}
	select {
	case c.making <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-c.making }()
	if x := c.take(id); x != nil { // somebody else wanted the same
		return x, nil
	}
	return c.make(ctx, m, of, id)
}

// take counts a reader of a cut that is there.
func (c *cuts) take(id string) *shelved {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.all[id]
	if x == nil {
		return nil
	}
	c.reads++
	x.read = c.reads
	x.readers++
	c.use.Found++
	return x
}

// put takes a reader back.
func (c *cuts) put(x *shelved) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if x.readers--; x.gone && x.readers == 0 {
		c.use.Bytes -= x.bytes
	}
}

// make makes a cut that is not there, with one reader.
func (c *cuts) make(ctx context.Context, m *Manifest, of *Cut, id string) (_ *shelved, err error) {
	x := &shelved{id: id, readers: 1}
	x.shelf = shelf{dir: filepath.Join(c.store.deps.Cuts.Dir, id), index: &index{Key: &wrapped{}}, key: newCutKey(id), room: func(n int) error { return c.room(x, n) }, passing: true}
	defer func() {
		if err != nil {
			c.mu.Lock()
			c.use.Bytes -= x.bytes
			c.mu.Unlock()
			err = errors.Join(fmt.Errorf("cut of release %s/%d: %w", m.Dataset, m.Version, err), os.RemoveAll(x.shelf.dir))
		}
	}()
	whole, err := c.store.Get(m.Dataset, m.Version)
	if err != nil {
		return nil, err
	}
	t, err := c.store.cutTable(ctx, whole, of)
	if err != nil {
		return nil, err
	}
	if x.manifest, err = whole.cutOf(of, t); err != nil {
		return nil, err
	}
	if t, err = x.manifest.inOrder(t); err != nil {
		return nil, err
	}
	if err := errors.Join(os.RemoveAll(x.shelf.dir), os.Mkdir(x.shelf.dir, 0o700)); err != nil {
		return nil, err
	}
	if err := c.store.writeFiles(ctx, x.shelf, x.manifest, t, forms(t)); err != nil {
		return nil, err
	}
	x.manifest = x.manifest.slim()
	c.mu.Lock()
	defer c.mu.Unlock()
	if now, err := c.store.known(m.Dataset, m.Version); err != nil || now.Removed != nil {
		return nil, errors.Join(err, fmt.Errorf("the release %w any more: its files were removed meanwhile", ErrUnknown))
	}
	c.reads++
	x.read = c.reads
	c.all[id] = x
	c.use.Made++
	return x, nil
}

// cutOf is the manifest of a cut with rows, but for its files.
func (m *Manifest) cutOf(c *Cut, t *Table) (*Manifest, error) {
	text, err := m.Encode()
	if err != nil {
		return nil, err
	}
	out := m.cut(c)
	out.Columns, out.Rows = infos(t), int64(t.Rows)
	out.Recipe.Inputs = []Input{{ID: "release " + of(m.Dataset, m.Version), SHA256: hexSum(text), Count: 1}}
	return out, nil
}

// newCutKey makes a key that nobody keeps but the cut that it is for.
func newCutKey(id string) *dataKey {
	key := make([]byte, keyBytes)
	rand.Read(key) //nolint:errcheck // never fails (crypto/rand)
	return &dataKey{key: key, of: "cut/" + id}
}

// room makes room for so many bytes of a cut: those that were not read for the
// longest time go.
func (c *cuts) room(of *shelved, bytes int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	most := c.store.deps.Cuts.Max
	if of.bytes+int64(bytes) > most {
		return fmt.Errorf("%w, %d bytes; raise releases.cuts_max, or have a narrower scope granted", ErrCutLarge, most)
	}
	for c.use.Bytes+int64(bytes) > most {
		var last *shelved
		for _, x := range c.all {
			if x.readers == 0 && (last == nil || x.read < last.read) {
				last = x
			}
		}
		if last == nil {
			return fmt.Errorf("%w, of %d bytes for all; try again later, or raise releases.cuts_max", ErrCutsFull, most)
		}
		c.drop(last)
		c.use.Dropped++
	}
	of.bytes += int64(bytes)
	c.use.Bytes += int64(bytes)
	return nil
}

// drop takes a cut away. The caller holds mu.
func (c *cuts) drop(x *shelved) {
	delete(c.all, x.id)
	if x.gone = true; x.readers == 0 {
		c.use.Bytes -= x.bytes
	}
	if err := os.RemoveAll(x.shelf.dir); err != nil {
		c.store.deps.Log.Error("cut_not_removed", "dir", x.shelf.dir, "error", err)
	}
}

// forget takes the cuts of a release away that is no more.
func (c *cuts) forget(dataset string, version int64) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.all {
		if x.manifest.Dataset == dataset && x.manifest.Version == version {
			c.drop(x)
		}
	}
}

// open opens a file of a cut for one of its readers, who takes itself back by
// closing it.
func (c *cuts) open(x *shelved, name string) (*Content, error) {
	var k kept
	for _, one := range x.shelf.index.Files {
		if one.Name == name {
			k = one
		}
	}
	seal, err := x.shelf.key.sealing(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(x.shelf.dir, x.shelf.index.stored(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the release %w any more", ErrUnknown)
	}
	if err != nil {
		return nil, err
	}
	r, err := newReader(f, k, seal)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	about := x.manifest.File(name)
	if about == nil {
		about = &File{Name: ManifestFile, MediaType: "application/json", Size: k.Size, SHA256: k.SHA256}
	}
	return &Content{*about, x.manifest.Made, &counted{r, sync.OnceFunc(func() { c.put(x) })}}, nil
}

// counted is a file that says when it is closed.
type counted struct {
	io.ReadSeekCloser

	closed func()
}

// Close implements io.Closer.
func (c *counted) Close() error {
	defer c.closed()
	return c.ReadSeekCloser.Close()
}
