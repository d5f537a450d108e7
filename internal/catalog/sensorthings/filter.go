package sensorthings

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// expr is a part of a $filter, or what it compares.
type expr struct {
	kind kind
	eval func(*question, *row) (value, error)
	// in bounds the times of the observations for which a condition can hold.
	in span
	// time says that it is the time of an observation; literal what stands there.
	time    bool
	id      bool // it is the entity's own id
	literal *value
}

// parseFilter reads the subset of $filter that docs/formats/sensorthings.md
// describes: or, and, not, comparisons, functions, properties and single links.
func parseFilter(of set, s string) (*expr, error) {
	tokens, err := lex(s)
	if err != nil {
		return nil, err
	}
	p := &parser{of: of, tokens: tokens}
	e, err := p.or(0)
	switch {
	case err != nil:
		return nil, err
	case p.peek().kind != endToken:
		return nil, p.unexpected("and, or, or the end")
	case e.kind != boolean && e.kind != dynamic:
		return nil, bad("$filter 是 %s，不是条件；请比较它，例如 result gt 20。", "$filter is %s and no condition; compare it, as in result gt 20", e.kind)
	}
	return e, nil
}

type tokenKind uint8

const (
	endToken tokenKind = iota
	wordToken
	literalToken
	markToken // ( ) ,
)

type token struct {
	kind tokenKind
	text string
	at   int // byte
	val  value
}

func lex(s string) (all []token, err error) {
	for i := 0; i < len(s); {
		at, c := i, s[i]
		switch {
		case c == ' ' || c == '\t':
			i++
			continue
		case strings.IndexByte("(),", c) >= 0:
			i++
			all = append(all, token{kind: markToken, text: s[at:i], at: at})
		case c == '\'':
			t, n, ok := quoted(s[i:])
			if !ok {
				return nil, bad("$filter 第 %d 字节处的文本没有结束的引号。", "$filter: the text at byte %d has no closing '; double a ' within it", at)
			}
			i += n
			all = append(all, token{kind: literalToken, text: s[at:i], at: at, val: textOf(t)})
		case '0' <= c && c <= '9' || c == '-' || c == '+':
			for i++; i < len(s) && (isWord(s[i]) || strings.IndexByte(":+-.", s[i]) >= 0); i++ {
			}
			v, err := literal(s[at:i], at)
			if err != nil {
				return nil, err
			}
			all = append(all, token{kind: literalToken, text: s[at:i], at: at, val: v})
		case isWord(c) || c == '@':
			for i++; i < len(s) && (isWord(s[i]) || strings.IndexByte("@./:-", s[i]) >= 0); i++ {
			}
			all = append(all, token{kind: wordToken, text: s[at:i], at: at})
		default:
			return nil, bad("$filter 第 %d 字节处的 %q 无法识别。", "$filter: %[2]q at byte %[1]d is not understood", at, string(rune(c)))
		}
		if len(all) > maxFilter {
			return nil, bad("$filter 超过 %d 个词；请分成几次查询。", "$filter has more than %d terms; ask several questions", maxFilter)
		}
	}
	return append(all, token{kind: endToken, text: "the end", at: len(s)}), nil
}

func isWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c >= 0x80
}

// quoted reads a text between quotes, in which ” stands for one.
func quoted(s string) (text string, n int, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] != '\'':
			b.WriteByte(s[i])
		case i+1 < len(s) && s[i+1] == '\'':
			b.WriteByte('\'')
			i++
		default:
			return b.String(), i + 1, true
		}
	}
	return "", 0, false
}

func literal(s string, at int) (value, error) {
	if v, err := strconv.ParseFloat(s, 64); err == nil {
		return numberOf(v), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return instantOf(t.UnixMilli()), nil
	}
	return value{}, bad("$filter 第 %d 字节处的 %.40q 既不是数字也不是时刻（2026-01-01T00:00:00Z）。",
		"$filter: %.40[2]q at byte %[1]d is neither a number nor a time such as 2026-01-01T00:00:00Z", at, s)
}

type parser struct {
	of     set
	tokens []token
	i      int
}

func (p *parser) peek() token { return p.tokens[p.i] }

func (p *parser) take() token {
	t := p.tokens[p.i]
	if t.kind != endToken {
		p.i++
	}
	return t
}

func (p *parser) is(text string) bool {
	t := p.peek()
	if (t.kind == wordToken || t.kind == markToken) && t.text == text {
		p.i++
		return true
	}
	return false
}

func (p *parser) unexpected(want string) error {
	t := p.peek()
	return bad("$filter 第 %d 字节处是 %.40q，此处应为 %s。", "$filter: %.40[2]q at byte %[1]d, where %[3]s is wanted", t.at, t.text, want)
}

func (p *parser) or(depth int) (*expr, error) {
	return p.joined(depth, "or", p.and, func(a, b bool) bool { return a || b }, span.or)
}

func (p *parser) and(depth int) (*expr, error) {
	return p.joined(depth, "and", p.not, func(a, b bool) bool { return a && b }, span.and)
}

