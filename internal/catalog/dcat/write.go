package dcat

import (
	"slices"
)

// Format is a serialisation.
type Format struct {
	// Suffix is that of addresses, such as ttl.
	Suffix string
	// MediaType has no parameters: harvesters compare it as it is. All formats
	// are in UTF-8.
	MediaType string
	write     func(*Graph, []byte) []byte
}

// Formats lists the serialisations, the first is that of those who ask for none.
func Formats() []Format {
	return []Format{
		{"ttl", "text/turtle", (*Graph).turtle},
		{"jsonld", "application/ld+json", (*Graph).jsonLD},
		{"rdf", "application/rdf+xml", (*Graph).xml},
	}
}

// Append writes the graph after what is in b.
func (f Format) Append(b []byte, g *Graph) []byte { return f.write(g, b) }

// turtle writes RDF 1.1 Turtle.
func (g *Graph) turtle(b []byte) []byte {
	g.eachNamespace(func(prefix, address string) {
		b = append(append(append(append(append(b, "@prefix "...), prefix...), ": <"...), address...), "> .\n"...)
	})
	for _, n := range g.nodes {
		if len(n.properties) == 0 {
			continue
		}
		b = append(append(append(b, "\n<"...), n.id...), '>')
		for i := range n.properties {
			p := &n.properties[i]
			if i > 0 {
				b = append(b, " ;\n "...)
			}
			b = append(b, ' ')
			b = append(append(b, p.name...), ' ')
			b = turtleObject(b, &p.object)
		}
		b = append(b, " .\n"...)
	}
	return b
}

func turtleObject(b []byte, o *object) []byte {
	switch o.kind {
	case link:
		return append(append(append(b, '<'), o.value...), '>')
	case word:
		return append(b, o.value...)
	}
	b = quoteN(b, o.value)
	switch {
	case o.kind == typed:
		b = append(append(b, "^^"...), o.tag...)
	case o.tag != "":
		b = append(append(b, '@'), o.tag...)
	}
	return b
}

// quoteN writes a text as N-Triples and Turtle do, in the canonical form of
// RDF Dataset Canonicalization; texts are clean.
func quoteN(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := range len(s) {
		esc := ""
		switch s[i] {
		case '"':
			esc = `\"`
		case '\\':
			esc = `\\`
		case '\n':
			esc = `\n`
		case '\t':
			esc = `\t`
		default:
			continue
		}
		b = append(append(b, s[from:i]...), esc...)
		from = i + 1
	}
	return append(append(b, s[from:]...), '"')
}

// jsonLD writes JSON-LD 1.1 that needs nothing from elsewhere: its context is in
// it, and all values are texts, so that no number is rounded on its way.
func (g *Graph) jsonLD(b []byte) []byte {
	b = append(b, `{"@context":{`...)
	first := true
	g.eachNamespace(func(prefix, address string) {
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(append(append(append(append(b, '"'), prefix...), `":"`...), address...), '"')
	})
	b = append(b, "},\"@graph\":["...)
	first = true
	for _, n := range g.nodes {
		if len(n.properties) == 0 {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = n.jsonLD(b)
	}
	return append(b, "\n]}\n"...)
}

func (n *node) jsonLD(b []byte) []byte {
	b = quoteJSON(append(b, "\n{\"@id\":"...), n.id)
	for i := range n.properties {
		p := n.properties[i].name
		if slices.ContainsFunc(n.properties[:i], func(q property) bool { return q.name == p }) {
			continue // written where it came first
		}
		b = append(b, ',')
		if p == "rdf:type" {
			b = append(b, `"@type":[`...)
		} else {
			b = append(append(append(b, '"'), p...), `":[`...)
		}
		for j := i; j < len(n.properties); j++ {
			if n.properties[j].name != p {
				continue
			}
			if j > i {
				b = append(b, ',')
			}
			b = jsonObject(b, &n.properties[j].object, p == "rdf:type")
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

func jsonObject(b []byte, o *object, class bool) []byte {
	switch {
	case class:
		return quoteJSON(b, o.value)
	case o.kind == link || o.kind == word:
		return append(quoteJSON(append(b, `{"@id":`...), o.value), '}')
	}
	b = quoteJSON(append(b, `{"@value":`...), o.value)
	switch {
	case o.kind == typed:
		b = quoteJSON(append(b, `,"@type":`...), o.tag)
	case o.tag != "":
		b = quoteJSON(append(b, `,"@language":`...), o.tag)
	}
	return append(b, '}')
}

// quoteJSON writes a clean text, which has no other control characters.
func quoteJSON(b []byte, s string) []byte { return quoteN(b, s) }

// xml writes RDF/XML.
func (g *Graph) xml(b []byte) []byte {
	b = append(b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<rdf:RDF"...)
	g.eachNamespace(func(prefix, address string) {
		b = append(append(append(b, "\n xmlns:"...), prefix...), `="`...)
		b = append(quoteXML(b, address), '"')
	})
	b = append(b, ">\n"...)
	for _, n := range g.nodes {
		if len(n.properties) == 0 {
			continue
		}
		b = append(b, `<rdf:Description rdf:about="`...)
		b = append(quoteXML(b, n.id), "\">\n"...)
		for i := range n.properties {
			b = g.xmlProperty(b, &n.properties[i])
		}
		b = append(b, "</rdf:Description>\n"...)
	}
	return append(b, "</rdf:RDF>\n"...)
}

func (g *Graph) xmlProperty(b []byte, p *property) []byte {
	b = append(append(b, " <"...), p.name...)
	switch o := &p.object; o.kind {
	case link:
		return append(quoteXML(append(b, ` rdf:resource="`...), o.value), "\"/>\n"...)
	case word:
		return append(quoteXML(append(b, ` rdf:resource="`...), g.full(o.value)), "\"/>\n"...)
	case typed:
		b = append(quoteXML(append(b, ` rdf:datatype="`...), g.full(o.tag)), '"')
	case text:
		if o.tag != "" {
			b = append(append(append(b, ` xml:lang="`...), o.tag...), '"')
		}
	}
	b = quoteXML(append(b, '>'), p.object.value)
	return append(append(append(b, "</"...), p.name...), ">\n"...)
}

// quoteXML writes a clean text as content or as the value of an attribute.
func quoteXML(b []byte, s string) []byte {
	from := 0
	for i := range len(s) {
		esc := ""
		switch s[i] {
		case '&':
			esc = "&amp;"
		case '<':
			esc = "&lt;"
		case '>':
			esc = "&gt;"
		case '"':
			esc = "&quot;"
		case '\n':
			esc = "&#xA;"
		case '\t':
			esc = "&#x9;"
		default:
			continue
		}
		b = append(append(b, s[from:i]...), esc...)
		from = i + 1
	}
	return append(b, s[from:]...)
}
