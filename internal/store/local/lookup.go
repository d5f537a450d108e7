package local

import (
	"context"
	"errors"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/songhua-io/hub/internal/telemetry"
)

// lookup is what is stored at the time of an arrival: a value, the same value,
// or a marker in whose place the arrival stands.
type lookup struct{ found, equal, marker bool }

// sift removes from sorted arrivals what is stored already or stands twice
// among them, and refuses what contradicts. What it returns is new; what stands
// in the place of a marker is put among the late.
func (d *DB) sift(writes []*telemetry.Write, sorted []arrival) ([]arrival, error) {
	d.gate.RLock()
	defer d.gate.RUnlock()
	news := sorted[:0]
	for len(sorted) > 0 {
		n := 1
		for n < len(sorted) && sorted[n].id == sorted[0].id {
			n++
		}
		known, err := d.look(sorted[:n])
		if err != nil {
			return nil, err
		}
		first := len(news)
		for i, a := range sorted[:n] {
			last := len(news) - 1
			switch {
			case known[i].equal:
				w := writes[a.write]
				w.Repeated = append(w.Repeated, a.point)
			case known[i].found:
				refuse(writes, a.write, a.point, telemetry.ReasonConflict)
			case known[i].marker:
				d.putLate(writes, a)
			case last < first || news[last].time != a.time:
				news = append(news, a)
			case !same(news[last].value, a.value):
				refuse(writes, a.write, a.point, telemetry.ReasonConflict)
			default:
				w := writes[a.write]
				w.Repeated = append(w.Repeated, a.point)
			}
		}
		sorted = sorted[n:]
	}
	return news, nil
}

// putLate puts an arrival among the late, unless it stands there already.
func (d *DB) putLate(writes []*telemetry.Write, a arrival) {
	for _, b := range d.round.late {
		if b.id == a.id && b.time == a.time {
			if !same(a.value, b.value) {
				refuse(writes, a.write, a.point, telemetry.ReasonConflict)
			}
			return
		}
	}
	d.round.late = append(d.round.late, a)
}

// look returns what is stored at the times of one series' arrivals, which are
// sorted. The caller holds the gate.
func (d *DB) look(run []arrival) ([]lookup, error) {
	d.round.known = d.round.known[:0]
	for range run {
		d.round.known = append(d.round.known, lookup{})
	}
	known := d.round.known
	s, mint, maxt := run[0].series, run[0].time, run[len(run)-1].time
	mark := func(it chunkenc.Iterator) error { return markKnown(it, run, known) }

	looked := false
	if !d.compacting && s.State.ref != 0 && !d.recent.holdsBlocks(mint, maxt) {
		var err error
		if looked, err = d.recent.scanHead(s.State.ref, mint, maxt, mark); err != nil {
			return nil, err
		}
	}
	if !looked {
		if err := scan(d.recent.db, s.Labels, mint, maxt, mark); err != nil {
			return nil, err
		}
	}
	if late := d.late.Load(); late != nil && late.reaches(mint, maxt) {
		if err := scan(late.db, s.Labels, mint, maxt, mark); err != nil {
			return nil, err
		}
	}
	return known, nil
}

// markKnown compares the samples of an iterator with a sorted run.
func markKnown(it chunkenc.Iterator, run []arrival, known []lookup) error {
	i := 0
	for kind := it.Seek(run[0].time); kind != chunkenc.ValNone; kind = it.Next() {
		if kind != chunkenc.ValFloat {
			continue
		}
		t, v := it.At()
		for i < len(run) && run[i].time < t {
			i++
		}
		if i == len(run) {
			break
		}
		for j := i; j < len(run) && run[j].time == t; j++ {
			if inPlaceOfMarker(run[j].value, v) {
				known[j].marker = true
				continue
			}
			known[j].found = true
			known[j].equal = known[j].equal || same(run[j].value, v)
		}
	}
	return it.Err()
}

// scanHead runs over the samples that the head has of a series. It reports
// false when the chunks moved meanwhile, and finds nothing for a series that
// left the head. Chunk files stay mapped only while no compaction runs.
func (p *part) scanHead(ref storage.SeriesRef, mint, maxt int64, visit func(chunkenc.Iterator) error) (bool, error) {
	head := p.db.Head()
	index := tsdb.NewHeadAndOOOIndexReader(head, mint, mint, maxt, 0)
	err := index.Series(ref, &p.builder, &p.chks)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	reader := tsdb.NewHeadAndOOOChunkReader(head, mint, maxt, nil, nil, 0)
	for _, meta := range p.chks {
		if meta.MaxTime < mint || meta.MinTime > maxt {
			continue
		}
		chk, merged, err := reader.ChunkOrIterable(meta)
		if errors.Is(err, storage.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if chk != nil {
			p.it = chk.Iterator(p.it)
		} else {
			p.it = merged.Iterator(nil)
		}
		if err := visit(p.it); err != nil {
			return false, err
		}
	}
	return true, nil
}

// scan runs over the samples of a series wherever a TSDB keeps them.
func scan(db *tsdb.DB, ls labels.Labels, mint, maxt int64, visit func(chunkenc.Iterator) error) (err error) {
	q, err := db.Querier(mint, maxt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	var matchers []*labels.Matcher
	ls.Range(func(l labels.Label) {
		matchers = append(matchers, labels.MustNewMatcher(labels.MatchEqual, l.Name, l.Value))
	})
	set := q.Select(context.Background(), false, nil, matchers...)
	for set.Next() {
		// Series with more labels match too.
		if found := set.At(); labels.Equal(found.Labels(), ls) {
			if err := visit(found.Iterator(nil)); err != nil {
				return err
			}
		}
	}
	return set.Err()
}

// reaches reports whether a part may hold samples between two times.
func (p *part) reaches(mint, maxt int64) bool {
	head := p.db.Head()
	inOrder := head.MinTime() <= maxt && head.MaxTime() >= mint
	outOfOrder := head.MinOOOTime() <= maxt && head.MaxOOOTime() >= mint
	return inOrder || outOfOrder || p.holdsBlocks(mint, maxt)
}
