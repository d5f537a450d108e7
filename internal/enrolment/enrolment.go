// Package enrolment lets devices in: a token gives a number of them the right
// to register themselves, each with a key that it made and never shows, and who
// knocks without one is remembered for a person to decide. A token is used, the
// device registered and the change recorded in one transaction.
package enrolment

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/authority"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/registry"
)

// Options are what a registrar works with. All are required.
type Options struct {
	Records   *records.DB
	Registry  *registry.Registry
	Authority *authority.Authority
	Clock     func() time.Time
	Metrics   prometheus.Registerer
}

// Registrar knows every token, in memory and on disk. All methods may be called
// from any goroutine.
type Registrar struct {
	o       Options
	metrics *metrics
	// failures are of an address that shows what is no token or secret.
	failures limited
	renewals limited // by device
	knocks   *knocks

	change sync.Mutex // held from before a write's transaction until memory shows it

	mu     sync.RWMutex // guards all below
	byHash map[hash]*Token
	byName map[string]hash
}

// Open reads all tokens.
func Open(ctx context.Context, o Options) (*Registrar, error) {
	r := &Registrar{
		o: o, byHash: map[hash]*Token{}, byName: map[string]hash{},
		failures: newLimited(failures(), o.Clock()), renewals: newLimited(renewals(), o.Clock()),
		knocks: newKnocks(o.Clock()),
	}
	err := o.Records.Each(ctx, func(rows *sql.Rows) error {
		t := &Token{}
		var h []byte
		var created, expires int64
		if err := rows.Scan(&t.Name, &h, &t.Kind, &t.Site, &t.Region, &t.Prefix, &t.Uses, &t.Used, &created, &expires); err != nil {
			return err
		}
		if len(h) != len(hash{}) {
			return fmt.Errorf("enrolment %s is damaged", t.Name)
		}
		t.Created, t.Expires = records.Time(created), records.Time(expires)
		r.byHash[hash(h)], r.byName[t.Name] = t, hash(h)
		return nil
	}, "SELECT name, hash, kind, site, region, prefix, uses, used, created, expires FROM enrolments")
	if err != nil {
		return nil, fmt.Errorf("read enrolment tokens: %w", err)
	}
	r.metrics = newMetrics(o.Metrics, r.knocks, newExpiry(o.Registry, o.Clock))
	return r, nil
}

// Create makes a token and returns its secret, which is shown this once. One
// without an end works for Life.
func (r *Registrar) Create(ctx context.Context, t Token) (Token, string, error) {
	t.Created, t.Used = records.Time(records.Millis(r.o.Clock())), 0
	if t.Expires.IsZero() {
		t.Expires = t.Created.Add(Life)
	}
	if err := t.check(t.Created); err != nil {
		return Token{}, "", err
	}
	r.change.Lock()
	defer r.change.Unlock()
	if err := r.room(t.Name); err != nil {
		return Token{}, "", err
	}
	secret, h := newSecret(r.o.Authority.List()[0].Fingerprint)
	err := r.o.Records.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO enrolments (name, hash, kind, site, region, prefix, uses, used, created, expires)
			VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?)`, t.Name, h[:], t.Kind, t.Site, t.Region, t.Prefix, t.Uses, records.Millis(t.Created), records.Millis(t.Expires))
		return err
	})
	if err != nil {
		return Token{}, "", fmt.Errorf("add enrolment %s: %w", t.Name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byHash[h], r.byName[t.Name] = &t, h
	return t, secret, nil
}

func (r *Registrar) room(name string) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, ok := r.byName[name]; ok {
		return fmt.Errorf("enrolment %q %w; revoke it first, or choose another name", name, ErrExists)
	}
	if len(r.byName) >= maxTokens {
		return fmt.Errorf("enrolment %q %w: there are %d, which is the most; revoke those that are used up", name, ErrInvalid, maxTokens)
	}
	return nil
}

// Revoke ends a token; it lets nobody in before Revoke returns. Devices that
// enrolled with it stay.
func (r *Registrar) Revoke(ctx context.Context, name string) error {
	r.change.Lock()
	defer r.change.Unlock()
	if _, err := r.Get(name); err != nil {
		return err
	}
	err := r.o.Records.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM enrolments WHERE name = ?", name)
		return err
	})
	if err != nil {
		return fmt.Errorf("revoke enrolment %s: %w", name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byHash, r.byName[name])
	delete(r.byName, name)
	return nil
}

// Get returns a token by its name, or ErrUnknown.
func (r *Registrar) Get(name string) (Token, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	h, ok := r.byName[name]
	if !ok {
		return Token{}, fmt.Errorf("enrolment %q %w; see `hub enrol list`", name, ErrUnknown)
	}
	return *r.byHash[h], nil
}

// List returns the tokens of a region prefix in the order of their names.
func (r *Registrar) List(region string) []Token {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all []Token
	for _, t := range r.byHash {
		if strings.HasPrefix(t.Region, region) {
			all = append(all, *t)
		}
	}
	slices.SortFunc(all, func(a, b Token) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// find returns the token that is carried, unless its time is over.
func (r *Registrar) find(carried string) (Token, hash, error) {
	h := hashOf(carried)
	r.mu.RLock()
	defer r.mu.RUnlock()
	t := r.byHash[h]
	switch {
	case t == nil:
		return Token{}, h, fmt.Errorf("%w: it is unknown or was revoked; `hub enrol add` makes one", ErrToken)
	case r.o.Clock().After(t.Expires):
		return Token{}, h, fmt.Errorf("%w: it expired at %s; `hub enrol add` makes a new one", ErrToken, t.Expires.Format(time.RFC3339))
	}
	return *t, h, nil
}

func (r *Registrar) counted(h hash) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.byHash[h]; t != nil {
		next := *t
		next.Used++
		r.byHash[h] = &next
	}
}
