package feed

import "slices"

// shelf keeps the snapshots that somebody reads page by page. When there are too
// many, those go first that nobody read beyond the first page: who only looks does
// not take a snapshot from who harvests.
type shelf struct {
	most int
	all  []*placed // the one used last stands last
}

type placed struct {
	*Snapshot
	followed bool
}

func newShelf(most int) *shelf { return &shelf{most: most} }

// take finds a snapshot that is kept; nil: it is not.
func (s *shelf) take(number int64, page int) *Snapshot {
	i := slices.IndexFunc(s.all, func(p *placed) bool { return p.Number == number })
	if i < 0 {
		return nil
	}
	p := s.all[i]
	p.followed = p.followed || page > 1
	s.all = append(slices.Delete(s.all, i, i+1), p)
	return p.Snapshot
}

// put keeps a snapshot whose first page was read.
func (s *shelf) put(n *Snapshot) {
	if s.take(n.Number, 1) != nil {
		return
	}
	if len(s.all) >= s.most {
		i := max(slices.IndexFunc(s.all, func(p *placed) bool { return !p.followed }), 0)
		s.all = slices.Delete(s.all, i, i+1)
	}
	s.all = append(s.all, &placed{Snapshot: n})
}

// start returns the current snapshot, which is kept for its reader.
func (f *Feed) start() *Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.read.put(f.current)
	return f.current
}

// kept returns a snapshot by its number; nil: it is no longer kept.
func (f *Feed) kept(number int64, page int) *Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.read.take(number, page); s != nil {
		return s
	}
	if f.current.Number == number {
		f.read.put(f.current)
		return f.current
	}
	return nil
}
