package sensorthings

import "strings"

// target is what a path leads to: a collection, an entity, or a part of one.
type target struct {
	set        set
	collection bool
	parent     *row // of a collection; nil for all
	entity     *row
	property   *property
	value      bool // $value of a property
	refs       bool // $ref of a collection
}

// segment is one step of a path: a name, with an id where there is one.
type segment struct {
	name, id string
	hasID    bool
}

func parsePathSegments(path string) ([]segment, error) {
	var all []segment
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		s := segment{name: part}
		if name, rest, ok := strings.Cut(part, "("); ok {
			id, n, closed := quoted(strings.TrimSuffix(rest, ")"))
			if !strings.HasPrefix(rest, "'") || !strings.HasSuffix(rest, ")") || !closed || n != len(rest)-1 {
				return nil, bad("%.80q 的编号应写在引号里，例如 Things('t1')。", "%.80q: an id stands in quotes, as in Things('t1')", part)
			}
			s = segment{name, id, true}
		}
		if all = append(all, s); len(all) > maxPath {
			return nil, bad("路径超过 %d 段。", "the path has more than %d segments", maxPath)
		}
	}
	return all, nil
}

// resolve follows a path from the root.
func (q *question) resolve(path string) (*target, error) {
	all, err := parsePathSegments(path)
	if err != nil {
		return nil, err
	}
	s, ok := setOf(all[0].name)
	if !ok {
		return nil, notServed(path)
	}
	at := &target{set: s, collection: true}
	if all[0].hasID {
		if at, err = q.pick(at, all[0].id); err != nil {
			return nil, err
		}
	}
	for i, step := range all[1:] {
		last := i == len(all)-2
		switch {
		case at.property != nil && last && step.name == "$value":
			at.value = true
		case at.collection && last && step.name == "$ref":
			at.refs = true
		case at.entity != nil && at.property == nil:
			if err := q.step(at, step); err != nil {
				return nil, err
			}
		default:
			return nil, notServed(path)
		}
	}
	return at, nil
}

func setOf(name string) (set, bool) {
	for s := range setCount {
		if s.name() == name {
			return s, true
		}
	}
	return 0, false
}

// step goes from an entity to what belongs to it.
func (q *question) step(at *target, to segment) error {
	from := at.entity
	if l, ok := linkOf(from.set, to.name); ok {
		if l.many {
			*at = target{set: l.to, collection: true, parent: from}
			if to.hasID {
				next, err := q.pick(at, to.id)
				if err == nil {
					*at = *next
				}
				return err
			}
			return nil
		}
		r, err := q.one(l, from)
		if err == nil && r == nil {
			err = missing(l.to, "")
		}
		*at = target{set: l.to, entity: r}
		return err
	}
	p, ok := propertyOf(from.set, to.name)
	if !ok || to.hasID {
		return unknownProperty(from.set, to.name)
	}
	at.property = &p
	return nil
}

// pick is the entity of a collection with an id.
func (q *question) pick(c *target, id string) (*target, error) {
	r, err := q.find(c.set, id)
	if err == nil && c.parent != nil && !q.owns(c.parent, r) {
		err = missing(c.set, id)
	}
	return &target{set: c.set, entity: r}, err
}
