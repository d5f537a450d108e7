package publish

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/source"
	"github.com/songhua-io/hub/internal/personal"
)

// Correction is one that was made of samples.
type Correction struct {
	ID         int64
	At         time.Time
	By, Reason string
	Ticket     string    // that it was made for; empty: none
	From, To   time.Time // both included
	// About reports whether it is about a series with these labels.
	About func(labels map[string]string) bool
}

// maxNamed bounds the corrections that a reason names.
const maxNamed = 5

// explain says why a version replaces the last one.
func (p *Publisher) explain(ctx context.Context, pub, last *publication) error {
	corrections, err := p.correctionsOf(ctx, pub, last)
	if err != nil {
		return err
	}
	for _, c := range corrections {
		pub.Corrections = append(pub.Corrections, c.ID)
	}
	if pub.Reason == (catalog.Text{}) {
		pub.Reason, err = p.why(ctx, pub, last, corrections)
	}
	pub.tickets = ticketsOf(pub.Ticket, corrections)
	pub.Reason = naming(pub.Reason, pub.tickets)
	return err
}

// correctionsOf are those that rows were the first to see: made after the version
// before, about series of the dataset in the period.
func (p *Publisher) correctionsOf(ctx context.Context, pub, last *publication) ([]Correction, error) {
	if pub.rows.table != nil { // roads are made of what passed, which is no series
		return nil, nil
	}
	all := p.deps.Corrections(last.At, pub.At, pub.Period)
	if len(all) == 0 {
		return nil, nil
	}
	before, err := p.tree(ctx, ref{last.Dataset.ID, last.Version}) // a series may be removed as a whole
	if err != nil {
		return nil, err
	}
	return about(all, pub.rows.Inputs, before.Inputs), nil
}

// about are the corrections that are about any of some series.
func about(all []Correction, inputs ...[]source.Input) (some []Correction) {
	for _, c := range all {
		if c.ofAny(inputs) {
			some = append(some, c)
		}
	}
	return some
}

func (c *Correction) ofAny(inputs [][]source.Input) bool {
	for _, of := range inputs {
		for i := range of {
			if c.About(of[i].Labels) {
				return true
			}
		}
	}
	return false
}

// why says why a day is released again, where whoever ordered it did not: what was
// corrected, that the dataset is another, or that data came late. More than one may
// hold. It is public: who corrected stays with the correction, and a reason that
// names a person does too.
func (p *Publisher) why(ctx context.Context, pub *publication, last *publication, corrections []Correction) (catalog.Text, error) {
	var zh, en []string
	for i, c := range corrections {
		if i == maxNamed {
			zh, en = append(zh, fmt.Sprintf("另有 %d 项更正", len(corrections)-i)), append(en, fmt.Sprintf("%d more corrections", len(corrections)-i))
			break
		}
		zh, en = append(zh, fmt.Sprintf("更正 %d", c.ID)), append(en, fmt.Sprintf("correction %d", c.ID))
		if _, _, found := personal.Find(c.Reason); !found {
			zh[i], en[i] = zh[i]+"："+c.Reason, en[i]+": "+c.Reason
		}
	}
	was, err := transformOf(last.Dataset)
	if err != nil {
		return catalog.Text{}, err
	}
	is, err := transformOf(pub.Dataset)
	if err != nil {
		return catalog.Text{}, err
	}
	if was != is {
		zh, en = append(zh, changedDataset.ZH), append(en, changedDataset.EN)
	}
	late := len(en) == 0
	if !late && pub.Dataset.Source.Kind != catalog.SourceRoads {
		// As of then, and of the dataset of then: where that is something else by now,
		// samples came that were not there.
		made, err := source.Series(p.deps.AsOf(ctx, last.At), p.deps.Sources, last.Dataset, pub.Period)
		if err != nil {
			return catalog.Text{}, err
		}
		late = hashTable(made.Table) != last.Inputs
	}
	if late {
		zh, en = append(zh, lateData.ZH), append(en, lateData.EN)
	}
	return catalog.Text{ZH: strings.Join(zh, "；"), EN: strings.Join(en, "; ")}, nil
}

var (
	lateData       = catalog.Text{ZH: "补录迟到数据", EN: "late data came in"}
	changedDataset = catalog.Text{ZH: "数据集定义变更", EN: "the dataset was changed"}
)
