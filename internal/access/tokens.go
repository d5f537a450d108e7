package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Errors of tokens, wrapped with the thing they are about.
var (
	ErrInvalid = errors.New("is not valid")
	ErrExists  = errors.New("exists already")
	ErrUnknown = errors.New("is not known")
)

// tokenPrefix marks a token of this hub, so that scanners find leaked ones.
const tokenPrefix = "sh_"

// maxTokens bounds the tokens of a hub.
const maxTokens = 100_000

// Token is a right to call the API. Its secret is shown once and kept as
// SHA-256, which suffices for 256 random bits.
type Token struct {
	Name   string
	Role   Role
	Region string // prefix of division codes; empty for all
	// Grade is the highest grade of data that it may see. Create makes core of
	// ungraded for admins, and general for all others.
	Grade telemetry.Grade
	// Expires is when it stops to work; zero for never.
	Created, Expires time.Time
	// LastUse is rounded down to the hour; zero for never.
	LastUse time.Time

	life context.Context // of a token that is held; ends when it is revoked
	end  context.CancelFunc
}

// Done closes when the token is revoked or another takes its place; nil for a
// token that is not of Find.
func (k *Token) Done() <-chan struct{} {
	if k.life == nil {
		return nil
	}
	return k.life.Done()
}

// begin gives the token a life, which its revocation ends.
func (k *Token) begin() { k.life, k.end = context.WithCancel(context.Background()) }

type hash [sha256.Size]byte

// Tokens holds every token in memory and on disk. All methods may be called
// from any goroutine.
type Tokens struct {
	db  *records.DB
	now func() time.Time

	change sync.Mutex // held from before a write's transaction until memory shows it

	mu     sync.RWMutex // guards all below
	byHash map[hash]*Token
	byName map[string]hash
}

// OpenTokens reads all tokens into memory.
func OpenTokens(ctx context.Context, db *records.DB, now func() time.Time) (*Tokens, error) {
	t := &Tokens{db: db, now: now, byHash: map[hash]*Token{}, byName: map[string]hash{}}
	err := db.Each(ctx, func(rows *sql.Rows) error {
		k := &Token{}
		var h []byte
		var created, expires, lastUse int64
		if err := rows.Scan(&k.Name, &h, &k.Role, &k.Region, &k.Grade, &created, &expires, &lastUse); err != nil {
			return err
		}
		if len(h) != sha256.Size {
			return fmt.Errorf("token %s is damaged", k.Name)
		}
		k.Created, k.Expires, k.LastUse = records.Time(created), records.Time(expires), records.Time(lastUse)
		k.begin()
		t.byHash[hash(h)], t.byName[k.Name] = k, hash(h)
		return nil
	}, "SELECT name, hash, role, region, grade, created, expires, last_use FROM tokens")
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	return t, nil
}

// check reports why a token cannot be made.
func (k *Token) check(now time.Time) error {
	name := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	prefix := regexp.MustCompile(`^([0-9]{2}){0,3}$`)
	switch {
	case !name.MatchString(k.Name):
		return fmt.Errorf("token name %.70q %w: it has 1 to 64 of A-Z a-z 0-9 . _ - and starts with a letter or digit", k.Name, ErrInvalid)
	case k.Role == Device:
		return fmt.Errorf("role %q %w for a token: a device has a secret of its own; add it with `hub device add`", k.Role, ErrInvalid)
	case !slices.Contains(Roles(), k.Role):
		return fmt.Errorf("role %q %w: it is one of admin, operator, scheduler, steward, reader, gateway, public", k.Role, ErrInvalid)
	case !prefix.MatchString(k.Region):
		return fmt.Errorf("region %q %w: it is the beginning of a division code, two, four or six digits (22 is Jilin, 220100 Changchun)", k.Region, ErrInvalid)
	case !k.Expires.IsZero() && !k.Expires.After(now):
		return fmt.Errorf("expiry %s %w: it lies in the past", k.Expires.Format(time.RFC3339), ErrInvalid)
	}
	return nil
}

// Create makes a token and returns its secret, which is shown this once.
func (t *Tokens) Create(ctx context.Context, k Token) (Token, string, error) {
	return t.put(ctx, k, false)
}

func (t *Tokens) put(ctx context.Context, k Token, replace bool) (Token, string, error) {
	k.Created, k.LastUse = records.Time(records.Millis(t.now())), time.Time{}
	if k.Grade == telemetry.Ungraded {
		k.Grade = Ordinary(k.Role)
	}
	if err := k.check(k.Created); err != nil {
		return Token{}, "", err
	}
	t.change.Lock()
	defer t.change.Unlock()
	if err := t.room(k.Name, replace); err != nil {
		return Token{}, "", err
	}
	secret := tokenPrefix + random(32)
	h := hash(sha256.Sum256([]byte(secret)))
	err := t.db.Tx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM tokens WHERE name = ?", k.Name); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO tokens (name, hash, role, region, grade, created, expires, last_use) VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
			k.Name, h[:], string(k.Role), k.Region, int(k.Grade), records.Millis(k.Created), records.Millis(k.Expires))
		return err
	})
	if err != nil {
		return Token{}, "", fmt.Errorf("add token %s: %w", k.Name, err)
	}
	k.begin()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(k.Name)
	t.byHash[h], t.byName[k.Name] = &k, h
	return k, secret, nil
}