func (p *parser) joined(depth int, word string, part func(int) (*expr, error), join func(a, b bool) bool, in func(a, b span) span) (*expr, error) {
	left, err := part(depth)
	for err == nil && p.is(word) {
		var right *expr
		if right, err = part(depth); err != nil {
			break
		}
		for _, e := range []*expr{left, right} {
			if e.kind != boolean && e.kind != dynamic {
				return nil, bad("%s 的两侧必须是条件，而其中一侧是 %s。", "both sides of %s are conditions, and one is %s", word, e.kind)
			}
		}
		a, b, stop := left, right, word == "or"
		left = &expr{kind: boolean, in: in(a.in, b.in), eval: func(q *question, r *row) (value, error) {
			v, err := a.eval(q, r)
			if err != nil || v.holds() == stop {
				return truthOf(v.holds()), err
			}
			w, err := b.eval(q, r)
			return truthOf(join(v.holds(), w.holds())), err
		}}
	}
	return left, err
}

func (v value) holds() bool { return v.kind == boolean && v.number != 0 }

func (p *parser) not(depth int) (*expr, error) {
	if !p.is("not") {
		return p.comparison(depth)
	}
	if depth++; depth > maxParens {
		return nil, tooDeep()
	}
	e, err := p.not(depth)
	if err != nil {
		return nil, err
	}
	return &expr{kind: boolean, in: always, eval: func(q *question, r *row) (value, error) {
		v, err := e.eval(q, r)
		return truthOf(!v.holds()), err
	}}, nil
}

func tooDeep() error {
	return bad("$filter 的括号超过 %d 层。", "$filter: more than %d parentheses and nots within one another", maxParens)
}

var comparisons = map[string]func(order int) bool{
	"eq": func(o int) bool { return o == 0 }, "ne": func(o int) bool { return o != 0 },
	"gt": func(o int) bool { return o > 0 }, "ge": func(o int) bool { return o >= 0 },
	"lt": func(o int) bool { return o < 0 }, "le": func(o int) bool { return o <= 0 },
}

func (p *parser) comparison(depth int) (*expr, error) {
	left, err := p.operand(depth)
	if err != nil {
		return nil, err
	}
	t := p.peek()
	holds, ok := comparisons[t.text]
	if !ok || t.kind != wordToken {
		return left, nil
	}
	p.i++
	right, err := p.operand(depth)
	if err != nil {
		return nil, err
	}
	if !alike(left.kind, right.kind) {
		return nil, bad("%s 的两侧无法比较：%s 与 %s；时刻写作 2026-01-01T00:00:00Z，不加引号。",
			"%s cannot compare %s with %s; a time is written 2026-01-01T00:00:00Z, without quotes", t.text, left.kind, right.kind)
	}
	return &expr{kind: boolean, in: within(left, t.text, right), eval: func(q *question, r *row) (value, error) {
		a, err := left.eval(q, r)
		if err != nil {
			return value{}, err
		}
		b, err := right.eval(q, r)
		if err != nil {
			return value{}, err
		}
		if a.kind == null || b.kind == null {
			same := a.kind == b.kind
			return truthOf(t.text == "eq" && same || t.text == "ne" && !same), nil
		}
		order, ok := compare(a, b)
		if !ok {
			return truthOf(t.text == "ne"), nil
		}
		return truthOf(holds(order)), nil
	}}, nil
}

func alike(a, b kind) bool {
	return a == b && a != object || a == null || b == null || a == dynamic || b == dynamic
}

// compare returns how two values are ordered; false where they are not, as values
// of two kinds and NaN.
func compare(a, b value) (int, bool) {
	if a.kind != b.kind {
		return 0, false
	}
	switch a.kind {
	case text:
		return strings.Compare(a.text, b.text), true
	case instant:
		return sign(a.at < b.at, a.at > b.at), true
	case number, boolean:
		return sign(a.number < b.number, a.number > b.number), !math.IsNaN(a.number) && !math.IsNaN(b.number)
	}
	return 0, false
}

func sign(less, more bool) int { return b2i(more) - b2i(less) }

// flipped are comparisons with their sides exchanged.
var flipped = map[string]string{"eq": "eq", "ne": "ne", "gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}

// within is where the time of an observation must lie for a comparison to hold.
func within(left *expr, op string, right *expr) span {
	if right.time && left.literal != nil {
		left, right = right, left
		op = flipped[op]
	}
	if !left.time || right.literal == nil || right.literal.kind != instant {
		return always
	}
	at := right.literal.at
	switch op {
	case "eq":
		return span{at, at}
	case "gt":
		return span{at + 1, math.MaxInt64}
	case "ge":
		return span{at, math.MaxInt64}
	case "lt":
		return span{math.MinInt64, at - 1}
	case "le":
		return span{math.MinInt64, at}
	}
	return always
}

func (p *parser) operand(depth int) (*expr, error) {
	t := p.take()
	switch {
	case t.kind == literalToken:
		return constant(t.val), nil
	case t.kind == markToken && t.text == "(":
		if depth++; depth > maxParens {
			return nil, tooDeep()
		}
		e, err := p.or(depth)
		if err == nil && !p.is(")") {
			err = p.unexpected(")")
		}
		return e, err
	case t.kind != wordToken:
		p.i = max(0, p.i-b2i(t.kind != endToken))
		return nil, p.unexpected("a property, a function, a literal or (")
	case t.text == "true" || t.text == "false":
		return constant(truthOf(t.text == "true")), nil
	case t.text == "null":
		return constant(value{}), nil
	case p.is("("):
		return p.call(t, depth)
	}
	return parsePath(p.of, t.text)
}

func constant(v value) *expr {
	return &expr{kind: v.kind, in: always, literal: &v, eval: func(*question, *row) (value, error) { return v, nil }}
}
