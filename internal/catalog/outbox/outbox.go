// Package outbox brings every published dataset to destinations outside, however
// often they are out of reach and the hub is killed. A destination is told what a
// dataset is when it is told, never what it was: nothing arrives out of order, and
// what arrives twice says the same. What it refuses stays, with its words, until
// the dataset changes. Each destination has one sender. Art. 24
package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/records"
)

// Errors, wrapped with the thing they are about.
var (
	ErrUnknown = errors.New("is not known")
	ErrAlike   = errors.New("cannot say what it has")
)

// Item is a dataset as it is to be at a destination.
type Item struct {
	Dataset string
	// Number is that of its last change, and At the time; zero: not known.
	Number int64
	At     time.Time
	// Entry is nil where it is gone, and Reason says why.
	Entry  *catalog.Entry
	Reason string
	// Snapshot has it.
	Snapshot *catalog.Snapshot
	// Known is what the destination answered before.
	Known Known
}

// Known is what a destination said of a dataset: it is kept, and handed to whoever
// sends it again.
type Known struct {
	// ID and Name are what it is called there; empty: it never was there, as far
	// as is known.
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
	// Code is 信息资源代码 as the destination gave it.
	Code string `json:"code,omitempty"`
	// Receipt is what it answered, as far as it is kept.
	Receipt string `json:"receipt,omitempty"`
}

// Refused says that a destination does not take a dataset as it is. Trying again
// would not help.
type Refused struct{ Text catalog.Text }

func (e *Refused) Error() string { return cmp.Or(e.Text.EN, e.Text.ZH) }

// Destination is somebody who is to have the catalogue. Only one call is made at
// a time.
type Destination interface {
	// Send makes the destination have what an item is; it may be called again for
	// what it did already. The error is a *Refused when the item cannot be taken as
	// it is; every other is tried again. What is known is kept after an error too.
	Send(ctx context.Context, it Item) (Known, error)
	// Look says in which fields the destination differs from an item, or ErrAlike
	// where it cannot be asked.
	Look(ctx context.Context, it Item) (Known, []string, error)
}

// Outlet is a configured destination.
type Outlet struct {
	// Name is unique among all destinations.
	Name string
	// Kind is ckan or province.
	Kind string
	// Reconcile is how often what it has is held against what it should have; 0:
	// only when somebody asks.
	Reconcile   time.Duration
	Destination Destination
}

// Deps are what an outbox works with. All but Told are required.
type Deps struct {
	Records *records.DB
	// Noted returns a context whose transaction also puts a change on record.
	Noted func(ctx context.Context, action access.Action, object, region string, before, after any) context.Context
	// Told returns a context whose transaction also notes that a destination has an
	// item; nil: nobody asks.
	Told func(ctx context.Context, destination string, it Item, at time.Time) context.Context
	// Item is what a dataset is now, without Known.
	Item func(dataset string) Item
	// Each calls with every dataset that was told of, and the number of its change.
	Each    func(func(dataset string, number int64))
	Log     *slog.Logger
	Clock   func() time.Time
	Metrics prometheus.Registerer
}

// Outbox is what is owed to all destinations. All methods may be called from any
// goroutine.
type Outbox struct {
	deps    Deps
	senders []*sender
}

// Open reads what destinations were told.
func Open(ctx context.Context, all []Outlet, d Deps) (*Outbox, error) {
	o := &Outbox{deps: d}
	for _, one := range all {
		o.senders = append(o.senders, &sender{Outlet: one, deps: d, entries: map[string]*Entry{}, wake: make(chan struct{}, 1), look: make(chan struct{}, 1)})
	}
	slices.SortFunc(o.senders, func(a, b *sender) int { return strings.Compare(a.Name, b.Name) })
	if err := o.load(ctx); err != nil {
		return nil, err
	}
	d.Metrics.MustRegister(newGauges(o))
	return o, nil
}

// Run sends until ctx ends.
func (o *Outbox) Run(ctx context.Context) error {
	group, all := errgroup.WithContext(ctx)
	for _, s := range o.senders {
		group.Go(func() error { return s.run(all) })
	}
	group.Go(func() error { <-all.Done(); return nil }) // without destinations, too, it ends with ctx
	return group.Wait()
}

