// Package publish decides when a dataset is released and of what, and keeps what
// follows from it: what the privacy gate has let out, what was spent of its
// budget, and from which series each row is. Nothing is released of a dataset that
// is not published, nor of roads or persons but through the gate; what was decided is on disk
// before anybody sees it, so that a crash makes no second decision. Art. 39
package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/release"
	"github.com/songhua-io/hub/internal/catalog/source"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Errors, wrapped with the thing they are about.
var (
	ErrUnknown = errors.New("is not known")
	ErrShut    = errors.New("is not published")
	ErrEarly   = errors.New("is not over for long enough")
	ErrEmpty   = errors.New("has no data")
	ErrGrade   = errors.New("is made of data of a higher grade")
	ErrSame    = errors.New("is what was released already")
	ErrNewer   = errors.New("is not the newest")
)

// Draft is a release to be made.
type Draft struct {
	Dataset *catalog.Dataset
	Table   *release.Table
	// Key are the items that tell rows apart; rows are in their order.
	Key    []string
	Period catalog.Period
	// Version is the one that was decided on; the store refuses it when it is not
	// the next one.
	Version  int64
	Replaces int64 // 0: nothing
	Reason   catalog.Text
	// Thread is the ticket that the correction answers; empty: none.
	Thread string
	// Corrections of samples are what it was the first to be made with.
	Corrections []int64
	Transform   Transform
	Inputs      []string // series, or units
	Privacy     []byte   // report of the gate; nil: it did not pass one
}

// Transform is what made the rows of a release.
type Transform struct {
	ID string `json:"id"`
	// Hash is the SHA-256 of the transform's own edition and of the source and items
	// of the dataset.
	Hash string `json:"hash"`
}

// Released is a release as the store has it.
type Released struct {
	Version int64
	Period  catalog.Period
}

// Store keeps the files of releases.
type Store interface {
	// Takes says why it keeps no release of a dataset, whatever is in it; nil: it does.
	Takes(d *catalog.Dataset) error
	// Put makes the files of a draft, durable when it returns.
	Put(ctx context.Context, d Draft) error
	// List are the releases of a dataset, in the order of their versions.
	List(dataset string) []Released
	// Remove takes the files of a release away.
	Remove(ctx context.Context, dataset string, version int64) error
}

// Device is what is told of a device in a lineage.
type Device struct {
	ID       string `json:"id"`
	Kind     string `json:"kind,omitempty"`
	Site     string `json:"site,omitempty"`
	Region   string `json:"region,omitempty"`
	Model    string `json:"model,omitempty"`
	Gateway  string `json:"gateway,omitempty"`
	Firmware string `json:"firmware,omitempty"`
	Agent    string `json:"agent,omitempty"`
}

// Deps are what a publisher works with. All are required but Store, whose absence
// says that nothing is released, and Revised.
type Deps struct {
	Records  *records.DB
	Passages *Passages
	Store    Store
	Sources  source.Deps
	// Touched knows of days behind the look-back that are to be looked at again, and
	// Devices which devices' series a dataset selects between two times.
	Touched *Touched
	Devices func(ctx context.Context, d *catalog.Dataset, from, to time.Time) (map[string]bool, error)
	// Part returns a time that parts the corrections of samples that are known from
	// those to come, and AsOf a context whose reads see those until a time.
	Part func() time.Time
	AsOf func(ctx context.Context, t time.Time) context.Context
	// Corrections are those that were made after one time and until another, of
	// samples in a period; the oldest first.
	Corrections func(after, until time.Time, p catalog.Period) []Correction
	// Revised is told of a day that was released again; nil: nobody is.
	Revised func(ctx context.Context, dataset string, p catalog.Period)
	// Dataset is what stands of a dataset; Published are those that the public may
	// have.
	Dataset   func(id string) (*catalog.Dataset, error)
	Published func() []*catalog.Dataset
	// Suspend takes a dataset out of everybody's reach.
	Suspend func(ctx context.Context, id, reason string) error
	// Answered is told of a ticket whose correction is out; one that is closed stays so.
	Answered func(ctx context.Context, ticket string) error
	// Grade is that of what a device reports of a metric; an empty metric asks for
	// the device. Gradings changes whenever one of them may have.
	Grade    func(device, metric string) telemetry.Grade
	Gradings func() uint64
	// Device is what is known of a device now.
	Device func(ctx context.Context, id string) Device
	// Road is where a link lies and in which district, as far as is known.
	Road func(code, unit string) source.Link
	// Noted returns a context whose transaction also puts a change on record.
	Noted   func(ctx context.Context, action access.Action, object, region string, before, after any) context.Context
	Seal    func(plain []byte, binding string) []byte
	Unseal  func(sealed []byte, binding string) ([]byte, error)
	Log     *slog.Logger
	Clock   func() time.Time
	Metrics prometheus.Registerer
}

