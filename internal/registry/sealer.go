package registry

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/songhua-io/hub/internal/access"
)

// Sealer holds the key that lies beside the database, never in it. Who has
// only the database can neither read the secrets nor try guesses on their
// marks.
type Sealer struct {
	aead cipher.AEAD
	mark []byte
	id   keyID
}

type keyID [8]byte

const keyBytes = 32

// OpenSealer reads the key file, which is made with mode 0600 when absent. A
// new key does not lock devices out: see [Registry.Authenticate].
func OpenSealer(path string) (*Sealer, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = createKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("key file of the device secrets: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != keyBytes {
		return nil, fmt.Errorf("key file %s does not hold %d hexadecimal digits; restore it from a backup, or remove it and rotate the secrets of devices that use DTLS", path, 2*keyBytes)
	}
	return newSealer(key)
}

func createKey(path string) ([]byte, error) {
	key := make([]byte, keyBytes)
	rand.Read(key) //nolint:errcheck // never fails (crypto/rand)
	text := []byte(hex.EncodeToString(key) + "\n")
	return text, access.WriteSecret(path, text)
}

func newSealer(key []byte) (*Sealer, error) {
	derive := func(use string, n int) []byte {
		k, err := hkdf.Key(sha256.New, key, nil, "songhua "+use, n)
		if err != nil {
			panic(err) // only for absurd lengths
		}
		return k
	}
	block, err := aes.NewCipher(derive("seal", 32))
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Sealer{aead: aead, mark: derive("mark", 32), id: keyID(derive("id", 8))}, nil
}

// Seal encrypts plain with AES-256-GCM. It opens only with the same binding,
// so that a sealed value cannot be moved to another row.
func (s *Sealer) Seal(plain []byte, binding string) []byte {
	return s.aead.Seal(nil, nil, plain, []byte(binding))
}

// Open is the inverse of Seal.
func (s *Sealer) Open(sealed []byte, binding string) ([]byte, error) {
	return s.aead.Open(nil, nil, sealed, []byte(binding))
}

type mark [sha256.Size]byte

// markOf returns the secret's mark: equal for equal secrets, and of no use
// without the key.
func (s *Sealer) markOf(secret []byte) (m mark) {
	h := hmac.New(sha256.New, s.mark)
	h.Write(secret)
	h.Sum(m[:0])
	return m
}
