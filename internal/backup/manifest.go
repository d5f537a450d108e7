package backup

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"filippo.io/age"
)

// Manifest is all of a backup but the bytes of its files.
type Manifest struct {
	Format string `json:"format"`
	// At is when what it holds was frozen.
	At time.Time `json:"at"`
	// Version is that of the program that wrote it.
	Version string `json:"version"`
	// Counts are what a drill compares: rows of tables, series, samples.
	Counts map[string]int64 `json:"counts,omitempty"`
	Files  []File           `json:"files"`
}

// File is a file of a backup.
type File struct {
	// Path is below the root, with slashes.
	Path string      `json:"path"`
	Mode fs.FileMode `json:"mode"`
	Size int64       `json:"size"`
	// Chunks are its parts, all but the last as long as a chunk is.
	Chunks []Chunk `json:"chunks,omitempty"`
}

// Chunk is a part of a file.
type Chunk struct {
	Name string `json:"name"`
	Sum  sum    `json:"sha256"` // of the part
}

// Size is how many bytes its files have.
func (m *Manifest) Size() (n int64) {
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// Manifest reads what a backup holds.
func (r *Repository) Manifest(ctx context.Context, p Point, by []age.Identity) (*Manifest, error) {
	m, err := r.manifest(ctx, p, by)
	if err != nil {
		return nil, fmt.Errorf("%s: backup %s: %w", r.target, p.Name, err)
	}
	return m, nil
}

func (r *Repository) manifest(ctx context.Context, p Point, by []age.Identity) (*Manifest, error) {
	kept, err := r.target.Get(ctx, "backups/"+p.Name+manifestName)
	if err != nil {
		return nil, err
	}
	if r.head.Encrypted && len(by) == 0 {
		return nil, errors.New("it is encrypted: give the identity that opens it with --identity")
	}
	u, err := newUnpacker(by)
	if err != nil {
		return nil, err
	}
	text, err := u.unpack(kept, r.head.Encrypted, maxManifest)
	if err != nil {
		return nil, err
	}
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	if m.Format != formatName {
		return nil, fmt.Errorf("it has the format %.40q, and this program knows %s", m.Format, formatName)
	}
	return &m, m.check()
}

// check makes sure that files lie below the root and are as long as their chunks.
func (m *Manifest) check() error {
	seen := map[string]bool{}
	for _, f := range m.Files {
		if f.Path == "" || path.Clean("/"+f.Path) != "/"+f.Path || strings.ContainsAny(f.Path, "\\\x00") || seen[f.Path] {
			return fmt.Errorf("it is damaged: it has a file %.100q", f.Path)
		}
		seen[f.Path] = true
		if f.Size < 0 || int64(len(f.Chunks)) != (f.Size+chunkSize-1)/chunkSize {
			return fmt.Errorf("it is damaged: %s has %d bytes in %d chunks", f.Path, f.Size, len(f.Chunks))
		}
	}
	return nil
}

// lengthOf is how long a chunk of a file is.
func (f *File) lengthOf(i int) int64 { return min(chunkSize, f.Size-int64(i)*chunkSize) }

func sumOf(b []byte) sum { return sha256.Sum256(b) }
