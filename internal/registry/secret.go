package registry

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
)

// Cost of argon2id: the second choice of RFC 9106 is too heavy for a hub that
// may hash thousands at once; this is the OWASP minimum of the same strength.
const (
	argonMemory = 19 * 1024 // KiB
	argonPasses = 2
	argonLanes  = 1
	argonBytes  = 32
)

// credential is what is kept of a secret. It is immutable.
type credential struct {
	verifier string // stored, not held in memory
	key      keyID
	mark     mark
	sealed   []byte
	// since is when the device got it. What was given out before is worth
	// nothing any more, certificates too.
	since time.Time
}

func newSecret() string {
	b := make([]byte, 32)
	rand.Read(b) //nolint:errcheck // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b)
}

// credentialOf makes what is kept of a device's secret. A generated secret has
// 256 random bits, so one SHA-256 of it cannot be guessed from; one that
// people made gets argon2id.
func (r *Registry) credentialOf(ctx context.Context, device, secret string, generated bool) (*credential, error) {
	c := &credential{key: r.sealer.id, mark: r.sealer.markOf([]byte(secret)), sealed: r.sealer.Seal([]byte(secret), device)}
	if generated {
		sum := sha256.Sum256([]byte(secret))
		c.verifier = "sha256:" + hex.EncodeToString(sum[:])
		return c, nil
	}
	salt := make([]byte, 16)
	rand.Read(salt) //nolint:errcheck // never fails (crypto/rand)
	hash, err := r.argon(ctx, []byte(secret), salt)
	if err != nil {
		return nil, err
	}
	enc := base64.RawStdEncoding.EncodeToString
	c.verifier = fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonPasses, argonLanes, enc(salt), enc(hash))
	return c, nil
}

// argon computes one hash; half of the processors may do so at once, so that
// memory and time stay bounded, and others are served, however many ask.
func (r *Registry) argon(ctx context.Context, secret, salt []byte) ([]byte, error) {
	select {
	case r.hashing <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-r.hashing }()
	return argon2.IDKey(secret, salt, argonPasses, argonMemory, argonLanes, argonBytes), nil
}

// verify reports whether the stored verifier is of the secret.
func (r *Registry) verify(ctx context.Context, verifier string, secret []byte) (bool, error) {
	if want, ok := strings.CutPrefix(verifier, "sha256:"); ok {
		sum := sha256.Sum256(secret)
		return subtle.ConstantTimeCompare([]byte(hex.EncodeToString(sum[:])), []byte(want)) == 1, nil
	}
	part := strings.Split(verifier, "$") // "", argon2id, v=, m=, salt, hash
	if len(part) != 6 || part[1] != "argon2id" {
		return false, fmt.Errorf("verifier %.12q… is of no known kind", verifier)
	}
	salt, err := base64.RawStdEncoding.DecodeString(part[4])
	if err != nil {
		return false, err
	}
	hash, err := r.argon(ctx, secret, salt)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare([]byte(base64.RawStdEncoding.EncodeToString(hash)), []byte(part[5])) == 1, nil
}
