package audit

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/songhua-io/hub/internal/access"
)

// Names of the files that Open keeps in the data directory.
const (
	KeyFile         = "audit.key"         // signs; mode 0600
	PublicFile      = "audit.pub"         // keys that signed here, the newest last
	CheckpointsFile = "audit.checkpoints" // every checkpoint, the newest last
)

// Keys are public keys that checkpoints may be signed with.
type Keys struct {
	verifiers note.Verifiers
	text      []string
}

// ParseKeys reads public keys, one a line, as `hub audit key` prints them.
func ParseKeys(text string) (Keys, error) {
	var all []note.Verifier
	k := Keys{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		v, err := note.NewVerifier(line)
		if err != nil {
			return Keys{}, fmt.Errorf("%.80q is no public key of a record (NAME+HASH+KEY, as `hub audit key` prints it): %w", line, err)
		}
		all, k.text = append(all, v), append(k.text, line)
	}
	k.verifiers = note.VerifierList(all...)
	return k, nil
}

// ReadKeys reads the public keys of a file; a file that is not there holds
// none.
func ReadKeys(path string) (Keys, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Keys{}, err
	}
	k, err := ParseKeys(string(text))
	if err != nil {
		return k, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// List returns the keys as lines.
func (k Keys) List() []string { return slices.Clone(k.text) }

// openKey reads the signing key of dir, or makes one, and sees to it that its
// public half is in the list of those.
func openKey(dir string) (note.Signer, Keys, error) {
	path := filepath.Join(dir, KeyFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = createKey(path)
	}
	if err != nil {
		return nil, Keys{}, fmt.Errorf("key of the record of changes: %w", err)
	}
	private := strings.TrimSpace(string(text))
	signer, err := note.NewSigner(private)
	if err != nil {
		return nil, Keys{}, fmt.Errorf("key file %s is damaged (%w); restore it from a backup, or move it away: a new key is made, and what was signed stays valid", path, err)
	}
	public, err := publicOf(private)
	if err != nil {
		return nil, Keys{}, fmt.Errorf("key file %s: %w", path, err)
	}
	listed := filepath.Join(dir, PublicFile)
	keys, err := ReadKeys(listed)
	if err != nil {
		return nil, Keys{}, err
	}
	if !slices.Contains(keys.text, public) {
		lines := strings.Join(append(keys.text, public), "\n") + "\n"
		if err := access.WriteSecret(listed, []byte(lines)); err != nil {
			return nil, Keys{}, err
		}
		keys, err = ParseKeys(lines)
	}
	return signer, keys, err
}

func createKey(path string) ([]byte, error) {
	id := make([]byte, 8)
	rand.Read(id) //nolint:errcheck // never fails (crypto/rand)
	private, _, err := note.GenerateKey(rand.Reader, "songhua-audit-"+hex.EncodeToString(id))
	if err != nil {
		return nil, err
	}
	text := []byte(private + "\n")
	return text, access.WriteSecret(path, text)
}

// publicOf returns the public half of a key: PRIVATE+KEY+NAME+HASH+BASE64, where
// the last part is a byte for the algorithm and an Ed25519 seed.
func publicOf(private string) (string, error) {
	parts := strings.SplitN(private, "+", 5)
	if len(parts) != 5 {
		return "", errors.New("it holds no key")
	}
	seed, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return "", errors.New("it holds no Ed25519 key")
	}
	return note.NewEd25519VerifierKey(parts[2], ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey))
}
