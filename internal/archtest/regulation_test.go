package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTheRegulationAndTheCodeNameEachOther: every `Art. N(n)` in the code has a
// row in docs/regulation that names the file, and every file of a row holds the
// reference.
func TestTheRegulationAndTheCodeNameEachOther(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "regulation", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	article, path := regexp.MustCompile(`Art\. \d+(?:\(\d+\))?`), regexp.MustCompile("`((?:internal|deploy)/[^`]+)`")
	rows := map[[2]string]bool{} // article, file
	for line := range strings.Lines(string(page)) {
		if name := article.FindString(line); strings.HasPrefix(line, "| Art.") {
			for _, file := range path.FindAllStringSubmatch(line, -1) {
				rows[[2]string{name, file[1]}] = false
			}
		}
	}
	if len(rows) == 0 {
		t.Fatal("docs/regulation has no row: the search is wrong")
	}
	for _, f := range tree(t) {
		text, err := os.ReadFile(filepath.Join("..", "..", f.name))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range article.FindAllString(string(text), -1) {
			row := [2]string{name, f.name}
			if _, ok := rows[row]; !ok {
				t.Errorf("%s refers to %s, which docs/regulation does not tell", f.name, name)
			}
			rows[row] = true
		}
	}
	for row := range rows { // rules are no Go
		if text, err := os.ReadFile(filepath.Join("..", "..", row[1])); err == nil && filepath.Ext(row[1]) == ".yaml" {
			rows[row] = strings.Contains(string(text), row[0])
		}
	}
	for row, found := range rows {
		if !found {
			t.Errorf("docs/regulation says that %s is in %s, but nothing there says so", row[0], row[1])
		}
	}
}