// Ordinary is the highest grade that a role may see unless its token says
// otherwise.
func Ordinary(role Role) telemetry.Grade {
	if role == Admin {
		return telemetry.Core
	}
	return telemetry.General
}

// drop forgets a token and ends what its holders are in the middle of. t.mu is
// held.
func (t *Tokens) drop(name string) {
	h, ok := t.byName[name]
	if !ok {
		return
	}
	t.byHash[h].end()
	delete(t.byHash, h)
	delete(t.byName, name)
}

// random returns n random bytes as text.
func random(n int) string {
	b := make([]byte, n)
	rand.Read(b) //nolint:errcheck // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b)
}

func (t *Tokens) room(name string, replace bool) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if _, ok := t.byName[name]; ok && !replace {
		return fmt.Errorf("token %q %w; revoke it first, or choose another name", name, ErrExists)
	}
	if len(t.byName) >= maxTokens {
		return fmt.Errorf("token %q %w: there are %d tokens, which is the most; revoke some", name, ErrInvalid, maxTokens)
	}
	return nil
}

// Revoke ends a token; it stops to work before Revoke returns, and requests
// that its holders have under way end.
func (t *Tokens) Revoke(ctx context.Context, name string) error {
	t.change.Lock()
	defer t.change.Unlock()
	if _, err := t.Get(name); err != nil {
		return err
	}
	err := t.db.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM tokens WHERE name = ?", name)
		return err
	})
	if err != nil {
		return fmt.Errorf("revoke token %s: %w", name, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(name)
	return nil
}

// Get returns a token by its name, or ErrUnknown.
func (t *Tokens) Get(name string) (Token, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	h, ok := t.byName[name]
	if !ok {
		return Token{}, fmt.Errorf("token %q %w; see `hub token list`", name, ErrUnknown)
	}
	return *t.byHash[h], nil
}

// List returns the tokens of a region prefix in the order of their names.
func (t *Tokens) List(region string) []Token {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var all []Token
	for _, k := range t.byHash {
		if strings.HasPrefix(k.Region, region) {
			all = append(all, *k)
		}
	}
	slices.SortFunc(all, func(a, b Token) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Find returns the token with a secret, or ErrUnknown when there is none or it
// expired.
func (t *Tokens) Find(ctx context.Context, secret string) (Token, error) {
	return t.find(ctx, hash(sha256.Sum256([]byte(secret))))
}

func (t *Tokens) find(ctx context.Context, h hash) (Token, error) {
	t.mu.RLock()
	var k Token
	p := t.byHash[h]
	if p != nil {
		k = *p
	}
	t.mu.RUnlock()
	now := t.now()
	switch {
	case p == nil:
		return Token{}, fmt.Errorf("the token %w", ErrUnknown)
	case !k.Expires.IsZero() && now.After(k.Expires):
		return Token{}, fmt.Errorf("the token %w: it expired at %s", ErrUnknown, k.Expires.Format(time.RFC3339))
	}
	if hour := now.UTC().Truncate(time.Hour); hour.After(k.LastUse) {
		t.used(ctx, h, hour)
	}
	return k, nil
}

// used notes the hour of a token's use, once an hour. A disk that does not take
// the note shuts nobody out: it stands in memory, and others tell of the disk.
func (t *Tokens) used(ctx context.Context, h hash, hour time.Time) {
	t.mu.Lock()
	p := t.byHash[h]
	first := p != nil && hour.After(p.LastUse)
	if first {
		k := *p
		k.LastUse = hour
		t.byHash[h] = &k
	}
	t.mu.Unlock()
	if !first {
		return
	}
	_ = t.db.Tx(context.WithoutCancel(ctx), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE tokens SET last_use = ? WHERE hash = ?", records.Millis(hour), h[:])
		return err
	})
}

// AdminFile is the name of the file in the data directory that holds the
// admin's token.
const AdminFile = "admin.token"

// EnsureAdmin makes sure that dir/admin.token (mode 0600) holds a token of role
// admin that works, and returns the file's path. A lost file is made anew; the
// token that was in it stops to work. The transaction that makes a token has the
// context that noted returns.
func (t *Tokens) EnsureAdmin(ctx context.Context, dir string, noted func(context.Context) context.Context) (string, error) {
	path := filepath.Join(dir, AdminFile)
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("admin token: %w", err)
	}
	if k, err := t.Find(ctx, strings.TrimSpace(string(text))); err == nil && k.Role == Admin && k.Region == "" && k.Grade == telemetry.Core {
		return path, nil
	}
	_, secret, err := t.put(noted(ctx), Token{Name: "admin", Role: Admin}, true)
	if err != nil {
		return "", err
	}
	if err := WriteSecret(path, []byte(secret+"\n")); err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	return path, nil
}
