package query

import (
	"fmt"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"
)

// maxSyntax bounds an expression in bytes, quoted text aside: the parser's time
// grows with the square of its operators and depth, and no deadline reaches
// into it. 16 KiB take it some 0.3 s; long regular expressions are quoted.
const maxSyntax = 16 << 10

// boundedParser refuses expressions that would keep a processor busy unasked.
type boundedParser struct{ parser.Parser }

// ParseExpr implements parser.Parser.
func (p boundedParser) ParseExpr(s string) (parser.Expr, error) {
	if n := unquoted(s); n > maxSyntax {
		return nil, fmt.Errorf("the expression has %d bytes outside of quoted text, and at most %d are read; ask several questions", n, maxSyntax)
	}
	return p.Parser.ParseExpr(s)
}

// unquoted counts the bytes of an expression that are in no string. One whose
// quotes do not match is not parsed either.
func unquoted(s string) (n int) {
	for {
		at := strings.IndexAny(s, "\"'`#")
		if at < 0 {
			return n + len(s)
		}
		n += at + 1
		quote := s[at]
		s = s[at+1:]
		switch end := ending(s, quote); {
		case end < 0:
			return n
		case quote == '#': // what a comment holds counts: it is short
			n += end
			s = s[end:]
		default:
			s = s[end+1:]
		}
	}
}

// ending finds where a string or comment ends; -1 for nowhere.
func ending(s string, quote byte) int {
	switch quote {
	case '#':
		return strings.IndexByte(s, '\n')
	case '`':
		return strings.IndexByte(s, quote)
	}
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case quote:
			return i
		}
	}
	return -1
}
