package enrolment

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Errors of enrolment, wrapped with the thing they are about.
var (
	ErrInvalid = errors.New("is not valid")
	ErrExists  = errors.New("exists already")
	ErrUnknown = errors.New("is not known")
	// ErrToken is every token that lets nobody in; what it wraps may be told.
	ErrToken = errors.New("the enrolment token lets nobody in")
	// ErrScope is a device that a token does not let in.
	ErrScope = errors.New("the enrolment token is not for this device")
)

// Bounds of tokens.
const (
	maxTokens = 10_000
	maxUses   = 1_000_000
	// Life is how long a token works that was given no end.
	Life = 24 * time.Hour
)

// secretPrefix marks an enrolment token, so that scanners find leaked ones.
const secretPrefix = "she_"

// Token lets a number of devices register themselves, within a scope. Its
// secret is shown once and kept as SHA-256, which suffices for 256 random bits.
type Token struct {
	Name string
	// Kind, Site, Region and Prefix are what its devices are or begin with;
	// empty ones are up to the device. Region is a prefix of division codes.
	Kind, Site, Region, Prefix string
	Uses, Used                 int
	Created, Expires           time.Time
}

type hash [sha256.Size]byte

// newSecret returns a token's secret. What people carry names the root too, so
// that an agent knows the hub from the first byte on.
func newSecret(fingerprint string) (carried string, h hash) {
	b := make([]byte, 32)
	rand.Read(b) //nolint:errcheck // never fails (crypto/rand)
	secret := secretPrefix + base64.RawURLEncoding.EncodeToString(b)
	return secret + "." + fingerprint, hashOf(secret)
}

// hashOf returns the hash of a token as it is carried.
func hashOf(carried string) hash {
	secret, _, _ := strings.Cut(carried, ".")
	return sha256.Sum256([]byte(secret))
}

func (t *Token) check(now time.Time) error {
	name := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	region := regexp.MustCompile(`^([0-9]{2}){0,3}$`)
	switch {
	case !name.MatchString(t.Name):
		return fmt.Errorf("enrolment name %.70q %w: it has 1 to 64 of A-Z a-z 0-9 . _ - and starts with a letter or digit", t.Name, ErrInvalid)
	case !region.MatchString(t.Region):
		return fmt.Errorf("region %q %w: it is the beginning of a division code, two, four or six digits (22 is Jilin, 220100 Changchun)", t.Region, ErrInvalid)
	case t.Prefix != "" && telemetry.CheckDeviceID(t.Prefix) != nil:
		return fmt.Errorf("id prefix %.70q %w: no device id begins so", t.Prefix, ErrInvalid)
	case t.Site != "" && telemetry.CheckDeviceID(t.Site) != nil:
		return fmt.Errorf("site %.70q %w: it is no site id", t.Site, ErrInvalid)
	case t.Uses < 1 || t.Uses > maxUses:
		return fmt.Errorf("uses %d %w: it is from 1 to %d", t.Uses, ErrInvalid, maxUses)
	case !t.Expires.After(now):
		return fmt.Errorf("expiry %s %w: it lies in the past", t.Expires.Format(time.RFC3339), ErrInvalid)
	}
	if t.Kind == "" {
		return nil
	}
	if _, err := telemetry.ParseKind(t.Kind); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// spec is the device that a request describes, within the token's scope: what
// the token names counts, the rest is the device's to say.
func (t *Token) spec(q Request) (registry.Spec, error) {
	s := registry.Spec{ID: q.Device, Kind: q.Kind, Site: q.Site, Region: q.Region, Tags: q.Tags}
	for _, f := range []struct {
		own *string
		of  string
	}{{&s.Kind, t.Kind}, {&s.Site, t.Site}} {
		if *f.own == "" {
			*f.own = f.of
		}
	}
	if s.Region == "" && len(t.Region) == 6 {
		s.Region = t.Region
	}
	return s, t.covers(s.ID, s.Kind, s.Site, s.Region)
}

// covers reports whether the token is for a device.
func (t *Token) covers(id, kind, site, region string) error {
	switch {
	case !strings.HasPrefix(id, t.Prefix):
		return fmt.Errorf("%w: its id %.70q does not begin with %q", ErrScope, id, t.Prefix)
	case t.Kind != "" && kind != t.Kind:
		return fmt.Errorf("%w: its kind is %.20q, not %q", ErrScope, kind, t.Kind)
	case t.Site != "" && site != t.Site:
		return fmt.Errorf("%w: its site is %.70q, not %q", ErrScope, site, t.Site)
	case !strings.HasPrefix(region, t.Region):
		return fmt.Errorf("%w: its region %.10q does not begin with %s; name the six-digit code", ErrScope, region, t.Region)
	}
	return nil
}
