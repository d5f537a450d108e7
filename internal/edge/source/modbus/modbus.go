// Package modbus reads registers of Modbus TCP servers. A unit that does not
// answer costs its own values and no others.
package modbus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/edge/source"
)

// New returns the source.
func New(cfg Config, now func() time.Time) source.Source {
	units := make([]plan, len(cfg.Units))
	for i, u := range cfg.Units {
		units[i] = newPlan(u)
	}
	return source.Func(func(ctx context.Context, put source.Put) error {
		b := &bus{cfg: cfg}
		defer b.hangUp()
		return source.Every(ctx, cfg.Interval.Interval, source.Tagged(put, cfg.Tags), func(ctx context.Context) (source.Record, error) {
			return b.readAll(ctx, units, now())
		})
	})
}

// plan is how a unit is read: as few requests as its registers allow.
type plan struct {
	unit     Unit
	tags     []string // names and values in turn
	requests []request
}

// request reads count addresses from first on.
type request struct {
	function  byte
	first     uint16
	count     int
	registers []Register
}

func newPlan(u Unit) plan {
	p := plan{unit: u}
	for _, name := range slices.Sorted(maps.Keys(u.Tags)) {
		p.tags = append(p.tags, name, u.Tags[name])
	}
	sorted := slices.Clone(u.Registers)
	slices.SortStableFunc(sorted, func(a, b Register) int {
		return cmp.Or(cmp.Compare(a.function(), b.function()), cmp.Compare(a.Address, b.Address))
	})
	for _, r := range sorted {
		if n := len(p.requests); n == 0 || !p.requests[n-1].take(r) {
			p.requests = append(p.requests, request{r.function(), r.Address, r.words(), []Register{r}})
		}
	}
	return p
}

// take adds the register when it follows without a gap: addresses between may
// be ones that the unit refuses.
func (q *request) take(r Register) bool {
	limit := maxWords
	if r.isBit() {
		limit = maxBits
	}
	end := int(q.first) + q.count
	newCount := max(q.count, int(r.Address)+r.words()-int(q.first))
	if r.function() != q.function || int(r.Address) > end || newCount > limit {
		return false
	}
	q.count = newCount
	q.registers = append(q.registers, r)
	return true
}

// bus is the connection, made anew when it breaks.
type bus struct {
	cfg    Config
	client *client
}

// readAll reads every unit. It fails when nothing could be read at all.
func (b *bus) readAll(ctx context.Context, units []plan, at time.Time) (source.Record, error) {
	r := source.At(at)
	for _, p := range units {
		if err := b.readUnit(ctx, p, r); err != nil {
			r.Fault(fmt.Errorf("unit %d: %w", p.unit.ID, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	if len(r.Samples) == 0 && len(r.Faults) > 0 {
		return source.Record{}, fmt.Errorf("%s: %w", b.cfg.Address, errors.Join(r.Faults...))
	}
	return r.Record, nil
}

// readUnit reads the unit's requests. After a silence the rest of the unit is
// left out, so that a dead one costs one timeout; a refusal costs only what was
// refused.
func (b *bus) readUnit(ctx context.Context, p plan, r *source.Reading) error {
	var refused []error
	for _, q := range p.requests {
		err := b.dial(ctx)
		if err == nil {
			err = b.readRequest(p, q, r)
		}
		if err == nil {
			continue
		}
		err = fmt.Errorf("function %d, %d addresses from %d: %w", q.function, q.count, q.first, err)
		if e := exception(0); !errors.As(err, &e) {
			if !alive(err) {
				b.hangUp()
			}
			return errors.Join(append(refused, err)...)
		}
		refused = append(refused, err)
	}
	return errors.Join(refused...)
}

func (b *bus) readRequest(p plan, q request, r *source.Reading) error {
	data, err := b.client.read(p.unit.ID, q.function, q.first, q.count)
	if err != nil {
		return err
	}
	for _, reg := range q.registers {
		at := int(reg.Address - q.first)
		r.Add(reg.Name, reg.Unit, reg.value(reg.cut(data, at)), p.tags...)
	}
	return nil
}

func (b *bus) dial(ctx context.Context) error {
	if b.client != nil {
		return nil
	}
	d := net.Dialer{Timeout: b.cfg.Timeout}
	conn, err := d.DialContext(ctx, "tcp", b.cfg.Address)
	if err != nil {
		return err
	}
	b.client = &client{conn: conn, timeout: b.cfg.Timeout}
	return nil
}

func (b *bus) hangUp() {
	if b.client != nil {
		_ = b.client.conn.Close() // nothing was written that matters
		b.client = nil
	}
}
