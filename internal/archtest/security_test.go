package archtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// TestEveryLineOfTheSecurityPageNamesItsTest: each row of the checklist in
// docs/security.md says in both languages what holds, and names tests, as
// `folder beneath internal.TestName`, or scripts that are there.
func TestEveryLineOfTheSecurityPageNamesItsTest(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range faultsOf(string(page), testsOf(t)) {
		t.Errorf("docs/security.md: %s", fault)
	}
}

func TestASecurityPageWithGapsIsSeen(t *testing.T) {
	const page = "\n## Checklist\n\n| what | by |\n|---|---|\n| fine 好 | `x.TestA`, `x/y.FuzzB` |\n| gone 好 | `x.TestC` |\n| none 好 | later |\n| english | `x.TestA` |\n\n## More\n| a |\n"
	got := faultsOf(page, map[string]bool{"x.TestA": true, "x/y.FuzzB": true})
	want := []string{"the line \"gone 好\" names x.TestC", "the line \"none 好\" names no test", "the line \"english\" is not in Chinese", "there is no summary in Chinese"}
	if len(got) != len(want) {
		t.Fatalf("%q", got)
	}
	for i, w := range want {
		if !strings.HasPrefix(got[i], w) {
			t.Errorf("%q, want %q", got[i], w)
		}
	}
	if got := faultsOf("## 中文摘要\n"+strings.Repeat("好", 300), nil); len(got) != 1 || !strings.HasPrefix(got[0], "there is no checklist") {
		t.Errorf("%q", got)
	}
}

// proof is a test or script in a cell of the checklist.
var proof = regexp.MustCompile("`([a-z0-9/]+\\.(?:Test|Fuzz|Benchmark)[A-Za-z0-9]*|scripts/[a-z-]+)`")

// summary is how many characters of Chinese are a summary, and no heading.
const summary = 200

// faultsOf says what is wrong with a page, given the proofs that exist.
func faultsOf(page string, exists map[string]bool) (faults []string) {
	_, list, _ := strings.Cut(page, "\n## Checklist")
	list, _, _ = strings.Cut(list, "\n## ")
	rows := 0
	for line := range strings.Lines(list) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || strings.Contains(cells[1], "---") {
			continue
		}
		if rows++; rows == 1 {
			continue // the head
		}
		what := "the line \"" + strings.TrimSpace(cells[1]) + "\""
		if han(cells[1]) == 0 {
			faults = append(faults, what+" is not in Chinese")
		}
		names := proof.FindAllStringSubmatch(cells[2], -1)
		if len(names) == 0 {
			faults = append(faults, what+" names no test")
		}
		for _, name := range names {
			if !exists[name[1]] {
				faults = append(faults, what+" names "+name[1]+", which is not there")
			}
		}
	}
	if rows < 2 {
		faults = append(faults, "there is no checklist")
	}
	if _, zh, ok := strings.Cut(page, "## 中文摘要"); !ok || han(zh) < summary {
		faults = append(faults, "there is no summary in Chinese")
	}
	return faults
}

func han(s string) (n int) {
	for _, r := range s {
		if unicode.Is(unicode.Han, r) {
			n++
		}
	}
	return n
}

// testsOf lists the tests of internal/ by their folder, and the scripts.
func testsOf(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	root := filepath.Join("..", "..", "internal")
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w*)\(\w+ \*testing\.`)
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, name := range declared.FindAllStringSubmatch(string(text), -1) {
			found[filepath.ToSlash(dir)+"."+name[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob(filepath.Join("..", "..", "scripts", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range scripts {
		found["scripts/"+filepath.Base(s)] = true
	}
	return found
}
