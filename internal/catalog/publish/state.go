package publish

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/gate"
	"github.com/songhua-io/hub/internal/catalog/release"
	"github.com/songhua-io/hub/internal/catalog/source"
	"github.com/songhua-io/hub/internal/records"
)

// publication is what was decided of a version. It never changes, but for that it
// is released.
type publication struct {
	Dataset  *catalog.Dataset // as it was published then
	Version  int64
	Period   catalog.Period
	Replaces int64
	Reason   catalog.Text
	Ticket   string
	// Corrections are what it was the first to be made with.
	Corrections []int64
	// At is as of when its rows are.
	At       time.Time
	Released time.Time // zero: not yet
	// Inputs is the hash of what it is made of.
	Inputs string

	rows *rows // as they were just made; nil: to be made again
	// tickets are all that it is made for, as long as it is being decided.
	tickets []string
}

// kept is the part of a publication that is a document.
type kept struct {
	Dataset     *catalog.Dataset `json:"dataset"`
	Replaces    int64            `json:"replaces,omitempty"`
	Reason      catalog.Text     `json:"reason"`
	Ticket      string           `json:"ticket,omitempty"`
	Corrections []int64          `json:"corrections,omitempty"`
	At          time.Time        `json:"at"`
}

const pubColumns = "version, starts, ends, released, inputs, record"

func scanPublication(rows interface{ Scan(...any) error }) (*publication, error) {
	var pub publication
	var starts, ends, released int64
	var text string
	if err := rows.Scan(&pub.Version, &starts, &ends, &released, &pub.Inputs, &text); err != nil {
		return nil, err
	}
	var k kept
	if err := json.Unmarshal([]byte(text), &k); err != nil {
		return nil, err
	}
	pub.Dataset, pub.Replaces, pub.Reason, pub.Ticket, pub.Corrections, pub.At = k.Dataset, k.Replaces, k.Reason, k.Ticket, k.Corrections, k.At
	pub.Period, pub.Released = catalog.Period{From: records.Time(starts), To: records.Time(ends)}, records.Time(released)
	return &pub, nil
}

func (p *Publisher) publications(ctx context.Context, where string, args ...any) (all []*publication, err error) {
	err = p.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		pub, err := scanPublication(rows)
		all = append(all, pub)
		return err
	}, "SELECT "+pubColumns+" FROM publications WHERE "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read what was released: %w", err)
	}
	return all, nil
}

// newest is the last version that was released of a period; nil: none yet.
func (p *Publisher) newest(ctx context.Context, dataset string, period catalog.Period) (*publication, error) {
	all, err := p.publications(ctx, "dataset = ? AND starts = ? AND released > 0 ORDER BY version DESC LIMIT 1", dataset, records.Millis(period.From))
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all[0], nil
}

// pending are those that were decided, and whose files may not be there.
func (p *Publisher) pending(ctx context.Context, dataset string) ([]*publication, error) {
	return p.publications(ctx, "dataset = ? AND released = 0 ORDER BY version", dataset)
}

// one is the publication of a version.
func (p *Publisher) one(ctx context.Context, dataset string, version int64) (*publication, error) {
	all, err := p.publications(ctx, "dataset = ? AND version = ?", dataset, version)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("version %d of dataset %.70q %w; see `hub release list %s`", version, dataset, ErrUnknown, dataset)
	}
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// next is the number of the next version: above all that were decided, and all
// that the store has.
func (p *Publisher) next(ctx context.Context, dataset string) (n int64, err error) {
	err = p.deps.Records.Each(ctx, func(rows *sql.Rows) error { return rows.Scan(&n) },
		"SELECT COALESCE(MAX(version), 0) FROM publications WHERE dataset = ?", dataset)
	for _, r := range p.deps.Store.List(dataset) {
		n = max(n, r.Version)
	}
	return n + 1, err
}