// Publisher makes releases. All methods may be called from any goroutine.
type Publisher struct {
	cfg     Config
	deps    Deps
	metrics *metrics

	mu     sync.Mutex // held while a release is made: one at a time
	grades grades
}

// Open returns a publisher, with the key of its noise.
func Open(ctx context.Context, cfg Config, d Deps) (*Publisher, error) {
	p := &Publisher{cfg: cfg, deps: d, metrics: newMetrics(d.Metrics)}
	if err := p.makeKey(ctx); err != nil {
		return nil, fmt.Errorf("key of noise: %w", err)
	}
	return p, nil
}

// Order asks for a release.
type Order struct {
	Dataset string
	// Day is any time in the day of China that is meant.
	Day time.Time
	// Reason says why what was released is to be made again; empty: what has changed
	// since, corrections, the dataset or late data, is found out and said.
	Reason catalog.Text
	// Ticket is the objection that the correction answers; it is told of it.
	Ticket string
	// Replaces is the version that the order was written against; 0: whichever is the
	// newest of the day. Where it is not, the error wraps ErrNewer.
	Replaces int64
}

// Result is what came of an order.
type Result struct {
	Dataset  string         `json:"dataset"`
	Version  int64          `json:"version"`
	Period   catalog.Period `json:"-"`
	Replaces int64          `json:"replaces,omitempty"`
	Rows     int            `json:"rows"`
}

// Make releases a day of a dataset. The error wraps ErrSame, with the version that
// there is, where nothing has changed since.
func (p *Publisher) Make(ctx context.Context, o Order) (*Result, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	start := time.Now()
	r, err := p.make(ctx, o)
	p.metrics.made(err, time.Since(start))
	return r, err
}

func (p *Publisher) make(ctx context.Context, o Order) (*Result, error) {
	d, err := p.open(o.Dataset)
	if err != nil {
		return nil, err
	}
	period := source.Day(o.Day)
	if until := period.To.Add(p.cfg.Delay); p.deps.Clock().Before(until) {
		return nil, fmt.Errorf("the day %s of dataset %s %w: it is released from %s on", dayName(period), d.ID, ErrEarly, until.In(source.China).Format("2006-01-02 15:04"))
	}
	if err := p.deps.Store.Takes(d); err != nil { // before anything is decided
		return nil, err
	}
	if err := p.finish(ctx, d.ID); err != nil {
		return nil, err
	}
	at := records.Time(records.Millis(p.deps.Part()))
	made, err := p.rows(p.deps.AsOf(ctx, at), d, period)
	if err != nil {
		return nil, err
	}
	if err := p.sound(ctx, d, made); err != nil {
		return nil, err
	}
	last, err := p.newest(ctx, d.ID, period)
	if err != nil {
		return nil, err
	}
	if err := o.against(last, period); err != nil {
		return nil, err
	}
	if last != nil && last.Inputs == made.hash {
		return &Result{Dataset: d.ID, Version: last.Version, Period: period}, fmt.Errorf("version %d of dataset %s %w: the rows of %s have not changed since", last.Version, d.ID, ErrSame, dayName(period))
	}
	pub := &publication{Dataset: d, Period: period, Reason: o.reason(), Ticket: o.Ticket, At: at, Inputs: made.hash, rows: made}
	if err := p.decide(ctx, pub, last); err != nil {
		return nil, err
	}
	return p.put(ctx, pub)
}

// reason is that of the order, in both languages.
func (o *Order) reason() catalog.Text {
	return catalog.Text{ZH: cmp.Or(o.Reason.ZH, o.Reason.EN), EN: cmp.Or(o.Reason.EN, o.Reason.ZH)}
}

