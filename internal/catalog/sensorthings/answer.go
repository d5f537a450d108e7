package sensorthings

import (
	"slices"
	"strconv"
	"strings"
)

// answer returns the body for a path and a query, and its type where that is not
// JSON.
func (q *question) answer(path, query string) (body []byte, contentType string, err error) {
	if path == "" {
		return q.root(query)
	}
	at, err := q.resolve(path)
	if err != nil {
		return nil, "", err
	}
	o, err := parseQuery(at.set, query)
	if err != nil {
		return nil, "", err
	}
	switch {
	case at.property != nil:
		return q.property(at)
	case at.entity != nil:
		b, err := q.entity(nil, at.entity, o)
		return b, "", err
	}
	l, err := q.collect(at.set, at.parent, o, true)
	if err != nil {
		return nil, "", err
	}
	address := q.base + at.set.name()
	if at.parent != nil {
		address = q.selfLink(at.parent) + "/" + linkTo(at.parent.set, at.set)
	}
	b := []byte{'{'}
	if l.count >= 0 {
		b = append(strconv.AppendInt(append(b, `"@iot.count":`...), int64(l.count), 10), ',')
	}
	if at.refs {
		b, address = q.refs(b, l.rows), address+"/$ref"
	} else if b, err = q.value(b, l.rows, o); err != nil {
		return nil, "", err
	}
	if l.after != "" {
		b = appendText(append(b, `,"@iot.nextLink":`...), address+"?"+o.next(l.after))
	}
	return append(b, "}\n"...), "", nil
}

// linkTo is the name of the link by which entities of one set lead to many of
// another.
func linkTo(from, to set) string {
	i := slices.IndexFunc(entities[from].links, func(l link) bool { return l.to == to && l.many })
	return entities[from].links[i].name
}

func (q *question) value(b []byte, rows []*row, o *options) ([]byte, error) {
	if o.array {
		return q.dataArray(b, rows, o)
	}
	b = append(b, `"value":`...)
	return q.entities(b, rows, o)
}

func (q *question) entities(b []byte, rows []*row, o *options) (_ []byte, err error) {
	b = append(b, '[')
	for i, r := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = q.entity(b, r, o); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func (q *question) refs(b []byte, rows []*row) []byte {
	b = append(b, `"value":[`...)
	for i, r := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(append(b, `{"@iot.selfLink":`...), q.selfLink(r)), '}')
	}
	return append(b, ']')
}

func (q *question) selfLink(r *row) string { return q.base + r.set.name() + "('" + r.key() + "')" }

// entity writes one entity: what identifies it, its properties, its links, and
// what of them is expanded.
func (q *question) entity(b []byte, r *row, o *options) (_ []byte, err error) {
	self := q.selfLink(r)
	b = append(b, '{')
	if o.selects(idName) {
		b = appendText(member(b, idName), r.key())
	}
	if o.selec == nil {
		b = appendText(member(b, "@iot.selfLink"), self)
	}
	for _, p := range entities[r.set].properties {
		if o.selects(p.name) {
			b = appendValue(member(b, p.name), p.get(q, r))
		}
	}
	for _, l := range entities[r.set].links {
		i := slices.IndexFunc(o.expand, func(e expansion) bool { return e.link.name == l.name })
		switch {
		case i >= 0:
			if b, err = q.expanded(b, r, o.expand[i]); err != nil {
				return nil, err
			}
		case o.selects(l.name):
			b = appendText(member(b, l.name+"@iot.navigationLink"), self+"/"+l.name)
		}
	}
	return append(b, '}'), nil
}

// member begins a member of an object.
func member(b []byte, name string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	return append(appendText(b, name), ':')
}

func (q *question) expanded(b []byte, r *row, e expansion) ([]byte, error) {
	if !e.link.many {
		to, err := q.one(e.link, r)
		if err != nil {
			return nil, err
		}
		if to == nil {
			return append(member(b, e.link.name), "null"...), nil
		}
		if err := q.takeEntity(); err != nil {
			return nil, err
		}
		return q.entity(member(b, e.link.name), to, e.options)
	}
	l, err := q.collect(e.link.to, r, e.options, false)
	if err != nil {
		return nil, err
	}
	if l.count >= 0 {
		b = strconv.AppendInt(member(b, e.link.name+"@iot.count"), int64(l.count), 10)
	}
	if b, err = q.entities(member(b, e.link.name), l.rows, e.options); err != nil {
		return nil, err
	}
	if l.after != "" {
		b = appendText(member(b, e.link.name+"@iot.nextLink"), q.selfLink(r)+"/"+e.link.name+"?"+e.options.next(l.after))
	}
	return b, nil
}

// dataArray writes observations as rows of their properties, by datastream
// (OGC 18-088, 12).
func (q *question) dataArray(b []byte, rows []*row, o *options) ([]byte, error) {
	if len(o.expand) > 0 {
		return nil, bad("dataArray 不能与 $expand 同用。", "$resultFormat=dataArray has no place for $expand")
	}
	columns := []property{identity}
	columns = append(columns, entities[observations].properties...)
	columns = slices.DeleteFunc(columns, func(p property) bool { return !o.selects(p.name) })
	b = append(b, `"value":[`...)
	for i := 0; i < len(rows); {
		n := i + 1
		for n < len(rows) && rows[n].stream.id == rows[i].stream.id {
			n++
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = q.arrayOf(b, rows[i:n], columns)
		i = n
	}
	return append(b, ']'), nil
}

func (q *question) arrayOf(b []byte, rows []*row, columns []property) []byte {
	b = appendText(append(b, `{"Datastream@iot.navigationLink":`...), q.selfLink(streamRow(rows[0].stream)))
	b = append(b, `,"components":[`...)
	for i, p := range columns {
		if i > 0 {
			b = append(b, ',')
		}
		name := p.name
		if name == idName {
			name = "id"
		}
		b = appendText(b, name)
	}
	b = strconv.AppendInt(append(b, `],"dataArray@iot.count":`...), int64(len(rows)), 10)
	b = append(b, `,"dataArray":[`...)
	for i, r := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '[')
		for j, p := range columns {
			if j > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, p.get(q, r))
		}
		b = append(b, ']')
	}
	return append(b, "]}"...)
}

// property is one property of an entity, as an object or raw.
func (q *question) property(at *target) ([]byte, string, error) {
	v := at.property.get(q, at.entity)
	if !at.value {
		return append(appendFields(nil, []field{{at.property.name, v}}), '\n'), "", nil
	}
	if v.kind == text {
		return []byte(v.text), "text/plain; charset=utf-8", nil
	}
	b := appendValue(nil, v)
	if v.kind == object {
		return b, "", nil
	}
	return []byte(strings.Trim(string(b), `"`)), "text/plain; charset=utf-8", nil
}
