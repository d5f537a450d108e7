package release

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/telemetry"
)

// ErrUnknown says that there is no such release or file.
var ErrUnknown = errors.New("is not known")

// Deps are what a store works with. All are required but Keys and Changed.
type Deps struct {
	// Dir is the directory of releases, DIR/DATASET/VERSION. It is the store's own.
	Dir string
	// Keys seal releases of grade important and above; nil: such are refused, and
	// those that are there are not opened.
	Keys *Keys
	// Noted puts a release, or its end, on record before it is there. It is durable
	// when it returns.
	Noted func(ctx context.Context, what Event, m *Manifest) error
	// Changed is told of a dataset whose releases changed, after they did. It
	// does not block.
	Changed func(dataset string)
	// Cuts is how parts of releases are made for who may not have all of one.
	Cuts  CutDeps
	Log   *slog.Logger
	Clock func() time.Time
}

// Event is what becomes of a release.
type Event string

// The events.
const (
	Made    Event = "made"
	Sealed  Event = "sealed" // what lay there in plain does no more
	Removed Event = "removed"
)

// Store keeps releases. A release is there as a whole or not at all, whenever
// the hub is killed, and never changes; that its files are gone is said of it
// beside it. All methods may be called from any goroutine.
type Store struct {
	deps Deps
	// writing is held by who makes, seals or removes releases: one at a time,
	// which bounds their memory.
	writing sync.Mutex

	mu  sync.RWMutex
	all map[string][]*Manifest // by dataset, in order of versions, removed ones among them; without inputs
	// next is the number of each dataset's next version. What could not be opened
	// has its number for good.
	next  map[string]int64
	sound map[string]bool // paths of files whose bytes were compared since the hub began

	cuts     *cuts // nil: none are made
	compared *compared

	step func(string) // called between the steps of a change; tests kill there
}

const (
	indexFile = "index.json"
	goneEnd   = ".removed.json" // VERSION.removed.json beside where VERSION was
	making    = ".making-"      // begins the names of what is not done
	sealedEnd = ".sealed"       // ends the names of files that are sealed
)

// Open opens a store, and cleans up what was being made or removed when the hub
// was killed.
func Open(d Deps) (*Store, error) {
	if d.Changed == nil {
		d.Changed = func(string) {}
	}
	s := &Store{deps: d, all: map[string][]*Manifest{}, next: map[string]int64{}, sound: map[string]bool{}, compared: newCompared(), step: func(string) {}}
	var err error
	if s.cuts, err = newCuts(s); err != nil {
		return nil, fmt.Errorf("cuts of releases: %w", err)
	}
	if err := os.MkdirAll(d.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("releases: %w", err)
	}
	entries, err := os.ReadDir(d.Dir)
	if err != nil {
		return nil, fmt.Errorf("releases: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), making) {
			err = os.RemoveAll(filepath.Join(d.Dir, e.Name()))
		} else if e.IsDir() {
			err = s.openDataset(e.Name())
		}
		if err != nil {
			return nil, fmt.Errorf("releases: %w", err)
		}
	}
	return s, nil
}

var versionName = regexp.MustCompile(`^([1-9][0-9]{0,17})(\.removed\.json)?$`)

func (s *Store) openDataset(id string) error {
	entries, err := os.ReadDir(filepath.Join(s.deps.Dir, id))
	if err != nil {
		return err
	}
	gone, there := map[int64]bool{}, []int64{}
	for _, e := range entries {
		name := versionName.FindStringSubmatch(e.Name())
		if name == nil {
			if strings.HasPrefix(e.Name(), making) {
				if err := os.RemoveAll(filepath.Join(s.deps.Dir, id, e.Name())); err != nil {
					return err
				}
			}
			continue
		}
		v, err := strconv.ParseInt(name[1], 10, 64)
		if err != nil {
			return err
		}
		s.next[id] = max(s.next[id], v+1)
		if name[2] != "" {
			gone[v] = true
		} else {
			there = append(there, v)
		}
	}
	for v := range gone {
		s.openRemoved(id, v)
	}
	for _, v := range there {
		if gone[v] {
			if err := s.erase(id, v); err != nil {
				return err
			}
			continue
		}
		s.openVersion(id, v)
	}
	slices.SortFunc(s.all[id], func(a, b *Manifest) int { return cmp.Compare(a.Version, b.Version) })
	return nil
}

