package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Source is what a backup is made of: a folder that does not change.
type Source struct {
	Root string
	// Below is the path in the backup that Root becomes; empty: its root.
	Below string
	// Skip says which paths below Root, with slashes, are left out.
	Skip func(path string, folder bool) bool
}

// Plan is a backup to be.
type Plan struct {
	At      time.Time
	Version string
	Counts  map[string]int64
	Sources []Source
	// Memory is a file that knows what the last backup to this place found, so
	// that the next reads and sends only what is new; it holds a key and lies with
	// the hub. Lost, the next backup is a whole one.
	Memory string
	// Progress is told how many bytes of files have been looked at.
	Progress func(done int64)
}

// Result is what a backup came to.
type Result struct {
	Point Point
	Files int
	Size  int64 // bytes of files
	New   int64 // bytes of them that had to be sent
	Kept  int64 // bytes that these take at the place
}

// memory is the content of Plan.Memory.
type memory struct {
	Key   []byte                `json:"key"`
	Files map[string]remembered `json:"files"`
}

// remembered is a file as the last backup found it.
type remembered struct {
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	Chunks   []Chunk   `json:"chunks"`
}

func readMemory(path string) (*memory, error) {
	text, err := os.ReadFile(path)
	m := &memory{}
	if err == nil && json.Unmarshal(text, m) == nil && len(m.Key) == 32 {
		return m, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	m = &memory{Key: make([]byte, 32)}
	rand.Read(m.Key)
	return m, m.write(path) // what a backup that is not finished sent has the names of the next
}

func (m *memory) write(path string) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	d := directory(filepath.Dir(path))
	return d.Put(context.Background(), filepath.Base(path), text)
}

// Write makes a backup.
func (r *Repository) Write(ctx context.Context, p Plan) (Result, error) {
	result, err := r.write(ctx, p)
	if err != nil {
		return Result{}, fmt.Errorf("backup to %s: %w", r.target, err)
	}
	return result, nil
}

func (r *Repository) write(ctx context.Context, p Plan) (Result, error) {
	unlock, err := r.lock(ctx, p.At)
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	w := &writer{repository: r, plan: p, known: map[string]ref{}, used: map[string]ref{}}
	w.result.Point = Point{p.At.UTC().Format(timeForm), p.At.UTC().Truncate(time.Second)}
	if err := w.learn(ctx); err != nil {
		return Result{}, err
	}
	files, err := w.gather()
	if err != nil {
		return Result{}, err
	}
	if err := w.send(ctx, files); err != nil {
		return Result{}, err
	}
	return w.result, w.finish(ctx, files)
}

// writer is a backup on its way.
type writer struct {
	repository *Repository
	plan       Plan
	memory     *memory
	result     Result

	mu    sync.Mutex
	known map[string]ref // chunks of backups before
	used  map[string]ref // chunks of this one
}

// found is a file to be sent.
type found struct {
	File
	from     string
	modified time.Time
}

// learn reads which chunks are there. One that no whole backup has is not
// trusted: who wrote it may have been ended while it did.
func (w *writer) learn(ctx context.Context) (err error) {
	if w.memory, err = readMemory(w.plan.Memory); err != nil {
		return err
	}
	points, err := w.repository.Points(ctx)
	if err != nil {
		return err
	}
	for _, p := range points {
		if p.Name == w.result.Point.Name {
			return fmt.Errorf("there is a backup of %s already; wait a second", p.Name)
		}
		all, err := w.repository.refs(ctx, p)
		if err != nil {
			return err
		}
		for _, x := range all {
			w.known[x.Name] = x
		}
	}
	// What is listed and lost, or of another length, is sent again.
	there := map[string]int64{}
	if err := w.repository.target.List(ctx, "chunks/", func(name string, size int64) error {
		there[filepath.Base(name)] = size
		return nil
	}); err != nil {
		return err
	}
	for name, x := range w.known {
		if there[name] != x.Size {
			delete(w.known, name)
		}
	}
	return nil
}

