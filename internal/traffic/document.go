package traffic

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A document is what a unit said last about something that lasts: its map, an
// event, its own state. It is told in full, as JSON, and replaces the one before
// of its kind and key; an empty one ends it.
type documentKey struct {
	kind byte
	key  string
}

// documentKinds are what documents are, with how each is read again. The kinds
// stand in records.
var documentKinds = map[byte]func(b *Board, u *unit, key string, json []byte) error{
	documentEvent:     readEvent,
	documentStatus:    readStatus,
	documentDeviation: readDeviation,
	kindMap:           applyMap,
}

// tell keeps a document, and tells it in the record when it is another than
// before.
func (u *unit) tell(kind byte, key string, json []byte) {
	k := documentKey{kind, key}
	if old, there := u.documents[k]; old == string(json) && (there || len(json) == 0) {
		return
	}
	u.keep(k, json)
	u.told = appendDocument(u.told, u.id, k, json)
}

func (u *unit) keep(k documentKey, json []byte) {
	if len(json) == 0 {
		delete(u.documents, k)
		return
	}
	u.documents[k] = string(json)
}

func appendDocument(to []byte, unit string, k documentKey, json []byte) []byte {
	to = append(appendText(append(to, tagDocument), unit), k.kind)
	return appendText(appendText(to, k.key), string(json))
}

func (u *unit) applyDocument(b *Board, rest []byte) ([]byte, error) {
	c := cursor{p: rest}
	k := documentKey{c.octet(), c.text()}
	json := []byte(c.text())
	read := documentKinds[k.kind]
	switch {
	case c.bad:
		return nil, ErrRecord
	case read == nil: // of a later edition
		return c.p, nil
	}
	u.keep(k, json)
	if err := read(b, u, k.key, json); err != nil {
		return nil, fmt.Errorf("document %c of %.64q %w: %w", k.kind, k.key, ErrRecord, err)
	}
	return c.p, nil
}

func (u *unit) appendDocuments(to []byte) []byte {
	keys := slices.SortedFunc(maps.Keys(u.documents), func(a, b documentKey) int {
		return strings.Compare(string(a.kind)+a.key, string(b.kind)+b.key)
	})
	for _, k := range keys {
		to = appendDocument(to, u.id, k, []byte(u.documents[k]))
	}
	return to
}
