package release

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// Between is what is different between two versions of a dataset, or between the
// parts that cuts give of them.
type Between struct {
	Changes
	// Keyed says that rows were told apart by the key. Without it, in parts that lack
	// some of the key, a row is the same where all its values are, and none is changed.
	Keyed bool
}

// manyBetween bounds the comparisons that are remembered; each has some kilobytes.
const manyBetween = 64

// compared remembers comparisons: versions never change. One is made at a time,
// which bounds their memory.
type compared struct {
	making chan struct{}

	mu  sync.Mutex
	all map[string]*Between
}

func newCompared() *compared {
	return &compared{making: make(chan struct{}, 1), all: map[string]*Between{}}
}

// side is a version, or the part of it that a cut gives; nil: all.
type side struct {
	m   *Manifest
	cut *Cut
}

// Between compares a version of a dataset with another, which counts as the one
// before. cut says which part of each is compared, nil of all: nothing else of the
// versions is read but what a cut reads, and nothing else is told. ctx ends it.
func (s *Store) Between(ctx context.Context, dataset string, before, after int64, cut func(*Manifest) (*Cut, error)) (*Between, error) {
	var sides [2]side
	id := ""
	for i, version := range []int64{before, after} {
		m, err := s.Get(dataset, version)
		if err == nil && m.Removed != nil {
			err = fmt.Errorf("release %s %w: its files were removed (%s)", of(dataset, version), ErrUnknown, m.Removed.Reason.EN)
		}
		if err != nil {
			return nil, err
		}
		sides[i].m = m
		if cut != nil {
			if sides[i].cut, err = cut(m); err != nil {
				return nil, err
			}
		}
		part, err := sides[i].cut.id(m)
		if err != nil {
			return nil, err
		}
		id += part
	}
	if was, is := sides[0], sides[1]; was.cut == nil && is.cut == nil && is.m.Replaces == before && is.m.Diff != nil {
		return &Between{*is.m.Diff, true}, nil
	}
	return s.compared.get(ctx, id, func() (*Between, error) { return s.between(ctx, sides[0], sides[1]) })
}

func (c *compared) get(ctx context.Context, id string, compare func() (*Between, error)) (*Between, error) {
	if b := c.known(id); b != nil {
		return b, nil
	}
	select {
	case c.making <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-c.making }()
	if b := c.known(id); b != nil { // somebody else wanted the same
		return b, nil
	}
	b, err := compare()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.all) >= manyBetween {
		clear(c.all)
	}
	c.all[id] = b
	return b, nil
}

func (c *compared) known(id string) *Between {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[id]
}

func (s *Store) between(ctx context.Context, before, after side) (*Between, error) {
	was, err := s.sideTable(ctx, before)
	if err != nil {
		return nil, err
	}
	is, err := s.sideTable(ctx, after)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if key := commonKey(before, after); key != nil {
		c, err := Diff(was, is, key)
		if err != nil {
			return nil, fmt.Errorf("compare releases %s and %s: %w", of(before.m.Dataset, before.m.Version), of(after.m.Dataset, after.m.Version), err)
		}
		return &Between{*c, true}, nil
	}
	return &Between{*diffRows(was, is), false}, nil
}

func (s *Store) sideTable(ctx context.Context, of side) (*Table, error) {
	if of.cut == nil {
		return s.Table(of.m.Dataset, of.m.Version)
	}
	return s.cutTable(ctx, of.m, of.cut)
}

// commonKey is the key of both sides; nil: they have another, columns of it are of
// another type, or one of them lacks some of it.
func commonKey(a, b side) []string {
	if !slices.Equal(a.m.Key, b.m.Key) || len(a.m.Key) == 0 {
		return nil
	}
	for _, name := range a.m.Key {
		was, is := a.m.column(name), b.m.column(name)
		if was == nil || is == nil || was.Type != is.Type || a.cut != nil && !a.cut.has(name) || b.cut != nil && !b.cut.has(name) {
			return nil
		}
	}
	return a.m.Key
}

func (m *Manifest) column(name string) *ColumnInfo {
	i := slices.IndexFunc(m.Columns, func(c ColumnInfo) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &m.Columns[i]
}

// diffRows compares tables of which no key is known, by all columns that they share:
// a row that is in both as often is the same.
func diffRows(old, new *Table) *Changes {
	d := &differ{before: old, after: new, counts: map[string]int64{}}
	d.columns(nil)
	if len(d.shared) == 0 {
		d.Removed, d.Added = int64(old.Rows), int64(new.Rows)
		return &d.Changes
	}
	var names []string
	for _, p := range d.shared {
		names = append(names, p.after.Name)
	}
	d.before, d.after, d.shared = old.sorted(names), new.sorted(names), nil
	for _, name := range names {
		d.was, d.is = append(d.was, d.before.Column(name)), append(d.is, d.after.Column(name))
	}
	d.walk()
	return &d.Changes
}

// sorted is the table in the order of some columns, which rows may share.
func (t *Table) sorted(names []string) *Table {
	var k keys
	for _, name := range names {
		k = append(k, t.Column(name))
	}
	return t.in(k.order(t.Rows))
}