// gather lists the files of all sources.
func (w *writer) gather() (all []*found, err error) {
	for _, s := range w.plan.Sources {
		err := filepath.WalkDir(s.Root, func(at string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(s.Root, at)
			if err != nil {
				return err
			}
			rel = filepath.ToSlash(rel)
			if rel != "." && s.Skip != nil && s.Skip(rel, e.IsDir()) {
				if e.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
			if !e.Type().IsRegular() {
				return nil
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			name := rel
			if s.Below != "" {
				name = s.Below + "/" + rel
			}
			all = append(all, &found{File{Path: name, Mode: info.Mode().Perm(), Size: info.Size()}, at, info.ModTime()})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// part is a chunk of a file to be looked at.
type part struct {
	file *found
	at   int
}

// send looks at every chunk, and sends those that the place lacks.
func (w *writer) send(ctx context.Context, files []*found) error {
	recipients, err := parseRecipients(w.repository.head.Recipients)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	parts := make(chan part)
	group.Go(func() error {
		defer close(parts)
		for _, f := range files {
			if w.unchanged(f) {
				continue
			}
			f.Chunks = make([]Chunk, (f.Size+chunkSize-1)/chunkSize)
			for i := range f.Chunks {
				select {
				case parts <- part{f, i}:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		return nil
	})
	for range workers() {
		group.Go(func() error {
			p, err := newPacker(recipients)
			if err != nil {
				return err
			}
			buffer := make([]byte, chunkSize)
			for x := range parts {
				if err := w.sendPart(ctx, p, x, buffer); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// unchanged takes the chunks of a file that the last backup found as it is now.
func (w *writer) unchanged(f *found) bool {
	was, ok := w.memory.Files[f.Path]
	if !ok || was.Size != f.Size || !was.Modified.Equal(f.modified) {
		return false
	}
	for _, c := range was.Chunks {
		if _, there := w.known[c.Name]; !there {
			return false
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range was.Chunks {
		w.used[c.Name] = w.known[c.Name]
	}
	f.Chunks = was.Chunks
	w.looked(f.Size)
	return true
}

// looked adds to what has been looked at. The caller holds mu.
func (w *writer) looked(bytes int64) {
	w.result.Size += bytes
	if w.plan.Progress != nil {
		w.plan.Progress(w.result.Size)
	}
}

func (w *writer) sendPart(ctx context.Context, p *packer, x part, buffer []byte) error {
	plain := buffer[:x.file.lengthOf(x.at)]
	if err := readAt(x.file.from, plain, int64(x.at)*chunkSize); err != nil {
		return err
	}
	sum := sumOf(plain)
	c := Chunk{nameOf(w.memory.Key, sum), sum}
	x.file.Chunks[x.at] = c
	w.mu.Lock()
	have, there := w.known[c.Name]
	if !there {
		have, there = w.used[c.Name]
	}
	w.looked(int64(len(plain)))
	w.mu.Unlock()
	if !there {
		kept, err := p.pack(plain)
		if err != nil {
			return err
		}
		if err := w.put(ctx, object(c.Name), kept); err != nil {
			return err
		}
		have = ref{c.Name, int64(len(kept)), sumOf(kept)}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !there {
		w.result.New += int64(len(plain))
		w.result.Kept += have.Size
	}
	w.used[c.Name] = have
	return nil
}

func readAt(path string, to []byte, offset int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = f.ReadAt(to, offset)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s became shorter while it was read", path)
	}
	return errors.Join(err, f.Close())
}

// put writes an object and reads it back.
func (w *writer) put(ctx context.Context, name string, data []byte) error {
	t := w.repository.target
	if err := t.Put(ctx, name, data); err != nil {
		return err
	}
	back, err := t.Get(ctx, name)
	if err != nil {
		return fmt.Errorf("read %s back: %w", name, err)
	}
	if !bytes.Equal(back, data) {
		return fmt.Errorf("%s was read back as something else than was written; the place is not to be trusted: check its disk", name)
	}
	return nil
}

// finish writes what makes the backup one: the list of chunks, and then the
// manifest.
func (w *writer) finish(ctx context.Context, files []*found) error {
	m := Manifest{Format: formatName, At: w.plan.At.UTC(), Version: w.plan.Version, Counts: w.plan.Counts, Files: make([]File, len(files))}
	next := &memory{Key: w.memory.Key, Files: make(map[string]remembered, len(files))}
	var refs []ref
	listed := map[string]bool{}
	for i, f := range files {
		m.Files[i] = f.File
		next.Files[f.Path] = remembered{f.Size, f.modified, f.Chunks}
		for _, c := range f.Chunks {
			if !listed[c.Name] {
				listed[c.Name] = true
				refs = append(refs, w.used[c.Name])
			}
		}
	}
	w.result.Files = len(files)
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	recipients, err := parseRecipients(w.repository.head.Recipients)
	if err != nil {
		return err
	}
	p, err := newPacker(recipients)
	if err != nil {
		return err
	}
	kept, err := p.pack(text)
	if err != nil {
		return err
	}
	at := "backups/" + w.result.Point.Name
	if err := w.put(ctx, at+refsName, refsText(refs)); err != nil {
		return err
	}
	if err := w.put(ctx, at+manifestName, kept); err != nil {
		return err
	}
	return next.write(w.plan.Memory)
}