// openVersion reads a version's manifest. One that cannot be read is told in
// the log and not offered: all others still are.
func (s *Store) openVersion(id string, v int64) {
	m, x, err := s.manifest(id, v)
	if err == nil && (m.Dataset != id || m.Version != v) {
		err = fmt.Errorf("manifest of %s/%d %w: it is of %s/%d", id, v, ErrDamaged, m.Dataset, m.Version)
	}
	if err == nil {
		err = s.tidy(id, v, x)
	}
	if err != nil {
		s.deps.Log.Error("release_not_opened", "dataset", id, "version", v, "error", err)
		return
	}
	m.sealed = x.Key != nil
	s.all[id] = append(s.all[id], m.slim())
}

func (s *Store) openRemoved(id string, v int64) {
	text, err := readSummed(s.path(id, v) + goneEnd)
	var m *Manifest
	if err == nil {
		m, err = ParseManifest(text)
	}
	if err != nil {
		s.deps.Log.Error("release_not_opened", "dataset", id, "version", v, "error", err)
		return
	}
	s.all[id] = append(s.all[id], m)
}

// tidy removes files that the index does not name: what was there before it was
// sealed, or the reverse.
func (s *Store) tidy(id string, v int64, x *index) error {
	dir := s.path(id, v)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != indexFile && !slices.ContainsFunc(x.Files, func(k kept) bool { return x.stored(k.Name) == e.Name() }) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) path(id string, v int64) string {
	return filepath.Join(s.deps.Dir, id, strconv.FormatInt(v, 10))
}

// slim is the manifest without what may be long.
func (m *Manifest) slim() *Manifest {
	short := *m
	short.Recipe.Inputs = nil
	return &short
}

// index says how the files of a version lie on disk, the manifest among them.
type index struct {
	Files []kept   `json:"files"`
	Key   *wrapped `json:"key,omitempty"` // nil: they are not sealed
}

// stored is the name of a file on disk.
func (x *index) stored(name string) string {
	if x.Key != nil {
		return name + sealedEnd
	}
	return name
}

// summed ends a text with its SHA-256, a line of its own.
func summed(text []byte) []byte {
	sum := sha256.Sum256(text)
	return append(hex.AppendEncode(append(text, '\n'), sum[:]), '\n')
}

func readSummed(path string) ([]byte, error) {
	all, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	const tail = 1 + 2*sha256.Size + 1
	if n := len(all) - tail; n >= 0 {
		text := slices.Clone(all[:n])
		if string(summed(text)) == string(all) {
			return all[:n], nil
		}
	}
	return nil, fmt.Errorf("%s %w: its hash is not that of its text", path, ErrDamaged)
}

func (s *Store) index(id string, v int64) (*index, error) {
	text, err := readSummed(filepath.Join(s.path(id, v), indexFile))
	if err != nil {
		return nil, err
	}
	x := &index{}
	return x, json.Unmarshal(text, x)
}

func (s *Store) manifest(id string, v int64) (*Manifest, *index, error) {
	x, err := s.index(id, v)
	if err != nil {
		return nil, nil, err
	}
	r, err := s.file(id, v, x, ManifestFile)
	if err != nil {
		return nil, nil, err
	}
	text, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, nil, err
	}
	m, err := ParseManifest(text)
	return m, x, err
}

