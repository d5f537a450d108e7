package publish

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/telemetry"
)

// grades are what was last seen of grades; of Run alone.
type grades struct {
	gradings uint64
	known    bool
	of       map[string]telemetry.Grade // by dataset
}

// sound refuses rows that are made of data of a higher grade than the dataset has,
// and takes the dataset out of reach: what is out of it is too delicate, too.
// Art. 74(3)
func (p *Publisher) sound(ctx context.Context, d *catalog.Dataset, made *rows) error {
	var device string
	g := telemetry.Grade(0)
	consider := func(id, metric string) {
		if is := p.deps.Grade(id, metric); is > g {
			g, device = is, id
		}
	}
	if made.Made != nil {
		for i := range made.Inputs {
			consider(made.Inputs[i].Labels["device"], made.Inputs[i].Labels["__name__"])
		}
	}
	for i := range made.behind {
		consider(made.behind[i].Labels["device"], made.behind[i].Labels["__name__"])
	}
	for _, l := range made.links {
		for _, unit := range l.Units {
			consider(unit, "")
		}
	}
	return p.raised(ctx, d, g, device)
}

func (p *Publisher) raised(ctx context.Context, d *catalog.Dataset, g telemetry.Grade, device string) error {
	if g <= d.Grade {
		return nil
	}
	reason := fmt.Sprintf("数据来源 %s 的等级为 %s，高于数据集的 %s · its input %s is of grade %s, and the dataset of %s: raise the grade with `hub dataset sign`, or leave the input out", device, g, d.Grade, device, g, d.Grade)
	if err := p.deps.Suspend(ctx, d.ID, reason); err != nil {
		return fmt.Errorf("suspend dataset %s, whose input %s is of grade %s: %w", d.ID, device, g, err)
	}
	p.deps.Log.Warn("dataset_suspended", "dataset", d.ID, "input", device, "grade", g.String())
	return fmt.Errorf("dataset %s %w: %s; it is suspended", d.ID, ErrGrade, reason)
}

// followEvery is how long a raised grade takes to reach those who read what is
// derived from it, at most, besides the time to look.
const followEvery = 200 * time.Millisecond

// follow carries raised grades on: from devices and metrics to the datasets that
// were made of them, and from datasets to those that name them as related.
func (p *Publisher) follow(ctx context.Context) error {
	if n := p.deps.Gradings(); !p.grades.known || n != p.grades.gradings {
		p.grades.gradings, p.grades.known = n, true
		for _, d := range p.deps.Published() {
			if err := p.inputs(ctx, d); err != nil {
				return err
			}
		}
	}
	return p.derived(ctx)
}

// inputs looks at what the newest release of a dataset was made of.
func (p *Publisher) inputs(ctx context.Context, d *catalog.Dataset) error {
	all, err := p.publications(ctx, "dataset = ? AND released > 0 ORDER BY version DESC LIMIT 1", d.ID)
	if err != nil || len(all) == 0 {
		return err
	}
	t, err := p.tree(ctx, ref{d.ID, all[0].Version})
	if err != nil {
		return err
	}
	var highest telemetry.Grade
	var device string
	for _, in := range slices.Concat(t.Inputs, t.Behind) {
		labels := in.Labels
		if g := p.deps.Grade(labels["device"], labels["__name__"]); g > highest {
			highest, device = g, labels["device"]
		}
	}
	if err := p.raised(ctx, d, highest, device); err != nil {
		p.deps.Log.Debug("grade_followed", "dataset", d.ID, "error", err)
	}
	return nil
}

// derived suspends the datasets that name one as related whose grade was raised
// above theirs. Who is sure that nothing of it is in them opens them again.
func (p *Publisher) derived(ctx context.Context) error {
	published := p.deps.Published()
	now := map[string]telemetry.Grade{}
	grade := func(id string) telemetry.Grade {
		g, known := now[id]
		if !known {
			if d, err := p.deps.Dataset(id); err == nil {
				g = d.Grade
			}
			now[id] = g
		}
		return g
	}
	for _, d := range published {
		for _, id := range d.Related {
			before, known := p.grades.of[id]
			is := grade(id)
			if known && is > before && is > d.Grade {
				if err := p.raised(ctx, d, is, id); err != nil {
					p.deps.Log.Debug("grade_followed", "dataset", d.ID, "error", err)
				}
			}
		}
	}
	p.grades.of = now
	return nil
}
