package structdoc

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCommentsBecomeAMap(t *testing.T) {
	root := t.TempDir()
	src := "package a\n\n// Config …\ntype Config struct {\n\t// Device is the id.\n\tDevice string `yaml:\"device\"`\n\t// MaxAge bounds it.\n\t// More.\n\tMaxAge int `yaml:\"max_age\"`\n\tPort int `yaml:\"port\"` // Port in 1 to 65535.\n\tplain int\n}\n"
	if err := os.MkdirAll(filepath.Join(root, "x/a"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "x/a/a.go"), []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := Generate(Options{Package: "b", Func: "docs", Root: root, Module: "example.org/m", Dirs: []string{"x/a"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"package b\n", "func docs() map[string]string {",
		`"example.org/m/x/a.Config.Device": "device is the id."`,
		`"example.org/m/x/a.Config.MaxAge": "max_age bounds it.\nMore."`,
		`"example.org/m/x/a.Config.Port":   "port in 1 to 65535."`,
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}
