package ledger

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// A commit writes what it changed as one value of the journal: new records
// whole, changes without what stays. From there a record is carried when the
// journal reaches no further back: into a row of its own when it lives, into a
// pack with its neighbours when it has ended. What ends before that, as most
// does, never has a row.
const (
	// journalBytes is how far the journal reaches, and so how much a start reads.
	journalBytes = 64 << 20
	// journalAge bounds how long a quiet ledger leaves something there.
	journalAge = 10 * time.Minute
	// carriedAtOnce is how many entries, and how many full blocks, one commit
	// carries on at most: callers wait for it.
	carriedAtOnce = 4
)

// journal is what is in the journal on disk. It is Run's alone.
type journal struct {
	last    int64 // entry
	entries []entry
	bytes   int
	// dirty are the newest versions on disk of what was not carried since it
	// changed; past those of them that ended, by block.
	dirty map[uint64]*record
	past  map[uint64][]*record
	full  []uint64 // blocks of past that are complete
	rows  numbers  // of records that have a row

	reach int // in bytes
	wait  time.Duration
}

// entry is one value of the journal.
type entry struct {
	id    int64
	at    time.Time
	bytes int
	nums  []uint64
}

func newJournal() journal {
	return journal{dirty: map[uint64]*record{}, past: map[uint64][]*record{}, rows: numbers{}, reach: journalBytes, wait: journalAge}
}

// numbers is a set of numbers that lie close together.
type numbers map[uint64]uint64

func (s numbers) add(n uint64)      { s[n/blockSize] |= 1 << (n % blockSize) }
func (s numbers) has(n uint64) bool { return s[n/blockSize]&(1<<(n%blockSize)) != 0 }
func (s numbers) remove(n uint64) {
	if s[n/blockSize] &^= 1 << (n % blockSize); s[n/blockSize] == 0 {
		delete(s, n/blockSize)
	}
}

// note takes a version that comes to disk.
func (j *journal) note(r *record) {
	j.dirty[r.num] = r
	if r.lives() {
		return
	}
	block := r.num / blockSize
	if j.past[block] = append(j.past[block], r); len(j.past[block]) == blockSize {
		j.full = append(j.full, block)
	}
}

// due reports whether the oldest entry is to be carried on.
func (j *journal) due(now time.Time) bool {
	return len(j.entries) > 0 && (j.bytes > j.reach || now.Sub(j.entries[0].at) > j.wait)
}

// carried is what a commit takes out of the journal.
type carried struct {
	rows    []*record   // that live
	packs   [][]*record // that ended, by block
	entries int         // the oldest
}

// carry decides what a commit takes out of the journal.
func (j *journal) carry(now time.Time) (c carried) {
	for len(j.full) > 0 && len(c.packs) < carriedAtOnce {
		block := j.full[0]
		if j.full = j.full[1:]; len(j.past[block]) > 0 { // not with an entry before
			c.packs = append(c.packs, j.pack(block))
		}
	}
	for ; c.entries < carriedAtOnce && j.due(now); c.entries++ {
		e := j.entries[0]
		j.entries, j.bytes = j.entries[1:], j.bytes-e.bytes
		for _, num := range e.nums {
			switch r := j.dirty[num]; {
			case r == nil: // carried before
			case r.lives():
				c.rows = append(c.rows, r)
				delete(j.dirty, num)
			default:
				c.packs = append(c.packs, j.pack(num/blockSize))
			}
		}
	}
	return c
}

// pack takes what ended of a block out of the journal.
func (j *journal) pack(block uint64) []*record {
	all := j.past[block]
	delete(j.past, block)
	for _, r := range all {
		delete(j.dirty, r.num)
	}
	slices.SortFunc(all, func(a, b *record) int { return int(int64(a.num) - int64(b.num)) })
	return all
}

// saveJournal writes what a batch changed, and carries on what is due.
func (l *Ledger) saveJournal(ctx context.Context, s *statements, b *batch, now time.Time) error {
	j := &l.journal
	e := entry{at: now, nums: make([]uint64, 0, len(b.records))}
	doc := l.statements.journalled[:0]
	for num, r := range b.records {
		j.note(r.record)
		e.nums = append(e.nums, num)
		doc = appendChange(doc, num, r.doc.bytes)
	}
	c := j.carry(now)
	for _, pack := range c.packs {
		for _, r := range pack {
			doc = appendChange(doc, r.num, nil)
		}
	}
	l.statements.journalled = doc
	if len(doc) > 0 {
		j.last++
		e.id, e.bytes = j.last, len(doc)
		j.entries, j.bytes = append(j.entries, e), j.bytes+e.bytes
		if _, err := s.journal.ExecContext(ctx, e.id, l.statements.squeeze(doc)); err != nil {
			return err
		}
	}
	b.packed = c.packs
	return l.saveCarried(ctx, s, c)
}

