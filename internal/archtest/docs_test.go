package archtest

import (
	"go/ast"
	"slices"
	"testing"
)

func TestEveryPackageSaysWhatItPromises(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range tree(t) {
		documented[f.dir] = documented[f.dir] || f.parsed.Doc != nil
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s has no package comment", dir)
		}
	}
}

func TestEveryExportedNameIsDocumented(t *testing.T) {
	for _, f := range tree(t) {
		for _, name := range undocumented(f.parsed) {
			t.Errorf("%s: %s has no comment", f.name, name)
		}
	}
}

func TestAMissingCommentIsSeen(t *testing.T) {
	f := parse(t, "internal/x/x.go", `package x
type A struct{}
// B is documented.
type B struct{}
func (B) M() {}
func (B) String() string { return "" }
func (c) M() {}
type c struct{}
const (
	D = 1
	E = 2 // is documented
)
// These are documented.
var (
	F = 1
	G = 2
)
func H() {}
`)
	if got := undocumented(f.parsed); !slices.Equal(got, []string{"A", "B.M", "D", "H"}) {
		t.Errorf("%q", got)
	}
}

// conventional methods say by their names what they do.
var conventional = []string{"String", "Error", "Unwrap"}

// undocumented lists the exported names of a file without a comment. One
// comment above a block of constants or variables is enough for all of it.
func undocumented(f *ast.File) (names []string) {
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if name, ok := exported(d); ok && d.Doc == nil {
				names = append(names, name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
						names = append(names, s.Name.Name)
					}
				case *ast.ValueSpec:
					for _, n := range s.Names {
						if n.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
							names = append(names, n.Name)
						}
					}
				}
			}
		}
	}
	return names
}

// exported returns the name of a function, or of a method of an exported type,
// that others can call and that its name alone does not explain.
func exported(d *ast.FuncDecl) (string, bool) {
	if !d.Name.IsExported() {
		return "", false
	}
	if d.Recv == nil {
		return d.Name.Name, true
	}
	on := d.Recv.List[0].Type
	if star, ok := on.(*ast.StarExpr); ok {
		on = star.X
	}
	if generic, ok := on.(*ast.IndexExpr); ok {
		on = generic.X
	}
	of, ok := on.(*ast.Ident)
	return of.Name + "." + d.Name.Name, ok && of.IsExported() && !slices.Contains(conventional, d.Name.Name)
}
