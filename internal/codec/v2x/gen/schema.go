package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// kind is what a type is on the wire.
type kind int

const (
	integer kind = iota
	enumerated
	bitString
	octetString
	ia5String
	sequence
	choice
	list
)

// node is a type, or the use of one.
type node struct {
	kind       kind
	ref        string // the name of a type that is defined elsewhere
	min, max   int64  // of a value, or of a size
	extensible bool
	names      []named // of values, or of bits
	fields     []field // of a sequence, or the alternatives of a choice
	of         *node   // of a list
	comment    string
}

type named struct {
	name  string
	value int64
}

type field struct {
	name     string
	optional bool
	node
}

type definition struct {
	name string
	node
}

// schema is all definitions in their order.
type schema struct {
	all    []definition
	byName map[string]*node
}

var token = regexp.MustCompile(`::=|\.\.\.|\.\.|[{}(),]|--[^\n]*|-?[0-9]+|[A-Za-z][A-Za-z0-9-]*`)

// parser reads tokens. An error is kept, and all that follows is empty.
type parser struct {
	tokens []string
	at     int
	err    error
}

func parse(text string) (*schema, error) {
	p := &parser{tokens: token.FindAllString(text, -1)}
	s := &schema{byName: map[string]*node{}}
	for p.err == nil {
		for strings.HasPrefix(p.peek(), "--") {
			p.at++
		}
		if p.at >= len(p.tokens) {
			break
		}
		d := definition{name: p.next()}
		p.want("::=")
		d.node = p.node()
		if strings.HasPrefix(p.peek(), "--") {
			d.comment = strings.TrimSpace(p.next()[2:])
		}
		s.all = append(s.all, d)
	}
	for i := range s.all {
		s.byName[s.all[i].name] = &s.all[i].node
	}
	return s, p.err
}

func (p *parser) peek() string {
	if p.err != nil || p.at >= len(p.tokens) {
		return ""
	}
	return p.tokens[p.at]
}

func (p *parser) next() string {
	t := p.peek()
	p.at++
	return t
}

func (p *parser) want(all ...string) {
	for _, t := range all {
		if got := p.next(); got != t && p.err == nil {
			p.err = fmt.Errorf("%q where %q was expected, after %q", got, t, strings.Join(p.tokens[max(0, p.at-8):p.at], " "))
		}
	}
}

func (p *parser) is(t string) bool {
	if p.peek() != t {
		return false
	}
	p.at++
	return true
}

func (p *parser) number() int64 {
	n, err := strconv.ParseInt(p.next(), 10, 64)
	if err != nil && p.err == nil {
		p.err = err
	}
	return n
}

func (p *parser) node() (n node) {
	switch t := p.next(); t {
	case "INTEGER":
		n.kind = integer
		p.want("(")
		n.min = p.number()
		p.want("..")
		n.max = p.number()
		p.want(")")
	case "ENUMERATED":
		n.kind = enumerated
		p.names(&n)
	case "BIT":
		n.kind = bitString
		p.want("STRING")
		p.names(&n)
		p.size(&n)
	case "OCTET":
		n.kind = octetString
		p.want("STRING")
		p.size(&n)
	case "IA5String":
		n.kind = ia5String
		p.size(&n)
	case "CHOICE":
		n.kind = choice
		p.fields(&n)
	case "SEQUENCE":
		if p.peek() == "{" {
			n.kind = sequence
			p.fields(&n)
			break
		}
		n.kind = list
		p.size(&n)
		p.want("OF")
		of := p.node()
		n.of = &of
	default:
		n.ref = t
	}
	return n
}

// size reads (SIZE (1..8)), (SIZE (8)) or (SIZE (8, ...)).
func (p *parser) size(n *node) {
	p.want("(", "SIZE", "(")
	n.min = p.number()
	n.max = n.min
	if p.is("..") {
		n.max = p.number()
	}
	if p.is(",") {
		p.want("...")
		n.extensible = true
	}
	p.want(")", ")")
}

func (p *parser) names(n *node) {
	p.want("{")
	for p.err == nil && !p.is("}") {
		if p.is("...") {
			n.extensible = true
		} else {
			one := named{name: p.next()}
			p.want("(")
			one.value = p.number()
			p.want(")")
			n.names = append(n.names, one)
		}
		p.is(",")
	}
}

func (p *parser) fields(n *node) {
	p.want("{")
	for p.err == nil && !p.is("}") {
		if p.is("...") {
			n.extensible = true
		} else {
			f := field{name: p.next()}
			f.node = p.node()
			f.optional = p.is("OPTIONAL")
			n.fields = append(n.fields, f)
		}
		p.is(",")
	}
}
