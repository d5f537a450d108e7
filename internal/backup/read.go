package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"filippo.io/age"
	"golang.org/x/sync/errgroup"
)

// Restoration is a backup to be brought back.
type Restoration struct {
	Point      Point
	Identities []age.Identity
	// Into says which folder the files below a path of the backup go to; "" is the
	// root. Each folder must be absent or empty, and is there once all of the backup
	// is in it: before, what there is has the name with .unfinished behind it.
	// Files below other paths are left out.
	Into map[string]string
	// Progress is told how many bytes are restored.
	Progress func(done int64)

	// durable is called with each file that is whole and on the disk. For benchmarks,
	// whose disk is smaller than what they restore.
	durable func(path string) error
}

// Restore brings a backup back. Every chunk is checked against its sum.
func (r *Repository) Restore(ctx context.Context, x Restoration) (*Manifest, error) {
	m, err := r.Manifest(ctx, x.Point, x.Identities)
	if err != nil {
		return nil, err
	}
	if err := r.restore(ctx, x, m); err != nil {
		return nil, fmt.Errorf("restore backup %s of %s: %w", x.Point.Name, r.target, err)
	}
	return m, nil
}

const unfinished = ".unfinished"

func (r *Repository) restore(ctx context.Context, x Restoration, m *Manifest) error {
	for _, dir := range x.Into {
		if err := vacant(dir); err != nil {
			return err
		}
	}
	for _, dir := range x.Into {
		if err := os.RemoveAll(dir + unfinished); err != nil {
			return err
		}
		if err := os.MkdirAll(dir+unfinished, 0o700); err != nil {
			return err
		}
	}
	var files []File
	var to []string
	for _, f := range m.Files {
		if at, wanted := x.place(f.Path); wanted {
			files, to = append(files, f), append(to, at)
		}
	}
	if err := r.fetch(ctx, x, files, to); err != nil {
		return err
	}
	for _, dir := range x.Into {
		if err := syncTree(dir + unfinished); err != nil {
			return err
		}
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Rename(dir+unfinished, dir); err != nil {
			return err
		}
		if err := syncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return nil
}

// vacant returns an error when something lies in a folder.
func vacant(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s is not empty (%s lies in it); nothing was changed: choose a folder that is not there, or move this one away", dir, entries[0].Name())
	}
	return nil
}

// place is where a file goes.
func (x *Restoration) place(path string) (to string, wanted bool) {
	if below, rest, ok := strings.Cut(path, "/"); ok {
		if dir, known := x.Into[below]; known && below != "" {
			return filepath.Join(dir+unfinished, filepath.FromSlash(rest)), true
		}
		if below == GradedBelow {
			return "", false
		}
	}
	dir, wanted := x.Into[""]
	return filepath.Join(dir+unfinished, filepath.FromSlash(path)), wanted
}

// GradedBelow is the path in a backup below which the store of graded series is.
const GradedBelow = "graded"

// fetch writes files, chunk by chunk, in parallel.
func (r *Repository) fetch(ctx context.Context, x Restoration, files []File, to []string) error {
	type piece struct {
		at   *os.File
		file *File
		i    int
		left *sync.WaitGroup
	}
	group, ctx := errgroup.WithContext(ctx)
	pieces := make(chan piece)
	var mu sync.Mutex
	done := int64(0)
	for range workers() {
		group.Go(func() error {
			u, err := newUnpacker(x.Identities)
			if err != nil {
				return err
			}
			for p := range pieces {
				plain, err := r.chunk(ctx, u, p.file, p.i)
				if err == nil {
					_, err = p.at.WriteAt(plain, int64(p.i)*chunkSize)
					beginWriting(p.at, int64(p.i)*chunkSize, int64(len(plain)))
				}
				p.left.Done()
				if err != nil {
					return fmt.Errorf("%s: %w; `hub backup verify` names all that is damaged, and --at takes an older backup", p.file.Path, err)
				}
				mu.Lock()
				done += int64(len(plain))
				if x.Progress != nil {
					x.Progress(done)
				}
				mu.Unlock()
			}
			return nil
		})
	}
	group.Go(func() error {
		defer close(pieces)
		for i := range files {
			f := &files[i]
			at, err := createFile(to[i], f.Mode)
			if err != nil {
				return err
			}
			left := &sync.WaitGroup{}
			// Closed when its last piece is written, while others are under way.
			left.Add(len(f.Chunks))
			group.Go(func() error {
				left.Wait()
				if err := errors.Join(at.Sync(), at.Close()); err != nil || x.durable == nil {
					return err
				}
				return x.durable(at.Name())
			})
			for k := range f.Chunks {
				select {
				case pieces <- piece{at, f, k, left}:
				case <-ctx.Done():
					for range len(f.Chunks) - k {
						left.Done()
					}
					return ctx.Err()
				}
			}
		}
		return nil
	})
	return group.Wait()
}

func createFile(path string, mode fs.FileMode) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode.Perm())
}

// syncTree makes the entries of all folders below one durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return syncDir(path)
	})
}