// Wake says that there is something new to send. It does not block.
func (o *Outbox) Wake() {
	for _, s := range o.senders {
		s.stir(s.wake)
	}
}

// State is how a destination stands.
type State struct {
	Name, Kind string
	// Delivered have arrived, Pending wait, Failed are refused until they change;
	// Drifted were found to be another there than here, the last time.
	Delivered, Pending, Failed, Drifted int
	// Oldest is when the first of what waits changed; zero: nothing waits.
	Oldest time.Time
	// Problem is why the last attempt did not succeed, Since when; empty: it did.
	Problem string
	Since   time.Time
	// Sent is the last success, Looked the last time that all was held against
	// what is there.
	Sent, Looked time.Time
}

// List says how all destinations stand, by their names.
func (o *Outbox) List() []State {
	all := make([]State, len(o.senders))
	for i, s := range o.senders {
		all[i] = s.state()
	}
	return all
}

func (o *Outbox) find(name string) (*sender, error) {
	for _, s := range o.senders {
		if s.Name == name {
			return s, nil
		}
	}
	return nil, fmt.Errorf("outlet %.70q %w; `hub outlet list` shows those of the configuration (ckan, province)", name, ErrUnknown)
}

// Get says how a destination stands.
func (o *Outbox) Get(name string) (State, error) {
	s, err := o.find(name)
	if err != nil {
		return State{}, err
	}
	return s.state(), nil
}

// Destination is that of a name.
func (o *Outbox) Destination(name string) (Destination, error) {
	s, err := o.find(name)
	if err != nil {
		return nil, err
	}
	return s.Outlet.Destination, nil
}

// Entries lists the datasets of a destination by their ids.
func (o *Outbox) Entries(name string) ([]Entry, error) {
	s, err := o.find(name)
	if err != nil {
		return nil, err
	}
	return s.list(), nil
}

// Of is what each destination was told of a dataset, by their names; nil: nothing.
func (o *Outbox) Of(dataset string) map[string]*Entry {
	all := make(map[string]*Entry, len(o.senders))
	for _, s := range o.senders {
		all[s.Name] = s.entry(dataset)
	}
	return all
}

// Retry sends a dataset anew, or all that failed where none is named, and says how
// many that are.
func (o *Outbox) Retry(ctx context.Context, name, dataset string) (int, error) {
	s, err := o.find(name)
	if err != nil {
		return 0, err
	}
	return s.retry(ctx, dataset)
}

// Reconcile holds what a destination has against what it should have, soon; what
// differs is sent anew.
func (o *Outbox) Reconcile(name string) error {
	s, err := o.find(name)
	if err == nil {
		s.stir(s.look)
	}
	return err
}

// waiting is a dataset that a destination was not told of.
type waiting struct {
	dataset string
	number  int64
	tries   int
}

func (s *sender) stir(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// sender is the one of a destination.
type sender struct {
	Outlet
	deps       Deps
	wake, look chan struct{}

	mu      sync.Mutex // guards all below
	entries map[string]*Entry
	tries   map[string]int // of what was not reached, since it was
	problem string
	since   time.Time
	sent    time.Time
	looked  time.Time
}

// Entry is what a destination was told of a dataset.
type Entry struct {
	Dataset string `json:"-"`
	// Number is that of the change that it was told or refused; 0: it is to be told
	// anew, or for the first time.
	Number int64 `json:"-"`
	Known
	// Gone: it was told that the dataset is gone.
	Gone bool `json:"gone,omitempty"`
	// Problem is why it refuses the dataset as it is; empty: it does not.
	Problem catalog.Text `json:"problem,omitzero"`
	// Drift are the fields that were found to differ, the last time.
	Drift []string `json:"drift,omitempty"`
	// At is when it answered.
	At time.Time `json:"at,omitzero"`
	// Pending: it is still to be told of the last change.
	Pending bool `json:"-"`
}
