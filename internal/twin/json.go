package twin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/songhua-io/hub/internal/mergepatch"
)

// Difference is one place where a device has something else than is wanted.
type Difference struct {
	Path             string          // JSON pointer (RFC 6901)
	Wanted, Reported json.RawMessage // Reported is nil where the device has nothing
}

// maxDifferences bounds what is told of one device.
const maxDifferences = 100

// compare tells how a device's configuration stands.
func compare(w Wanted, r Reported) (Standing, []Difference, error) {
	switch {
	case w.Config == nil:
		return Unmanaged, nil, nil
	case r.Version < w.Version:
		return Pending, nil, nil
	case len(r.Faults) > 0:
		return Refused, nil, nil
	}
	want, err := value(w.Config)
	if err != nil {
		return "", nil, err
	}
	have, err := value(r.Config)
	if err != nil {
		return "", nil, err
	}
	if drift := differ(nil, "", want, have); len(drift) > 0 {
		return Drifted, drift, nil
	}
	return InStep, nil, nil
}

// value reads JSON with its numbers as they are written.
func value(b json.RawMessage) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err = d.Decode(&v); err != nil {
		err = fmt.Errorf("configuration: %w", err)
	}
	return v, err
}

// differ lists where have lacks what want says; what want does not name is the
// device's own.
func differ(all []Difference, path string, want, have any) []Difference {
	if len(all) >= maxDifferences {
		return all
	}
	object, ok := want.(map[string]any)
	held, alike := have.(map[string]any)
	if !ok || !alike {
		if equal(want, have) {
			return all
		}
		return append(all, Difference{path, text(want), text(have)})
	}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		at := path + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
		h, there := held[key]
		if !there {
			all = append(all, Difference{Path: at, Wanted: text(object[key])})
			continue
		}
		all = differ(all, at, object[key], h)
	}
	return all
}

func equal(a, b any) bool {
	x, isNumber := a.(json.Number)
	y, both := b.(json.Number)
	if isNumber && both {
		f, err1 := x.Float64()
		g, err2 := y.Float64()
		return x == y || err1 == nil && err2 == nil && f == g
	}
	return bytes.Equal(text(a), text(b))
}

// text is the JSON of a value, keys in order.
func text(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // it was read from JSON
	}
	return b
}

// merge applies a merge patch (RFC 7396) to a JSON object; nil stands for an
// empty one.
func merge(config, patch json.RawMessage) (json.RawMessage, error) {
	if len(config) == 0 {
		config = json.RawMessage("{}")
	}
	if len(patch) > MaxConfig {
		return nil, fmt.Errorf("merge patch of %d bytes %w: at most %d are read", len(patch), ErrInvalid, MaxConfig)
	}
	if !json.Valid(patch) || depth(patch) > MaxDepth {
		return nil, fmt.Errorf("merge patch %.40q %w: it is a JSON object (RFC 7396), at most %d deep", patch, ErrInvalid, MaxDepth)
	}
	p, err := value(patch)
	if err != nil {
		return nil, err
	}
	if _, ok := p.(map[string]any); !ok {
		return nil, fmt.Errorf("merge patch %.40q %w: it is a JSON object (RFC 7396)", patch, ErrInvalid)
	}
	c, err := value(config)
	if err != nil {
		return nil, err
	}
	return text(mergepatch.Apply(c, p)), nil
}
