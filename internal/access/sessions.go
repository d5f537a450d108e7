package access

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/telemetry"
)

// ErrFull means that there are as many sessions as there may be.
var ErrFull = errors.New("there is no room for another session")

// maxPerPerson bounds the sessions under one name: with one more, the one that
// was not used for longest ends.
const maxPerPerson = 20

// Via says what somebody signed in with.
type Via string

// What people sign in with.
const (
	ViaToken Via = "token"
	ViaOIDC  Via = "oidc"
)

// Session is somebody who is signed in to the pages. What the browser keeps of
// it is shown once and kept as SHA-256, which suffices for 256 random bits.
type Session struct {
	ID string // which is no secret
	// Name is the token's, or a person's: a verified e-mail address, or
	// subject@issuer. Only a person's holds an @.
	Name string
	// Shown is how the pages greet the person.
	Shown string
	Via   Via
	// Subject is the person's at the issuer; empty for tokens.
	Subject string
	Role    Role
	Region  string // prefix of division codes; empty for all
	// Grade is the highest grade of data that it may see: the token's, or what
	// the person's role may see.
	Grade  telemetry.Grade
	Origin string // the address that signed in
	// LastUse may be behind by an eighth of the idle time after a restart.
	Created, Expires, LastUse time.Time
	// Hint is what the issuer knows the person's session by; it is not kept on
	// disk.
	Hint string

	hash, token hash // token is zero for a person
	noted       time.Time
	life        context.Context // ends with the session, and with its token
	end         context.CancelFunc
}

// Sessions holds every session in memory and on disk. All methods may be called
// from any goroutine.
type Sessions struct {
	cfg    PagesConfig
	db     *records.DB
	tokens *Tokens
	now    func() time.Time
	full   prometheus.Counter

	change sync.Mutex // held from before a write's transaction until memory shows it

	mu     sync.RWMutex // guards all below
	byHash map[hash]*Session
	byID   map[string]*Session
}

// SessionsDeps are what sessions need; all fields must be set.
type SessionsDeps struct {
	Records *records.DB
	Tokens  *Tokens
	Clock   func() time.Time
	Metrics prometheus.Registerer
}

// OpenSessions reads the sessions that still live into memory.
func OpenSessions(ctx context.Context, cfg PagesConfig, d SessionsDeps) (*Sessions, error) {
	s := &Sessions{cfg: cfg, db: d.Records, tokens: d.Tokens, now: d.Clock, byHash: map[hash]*Session{}, byID: map[string]*Session{}}
	s.full = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "hub_access_sessions_refused_total", Help: "Sign-ins refused because there were pages.max_sessions sessions.",
	})
	d.Metrics.MustRegister(s.full, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "hub_access_sessions", Help: "Sessions of the pages, bounded by pages.max_sessions; some may have ended by time.",
	}, func() float64 {
		s.mu.RLock()
		defer s.mu.RUnlock()
		return float64(len(s.byID))
	}))
	err := s.db.Each(ctx, s.read, "SELECT id, hash, name, shown, via, token, subject, role, region, origin, created, expires, last_use FROM sessions")
	if err != nil {
		return nil, fmt.Errorf("read sessions: %w", err)
	}
	return s, nil
}

func (s *Sessions) read(rows *sql.Rows) error {
	k := &Session{}
	var h, token []byte
	var created, expires, lastUse int64
	if err := rows.Scan(&k.ID, &h, &k.Name, &k.Shown, &k.Via, &token, &k.Subject, &k.Role, &k.Region, &k.Origin, &created, &expires, &lastUse); err != nil {
		return err
	}
	if len(h) != sha256.Size || len(token) != 0 && len(token) != sha256.Size {
		return fmt.Errorf("session %s is damaged", k.ID)
	}
	copy(k.hash[:], h)
	copy(k.token[:], token)
	k.Created, k.Expires, k.LastUse = records.Time(created), records.Time(expires), records.Time(lastUse)
	k.noted = k.LastUse
	if s.begin(k) == nil {
		s.byHash[k.hash], s.byID[k.ID] = k, k
	}
	return nil
}

// begin gives a session its life; an error when its token is gone.
func (s *Sessions) begin(k *Session) error {
	of := context.Background()
	k.Grade = Ordinary(k.Role)
	if k.Via == ViaToken {
		t, err := s.tokens.find(of, k.token)
		if err != nil {
			return err
		}
		of, k.Grade = t.life, t.Grade
	}
	k.life, k.end = context.WithTimeout(of, k.Expires.Sub(s.now()))
	return nil
}

// OpenByToken opens a session for the holder of a token; it ends with the token.
func (s *Sessions) OpenByToken(ctx context.Context, secret, origin string) (Session, string, error) {
	t, err := s.tokens.Find(ctx, secret)
	if err != nil {
		return Session{}, "", err
	}
	return s.Open(ctx, Session{
		Name: t.Name, Shown: t.Name, Via: ViaToken, Role: t.Role, Region: t.Region, Origin: origin,
		Expires: t.Expires, token: sha256.Sum256([]byte(secret)),
	})
}