// against holds an order to the version that it says it replaces.
func (o *Order) against(last *publication, day catalog.Period) error {
	switch {
	case o.Replaces == 0 || last != nil && last.Version == o.Replaces:
		return nil
	case last == nil:
		return fmt.Errorf("version %d of dataset %s %w of %s: nothing of that day was released; leave replaces out", o.Replaces, o.Dataset, ErrNewer, dayName(day))
	}
	return fmt.Errorf("version %d of dataset %s %w of %s: version %d is, look at it with `hub release diff %s %d`", o.Replaces, o.Dataset, ErrNewer, dayName(day), last.Version, o.Dataset, last.Version)
}

func dayName(p catalog.Period) string { return p.From.In(source.China).Format(time.DateOnly) }

// open is a dataset that may be released.
func (p *Publisher) open(id string) (*catalog.Dataset, error) {
	d, err := p.deps.Dataset(id)
	switch {
	case err != nil:
		return nil, err
	case d.State != catalog.Published:
		return nil, fmt.Errorf("dataset %s %w: it is %s; nothing is released of it", id, ErrShut, d.State)
	case d.Source.Kind == catalog.SourceRoads && d.Source.Live:
		return nil, fmt.Errorf("dataset %s %w live: what is told of roads goes through the privacy gate, bin by bin; set source.live to false", id, ErrShut)
	case ofPersons(d):
		if err := source.CheckPersons(d); err != nil {
			return nil, fmt.Errorf("dataset %s %w: %w", id, ErrShut, err)
		}
	}
	return d, nil
}

// rows are made of what there is of a period now.
func (p *Publisher) rows(ctx context.Context, d *catalog.Dataset, period catalog.Period) (*rows, error) {
	switch {
	case d.Source.Kind == catalog.SourceRoads:
		return p.roadRows(ctx, d, period)
	case ofPersons(d):
		return p.personRows(ctx, d, period)
	}
	made, err := source.Series(ctx, p.deps.Sources, d, period)
	if err != nil {
		return nil, err
	}
	if made.Table.Rows == 0 {
		return nil, fmt.Errorf("dataset %s %w of %s", d.ID, ErrEmpty, dayName(period))
	}
	return &rows{Made: made, hash: hashTable(made.Table)}, nil
}

// put makes the files of what was decided. What is decided stays decided: a crash
// before leaves it to finish.
func (p *Publisher) put(ctx context.Context, pub *publication) (*Result, error) {
	if _, err := p.open(pub.Dataset.ID); err != nil { // it may have been shut meanwhile
		return nil, err
	}
	draft, err := p.draft(ctx, pub)
	if err != nil {
		return nil, err
	}
	have := slices.ContainsFunc(p.deps.Store.List(pub.Dataset.ID), func(r Released) bool { return r.Version == pub.Version })
	if !have {
		if err := p.deps.Store.Put(ctx, *draft); err != nil {
			return nil, fmt.Errorf("release version %d of dataset %s: %w", pub.Version, pub.Dataset.ID, err)
		}
	}
	if err := p.released(ctx, pub); err != nil {
		return nil, err
	}
	p.deps.Log.Info("release_made", "dataset", pub.Dataset.ID, "version", pub.Version, "rows", draft.Table.Rows, "replaces", pub.Replaces)
	if err := p.answered(ctx, pub); err != nil {
		return nil, err
	}
	if pub.Replaces != 0 && p.deps.Revised != nil {
		p.deps.Revised(ctx, pub.Dataset.ID, pub.Period)
	}
	return &Result{Dataset: pub.Dataset.ID, Version: pub.Version, Period: pub.Period, Replaces: pub.Replaces, Rows: draft.Table.Rows}, nil
}

// finish releases what was decided before a crash.
func (p *Publisher) finish(ctx context.Context, dataset string) error {
	pending, err := p.pending(ctx, dataset)
	if err != nil {
		return err
	}
	for _, pub := range pending {
		_, err := p.put(ctx, pub)
		switch {
		case errors.Is(err, errChanged):
			// Nothing of it is out, and it cannot be made any more.
			if err := p.drop(ctx, pub); err != nil {
				return err
			}
		case err != nil:
			return fmt.Errorf("finish what was decided before: %w", err)
		}
	}
	return nil
}
