// Package backup keeps copies of a hub's directories at another place: in chunks
// that backups share, encrypted with age before they leave the machine, each read
// back after it was written. A backup is whole or it is not there.
package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
)

// Names and bounds of the format, docs/formats/backup.md.
const (
	formatName   = "songhua-backup/1"
	headName     = "songhua-backup.json"
	manifestName = "/manifest"
	refsName     = "/chunks"
	lockName     = "lock"
	timeForm     = "20060102T150405Z"
	maxManifest  = 1 << 30 // bytes, unpacked
)

// Repository is a place with backups of one hub.
type Repository struct {
	target Target
	head   head
}

// head says what a place is.
type head struct {
	Format     string   `json:"format"`
	ID         string   `json:"id"`
	Encrypted  bool     `json:"encrypted"`
	Recipients []string `json:"recipients,omitempty"`
}

// Point is one backup: what was there at a time.
type Point struct {
	Name string // its time, as in 20261126T084512Z
	At   time.Time
}

// Errors, wrapped with the place.
var (
	ErrNoRepository = errors.New("there are no backups")
	ErrNoPoint      = errors.New("there is no such backup")
)

// Open opens a place that has backups.
func Open(ctx context.Context, t Target) (*Repository, error) {
	text, err := t.Get(ctx, headName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", t, ErrNoRepository)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	r := &Repository{target: t}
	if err := json.Unmarshal(text, &r.head); err != nil {
		return nil, fmt.Errorf("%s: %s is damaged: %w", t, headName, err)
	}
	if r.head.Format != formatName {
		return nil, fmt.Errorf("%s has the format %.40q, and this program knows %s; use the program that wrote it, or a newer one", t, r.head.Format, formatName)
	}
	return r, nil
}

// Create makes an empty place one for backups to those recipients; none: not
// encrypted.
func Create(ctx context.Context, t Target, recipients []string) (*Repository, error) {
	if _, err := parseRecipients(recipients); err != nil {
		return nil, err
	}
	occupied := errors.New("occupied")
	err := t.List(ctx, "", func(name string, _ int64) error { return fmt.Errorf("%w by %s", occupied, name) })
	if errors.Is(err, occupied) {
		return nil, fmt.Errorf("%s is no place with backups, and is %w; choose an empty one", t, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	var id [8]byte
	rand.Read(id[:])
	r := &Repository{target: t, head: head{Format: formatName, ID: hex.EncodeToString(id[:]), Encrypted: len(recipients) > 0, Recipients: recipients}}
	text, err := json.MarshalIndent(r.head, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := t.Put(ctx, headName, append(text, '\n')); err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	return r, nil
}

// ID tells places apart.
func (r *Repository) ID() string { return r.head.ID }

// Encrypted reports whether it takes an identity to read.
func (r *Repository) Encrypted() bool { return r.head.Encrypted }

// Recipients are who can read what is written from here on.
func (r *Repository) Recipients() []string { return r.head.Recipients }

func parseRecipients(all []string) (parsed []age.Recipient, err error) {
	for _, s := range all {
		rs, err := age.ParseRecipients(strings.NewReader(s))
		if err != nil {
			return nil, fmt.Errorf("%.80q is no recipient of age, such as age1…; `age-keygen` makes one: %w", s, err)
		}
		parsed = append(parsed, rs...)
	}
	return parsed, nil
}

// ParseIdentities reads a file of identities as age-keygen writes it.
func ParseIdentities(text []byte) ([]age.Identity, error) {
	ids, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		return nil, errors.New("it holds no identities of age; a line of it begins with AGE-SECRET-KEY-") // the text is not told
	}
	return ids, nil
}

// Points lists the backups, the oldest first.
func (r *Repository) Points(ctx context.Context) (all []Point, err error) {
	err = r.target.List(ctx, "backups/", func(object string, _ int64) error {
		name, found := strings.CutSuffix(strings.TrimPrefix(object, "backups/"), manifestName)
		if at, err := time.Parse(timeForm, name); found && err == nil {
			all = append(all, Point{name, at})
		}
		return nil
	})
	slices.SortFunc(all, func(a, b Point) int { return a.At.Compare(b.At) })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.target, err)
	}
	return all, nil
}

// Newest returns the newest backup that is not after a time; the zero time asks
// for the newest of all.
func (r *Repository) Newest(ctx context.Context, until time.Time) (Point, error) {
	all, err := r.Points(ctx)
	if err != nil {
		return Point{}, err
	}
	for _, p := range slices.Backward(all) {
		if until.IsZero() || !p.At.After(until) {
			return p, nil
		}
	}
	if len(all) == 0 {
		return Point{}, fmt.Errorf("%s: %w", r.target, ErrNoRepository)
	}
	return Point{}, fmt.Errorf("%s: %w: the oldest is of %s, after %s", r.target, ErrNoPoint, all[0].At.Format(time.RFC3339), until.UTC().Format(time.RFC3339))
}

// ref is what is known of a chunk without opening it. It is not encrypted: the
// name says nothing to who lacks the key, and the sum is of what is kept.
type ref struct {
	Name string
	Size int64
	Sum  sum
}

// refs reads which chunks a backup is made of.
func (r *Repository) refs(ctx context.Context, p Point) (all []ref, err error) {
	text, err := r.target.Get(ctx, "backups/"+p.Name+refsName)
	if err != nil {
		return nil, fmt.Errorf("%s: backup %s: %w", r.target, p.Name, err)
	}
	for line := range strings.Lines(string(text)) {
		var x ref
		var hexSum string
		if _, err := fmt.Sscanf(line, "%s %d %s\n", &x.Name, &x.Size, &hexSum); err != nil || len(x.Name) != 64 || x.Sum.UnmarshalText([]byte(hexSum)) != nil {
			return nil, fmt.Errorf("%s: backup %s: the list of its chunks is damaged at %.80q", r.target, p.Name, line)
		}
		all = append(all, x)
	}
	return all, nil
}

func refsText(all []ref) []byte {
	var b bytes.Buffer
	for _, x := range all {
		fmt.Fprintf(&b, "%s %d %s\n", x.Name, x.Size, hex.EncodeToString(x.Sum[:]))
	}
	return b.Bytes()
}
