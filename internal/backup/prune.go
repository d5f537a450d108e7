package backup

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// Pruned is what a prune removed.
type Pruned struct {
	Points []Point
	Chunks int
	Bytes  int64
}

// Prune removes backups from before a time and the chunks that no backup needs
// any more, those of unfinished backups among them. The newest backup stays. It
// needs no identity.
func (r *Repository) Prune(ctx context.Context, now, before time.Time) (gone Pruned, err error) {
	unlock, err := r.lock(ctx, now)
	if err != nil {
		return Pruned{}, fmt.Errorf("prune %s: %w", r.target, err)
	}
	defer unlock()
	points, err := r.Points(ctx)
	if err != nil {
		return Pruned{}, err
	}
	needed := map[string]bool{}
	for i, p := range points {
		if i < len(points)-1 && p.At.Before(before) {
			gone.Points = append(gone.Points, p)
			continue
		}
		all, err := r.refs(ctx, p)
		if err != nil {
			return Pruned{}, err // without it nobody knows what is needed
		}
		for _, x := range all {
			needed[x.Name] = true
		}
	}
	for _, p := range gone.Points {
		// Without its manifest it is no backup; then its chunks may go.
		for _, name := range []string{manifestName, refsName} {
			if err := r.target.Delete(ctx, "backups/"+p.Name+name); err != nil {
				return Pruned{}, fmt.Errorf("prune %s: %w", r.target, err)
			}
		}
	}
	var unneeded []string
	if err := r.target.List(ctx, "chunks/", func(name string, size int64) error {
		if !needed[filepath.Base(name)] {
			unneeded = append(unneeded, name)
			gone.Bytes += size
		}
		return nil
	}); err != nil {
		return Pruned{}, fmt.Errorf("prune %s: %w", r.target, err)
	}
	for _, name := range unneeded {
		if err := r.target.Delete(ctx, name); err != nil {
			return Pruned{}, fmt.Errorf("prune %s: %w", r.target, err)
		}
	}
	gone.Chunks = len(unneeded)
	return gone, nil
}
