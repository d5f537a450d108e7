package publish

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/gate"
	"github.com/songhua-io/hub/internal/catalog/gate/attack"
	"github.com/songhua-io/hub/internal/catalog/source"
	"github.com/songhua-io/hub/internal/records"
)

// rows are what a release is made of: a table, or one that is to pass the gate.
type rows struct {
	*source.Made

	hash   string
	table  *gate.Table // nil: it needs no gate
	policy gate.Policy
	budget int64 // of noise, in millionths of ε
	links  []source.Link
	// late compares the table with earlier ones; nil: nothing is known of what came late.
	late  func(earlier []*gate.Table)
	state *gated // once it has passed
	// behind are the series of a table about persons. Grades are followed by them, and
	// nobody is told of them.
	behind []source.Input
}

// roadRows are the cells of a day of roads, before the gate.
func (p *Publisher) roadRows(ctx context.Context, d *catalog.Dataset, period catalog.Period) (*rows, error) {
	day, err := p.deps.Passages.day(ctx, period)
	if err != nil {
		return nil, err
	}
	var links []source.Link
	for _, code := range slices.Sorted(maps.Keys(day.units)) {
		l := p.deps.Road(code, day.units[code])
		l.Code, l.Units = code, []string{day.units[code]}
		if strings.HasPrefix(l.District, d.Region) {
			links = append(links, l)
		}
	}
	if len(links) == 0 {
		return nil, fmt.Errorf("dataset %s %w of %s: no roadside unit told of passages", d.ID, ErrEmpty, dayName(period))
	}
	noise, err := p.noise(ctx, d, period)
	if err != nil {
		return nil, err
	}
	at := func(link string, minute int64) source.Passages { return day.links[link][minute] }
	terms := source.RoadTerms{Returning: p.cfg.Returning, Noise: noise != nil, Grown: day.grown}
	t, err := source.RoadTable(d, period, links, at, terms)
	if err != nil {
		return nil, err
	}
	hash, err := hashGated(t)
	return &rows{hash: hash, table: t, policy: p.cfg.policy(noise), budget: budgetOf(d, noise), links: links,
		late: func(earlier []*gate.Table) { source.Late(t, earlier, at, terms.Returning) }}, err
}

// hashGated is the SHA-256 of a table before the gate.
func hashGated(t *gate.Table) (string, error) {
	text, err := json.Marshal(t)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), err
}

// noise is that of a period of a dataset: what its first version had, if there was
// one. Exact numbers beside noisy ones would undo the noise, in whichever order they
// come out.
func (p *Publisher) noise(ctx context.Context, d *catalog.Dataset, period catalog.Period) (*catalog.Noise, error) {
	first, err := p.publications(ctx, "dataset = ? AND starts = ? ORDER BY version LIMIT 1", d.ID, records.Millis(period.From))
	if err != nil || len(first) == 0 {
		return d.Privacy.Noise, err
	}
	return first[0].Dataset.Privacy.Noise, nil
}

// pass takes a table through the gate, with all that is out of the same roads and
// day, attacks what comes out, and returns what is to be kept of it.
func (p *Publisher) pass(ctx context.Context, pub *publication, made *rows) (sealed []byte, spent []gate.Spent, err error) {
	made.table.Version, made.table.Zone = pub.Version, int64(source.ChinaAhead/time.Second)
	g := &gated{Table: made.table, Policy: made.policy, Budget: made.budget, Now: pub.At, Reviewer: p.reviewer(pub.Dataset), Links: made.links, Edition: gateEdition}
	pub.rows = made
	if g.Earlier, err = p.overlapping(ctx, pub); err != nil {
		return nil, nil, err
	}
	ledger, err := p.ledger(ctx)
	if err != nil {
		return nil, nil, err
	}
	before := len(ledger.Entries)
	earlier, err := p.alike(ctx, g)
	if err != nil {
		return nil, nil, err
	}
	if made.late != nil {
		made.late(earlier)
	}
	if err := p.run(ctx, g, ledger); err != nil {
		return nil, nil, fmt.Errorf("version %d of dataset %s, %s: %w", pub.Version, pub.Dataset.ID, dayName(pub.Period), err)
	}
	if len(ledger.Entries) > before {
		for _, s := range ledger.Entries {
			if s.Dataset == pub.Dataset.ID && s.Version == pub.Version {
				spent = append(spent, s)
			}
		}
	}
	made.state = g
	if made.Made, err = g.rows(pub.Dataset); err != nil {
		return nil, nil, err
	}
	sealed, err = p.sealGated(g, ref{pub.Dataset.ID, pub.Version})
	return sealed, spent, err
}

