package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Rebuild makes the rows of a release again, of the inputs and by the recipe that
// its manifest names, and the privacy report where there was one.
type Rebuild func(ctx context.Context, m *Manifest) (t *Table, privacy []byte, err error)

// Finding is what a verification found about one file.
type Finding struct {
	Name string `json:"name"`
	// Stored is what its bytes are: same, damaged, or absent.
	Stored string `json:"stored"`
	// Rebuilt is what they are when the file is made again: same, different, or
	// empty where that was not tried.
	Rebuilt string `json:"rebuilt,omitempty"`
	// Detail says more of what is not the same.
	Detail string `json:"detail,omitempty"`
}

// What findings say.
const (
	Same      = "same"
	Damaged   = "damaged"
	Absent    = "absent"
	Different = "different"
)

// Report is what a verification found.
type Report struct {
	Dataset string `json:"dataset"`
	Version int64  `json:"version"`
	// Manifest is the SHA-256 of the manifest, to be compared with the record of
	// changes.
	Manifest string    `json:"manifest_sha256"`
	Files    []Finding `json:"files"`
}

// OK reports whether every file that is there is what it was, and is again what
// it was when it is rebuilt.
func (r *Report) OK() bool {
	for _, f := range r.Files {
		if f.Stored == Damaged || f.Rebuilt == Different {
			return false
		}
	}
	return true
}

// Verify compares the files of a release with its manifest, and with what they
// are when they are made again. A nil rebuild makes them of the rows in the
// Parquet file.
func (s *Store) Verify(ctx context.Context, dataset string, version int64, rebuild Rebuild) (*Report, error) {
	m, err := s.Get(dataset, version)
	if err != nil {
		return nil, err
	}
	open := func(name string) (io.ReadCloser, error) { return s.Open(dataset, version, name) }
	if rebuild == nil && m.Removed == nil {
		rebuild = func(context.Context, *Manifest) (*Table, []byte, error) {
			t, err := s.Table(dataset, version)
			return t, nil, err
		}
	}
	return verify(ctx, m, open, rebuild)
}

// VerifyDir verifies files that were downloaded, with their manifest. The other
// files are made again of the rows in the Parquet file, where that is there.
func VerifyDir(ctx context.Context, dir string) (*Report, error) {
	text, err := os.ReadFile(filepath.Join(dir, ManifestFile))
	if err != nil {
		return nil, fmt.Errorf("%w; the manifest is one of the files of a release (`hub release get`)", err)
	}
	m, err := ParseManifest(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, ManifestFile), err)
	}
	open := func(name string) (io.ReadCloser, error) { return os.Open(filepath.Join(dir, name)) }
	rows := func(context.Context, *Manifest) (*Table, []byte, error) {
		return readFile(filepath.Join(dir, ParquetFile), m)
	}
	if _, err := os.Stat(filepath.Join(dir, ParquetFile)); err != nil {
		rows = nil
	}
	r, err := verify(ctx, m, open, rows)
	if err == nil {
		r.Manifest = hexSum(text)
	}
	return r, err
}

func readFile(path string, m *Manifest) (t *Table, _ []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	t, err = readParquet(f, info.Size(), m.Items())
	return t, nil, err
}

func verify(ctx context.Context, m *Manifest, open func(string) (io.ReadCloser, error), rebuild Rebuild) (*Report, error) {
	text, err := m.Encode()
	if err != nil {
		return nil, err
	}
	r := &Report{Dataset: m.Dataset, Version: m.Version, Manifest: hexSum(text)}
	rows := true
	for _, f := range m.Files {
		found := Finding{Name: f.Name, Stored: Absent}
		if m.Removed == nil {
			found = storedFile(f, open)
		}
		r.Files = append(r.Files, found)
		rows = rows && (f.Name != ParquetFile || found.Stored == Same)
	}
	if rebuild == nil || !rows {
		return r, ctx.Err()
	}
	t, privacy, err := rebuild(ctx, m)
	if err != nil {
		return nil, fmt.Errorf("make the rows of release %s again: %w", of(m.Dataset, m.Version), err)
	}
	return r, r.rebuild(ctx, m, t, privacy)
}

// storedFile compares bytes that are there with the manifest.
func storedFile(f File, open func(string) (io.ReadCloser, error)) Finding {
	found := Finding{Name: f.Name, Stored: Same}
	in, err := open(f.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return Finding{Name: f.Name, Stored: Absent}
	}
	sum, n := sha256.New(), int64(0)
	if err == nil {
		n, err = io.Copy(sum, in)
		err = errors.Join(err, in.Close())
	}
	switch is := hex.EncodeToString(sum.Sum(nil)); {
	case err != nil:
		found.Stored, found.Detail = Damaged, err.Error()
	case is != f.SHA256:
		found.Stored, found.Detail = Damaged, fmt.Sprintf("it has %d bytes with sha-256 %s, and %d with %s were released", n, is, f.Size, f.SHA256)
	}
	return found
}

// rebuild makes each file again and compares its hash.
func (r *Report) rebuild(ctx context.Context, m *Manifest, t *Table, privacy []byte) error {
	t, err := m.inOrder(t)
	if err != nil {
		return err
	}
	made := map[string]string{}
	for _, f := range forms(t) {
		if m.File(f.name) == nil {
			continue
		}
		sum := sha256.New()
		if err := f.write(ctx, t, m, sum); err != nil {
			return err
		}
		made[f.name] = hex.EncodeToString(sum.Sum(nil))
	}
	if privacy != nil {
		made[PrivacyFile] = hexSum(privacy)
	}
	same := made[NDJSONFile] == m.File(NDJSONFile).SHA256
	for i := range r.Files {
		f := &r.Files[i]
		is, tried := made[f.Name]
		want := m.File(f.Name).SHA256
		switch {
		case !tried:
		case is == want:
			f.Rebuilt = Same
		default:
			f.Rebuilt, f.Detail = Different, join(f.Detail, fmt.Sprintf("made again it has sha-256 %s instead of %s", is, want))
			if f.Name == ParquetFile && same {
				f.Detail = join(f.Detail, "its rows are the same: it was written by another version of the library")
			}
		}
	}
	return nil
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}
