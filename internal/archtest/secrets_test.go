package archtest

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"testing"
)

// secretName is what secrets, and what is kept of them, are called.
var secretName = regexp.MustCompile(`(?i)(secret|password|passwd|psk|verifier|cred\.mark)$`)

// TestSecretsAreComparedInConstantTime: where a secret, or what is kept of it,
// is compared with anything but a literal, crypto/subtle does it. Look-ups by
// a keyed or one-way hash need none: nobody chooses the hash.
func TestSecretsAreComparedInConstantTime(t *testing.T) {
	for _, f := range tree(t) {
		for _, at := range hastyComparisons(f.parsed) {
			t.Errorf("%s: %s is compared as it comes; use crypto/subtle", f.name, at)
		}
	}
}

func TestAHastyComparisonIsSeen(t *testing.T) {
	f := parse(t, "internal/x/x.go", `package x
func f() bool {
	_ = secret == ""
	_ = len(secret) == 3
	_ = c.err == nil
	_ = c.secret == d
	_ = bytes.Equal(e.cred.mark[:], m)
	_ = string(given) != wantPassword
	return subtle.ConstantTimeCompare(c.cred.mark[:], d) == 1
}
`)
	if got := hastyComparisons(f.parsed); !slices.Equal(got, []string{"c.secret", "e.cred.mark", "wantPassword"}) {
		t.Errorf("%q", got)
	}
}

// hastyComparisons names the secrets of a file that are compared byte by byte.
func hastyComparisons(f *ast.File) (names []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			if n.Op == token.EQL || n.Op == token.NEQ {
				names = append(names, secretOf(n.X, n.Y)...)
			}
		case *ast.CallExpr:
			if name := nameOf(n.Fun); len(n.Args) == 2 && slices.Contains([]string{"bytes.Equal", "bytes.Compare", "strings.Compare", "strings.EqualFold", "slices.Equal", "reflect.DeepEqual", "cmp.Compare"}, name) {
				names = append(names, secretOf(n.Args[0], n.Args[1])...)
			}
		}
		return true
	})
	return names
}

// secretOf names the secret among two operands, unless the other one is known
// to everybody.
func secretOf(x, y ast.Expr) []string {
	for _, pair := range [][2]ast.Expr{{x, y}, {y, x}} {
		if name := nameOf(pair[0]); secretName.MatchString(name) && !known(pair[1]) {
			return []string{name}
		}
	}
	return nil
}

// known reports whether an operand is a literal or nil.
func known(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit, *ast.CompositeLit:
		return true
	case *ast.ParenExpr:
		return known(e.X)
	case *ast.Ident:
		return e.Name == "nil"
	}
	return false
}

// nameOf is an operand as it is written, without slicing and conversions.
func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return nameOf(e.X) + "." + e.Sel.Name
	case *ast.SliceExpr:
		return nameOf(e.X)
	case *ast.ParenExpr:
		return nameOf(e.X)
	case *ast.StarExpr:
		return nameOf(e.X)
	case *ast.CallExpr:
		if to := nameOf(e.Fun); len(e.Args) == 1 && (to == "string" || to == "hash") {
			return nameOf(e.Args[0])
		}
	}
	return ""
}
