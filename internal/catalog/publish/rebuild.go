package publish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/release"
	"github.com/songhua-io/hub/internal/catalog/source"
)

// errChanged says that a release cannot be made again of what there is now.
var errChanged = errors.New("the samples that it was made of are not there any more, or have changed since")

// Editions of the transforms. One is changed when the same samples make other
// rows by it.
var editions = map[catalog.SourceKind]string{
	catalog.SourceSeries:  "songhua-series/1",
	catalog.SourceSignals: "songhua-signals/1",
	catalog.SourceCompute: "songhua-compute/1",
	catalog.SourceRoads:   "songhua-roads/1",
}

// editionOfPersons is that of series about persons.
const editionOfPersons = "songhua-persons/1"

// transformOf says what makes the rows of a dataset.
func transformOf(d *catalog.Dataset) (Transform, error) {
	t := Transform{ID: editions[d.Source.Kind]}
	if ofPersons(d) {
		t.ID = editionOfPersons
	}
	text, err := json.Marshal(struct {
		Edition, Region string
		Source          catalog.Source
		Items           []catalog.Item
		Privacy         catalog.Privacy `json:",omitzero"`
	}{t.ID, d.Region, d.Source, d.Items, d.Privacy})
	sum := sha256.Sum256(text)
	t.Hash = hex.EncodeToString(sum[:])
	return t, err
}

// Rebuild makes the rows of a version again, by what was written down of it: of
// series from the store, of roads and persons from what the gate was told, which has
// to come to the same decision. The report is nil where no gate was passed.
func (p *Publisher) Rebuild(ctx context.Context, dataset string, version int64) (*release.Table, []byte, error) {
	pub, err := p.one(ctx, dataset, version)
	if err != nil {
		return nil, nil, err
	}
	made, err := p.again(ctx, pub)
	if err != nil {
		return nil, nil, fmt.Errorf("version %d of dataset %s: %w", version, dataset, err)
	}
	if made.state == nil {
		return made.Table, nil, nil
	}
	return made.Table, made.state.Report, nil
}

// again makes the rows of what was decided once more.
func (p *Publisher) again(ctx context.Context, pub *publication) (*rows, error) {
	if pub.Dataset.Source.Kind != catalog.SourceRoads && !ofPersons(pub.Dataset) {
		return p.seriesAgain(ctx, pub)
	}
	g, err := p.gatedOf(ctx, ref{pub.Dataset.ID, pub.Version})
	if err != nil || g == nil {
		return nil, errors.Join(err, errors.New("what the gate keeps of it is not there"))
	}
	ledger, err := p.ledger(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.run(ctx, g, ledger); err != nil {
		return nil, err
	}
	made, err := g.rows(pub.Dataset)
	return &rows{Made: made, hash: pub.Inputs, table: g.Table, links: g.Links, state: g}, err
}

// seriesAgain reads the store as it was read then: as of then, with the places of
// then.
func (p *Publisher) seriesAgain(ctx context.Context, pub *publication) (*rows, error) {
	tree, err := p.tree(ctx, ref{pub.Dataset.ID, pub.Version})
	if err != nil {
		return nil, err
	}
	places := map[string]*source.Point{}
	for i := range tree.Inputs {
		places[tree.Inputs[i].Name()] = tree.Inputs[i].At
	}
	deps := p.deps.Sources
	deps.Place = func(labels map[string]string) (lat, lon float64, ok bool) {
		in := source.Input{Labels: labels}
		at := places[in.Name()]
		if at == nil {
			return 0, 0, false
		}
		return at.Lat, at.Lon, true
	}
	made, err := source.Series(p.deps.AsOf(ctx, pub.At), deps, pub.Dataset, pub.Period)
	if err != nil {
		return nil, err
	}
	out := &rows{Made: made, hash: hashTable(made.Table)}
	if out.hash != pub.Inputs {
		return out, errChanged
	}
	return out, nil
}

// draft is the release of what was decided.
func (p *Publisher) draft(ctx context.Context, pub *publication) (*Draft, error) {
	made := pub.rows
	if made == nil {
		var err error
		if made, err = p.again(ctx, pub); err != nil {
			return nil, err
		}
	}
	t, err := transformOf(pub.Dataset)
	if err != nil {
		return nil, err
	}
	d := &Draft{Dataset: pub.Dataset, Table: made.Table, Key: made.Key, Period: pub.Period, Version: pub.Version, Replaces: pub.Replaces, Reason: pub.Reason, Thread: pub.Ticket, Corrections: pub.Corrections, Transform: t}
	for i := range made.Inputs {
		d.Inputs = append(d.Inputs, made.Inputs[i].Name())
	}
	if made.state != nil {
		d.Privacy = made.state.Report
	}
	return d, nil
}