// alike returns the tables that are out already, and refuses one with noise beside
// exact ones of the same places and period, and the other way round.
func (p *Publisher) alike(ctx context.Context, g *gated) (earlier []*gate.Table, err error) {
	has := map[string]bool{}
	for _, l := range g.Table.Dimensions[0].Leaves {
		has[l.Code] = true
	}
	for _, r := range g.Earlier {
		e, err := p.earlier(ctx, r)
		if err != nil {
			return nil, err
		}
		shared := slices.ContainsFunc(e.Table.Dimensions[0].Leaves, func(l gate.Leaf) bool { return has[l.Code] })
		if noisy := e.Policy.MicroEpsilon > 0; shared && noisy != (g.Policy.MicroEpsilon > 0) {
			is, other := "without noise", "with it"
			if !noisy {
				is, other = "with noise", "without it"
			}
			return nil, fmt.Errorf("dataset %s %w %s: version %d of dataset %s is out %s, of some of the same places and the same time, and exact numbers undo noise; give both the same privacy.noise, or regions that have nothing in common", g.Table.Dataset, ErrShut, is, r.Version, r.Dataset, other)
		}
		earlier = append(earlier, e.Past.Table)
	}
	return earlier, nil
}

// earlier is what the gate keeps of a version that a table is checked against.
func (p *Publisher) earlier(ctx context.Context, r ref) (*gated, error) {
	e, err := p.gatedOf(ctx, r)
	if err != nil || e == nil {
		return nil, errors.Join(err, fmt.Errorf("what was released before as version %d of dataset %s cannot be checked against", r.Version, r.Dataset))
	}
	return e, nil
}

// reviewer is who looked at it: whom the configuration names, else who signed the
// grade.
func (p *Publisher) reviewer(d *catalog.Dataset) string {
	if p.cfg.Reviewer != "" {
		return p.cfg.Reviewer
	}
	return d.Signed
}

// overlapping are the versions that are out, or may be, of a period: of any dataset
// of roads, or of those about the same persons; the oldest first.
func (p *Publisher) overlapping(ctx context.Context, pub *publication) (all []ref, err error) {
	if ofPersons(pub.Dataset) {
		return p.samePersons(ctx, pub)
	}
	err = p.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var r ref
		err := rows.Scan(&r.Dataset, &r.Version)
		all = append(all, r)
		return err
	}, "SELECT dataset, version FROM publications WHERE source = ? AND starts < ? AND ends > ? AND NOT (dataset = ? AND version = ?) ORDER BY decided, rowid",
		string(catalog.SourceRoads), records.Millis(pub.Period.To), records.Millis(pub.Period.From), pub.Dataset.ID, pub.Version)
	return all, err
}

// run decides, by what is in g alone, and fills what came of it. It is the same
// whenever it is done again.
func (p *Publisher) run(ctx context.Context, g *gated, ledger *gate.Ledger) error {
	key, err := p.key(ctx)
	if err != nil {
		return err
	}
	var past []*gate.Past
	var earlier []*gate.Published
	for _, r := range g.Earlier {
		e, err := p.earlier(ctx, r)
		if err != nil {
			return err
		}
		past, earlier = append(past, e.Past), append(earlier, e.Published)
	}
	// As it stood then: the version says the same when it is made again later.
	ledger.Budget = g.Budget
	ledger.Entries = slices.DeleteFunc(ledger.Entries, func(s gate.Spent) bool { return s.Dataset == g.Table.Dataset && s.Version > g.Table.Version })
	in := gate.Input{Table: g.Table, Policy: g.Policy, Now: g.Now, Past: past, Key: key, Ledger: ledger, Former: g.Edition < gateEdition}
	result, err := gate.Run(in)
	if err != nil {
		return err
	}
	seed := sha256.Sum256(fmt.Appendf(slices.Clone(key), "attack %s %d", g.Table.Dataset, g.Table.Version))
	suite := attack.Suite{Result: result, Earlier: earlier, Past: past, Ledger: ledger, Seed: 1, Random: rand.NewChaCha8(seed),
		Again: func() (*gate.Published, error) {
			again, err := gate.Run(in)
			if err != nil {
				return nil, err
			}
			return again.Published, nil
		}}
	if g.Policy.MicroEpsilon == 0 {
		suite.Ledger = nil
	}
	findings, err := suite.Run()
	if err != nil {
		return err
	}
	report, err := result.Report(g.Now.UTC().Truncate(time.Second), g.Reviewer, findings)
	if err != nil {
		return err
	}
	g.Published, g.Past = result.Published, result.Past
	g.Report, err = gate.Canonical(report)
	return err
}
