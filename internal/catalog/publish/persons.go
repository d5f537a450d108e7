package publish

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/source"
	"github.com/songhua-io/hub/internal/records"
)

// ofPersons reports whether a dataset is about persons and not of roads, which have
// a way of their own.
func ofPersons(d *catalog.Dataset) bool {
	return d.Personal && d.Source.Kind != catalog.SourceRoads
}

// personRows are the cells of a day of a dataset about persons, before the gate.
func (p *Publisher) personRows(ctx context.Context, d *catalog.Dataset, period catalog.Period) (*rows, error) {
	noise, err := p.noise(ctx, d, period)
	if err != nil {
		return nil, err
	}
	key, err := p.key(ctx)
	if err != nil {
		return nil, err
	}
	made, err := source.PersonTable(ctx, p.deps.Sources, d, period, source.PersonTerms{Key: key, Noise: noise != nil})
	if err != nil {
		return nil, err
	}
	if made == nil {
		return nil, fmt.Errorf("dataset %s %w of %s", d.ID, ErrEmpty, dayName(period))
	}
	hash, err := hashGated(made.Table)
	return &rows{hash: hash, table: made.Table, policy: personPolicy(noise), budget: budgetOf(d, noise), behind: made.Behind}, err
}

// samePersons are the versions of a period that are of the same series. One of the
// same metric and places that is told apart in another way is refused: the
// difference would tell of those who are in one of them alone.
func (p *Publisher) samePersons(ctx context.Context, pub *publication) (all []ref, err error) {
	type other struct {
		ref
		dataset *catalog.Dataset
	}
	var others []other
	err = p.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var o other
		var text string
		if err := rows.Scan(&o.Dataset, &o.Version, &text); err != nil {
			return err
		}
		var k kept
		err := json.Unmarshal([]byte(text), &k)
		o.dataset = k.Dataset
		others = append(others, o)
		return err
	}, "SELECT dataset, version, record FROM publications WHERE source = ? AND sealed IS NOT NULL AND starts < ? AND ends > ? AND NOT (dataset = ? AND version = ?) ORDER BY decided, rowid",
		string(catalog.SourceSeries), records.Millis(pub.Period.To), records.Millis(pub.Period.From), pub.Dataset.ID, pub.Version)
	if err != nil {
		return nil, err
	}
	for _, o := range others {
		if likePersons(pub.Dataset, o.dataset) {
			all = append(all, o.ref)
			continue
		}
		if err := p.apart(ctx, pub, o.ref); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// likePersons reports whether two datasets count the same persons in the same bins.
func likePersons(a, b *catalog.Dataset) bool {
	return strings.TrimSpace(a.Source.Selector) == strings.TrimSpace(b.Source.Selector) && a.Source.Bin == b.Source.Bin &&
		a.Privacy.Contributor == b.Privacy.Contributor && a.Privacy.Cap == b.Privacy.Cap
}

// apart refuses a table beside one that tells of some of the same metric and places
// by another selection.
func (p *Publisher) apart(ctx context.Context, pub *publication, r ref) error {
	e, err := p.earlier(ctx, r)
	if err != nil {
		return err
	}
	t := pub.rows.table
	if e.Table.Measures[0].Name != t.Measures[0].Name {
		return nil
	}
	for _, l := range t.Dimensions[0].Leaves {
		for _, o := range e.Table.Dimensions[0].Leaves {
			if l.Code == o.Code {
				return fmt.Errorf("dataset %s %w: version %d of dataset %s has the same metric of %s, by another selector, bin, privacy.contributor or privacy.cap, and the difference would tell of those who are in one alone; give both the same, or take other districts",
					pub.Dataset.ID, ErrShut, r.Version, r.Dataset, l.Code)
			}
		}
	}
	return nil
}
