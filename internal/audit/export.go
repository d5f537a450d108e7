package audit

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/songhua-io/hub/internal/access"
)

// Format is what the first line of an export says it is (docs/formats/audit.md).
const Format = "songhua-audit/1"

// maxRun is how many entries an export may hold between two that are proved, so
// that one that broke off is taken up again near its end.
const maxRun = 1000

// opening is the first line of an export.
type opening struct {
	Format     string        `json:"audit"`
	Key        string        `json:"key"`
	Checkpoint string        `json:"checkpoint"`
	After      int64         `json:"after_seq"`
	Filter     *exportFilter `json:"filter,omitempty"`
}

type exportFilter struct {
	Region string     `json:"region,omitempty"`
	Since  *time.Time `json:"since,omitempty"`
	Until  *time.Time `json:"until,omitempty"`
	Actor  string     `json:"actor,omitempty"`
	Action string     `json:"action,omitempty"`
	Object string     `json:"object,omitempty"`
	Origin string     `json:"origin,omitempty"`
}

func (f Filter) exported() *exportFilter {
	if f == (Filter{}) {
		return nil
	}
	out := &exportFilter{Region: f.Region, Actor: f.Actor, Action: f.Action, Object: f.Object, Origin: f.Origin}
	if !f.Since.IsZero() {
		out.Since = &f.Since
	}
	if !f.Until.IsZero() {
		out.Until = &f.Until
	}
	return out
}

// exported is an entry as a line. Before and After are texts, so that what reads
// and writes JSON does not change what was hashed.
type exported struct {
	Seq    int64             `json:"seq"`
	At     time.Time         `json:"at"`
	Actor  string            `json:"actor"`
	Role   string            `json:"role"`
	Origin string            `json:"origin"`
	Action string            `json:"action"`
	Object string            `json:"object"`
	Region string            `json:"region"`
	Before string            `json:"before"`
	After  string            `json:"after"`
	Prev   string            `json:"prev"`
	Hash   string            `json:"hash"`
	Proof  *tlog.RecordProof `json:"proof,omitempty"`
}

func (e *Entry) export() exported {
	return exported{e.Seq, e.At.UTC(), e.Actor, string(e.Role), e.Origin, string(e.Action), e.Object, e.Region, e.Before, e.After,
		hex.EncodeToString(e.Prev[:]), hex.EncodeToString(e.Hash[:]), nil}
}

func (x *exported) entry() (Entry, error) {
	e := Entry{Seq: x.Seq, At: x.At, Actor: x.Actor, Role: access.Role(x.Role), Origin: x.Origin, Action: access.Action(x.Action),
		Object: x.Object, Region: x.Region, Before: x.Before, After: x.After}
	prev, err := hex.DecodeString(x.Prev)
	hash, errHash := hex.DecodeString(x.Hash)
	if err := errors.Join(err, errHash); err != nil || len(prev) != len(e.Prev) || len(hash) != len(e.Hash) {
		return e, fmt.Errorf("entry %d: %w", x.Seq, errCut)
	}
	copy(e.Prev[:], prev)
	copy(e.Hash[:], hash)
	return e, nil
}

// closing is the last line.
type closing struct {
	End struct {
		Entries int64 `json:"entries"`
		Last    int64 `json:"last"`
	} `json:"end"`
}

// Export writes the chosen entries after number after, the oldest first, as
// lines of JSON that can be verified with the public key alone. What is there is
// signed first. Memory is bounded by 200 entries.
func (l *Log) Export(ctx context.Context, w io.Writer, f Filter, after int64) error {
	c, err := l.Checkpoint(ctx)
	if err != nil {
		return err
	}
	x := &exporter{lines: json.NewEncoder(w), size: c.Size, tree: l.tree(ctx)}
	x.lines.SetEscapeHTML(false)
	if err := x.lines.Encode(opening{Format, l.State().Key, c.Note, after, f.exported()}); err != nil {
		return err
	}
	for {
		page, err := l.page(ctx, f, after, c.Size)
		if err != nil {
			return err
		}
		for _, e := range page {
			if err := x.take(e); err != nil {
				return err
			}
		}
		if len(page) < batch {
			break
		}
		after = page[len(page)-1].Seq
	}
	return x.close()
}

// batch is how many entries are read at once: while they are written, no
// connection of the database is held.
const batch = 200

func (l *Log) page(ctx context.Context, f Filter, after, most int64) (page []Entry, err error) {
	where, args := f.where()
	err = l.each(ctx, func(e Entry) error { page = append(page, e); return nil },
		where+" AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?", append(args, after, most, batch)...)
	return page, err
}

// exporter holds an entry back until it is known whether the next one follows
// it at once: only the last of such a run needs a proof.
type exporter struct {
	lines *json.Encoder
	size  int64
	tree  tlog.HashReader
	held  *Entry
	run   int
	end   closing
}

func (x *exporter) take(e Entry) error {
	if x.held != nil {
		if err := x.put(e.Seq != x.held.Seq+1); err != nil {
			return err
		}
	}
	x.held = &e
	return nil
}

func (x *exporter) close() error {
	if x.held != nil {
		if err := x.put(true); err != nil {
			return err
		}
	}
	return x.lines.Encode(x.end)
}

func (x *exporter) put(proved bool) error {
	line := x.held.export()
	if x.run++; proved || x.run == maxRun {
		proof, err := tlog.ProveRecord(x.size, x.held.Seq-1, x.tree)
		if err != nil {
			return fmt.Errorf("prove audit entry %d: %w", x.held.Seq, err)
		}
		if proof == nil {
			proof = tlog.RecordProof{}
		}
		line.Proof, x.run = &proof, 0
	}
	x.end.End.Entries, x.end.End.Last = x.end.End.Entries+1, x.held.Seq
	return x.lines.Encode(line)
}

// tree reads the stored tree of what is committed.
func (l *Log) tree(ctx context.Context) tlog.HashReader {
	return readHashes(func(place int64, take func(*sql.Rows) error) error {
		return l.o.Records.Each(ctx, take, hashAt, place)
	})
}