// decide numbers a version and puts it down, with why it is made, what the gate
// keeps and what it has spent, before anything of it is made. The change is on
// record.
func (p *Publisher) decide(ctx context.Context, pub *publication, last *publication) (err error) {
	d, made := pub.Dataset, pub.rows
	if pub.Version, err = p.next(ctx, d.ID); err != nil {
		return err
	}
	pub.tickets = ticketsOf(pub.Ticket, nil)
	if last != nil {
		pub.Replaces = last.Version
		if err := p.explain(ctx, pub, last); err != nil {
			return err
		}
	}
	var sealed []byte
	var spent []gate.Spent
	if made.table != nil {
		if sealed, spent, err = p.pass(ctx, pub, made); err != nil {
			return err
		}
	}
	text, err := json.Marshal(kept{d, pub.Replaces, pub.Reason, pub.Ticket, pub.Corrections, pub.At})
	if err != nil {
		return err
	}
	tree, err := p.lineageOf(ctx, pub, made)
	if err != nil {
		return err
	}
	ctx = p.deps.Noted(ctx, access.WriteDatasets, fmt.Sprintf("release %s %d", d.ID, pub.Version), d.Region, nil,
		map[string]any{"dataset": d.ID, "version": pub.Version, "day": dayName(pub.Period), "replaces": pub.Replaces, "reason": pub.Reason.EN, "tickets": pub.tickets, "corrections": pub.Corrections, "inputs": pub.Inputs})
	err = p.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		for _, s := range spent {
			if _, err := tx.ExecContext(ctx, "INSERT INTO privacy_budget (dataset, day, version, micro_epsilon, input) VALUES (?, ?, ?, ?, ?)", s.Dataset, s.Day, s.Version, s.MicroEpsilon, s.Input); err != nil {
				return err
			}
		}
		if err := pub.keepTickets(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO publications (dataset, version, starts, ends, decided, released, inputs, source, record, lineage, sealed) VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?)",
			d.ID, pub.Version, records.Millis(pub.Period.From), records.Millis(pub.Period.To), records.Millis(pub.At), pub.Inputs, string(d.Source.Kind), string(text), tree, sealed)
		return err
	})
	if err != nil {
		return fmt.Errorf("keep what was decided of version %d of dataset %s: %w", pub.Version, d.ID, err)
	}
	return nil
}

func (p *Publisher) released(ctx context.Context, pub *publication) error {
	return p.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE publications SET released = ? WHERE dataset = ? AND version = ?", records.Millis(p.deps.Clock()), pub.Dataset.ID, pub.Version)
		return err
	})
}

// drop takes back what was decided and of which nothing is out. What it has spent
// of the budget stays spent.
func (p *Publisher) drop(ctx context.Context, pub *publication) error {
	return p.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM release_tickets WHERE dataset = ? AND version = ?", pub.Dataset.ID, pub.Version); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM publications WHERE dataset = ? AND version = ? AND released = 0", pub.Dataset.ID, pub.Version)
		return err
	})
}

const noiseKey = "noise"

// makeKey makes the key of noise once.
func (p *Publisher) makeKey(ctx context.Context) error {
	if _, err := p.key(ctx); !errors.Is(err, errNoKey) {
		return err
	}
	key, err := gate.NewKey(rand.Reader)
	if err != nil {
		return err
	}
	return p.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO privacy_keys (name, sealed) VALUES (?, ?)", noiseKey, p.deps.Seal(key, "privacy key "+noiseKey))
		return err
	})
}

var errNoKey = errors.New("there is no key of noise")

func (p *Publisher) key(ctx context.Context) (key []byte, err error) {
	err = p.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var sealed []byte
		if err := rows.Scan(&sealed); err != nil {
			return err
		}
		key, err = p.deps.Unseal(sealed, "privacy key "+noiseKey)
		return err
	}, "SELECT sealed FROM privacy_keys WHERE name = ?", noiseKey)
	if err == nil && key == nil {
		err = errNoKey
	}
	return key, err
}

// ledger is what was spent of the budget.
func (p *Publisher) ledger(ctx context.Context) (*gate.Ledger, error) {
	l := &gate.Ledger{Shared: int64(math.Round(p.cfg.DayBudget * 1e6))}
	err := p.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var s gate.Spent
		err := rows.Scan(&s.Dataset, &s.Day, &s.Version, &s.MicroEpsilon, &s.Input)
		l.Entries = append(l.Entries, s)
		return err
	}, "SELECT dataset, day, version, micro_epsilon, input FROM privacy_budget ORDER BY dataset, day, version")
	return l, err
}