// Open opens a session for who k says, and returns what the browser keeps of
// it. Errors: ErrFull.
func (s *Sessions) Open(ctx context.Context, k Session) (Session, string, error) {
	s.change.Lock()
	defer s.change.Unlock()
	k.Created = records.Time(records.Millis(s.now()))
	k.LastUse, k.noted = k.Created, k.Created
	if last := k.Created.Add(s.cfg.SessionLifetime); k.Expires.IsZero() || last.Before(k.Expires) {
		k.Expires = last
	}
	secret := random(32)
	k.ID, k.hash = "s-"+random(9), sha256.Sum256([]byte(secret))
	over, err := s.room(&k)
	if err != nil {
		s.full.Inc()
		return Session{}, "", err
	}
	if err := s.begin(&k); err != nil {
		return Session{}, "", err
	}
	token := []byte{} // NULL is what nil would be
	if k.Via == ViaToken {
		token = k.token[:]
	}
	err = s.db.Tx(ctx, func(tx *sql.Tx) error {
		for _, o := range over {
			if _, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE id = ?", o.ID); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO sessions (id, hash, name, shown, via, token, subject, role, region, origin, created, expires, last_use) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			k.ID, k.hash[:], k.Name, k.Shown, string(k.Via), token, k.Subject, string(k.Role), k.Region, k.Origin,
			records.Millis(k.Created), records.Millis(k.Expires), records.Millis(k.LastUse))
		return err
	})
	if err != nil {
		k.end()
		return Session{}, "", fmt.Errorf("open a session of %s: %w", k.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range over {
		s.drop(o)
	}
	s.byHash[k.hash], s.byID[k.ID] = &k, &k
	return k, secret, nil
}

// room returns the sessions that make room for another: those that are over,
// and the longest unused one of a name that has too many.
func (s *Sessions) room(k *Session) (over []*Session, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	now := s.now()
	var own []*Session
	for _, o := range s.byID {
		switch {
		case s.over(o, now) != nil:
			over = append(over, o)
		case o.Name == k.Name && o.Via == k.Via:
			own = append(own, o)
		}
	}
	if len(own) >= maxPerPerson {
		over = append(over, slices.MinFunc(own, func(a, b *Session) int { return a.LastUse.Compare(b.LastUse) }))
	}
	if len(s.byID)-len(over) >= s.cfg.MaxSessions {
		return nil, fmt.Errorf("%w: there are %d, which is pages.max_sessions; an admin ends some with `hub session end`", ErrFull, s.cfg.MaxSessions)
	}
	return over, nil
}

// over says why a session has ended by itself; nil while it lives. s.mu is held.
func (s *Sessions) over(k *Session, now time.Time) error {
	switch {
	case errors.Is(k.life.Err(), context.Canceled):
		return fmt.Errorf("the session %w: its token was revoked", ErrUnknown)
	case now.After(k.Expires):
		return fmt.Errorf("the session %w: it ended at %s; sign in again", ErrUnknown, k.Expires.Format(time.RFC3339))
	case now.Sub(k.LastUse) > s.cfg.SessionIdle:
		return fmt.Errorf("the session %w: it was not used for %s; sign in again", ErrUnknown, s.cfg.SessionIdle)
	}
	return nil
}

// drop forgets a session and ends what its holder has under way. s.mu is held.
func (s *Sessions) drop(k *Session) {
	k.end()
	delete(s.byHash, k.hash)
	delete(s.byID, k.ID)
}

// Find returns the session that a browser keeps a secret of, or ErrUnknown when
// there is none or it is over.
func (s *Sessions) Find(ctx context.Context, secret string) (Session, error) {
	h := hash(sha256.Sum256([]byte(secret)))
	now := records.Time(records.Millis(s.now()))
	s.mu.Lock()
	p := s.byHash[h]
	if p == nil {
		s.mu.Unlock()
		return Session{}, fmt.Errorf("the session %w; sign in again", ErrUnknown)
	}
	if err := s.over(p, now); err != nil {
		s.mu.Unlock()
		return Session{}, err
	}
	p.LastUse = now
	note := now.Sub(p.noted) >= s.cfg.SessionIdle/8
	if note {
		p.noted = now
	}
	k := *p
	s.mu.Unlock()
	if note {
		// A disk that does not take it shuts nobody out, as with tokens.
		_ = s.db.Tx(context.WithoutCancel(ctx), func(tx *sql.Tx) error {
			_, err := tx.ExecContext(context.WithoutCancel(ctx), "UPDATE sessions SET last_use = ? WHERE id = ?", records.Millis(now), k.ID)
			return err
		})
	}
	return k, nil
}

// Get returns a session by its id, or ErrUnknown.
func (s *Sessions) Get(id string) (Session, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	k, ok := s.byID[id]
	if !ok || s.over(k, s.now()) != nil {
		return Session{}, fmt.Errorf("session %q %w; see `hub session list`", id, ErrUnknown)
	}
	return *k, nil
}

// List returns the sessions of a region prefix in the order of their ids.
func (s *Sessions) List(region string) []Session {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []Session
	for _, k := range s.byID {
		if strings.HasPrefix(k.Region, region) && s.over(k, s.now()) == nil {
			all = append(all, *k)
		}
	}
	slices.SortFunc(all, func(a, b Session) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// End ends a session: its cookie stops to work before End returns, and requests
// that are under way with it end.
func (s *Sessions) End(ctx context.Context, id string) error {
	s.change.Lock()
	defer s.change.Unlock()
	if _, err := s.Get(id); err != nil {
		return err
	}
	err := s.db.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE id = ?", id)
		return err
	})
	if err != nil {
		return fmt.Errorf("end session %s: %w", id, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.byID[id]; k != nil {
		s.drop(k)
	}
	return nil
}

// Pages returns how the pages are reached.
func (s *Sessions) Pages() PagesConfig { return s.cfg }

// Tokens returns the tokens that sessions are opened with.
func (s *Sessions) Tokens() *Tokens { return s.tokens }