func (l *Ledger) saveCarried(ctx context.Context, s *statements, c carried) error {
	for _, r := range c.rows {
		l.statements.doc.write(r, lacksNothing)
		if _, err := s.live.ExecContext(ctx, int64(r.num), l.statements.doc.bytes); err != nil {
			return err
		}
		l.journal.rows.add(r.num)
	}
	for _, pack := range c.packs {
		for _, r := range pack {
			if !l.journal.rows.has(r.num) {
				continue
			}
			if _, err := s.gone.ExecContext(ctx, int64(r.num)); err != nil {
				return err
			}
			l.journal.rows.remove(r.num)
		}
		if err := s.savePack(ctx, l.statements, pack); err != nil {
			return err
		}
	}
	if c.entries == 0 {
		return nil
	}
	oldest := l.journal.last + 1
	if len(l.journal.entries) > 0 {
		oldest = l.journal.entries[0].id
	}
	_, err := s.carried.ExecContext(ctx, oldest)
	return err
}

// appendChange writes a version of a record into an entry; without a document
// it has gone into a pack.
func appendChange(b []byte, num uint64, doc []byte) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(b, num), uint64(len(doc)))
	return append(b, doc...)
}

// change is a part of an entry that is read.
type change struct {
	num uint64
	*kept
}

func parseChanges(doc []byte) (all []change, err error) {
	for len(doc) > 0 {
		num, size := binary.Uvarint(doc)
		if size <= 0 {
			return nil, errDocument
		}
		var one []byte
		if one, _, doc, err = read(doc[size:], asBytes); err != nil {
			return nil, err
		}
		c := change{num: num}
		if len(one) > 0 {
			c.kept = &kept{}
			if err := parseDoc(recordForm, one, c.kept); err != nil {
				return nil, fmt.Errorf("record %d: %w", num, err)
			}
		}
		all = append(all, c)
	}
	return all, nil
}

// replay reads the journal on what the rows have.
func (l *Ledger) replay(ctx context.Context, live map[uint64]*record) error {
	var all []*parsed
	var parsing errgroup.Group
	err := l.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		p := &parsed{}
		if err := rows.Scan(&p.entry.id, &p.doc); err != nil {
			return err
		}
		all = append(all, p)
		parsing.Go(p.parse)
		return nil
	}, "SELECT id, doc FROM schedule_journal ORDER BY id")
	if err := errors.Join(err, parsing.Wait()); err != nil {
		return err
	}
	j, now := &l.journal, l.deps.Clock()
	lost := map[uint64]bool{} // changed, and neither its row nor an entry before is there
	for _, p := range all {
		for _, c := range p.changes {
			before := live[c.num]
			switch {
			case c.kept == nil: // it has gone into a pack
				delete(live, c.num)
				delete(j.dirty, c.num)
				delete(lost, c.num)
			case c.Lacks != 0 && before == nil:
				lost[c.num] = true
			default:
				r := c.on(before)
				live[c.num], j.dirty[c.num] = r, r
				p.entry.nums = append(p.entry.nums, c.num)
			}
		}
		p.entry.at = now
		j.last, j.entries, j.bytes = p.entry.id, append(j.entries, p.entry), j.bytes+p.entry.bytes
	}
	for num := range lost {
		return fmt.Errorf("record %d changed and is not there: %w", num, errDocument)
	}
	for num, r := range j.dirty {
		if j.note(r); !r.lives() {
			l.past[num] = r
			delete(live, num)
		}
	}
	return nil
}

type parsed struct {
	entry   entry
	doc     []byte
	changes []change
}

func (p *parsed) parse() (err error) {
	doc, err := unsqueeze(p.doc)
	p.entry.bytes = len(doc)
	if err == nil {
		p.changes, err = parseChanges(doc)
	}
	if err != nil {
		err = fmt.Errorf("entry %d of the journal: %w", p.entry.id, err)
	}
	p.doc = nil
	return err
}

// on returns the version that a change makes of the one before.
func (c change) on(before *record) *record {
	if c.Lacks&lacksOrigin != 0 {
		c.Record.Tenant, c.Record.Workload, c.Record.First = before.Tenant, before.Workload, before.First
	}
	if c.Lacks&lacksDecision != 0 {
		c.Decision = before.explained
	}
	return c.record(c.num)
}
