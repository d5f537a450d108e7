package dcat

import (
	"strings"
	"time"
	"unicode/utf8"
)

// name is an address in one of the namespaces, such as dct:title. What stands
// after the colon is a word in all three serialisations: letters, digits and _.
type name string

// kind is what an object is.
type kind uint8

const (
	link  kind = iota // an address
	word              // a name
	text              // a text in a language, or in none
	typed             // a value of a datatype, which is a name
)

// object is the third of a triple.
type object struct {
	kind  kind
	value string
	tag   string // the language, or the datatype
}

func to(address string) object          { return object{kind: link, value: address} }
func is(n name) object                  { return object{kind: word, value: string(n)} }
func plain(s string) object             { return object{kind: text, value: clean(s)} }
func in(language, s string) object      { return object{text, clean(s), language} }
func of(datatype name, s string) object { return object{typed, s, string(datatype)} }

// clean makes of a text one that all serialisations can carry. XML knows no
// control characters but tab and line feed; what it lacks is shown as U+FFFD
// rather than left out.
func clean(s string) string {
	if strings.IndexFunc(s, foul) < 0 && utf8.ValidString(s) {
		return s
	}
	s = strings.ReplaceAll(strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\r\n", "\n"), "\r", "\n")
	return strings.Map(func(r rune) rune {
		if foul(r) {
			return utf8.RuneError
		}
		return r
	}, s)
}

// foul are the characters that XML 1.0 has not, or asks writers to avoid.
func foul(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' || r >= 0x7F && r <= 0x9F || r >= 0xFDD0 && r <= 0xFDEF || r&0xFFFE == 0xFFFE
}

// instant is an xsd:dateTime; not ok: it is none that XML Schema can write.
func instant(t time.Time) (object, bool) {
	t = t.UTC()
	if t.IsZero() || t.Year() < 1 || t.Year() > 9999 {
		return object{}, false
	}
	return of("xsd:dateTime", t.Format("2006-01-02T15:04:05Z")), true
}

type property struct {
	name   name
	object object
}

// node is what is said of one address.
type node struct {
	id         string
	properties []property
}

// Graph is a set of triples. All its nodes have addresses of their own, so that
// a reader may take two pages together, and two graphs are the same when their
// triples are.
type Graph struct {
	vocabulary string // namespace of the words of our own, hub:
	nodes      []*node
	byID       map[string]*node
}

// newGraph makes an empty graph that is to have about so many nodes.
func newGraph(vocabulary string, nodes int) *Graph {
	return &Graph{vocabulary: vocabulary + "#", nodes: make([]*node, 0, nodes), byID: make(map[string]*node, nodes)}
}

// about returns the node of an address; fresh: nothing was said of it before.
func (g *Graph) about(id string) (n *node, fresh bool) {
	if n, found := g.byID[id]; found {
		return n, false
	}
	n = &node{id: id, properties: make([]property, 0, 8)}
	g.nodes = append(g.nodes, n)
	g.byID[id] = n
	return n, true
}

// a says what class an address is of, and returns its node.
func (g *Graph) a(id string, classes ...name) *node {
	n, _ := g.about(id)
	for _, c := range classes {
		n.add("rdf:type", is(c))
	}
	return n
}

// add says something, once.
func (n *node) add(p name, o object) {
	for i := range n.properties {
		if q := &n.properties[i]; q.name == p && q.object == o {
			return
		}
	}
	n.properties = append(n.properties, property{p, o})
}

// append says what is known not to have been said: it does not look.
func (n *node) append(p name, o object) { n.properties = append(n.properties, property{p, o}) }

// both says a text in the languages that it has.
func (n *node) both(p name, zh, en string) {
	if strings.TrimSpace(zh) != "" {
		n.add(p, in("zh", zh))
	}
	if strings.TrimSpace(en) != "" {
		n.add(p, in("en", en))
	}
}

// when says a time that there is.
func (n *node) when(p name, t time.Time) {
	if o, ok := instant(t); ok {
		n.add(p, o)
	}
}

// namespaces are those of all names, hub: aside; ordered, because they are
// written so.
var namespaces = []struct{ prefix, address string }{
	{"as", "https://www.w3.org/ns/activitystreams#"},
	{"dcat", "http://www.w3.org/ns/dcat#"},
	{"dcatap", "http://data.europa.eu/r5r/"},
	{"dct", "http://purl.org/dc/terms/"},
	{"dqv", "http://www.w3.org/ns/dqv#"},
	{"eli", "http://data.europa.eu/eli/ontology#"},
	{"foaf", "http://xmlns.com/foaf/0.1/"},
	{"geo", "http://www.opengis.net/ont/geosparql#"},
	{"hydra", "http://www.w3.org/ns/hydra/core#"},
	{"prov", "http://www.w3.org/ns/prov#"},
	{"rdf", "http://www.w3.org/1999/02/22-rdf-syntax-ns#"},
	{"rdfs", "http://www.w3.org/2000/01/rdf-schema#"},
	{"skos", "http://www.w3.org/2004/02/skos/core#"},
	{"spdx", "http://spdx.org/rdf/terms#"},
	{"vcard", "http://www.w3.org/2006/vcard/ns#"},
	{"xsd", "http://www.w3.org/2001/XMLSchema#"},
}

// eachNamespace calls f with every prefix and what it stands for.
func (g *Graph) eachNamespace(f func(prefix, address string)) {
	for _, n := range namespaces {
		f(n.prefix, n.address)
	}
	f("hub", g.vocabulary)
}

// full is the address that a name stands for.
func (g *Graph) full(n string) string {
	prefix, local, _ := strings.Cut(n, ":")
	if prefix == "hub" {
		return g.vocabulary + local
	}
	for _, ns := range namespaces {
		if ns.prefix == prefix {
			return ns.address + local
		}
	}
	panic("dcat: no namespace of " + n) // a mistake in this package, found by any test
}

// Only is what the graph says of one address.
func (g *Graph) Only(id string) *Graph {
	one := &Graph{vocabulary: g.vocabulary, byID: map[string]*node{}}
	if n, found := g.byID[id]; found {
		one.nodes, one.byID[id] = []*node{n}, n
	}
	return one
}
