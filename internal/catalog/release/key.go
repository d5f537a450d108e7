package release

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const keyBytes = 32

// Keys wrap the data keys of sealed releases. They lie in a file outside of the
// data directory: who has only that can open no release. Art. 74(3)
type Keys struct {
	all []envelope // the first one wraps, every one unwraps
}

type envelope struct {
	id   string
	aead cipher.AEAD
}

// ErrKey says that sealed releases cannot be opened or made.
var ErrKey = errors.New("needs the key file of releases")

// noKey is what to do about it.
const noKey = "make one outside of the data directory (`openssl rand -hex 32 > FILE && chmod 600 FILE`) and name it as releases.key_file"

// ReadKeys reads envelope keys, 64 hexadecimal digits a line. A new first line
// is used from then on, and the lines below open what was sealed before.
func ReadKeys(path, data string) (*Keys, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("key file of releases: %w; %s", err, noKey)
	}
	if inside, err := within(real, data); err != nil || inside {
		return nil, errors.Join(err, fmt.Errorf("key file of releases %s lies in the data directory %s: who copies that would have key and data; move it to another volume, such as /etc/songhua/releases.key, and set releases.key_file", path, data))
	}
	info, err := os.Stat(real)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("key file of releases %s has mode %s: others may read it; run `chmod 600 %s`", path, info.Mode(), path)
	}
	text, err := os.ReadFile(real)
	if err != nil {
		return nil, err
	}
	k := &Keys{}
	for _, line := range strings.Fields(string(text)) {
		key, err := hex.DecodeString(line)
		if err != nil || len(key) != keyBytes {
			return nil, fmt.Errorf("key file of releases %s: line %d has not %d hexadecimal digits; restore it from a backup, or %s", path, len(k.all)+1, 2*keyBytes, noKey)
		}
		e, err := newEnvelope(key)
		if err != nil {
			return nil, err
		}
		k.all = append(k.all, e)
	}
	if len(k.all) == 0 {
		return nil, fmt.Errorf("key file of releases %s is empty; %s", path, noKey)
	}
	return k, nil
}

// within reports whether a file lies in a directory, however both are named.
func within(file, dir string) (bool, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false, err
	}
	top, err := os.Stat(dir)
	if err != nil {
		return false, err
	}
	if file, err = filepath.Abs(file); err != nil {
		return false, err
	}
	for at := filepath.Dir(file); ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil || os.SameFile(info, top) {
			return err == nil, err
		}
		if at == filepath.Dir(at) {
			return false, nil
		}
	}
}

func newEnvelope(key []byte) (e envelope, err error) {
	id, err := hkdf.Key(sha256.New, key, nil, "songhua release envelope id", 8)
	if err != nil {
		return e, err
	}
	wrap, err := hkdf.Key(sha256.New, key, nil, "songhua release envelope", keyBytes)
	if err != nil {
		return e, err
	}
	block, err := aes.NewCipher(wrap)
	if err != nil {
		return e, err
	}
	e.id = hex.EncodeToString(id)
	e.aead, err = cipher.NewGCMWithRandomNonce(block)
	return e, err
}

// wrapped is a data key under an envelope key.
type wrapped struct {
	Envelope string `json:"envelope"` // id of the key that it is under
	Key      []byte `json:"key"`
}

// dataKey seals the files of one version.
type dataKey struct {
	key  []byte
	of   string // DATASET/VERSION
	wrap wrapped
}

// newDataKey makes a key for a version.
func (k *Keys) newDataKey(of string) (*dataKey, error) {
	if k == nil {
		return nil, fmt.Errorf("release %s is of data that are stored encrypted, and %w: %s", of, ErrKey, noKey)
	}
	key := make([]byte, keyBytes)
	rand.Read(key) //nolint:errcheck // never fails (crypto/rand)
	e := k.all[0]
	return &dataKey{key, of, wrapped{e.id, e.aead.Seal(nil, nil, key, []byte(Format+"\x00"+of))}}, nil
}

// unwrap opens the key of a version.
func (k *Keys) unwrap(w wrapped, of string) (*dataKey, error) {
	if k == nil {
		return nil, fmt.Errorf("release %s is sealed, and %w: name the file that has key %s as releases.key_file", of, ErrKey, w.Envelope)
	}
	for _, e := range k.all {
		if e.id != w.Envelope {
			continue
		}
		key, err := e.aead.Open(nil, nil, w.Key, []byte(Format+"\x00"+of))
		if err != nil {
			return nil, fmt.Errorf("release %s %w: its key was sealed for another release", of, ErrDamaged)
		}
		return &dataKey{key, of, w}, nil
	}
	return nil, fmt.Errorf("release %s is sealed under key %s, and %w: that key is not in it; add it from a backup as another line", of, w.Envelope, ErrKey)
}

// sealing is for one file; nil for a release that is not sealed.
func (d *dataKey) sealing(name string) (*sealing, error) {
	if d == nil {
		return nil, nil
	}
	key, err := hkdf.Key(sha256.New, d.key, nil, "songhua release file "+name, keyBytes)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &sealing{aead, d.of + "/" + name}, err
}
