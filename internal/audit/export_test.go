package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func (g *rig) export(f Filter, after int64) string {
	g.Helper()
	var b bytes.Buffer
	if err := g.Export(g.Context(), &b, f, after); err != nil {
		g.Fatal(err)
	}
	return b.String()
}

// check verifies an export with the public key, and with no more.
func (g *rig) check(text string, files ...string) (ExportReport, []Finding) {
	g.Helper()
	var all []Finding
	found := func(f Finding) { all = append(all, f) }
	o := Outside{Keys: g.keys}
	for _, file := range files {
		more, err := ReadCheckpoints(file, o.Keys, found)
		if err != nil {
			g.Fatal(err)
		}
		o.Checkpoints = append(o.Checkpoints, more...)
	}
	r, err := VerifyExport(strings.NewReader(text), o, found)
	if err != nil {
		g.Fatal(err)
	}
	return r, all
}

// some writes entries of two kinds: every third is of a token.
func (g *rig) some(n int) *rig {
	for i := 1; i <= n; i++ {
		object := fmt.Sprintf("device t%d", i)
		if i%3 == 0 {
			object = fmt.Sprintf("token <k%d>", i)
		}
		g.write(object)
	}
	return g
}

func TestAnExportVerifiesWithThePublicKeyAlone(t *testing.T) {
	for _, n := range []int{0, 1, 2, 7, 8, 450} {
		g := begin(t).some(n)
		r, all := g.check(g.export(Filter{}, 0))
		if len(all) != 0 || r.Entries != int64(n) || !r.Whole || r.Filtered || r.Signed.Size != int64(n) {
			t.Errorf("%d entries: %+v, %v", n, r, all)
		}
		r, all = g.check(g.export(Filter{Object: "token"}, 0))
		if len(all) != 0 || r.Entries != int64(n/3) || !r.Filtered {
			t.Errorf("%d entries, filtered: %+v, %v", n, r, all)
		}
	}
}

func TestAnExportIsTakenUpAgain(t *testing.T) {
	g := begin(t).some(5)
	first := g.export(Filter{}, 0)
	g.some(4)
	r, all := g.check(first + g.export(Filter{}, 5))
	if len(all) != 0 || r.Entries != 9 || !r.Whole {
		t.Errorf("%+v, %v", r, all)
	}
	lines := strings.SplitAfter(first, "\n")
	broken := strings.Join(lines[:4], "") // the opening and three entries, none proved
	if r, all = g.check(broken + g.export(Filter{}, 3)); len(all) != 0 || r.Entries != 9 || !r.Whole {
		t.Errorf("broken off: %+v, %v", r, all)
	}
	if _, all = g.check(broken + g.export(Filter{}, 4)); one(all) != "truncated 4" {
		t.Errorf("entry 4 is in neither part: %v", all)
	}
	if r, all = g.check(g.export(Filter{}, 6)); len(all) != 0 || r.Entries != 3 || r.Whole {
		t.Errorf("the last part alone: %+v, %v", r, all)
	}
}