// file opens a file as the index has it.
func (s *Store) file(id string, v int64, x *index, name string) (*reader, error) {
	i := slices.IndexFunc(x.Files, func(k kept) bool { return k.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("file %.140q of release %s/%d %w", name, id, v, ErrUnknown)
	}
	seal, err := s.sealing(id, v, x, name)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(s.path(id, v), x.stored(name))
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := newReader(f, x.Files[i], seal)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := s.checked(path, r); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (s *Store) sealing(id string, v int64, x *index, name string) (*sealing, error) {
	if x.Key == nil {
		return nil, nil
	}
	key, err := s.deps.Keys.unwrap(*x.Key, of(id, v))
	if err != nil {
		return nil, err
	}
	return key.sealing(name)
}

func of(id string, v int64) string { return id + "/" + strconv.FormatInt(v, 10) }

// checked compares all of a file once; what is read later is compared again.
func (s *Store) checked(path string, r *reader) error {
	s.mu.RLock()
	sound := s.sound[path]
	s.mu.RUnlock()
	if sound {
		return nil
	}
	if err := r.check(); err != nil {
		s.deps.Log.Error("release_damaged", "file", path, "error", err)
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sound[path] = true
	return nil
}

// List returns the releases of a dataset whose files are there, in order of
// their versions and without their recipes' inputs. They are not to be changed.
func (s *Store) List(dataset string) []*Manifest {
	return slices.DeleteFunc(s.History(dataset), func(m *Manifest) bool { return m.Removed != nil })
}

// History is List with those whose files are gone.
func (s *Store) History(dataset string) []*Manifest {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.all[dataset])
}

// Datasets lists the ids of datasets that have had releases.
func (s *Store) Datasets() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	ids := make([]string, 0, len(s.all))
	for id := range s.all {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Releases are what the catalogue says of the releases of a dataset.
func (s *Store) Releases(dataset string) []catalog.Release {
	var all []catalog.Release
	for _, m := range s.List(dataset) {
		all = append(all, m.Release())
	}
	return all
}

// known returns what is in memory of a version.
func (s *Store) known(dataset string, version int64) (*Manifest, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := s.all[dataset]
	i, found := slices.BinarySearchFunc(all, version, func(m *Manifest, v int64) int { return cmp.Compare(m.Version, v) })
	if !found {
		return nil, fmt.Errorf("release %d of dataset %.70q %w", version, dataset, ErrUnknown)
	}
	return all[i], nil
}

// Get returns a manifest as it was made, or, of a release whose files are gone,
// with that.
func (s *Store) Get(dataset string, version int64) (*Manifest, error) {
	m, err := s.known(dataset, version)
	if err != nil || m.Removed != nil {
		return m, err
	}
	m, _, err = s.manifest(dataset, version)
	if errors.Is(err, fs.ErrNotExist) { // it was removed at this moment
		return s.known(dataset, version)
	}
	return m, err
}

// GradeOf is the grade that a release was made with.
func (s *Store) GradeOf(dataset string, version int64) (telemetry.Grade, error) {
	m, err := s.known(dataset, version)
	if err != nil {
		return 0, err
	}
	return telemetry.ParseGrade(m.Grade)
}

// Content is a file of a release to be read, from anywhere in it. Of what is on
// disk, it returns only what was written.
type Content struct {
	File
	Made time.Time
	io.ReadSeekCloser
}

// Open opens a file of a release. The manifest is one of them.
func (s *Store) Open(dataset string, version int64, name string) (*Content, error) {
	m, err := s.known(dataset, version)
	if err != nil {
		return nil, err
	}
	if m.Removed != nil {
		return nil, fmt.Errorf("release %d of dataset %s %w: its files were removed %s (%s)", version, dataset, ErrUnknown, m.Removed.At.UTC().Format(time.RFC3339), m.Removed.Reason.EN)
	}
	f := m.File(name)
	if f == nil && name != ManifestFile {
		return nil, fmt.Errorf("file %.140q of release %s/%d %w", name, dataset, version, ErrUnknown)
	}
	x, err := s.index(dataset, version)
	if err != nil {
		return nil, err
	}
	r, err := s.file(dataset, version, x, name)
	if err != nil {
		return nil, err
	}
	if f == nil {
		f, err = manifestAsFile(r)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return &Content{*f, m.Made, r}, nil
}

// manifestAsFile is what a manifest cannot say of itself.
func manifestAsFile(r *reader) (*File, error) {
	sum := sha256.New()
	n, err := io.Copy(sum, r)
	if err != nil {
		return nil, err
	}
	_, err = r.Seek(0, io.SeekStart)
	return &File{Name: ManifestFile, MediaType: "application/json", Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, err
}

// Table reads the rows of a release back.
func (s *Store) Table(dataset string, version int64) (*Table, error) {
	m, err := s.known(dataset, version)
	if err != nil {
		return nil, err
	}
	c, err := s.Open(dataset, version, ParquetFile)
	if err != nil {
		return nil, err
	}
	r := c.ReadSeekCloser.(*reader)
	t, err := readParquet(r, r.kept.Size, m.Items())
	return t, errors.Join(err, c.Close())
}
