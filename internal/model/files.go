package model

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// lookEvery is the time between looks at models.dir.
const lookEvery = 5 * time.Second

// stamp tells a file that changed from one that did not.
type stamp struct {
	size     int64
	modified time.Time
	id       string // of the model that was last read from it; empty for none
	taken    bool   // as it is now
}

// Run follows the files *.yaml, *.yml and *.json of Deps.Dir until ctx ends:
// each is one model. A file that cannot be taken changes nothing: what was last
// read from it stays, the log says what is wrong with it, and a gauge counts
// it. A model whose file is gone goes too, unless a device names it.
func (ms *Models) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := ms.Sync(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// Sync takes the directory over as it is. An error is a failure of the
// database; what is wrong with files is logged.
func (ms *Models) Sync(ctx context.Context) error {
	ms.change.Lock()
	defer ms.change.Unlock()
	wrong := map[string]string{}
	defer func() {
		ms.wrong = wrong
		ms.faulty.Set(float64(len(wrong)))
	}()
	found, err := list(ms.deps.Dir)
	if err != nil {
		ms.say(wrong, "models_not_read", ms.deps.Dir, err)
		return nil
	}
	maps.DeleteFunc(ms.seen, func(name string, _ stamp) bool { _, there := found[name]; return !there })
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if err := ms.follow(ctx, name, found[name], wrong); err != nil {
			return err
		}
	}
	return ms.forget(ctx, wrong)
}

// say logs what is wrong with a file unless it was said the last time.
func (ms *Models) say(wrong map[string]string, event, path string, err error) {
	wrong[path] = err.Error()
	if ms.wrong[path] != wrong[path] {
		ms.deps.Log.Error(event, "file", path, "error", err)
	}
}

// list returns the model files of a directory.
func list(dir string) (map[string]stamp, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("models.dir: %w; make it a directory that the hub may read", err)
	}
	found := map[string]stamp{}
	for _, e := range entries {
		ext := strings.ToLower(filepath.Ext(e.Name()))
		if strings.HasPrefix(e.Name(), ".") || ext != ".yaml" && ext != ".yml" && ext != ".json" {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, e.Name())) // through links, as volumes of containers have them
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		found[e.Name()] = stamp{size: info.Size(), modified: info.ModTime()}
	}
	return found, nil
}

// follow takes one file over if it changed, or was not taken the last time.
func (ms *Models) follow(ctx context.Context, name string, now stamp, wrong map[string]string) error {
	path := filepath.Join(ms.deps.Dir, name)
	before := ms.seen[name]
	if before.taken && before.size == now.size && before.modified.Equal(now.modified) {
		return nil
	}
	m, err := readFile(path)
	if err == nil {
		err = ms.adopt(ctx, m, name)
	}
	var broken *failure
	switch {
	case errors.As(err, &broken):
		return broken.error
	case err != nil:
		now.id = before.id
		ms.say(wrong, "model_file_not_taken", path, err)
	default:
		now.id, now.taken = m.ID, true
	}
	ms.seen[name] = now
	return nil
}

func readFile(path string) (*Model, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxDocument+1))
	if err != nil {
		return nil, err
	}
	m, err := Parse(text)
	var invalid *Invalid
	if errors.As(err, &invalid) {
		invalid.File = filepath.Base(path)
	}
	return m, err
}

// failure is what is wrong with the database and not with a file.
type failure struct{ error }

// adopt makes a model that of its file. One that came by the API becomes the
// file's; of two files with one id the first keeps it.
func (ms *Models) adopt(ctx context.Context, m *Model, name string) error {
	old, _ := ms.Get(m.ID)
	if old != nil && old.File != "" && old.File != name && ms.seen[old.File].id == m.ID {
		return fmt.Errorf("model %s comes from %s already; remove one of the two files, or give it another id", m.ID, old.File)
	}
	_, err := ms.put(ms.noted(ctx, old, m, name), m, old, name)
	if err != nil && !errors.Is(err, ErrFull) {
		return &failure{err}
	}
	return err
}

func (ms *Models) noted(ctx context.Context, before, after *Model, file string) context.Context {
	var id string
	var was, is []byte
	if before != nil {
		id, was = before.ID, before.text
	}
	if after != nil {
		id, is = after.ID, after.text
	}
	return ms.deps.Noted(ctx, id, file, was, is)
}

// forget takes away the models whose files are gone, or hold another model now.
// A file that was not taken keeps what was read from it before, or before the
// hub started.
func (ms *Models) forget(ctx context.Context, wrong map[string]string) error {
	for _, m := range ms.List() {
		file, there := ms.seen[m.File]
		if m.File == "" || there && (file.id == m.ID || file.id == "" && !file.taken) {
			continue
		}
		err := ms.remove(ms.noted(ctx, m, nil, m.File), m.ID)
		switch {
		case errors.Is(err, ErrInUse):
			ms.say(wrong, "model_kept", filepath.Join(ms.deps.Dir, m.File), err)
		case err != nil:
			return err
		}
	}
	return nil
}
