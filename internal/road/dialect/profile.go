package dialect

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/road"
)

//go:embed profiles/*.yaml
var profileFiles embed.FS

// Profile is how a family of products speaks.
type Profile struct {
	ID    string `yaml:"-"`
	Names Names  `yaml:"names"`
	// Topics are those of messages of each kind, on the way up.
	Topics map[road.Kind][]string `yaml:"topics"`
	// Framed are the kinds whose payload may be framed frames of LTE-V2X.
	Framed []road.Kind `yaml:"framed"`
	// Aliases are other spellings of fields, by kind and path.
	Aliases map[road.Kind]map[string]string `yaml:"aliases"`
	// Down is the other way.
	Down Down `yaml:"down"`

	spelled map[road.Kind]map[string]string // names by path of the object and spelling
}

// Names are those of a profile, for people.
type Names struct {
	ZH string `yaml:"zh"`
	EN string `yaml:"en"`
}

// Route is what a topic says.
type Route struct {
	Profile *Profile
	Kind    road.Kind
	// ESN is the serial number of the unit in the topic; empty when it has none.
	ESN string
}

// Set are all profiles, and how messages look. It is safe for concurrent use.
type Set struct {
	Profiles []*Profile // by id
	topics   map[byte]*branch
	shapes   map[road.Kind]*shape
}

// branch is a level of the topics that are known.
type branch struct {
	next map[string]*branch
	any  *branch // for what stands in braces
	name string  // of it
	leaf *Route
}

// Load reads the profiles that the program carries.
func Load() (*Set, error) {
	shapes, err := readShapes()
	if err != nil {
		return nil, fmt.Errorf("shapes.yaml: %w", err)
	}
	s := &Set{topics: map[byte]*branch{'/': {}, '.': {}}, shapes: shapes}
	files, err := profileFiles.ReadDir("profiles")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		text, err := profileFiles.ReadFile(path.Join("profiles", f.Name()))
		if err == nil {
			err = s.add(strings.TrimSuffix(f.Name(), ".yaml"), text)
		}
		if err != nil {
			return nil, fmt.Errorf("profile %s: %w", f.Name(), err)
		}
	}
	return s, nil
}

func (s *Set) add(id string, text []byte) error {
	p := &Profile{ID: id, spelled: map[road.Kind]map[string]string{}}
	if errs := strict.Decode(text, p); len(errs) > 0 {
		return errs[0]
	}
	if err := p.Down.check(); err != nil {
		return err
	}
	for kind, patterns := range p.Topics {
		for _, pattern := range patterns {
			if err := s.route(pattern, &Route{Profile: p, Kind: kind}); err != nil {
				return err
			}
		}
	}
	for kind, aliases := range p.Aliases {
		p.spelled[kind] = map[string]string{}
		for at, as := range aliases {
			if s.shapes[kind] == nil || !s.shapes[kind].has(at) {
				return fmt.Errorf("alias %s of %s: there is no such field", at, kind)
			}
			object, name := "", at
			if i := strings.LastIndexByte(at, '.'); i >= 0 {
				object, name = at[:i], at[i+1:]
			}
			p.spelled[kind][join(object, as)] = name
		}
	}
	s.Profiles = append(s.Profiles, p)
	return nil
}

// has reports whether there is a field at a path, lists left out.
func (s *shape) has(at string) bool {
	for _, name := range strings.Split(at, ".") {
		for s != nil && s.of != nil {
			s = s.of
		}
		if s == nil || s.fields[name] == nil {
			return false
		}
		s = s.fields[name]
	}
	return true
}

func separator(topic string) byte {
	if strings.IndexByte(topic, '/') >= 0 {
		return '/'
	}
	return '.'
}

func (s *Set) route(pattern string, to *Route) error {
	by := separator(pattern)
	at := s.topics[by]
	for _, level := range strings.Split(pattern, string(by)) {
		if strings.HasPrefix(level, "{") {
			if at.any == nil {
				at.any = &branch{name: strings.Trim(level, "{}")}
			}
			at = at.any
			continue
		}
		if at.next == nil {
			at.next = map[string]*branch{}
		}
		if at.next[level] == nil {
			at.next[level] = &branch{}
		}
		at = at.next[level]
	}
	if at.leaf != nil {
		return fmt.Errorf("topic %s is that of %s too", pattern, at.leaf.Profile.ID)
	}
	at.leaf = to
	return nil
}

// Route says what a topic is about; false when no profile has it. It allocates
// nothing.
func (s *Set) Route(topic string) (Route, bool) {
	by := separator(topic)
	return s.topics[by].find(topic, by, "")
}

func (b *branch) find(topic string, by byte, esn string) (Route, bool) {
	level, rest, more := topic, "", false
	if i := strings.IndexByte(topic, by); i >= 0 {
		level, rest, more = topic[:i], topic[i+1:], true
	}
	// What is spelled out goes before what stands for anything.
	for _, next := range [2]*branch{b.next[level], b.any} {
		if next == nil || next == b.any && level == "" {
			continue
		}
		serial := esn
		if next.name == "esn" {
			serial = level
		}
		if more {
			if r, ok := next.find(rest, by, serial); ok {
				return r, true
			}
		} else if next.leaf != nil {
			r := *next.leaf
			r.ESN = serial
			return r, true
		}
	}
	return Route{}, false
}

// MayBeFramed reports whether a payload that is no JSON is framed frames.
func (r Route) MayBeFramed() bool { return slices.Contains(r.Profile.Framed, r.Kind) }
