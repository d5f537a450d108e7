package dialect

import (
	"encoding/json"
	"reflect"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/road"
)

// WantedKey is the part of a device's wanted and reported configuration that is
// about its way of speaking as a roadside unit.
const WantedKey = "v2x"

// Wanted is what a unit is to be configured with: the blocks of CONFIG.DOWN, and
// the map that it is to have.
type Wanted struct {
	Config `yaml:",inline"`
	Piece  *Map `yaml:"map" json:"map,omitempty"`
}

// Check implements strict.Checker.
func (Wanted) Check(string) []strict.Error { return nil }

// ReadWanted reads the part of a wanted configuration that is about the unit.
// Numbers of the standard that name something are text there. Errors are an
// *OrderError or a *PersonalError.
func ReadWanted(doc json.RawMessage) (*Wanted, error) {
	w := &Wanted{}
	if err := readParams(doc, w); err != nil {
		if faults, ok := err.(faulty); ok {
			return nil, &OrderError{WantedKey, faults}
		}
		return nil, err
	}
	// What is compared with the unit's report must be written as it reports.
	text, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	if path := textual("", values(doc), values(text)); path != "" {
		return nil, &OrderError{WantedKey, []strict.Error{{Path: path, Msg: `is a number where the standard has text; write it like "3"`}}}
	}
	return w, nil
}

// values reads JSON that is known to be well formed.
func values(doc []byte) (x any) {
	_ = json.Unmarshal(doc, &x)
	return x
}

// textual returns the path of a number that was read as text.
func textual(path string, as, read any) string {
	switch as := as.(type) {
	case map[string]any:
		in, _ := read.(map[string]any)
		for name, v := range as {
			if at := textual(join(path, name), v, in[name]); at != "" {
				return at
			}
		}
	case []any:
		in, _ := read.([]any)
		for i, v := range as {
			if i < len(in) {
				if at := textual(path, v, in[i]); at != "" {
					return at
				}
			}
		}
	case float64, bool:
		if _, isText := read.(string); isText {
			return path
		}
	}
	return ""
}

// Reported is what a unit says of its configuration, as its twin takes it; nil
// when it said nothing. The mark of its map says that it has what is wanted:
// units do not send a map back.
func Reported(s *road.Status, wanted *Wanted) json.RawMessage {
	if s == nil || len(s.Config) == 0 {
		return nil
	}
	doc, _ := values(s.Config).(map[string]any)
	if doc == nil {
		return nil
	}
	if wanted != nil && wanted.Piece != nil {
		has := map[string]any{"eTag": s.ETag}
		if s.ETag == wanted.Piece.ETag {
			has["mapSlice"], has["map"] = wanted.Piece.Slice, wanted.Piece.Map
		}
		doc["map"] = has
	}
	text, err := json.Marshal(doc)
	if err != nil {
		panic(err) // it was read from JSON
	}
	return text
}

// Lacks are the orders that bring a unit from what it reports to what is wanted
// of it: nil where there is nothing to ask for.
func (w *Wanted) Lacks(reported json.RawMessage) (config *Config, piece *Map) {
	has, _ := values(reported).(map[string]any)
	text, err := json.Marshal(w.Config)
	if err != nil {
		panic(err) // it was read from JSON
	}
	want, _ := values(text).(map[string]any)
	next := Config{}
	if !covers(has["mapConfig"], want["mapConfig"]) {
		next.Map = w.Config.Map
	}
	if !covers(has["bsmConfig"], want["bsmConfig"]) {
		next.BSM = w.BSM
	}
	if !covers(has["rsiConfig"], want["rsiConfig"]) {
		next.RSI = w.RSI
	}
	if !covers(has["spatConfig"], want["spatConfig"]) {
		next.SPAT = w.SPAT
	}
	if !covers(has["rsmConfig"], want["rsmConfig"]) {
		next.RSM = w.RSM
	}
	if next != (Config{}) {
		config = &next
	}
	if w.Piece != nil {
		if has, _ := has["map"].(map[string]any); has["eTag"] != w.Piece.ETag {
			piece = w.Piece
		}
	}
	return config, piece
}

// covers reports whether a unit has all that is wanted; what is not wanted is its
// own.
func covers(has, want any) bool {
	object, ok := want.(map[string]any)
	if !ok {
		return want == nil || reflect.DeepEqual(has, want)
	}
	held, _ := has.(map[string]any)
	for name, v := range object {
		if !covers(held[name], v) {
			return false
		}
	}
	return true
}

// Cap lowers the limits that are wanted of the messages of each kind to those
// that hold for now.
func (w *Wanted) Cap(limits map[road.Kind]float64) {
	lower := func(kind road.Kind, limit **float64) {
		most, ok := limits[kind]
		if ok && *limit != nil && (**limit == Unlimited || **limit > most) {
			*limit = &most
		}
	}
	if w.BSM != nil {
		lower(road.KindBSM, &w.BSM.UpLimit)
	}
	if w.RSM != nil {
		lower(road.KindRSM, &w.RSM.UpLimit)
	}
	if w.SPAT != nil {
		lower(road.KindSPAT, &w.SPAT.UpLimit)
	}
}

// UpLimit is the limit of the messages of a kind; false where none is said.
func (c *Config) UpLimit(kind road.Kind) (limit float64, ok bool) {
	var at *float64
	switch {
	case kind == road.KindBSM && c.BSM != nil:
		at = c.BSM.UpLimit
	case kind == road.KindRSM && c.RSM != nil:
		at = c.RSM.UpLimit
	case kind == road.KindSPAT && c.SPAT != nil:
		at = c.SPAT.UpLimit
	}
	if at == nil {
		return 0, false
	}
	return *at, true
}

// Limit is the order that bounds a unit's messages of kinds: those that it has
// limits for are BSM, RSM and SPAT, others are passed over.
func Limit(limits map[road.Kind]float64) *Config {
	c := &Config{}
	for kind, limit := range limits {
		switch kind {
		case road.KindBSM:
			c.BSM = &BSMConfig{UpLimit: &limit}
		case road.KindRSM:
			c.RSM = &RSMConfig{UpLimit: &limit}
		case road.KindSPAT:
			c.SPAT = &SPATConfig{UpLimit: &limit}
		}
	}
	return c
}