// budgetOf is how much may be spent of a day of a dataset, in millionths of ε: what
// it says now, or else what it said when the first version of the day was made.
func budgetOf(d *catalog.Dataset, noise *catalog.Noise) int64 {
	for _, n := range []*catalog.Noise{d.Privacy.Noise, noise} {
		if n != nil {
			return n.MicroBudget
		}
	}
	return 0
}

// gateEdition is that of the gate: 1 shows late data in part where they cannot be
// shown in whole. Changed when the gate decides otherwise of the same.
const gateEdition = 1

// gated is what is kept, sealed, of a version that passed the gate: all that it
// was decided by, and what came of it.
type gated struct {
	Table    *gate.Table
	Policy   gate.Policy
	Budget   int64 // of noise, in millionths of ε
	Now      time.Time
	Earlier  []ref // in the order in which they were handed to the gate
	Reviewer string
	Links    []source.Link
	// Edition is that of the gate by which it was decided, and is made again.
	Edition int

	Published *gate.Published
	Past      *gate.Past
	Report    []byte
}

// ref names a version.
type ref struct {
	Dataset string
	Version int64
}

// rows are those of what passed.
func (g *gated) rows(d *catalog.Dataset) (*source.Made, error) {
	if ofPersons(d) {
		return source.PersonRows(d, g.Published)
	}
	return source.RoadRows(d, g.Published, g.Links)
}

func (p *Publisher) sealGated(g *gated, of ref) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := errors.Join(gob.NewEncoder(z).Encode(g), z.Close()); err != nil {
		return nil, err
	}
	return p.deps.Seal(b.Bytes(), of.binding()), nil
}

func (r ref) binding() string { return fmt.Sprintf("publication %s %d", r.Dataset, r.Version) }

func (p *Publisher) openGated(sealed []byte, of ref) (*gated, error) {
	plain, err := p.deps.Unseal(sealed, of.binding())
	if err != nil {
		return nil, fmt.Errorf("what the gate keeps of version %d of dataset %s: %w", of.Version, of.Dataset, err)
	}
	z, err := gzip.NewReader(bytes.NewReader(plain))
	if err != nil {
		return nil, err
	}
	g := &gated{}
	return g, gob.NewDecoder(z).Decode(g)
}

// gatedOf reads what is kept of a version; nil: it did not pass the gate.
func (p *Publisher) gatedOf(ctx context.Context, of ref) (g *gated, err error) {
	err = p.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var sealed []byte
		if err := rows.Scan(&sealed); err != nil || sealed == nil {
			return err
		}
		g, err = p.openGated(sealed, of)
		return err
	}, "SELECT sealed FROM publications WHERE dataset = ? AND version = ?", of.Dataset, of.Version)
	return g, err
}

// hashTable is the SHA-256 of the rows of a table.
func hashTable(t *release.Table) string {
	h := sha256.New()
	b := make([]byte, 0, 64<<10)
	for i := range t.Columns {
		c := &t.Columns[i]
		b = append(b, c.Name+"\xff"+string(c.Type)+"\xff"+c.Unit+"\xff"...)
		for r := range t.Rows {
			b = appendValue(b, c, r)
			if len(b) > 60<<10 {
				h.Write(b)
				b = b[:0]
			}
		}
	}
	h.Write(b)
	return hex.EncodeToString(h.Sum(nil))
}

// appendValue appends whether there is a value, and which.
func appendValue(b []byte, c *release.Column, row int) []byte {
	if !c.Has(row) {
		return append(b, 0)
	}
	b = append(b, 1)
	switch c.Type {
	case catalog.Integer, catalog.Instant:
		return binary.LittleEndian.AppendUint64(b, uint64(c.Integers[row]))
	case catalog.String, catalog.Place:
		return append(binary.LittleEndian.AppendUint64(b, uint64(len(c.Strings[row]))), c.Strings[row]...)
	case catalog.Boolean:
		if c.Booleans[row] {
			return append(b, 1)
		}
		return append(b, 0)
	}
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(c.Numbers[row]))
}