// chunk reads a part of a file and makes sure that it is what was written.
func (r *Repository) chunk(ctx context.Context, u *unpacker, f *File, i int) ([]byte, error) {
	c := f.Chunks[i]
	if len(c.Name) != 64 {
		return nil, fmt.Errorf("chunk %d is named %.70q", i, c.Name)
	}
	kept, err := r.target.Get(ctx, object(c.Name))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", object(c.Name), err)
	}
	plain, err := u.unpack(kept, r.head.Encrypted, f.lengthOf(i))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", object(c.Name), err)
	}
	if int64(len(plain)) != f.lengthOf(i) || sumOf(plain) != c.Sum {
		return nil, fmt.Errorf("%s is not what was written", object(c.Name))
	}
	return plain, nil
}

// Missing lists the chunks of a backup that are not there, or not as long as they
// were: what can be told without reading any.
func (r *Repository) Missing(ctx context.Context, p Point) (all []string, err error) {
	refs, err := r.refs(ctx, p)
	if err != nil {
		return nil, err
	}
	there := map[string]int64{}
	if err := r.target.List(ctx, "chunks/", func(name string, size int64) error {
		there[filepath.Base(name)] = size
		return nil
	}); err != nil {
		return nil, fmt.Errorf("%s: %w", r.target, err)
	}
	for _, x := range refs {
		if size, ok := there[x.Name]; !ok || size != x.Size {
			all = append(all, object(x.Name))
		}
	}
	return all, nil
}

// Verify reads every chunk of all backups and reports those that are damaged or
// gone, each with the backups that need it. Without identities it checks what is
// kept against its sum; with them also that it opens to what was written.
func (r *Repository) Verify(ctx context.Context, by []age.Identity, report func(string), progress func(done, of int64)) error {
	points, err := r.Points(ctx)
	if err != nil {
		return err
	}
	if len(points) == 0 {
		return fmt.Errorf("%s: %w", r.target, ErrNoRepository)
	}
	kept, needs, of := map[string]ref{}, map[string][]string{}, int64(0)
	unlisted := map[string]bool{} // backups whose list of chunks cannot be read
	for _, p := range points {
		refs, err := r.refs(ctx, p)
		if err != nil {
			report(err.Error())
			unlisted[p.Name] = true
			continue
		}
		for _, x := range refs {
			if _, seen := kept[x.Name]; !seen {
				of += x.Size
			}
			kept[x.Name] = x
			needs[x.Name] = append(needs[x.Name], p.Name)
		}
	}
	plain := map[string]opened{}
	if len(by) > 0 || !r.head.Encrypted {
		for _, p := range points {
			m, err := r.Manifest(ctx, p, by)
			if err != nil {
				report(err.Error())
				continue
			}
			missing := 0
			for i := range m.Files {
				for k, c := range m.Files[i].Chunks {
					plain[c.Name] = opened{c.Sum, m.Files[i].lengthOf(k)}
					if _, listed := slices.BinarySearch(needs[c.Name], p.Name); !listed { // points are by time, and so are their names
						missing++
					}
				}
			}
			if missing > 0 && !unlisted[p.Name] {
				report(fmt.Sprintf("%s: backup %s: the list of its chunks is damaged: it lacks %d of them, and a prune would remove what no other backup lists", r.target, p.Name, missing))
			}
		}
	}
	v := &verification{repository: r, plain: plain, of: of, progress: progress, report: func(name string, err error) {
		report(fmt.Sprintf("%s, of backups %s: %v", object(name), strings.Join(needs[name], ", "), err))
	}}
	return v.run(ctx, by, kept)
}

// opened is what a chunk has to be once it is opened.
type opened struct {
	sum    sum
	length int64
}

type verification struct {
	repository *Repository
	plain      map[string]opened
	report     func(name string, err error)
	progress   func(done, of int64)

	mu       sync.Mutex
	done, of int64
}

func (v *verification) run(ctx context.Context, by []age.Identity, all map[string]ref) error {
	group, ctx := errgroup.WithContext(ctx)
	work := make(chan ref)
	group.Go(func() error {
		defer close(work)
		for _, x := range all {
			select {
			case work <- x:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range workers() {
		group.Go(func() error {
			u, err := newUnpacker(by)
			if err != nil {
				return err
			}
			for x := range work {
				err := v.check(ctx, u, x)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				v.mu.Lock()
				if err != nil {
					v.report(x.Name, err)
				}
				v.done += x.Size
				if v.progress != nil {
					v.progress(v.done, v.of)
				}
				v.mu.Unlock()
			}
			return nil
		})
	}
	return group.Wait()
}

func (v *verification) check(ctx context.Context, u *unpacker, x ref) error {
	kept, err := v.repository.target.Get(ctx, object(x.Name))
	if err != nil {
		return err
	}
	if s := sumOf(kept); int64(len(kept)) != x.Size || !bytes.Equal(s[:], x.Sum[:]) {
		return errors.New("it is not what was written")
	}
	want, known := v.plain[x.Name]
	if !known {
		return nil
	}
	plain, err := u.unpack(kept, v.repository.head.Encrypted, want.length)
	if err != nil {
		return err
	}
	if int64(len(plain)) != want.length || sumOf(plain) != want.sum {
		return errors.New("it opens to something else than was written")
	}
	return nil
}