func TestEveryTamperingWithAnExportIsFound(t *testing.T) {
	g := begin(t).some(9)
	whole, tokens := strings.SplitAfter(g.export(Filter{}, 0), "\n"), strings.SplitAfter(g.export(Filter{Object: "token"}, 0), "\n")
	forged := begin(t).some(9)
	forged.exec("UPDATE audit SET actor = 'eve' WHERE seq = 6")
	forged.forge()
	remake := func(lines []string, at int, change func(*exported)) string {
		var x exported
		if err := json.Unmarshal([]byte(lines[at]), &x); err != nil {
			t.Fatal(err)
		}
		change(&x)
		b, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(lines[:at], "") + string(b) + "\n" + strings.Join(lines[at+1:], "")
	}
	without := func(lines []string, from, to int) string {
		return strings.Join(lines[:from], "") + strings.Join(lines[to:], "")
	}
	swapped := append([]string(nil), whole...)
	swapped[3], swapped[4] = swapped[4], swapped[3]
	fit := func(x *exported) {
		x.Actor = "eve"
		e, err := x.entry()
		if err != nil {
			t.Fatal(err)
		}
		x.Hash = fmt.Sprintf("%x", e.digest())
	}
	for _, c := range []struct{ name, text, want string }{
		{"changed", remake(whole, 4, func(x *exported) { x.Actor = "eve" }), "changed 4"},
		{"changed time", remake(whole, 4, func(x *exported) { x.At = x.At.Add(1e6) }), "changed 4"},
		{"changed with its hash", remake(whole, 4, fit), "changed 4"},
		{"the last, with its hash", remake(whole, 9, fit), "forged 9"},
		{"one of a choice", remake(tokens, 2, func(x *exported) { x.After = "" }), "changed 6"},
		{"one of a choice, with its hash", remake(tokens, 2, fit), "forged 6"},
		{"the first removed", without(whole, 1, 2), "removed 1"},
		{"one removed", without(whole, 4, 5), "removed 4"},
		{"two removed", without(whole, 4, 6), "removed 4"},
		{"the last removed", without(whole, 9, 10), "truncated 9"},
		{"the last two lines removed", without(whole, 9, 11), "truncated 9"},
		{"the end line removed", without(whole, 10, 11), "truncated 10"},
		{"cut in a line", strings.Join(whole[:5], "")[:len(strings.Join(whole[:5], ""))-9], "truncated 4"},
		{"the last of a choice removed", without(tokens, 3, 4), "truncated 7"},
		{"swapped", strings.Join(swapped, ""), "reordered 3"},
		{"twice", without(whole, 5, 4), "reordered 4"},
		{"no opening", without(whole, 0, 1), "unproved 0"},
		{"empty", "", "unproved 0"},
		{"no JSON", without(whole, 4, 4) + "x\n", "changed 10"},
		{"the checkpoint of another", strings.Join(append([]string{strings.SplitAfter(begin(t).some(9).export(Filter{}, 0), "\n")[0]}, whole[1:]...), ""), "other_record 0"},
		{"under an older checkpoint", strings.Replace(strings.Join(whole, ""), `"after_seq":0`, `"after_seq":2`, 1), "reordered 3"},
	} {
		if _, all := g.check(c.text); one(all) != c.want {
			t.Errorf("%s: %v, want %s", c.name, all, c.want)
		}
	}

	// Whoever has the database and no key puts the true checkpoint before it.
	var b strings.Builder
	b.WriteString(whole[0])
	page, err := forged.page(t.Context(), Filter{}, 0, 9)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range page {
		x := e.export()
		if i == 8 {
			var last exported
			if err := json.Unmarshal([]byte(whole[9]), &last); err != nil {
				t.Fatal(err)
			}
			x.Proof = last.Proof
		}
		line, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s\n", line)
	}
	b.WriteString(whole[10])
	if _, all := g.check(b.String()); one(all) != "forged 9" {
		t.Errorf("a forged chain: %v", all)
	}
}

// Even who has the key cannot go behind a checkpoint that others hold.
func TestAnExportIsHeldAgainstKnownCheckpoints(t *testing.T) {
	for name, c := range map[string]struct{ statements, want string }{
		"untouched":           {"SELECT 1", ""},
		"truncated":           {"DELETE FROM audit WHERE seq > 4; DELETE FROM audit_checkpoints; DELETE FROM audit_tree", "truncated 5"},
		"forged with the key": {"UPDATE audit SET actor = 'eve' WHERE seq = 2; DELETE FROM audit_checkpoints; DELETE FROM audit_tree;" + recompute, "forged 0, forged 1"},
	} {
		g := begin(t).some(6)
		kept := filepath.Join(t.TempDir(), "kept.checkpoints")
		if err := os.WriteFile(kept, []byte(g.sign().Note), 0o600); err != nil {
			t.Fatal(err)
		}
		statements, forged := strings.CutSuffix(c.statements, recompute)
		g.exec(statements)
		if forged {
			g.forge()
		}
		g.open()
		g.now = g.now.Add(time.Minute)
		text := g.export(Filter{}, 0)
		if _, all := g.check(text); len(all) != 0 {
			t.Errorf("%s, without it: %v", name, all)
		}
		if _, all := g.check(text, kept); one(all) != c.want {
			t.Errorf("%s: %v, want %s", name, all, c.want)
		}
	}
}
