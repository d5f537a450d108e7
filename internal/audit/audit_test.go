package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/records"
)

// rig is a record in a directory of its own, with a clock that tests turn.
type rig struct {
	testing.TB
	*Log
	db  *records.DB
	dir string
	now time.Time
	to  string // checkpoint_to
}

func begin(t testing.TB) *rig {
	t.Helper()
	g := &rig{TB: t, dir: t.TempDir(), now: time.Unix(1_800_000_000, 0)}
	g.open()
	return g
}

// open opens the directory, as a start of a hub does.
func (g *rig) open() {
	g.Helper()
	var err error
	if g.db, err = records.Open(g.Context(), filepath.Join(g.dir, "records.db")); err != nil {
		g.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.CheckpointTo = g.to
	g.Log, err = Open(Options{Records: g.db, Dir: g.dir, Config: cfg, Log: slog.New(slog.DiscardHandler), Clock: func() time.Time { return g.now }, Metrics: prometheus.NewRegistry()})
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() { g.db.Close() })
}

func (g *rig) exec(statements string) {
	g.Helper()
	err := g.db.Tx(g.Context(), func(tx *sql.Tx) error {
		_, err := tx.Exec(statements)
		return err
	})
	if err != nil {
		g.Fatalf("%s: %v", statements, err)
	}
}

func (g *rig) write(objects ...string) {
	g.Helper()
	for _, object := range objects {
		g.now = g.now.Add(time.Second)
		ctx := With(g.Context(), Entry{At: g.now, Actor: "ops", Role: "operator", Origin: "10.0.0.7", Action: "devices.write", Object: object, Region: "220100", Before: `{"a":1}`, After: `{"a":2}`})
		if err := g.db.Tx(ctx, func(*sql.Tx) error { return nil }); err != nil {
			g.Fatal(err)
		}
	}
}

func (g *rig) sign() Checkpoint {
	g.Helper()
	c, err := g.Checkpoint(g.Context())
	if err != nil {
		g.Fatal(err)
	}
	return c
}

// six writes six entries and signs after the fourth.
func (g *rig) six() *rig {
	g.write("device t1", "device t2", "device t3", "device t4")
	g.sign()
	g.write("device t5", "device t6")
	return g
}

// findings verifies as `hub audit verify DIR` does, with more checkpoints.
func (g *rig) findings(files ...string) (all []Finding) {
	g.Helper()
	found := func(f Finding) { all = append(all, f) }
	o, err := ReadOutside(g.dir, Keys{}, files, found)
	if err == nil {
		_, err = Verify(g.Context(), g.db, o, found)
	}
	if err != nil {
		g.Fatal(err)
	}
	return all
}

// one is the only finding, as "how seq".
func one(all []Finding) string {
	s := make([]string, len(all))
	for i, f := range all {
		s[i] = fmt.Sprintf("%s %d", f.How, f.Seq)
	}
	return strings.Join(s, ", ")
}

const recompute = "recompute"

// forge computes all hashes anew, as one does who has the database and not the
// key.
func (g *rig) forge() {
	g.Helper()
	err := g.db.Tx(g.Context(), func(tx *sql.Tx) error {
		all, err := behind(g.Context(), tx, 0)
		if err != nil {
			return err
		}
		var last Entry
		for _, e := range all {
			e.Prev = last.Hash
			e.Hash = e.digest()
			if _, err := tx.Exec("UPDATE audit SET prev = ?, hash = ? WHERE seq = ?", e.Prev[:], e.Hash[:], e.Seq); err != nil {
				return err
			}
			last = e
		}
		return nil
	})
	if err != nil {
		g.Fatal(err)
	}
}

// shift gives the entries from one on other numbers.
func shift(from, by int) string {
	return fmt.Sprintf("UPDATE audit SET seq = -seq WHERE seq >= %d; UPDATE audit SET seq = -seq + %d WHERE seq < 0;", from, by)
}

func copied(seq, to int) string {
	return fmt.Sprintf("INSERT INTO audit (%[3]s) SELECT %[2]d, at, actor, role, origin, action, object, region, before, after, prev, hash FROM audit WHERE seq = %[1]d;", seq, to, columns)
}

func TestEveryTamperingIsFoundAndNamed(t *testing.T) {
	if all := begin(t).six().findings(); len(all) != 0 {
		t.Fatalf("untouched: %v", all)
	}
	changes := map[string]string{
		"DELETE FROM audit WHERE seq = 1":                 "removed 1",
		"DELETE FROM audit WHERE seq = 3":                 "removed 3",
		"DELETE FROM audit WHERE seq IN (2, 3)":           "removed 2",
		"DELETE FROM audit WHERE seq >= 4":                "truncated 4",
		"DELETE FROM audit":                               "truncated 1",
		"UPDATE audit SET seq = 99 WHERE seq = 2":         "removed 2",
		"DELETE FROM audit WHERE seq = 3;" + shift(4, -1): "removed 3",
		"DELETE FROM audit WHERE seq = 1;" + shift(2, -1): "removed 1",
		shift(3, 1) + copied(1, 3):                        "inserted 3",
		shift(1, 1) + copied(4, 1):                        "inserted 1",
		"UPDATE audit SET seq = -2 WHERE seq = 2; UPDATE audit SET seq = 2 WHERE seq = 3; UPDATE audit SET seq = 3 WHERE seq = -2": "reordered 2",
		"UPDATE audit SET seq = -5 WHERE seq = 5;UPDATE audit SET seq = 5 WHERE seq = 6;UPDATE audit SET seq = 6 WHERE seq = -5":   "reordered 5",
		"UPDATE audit SET before = after, after = before WHERE seq = 1":                                                            "changed 1",
		"UPDATE audit SET actor = 'eve' WHERE seq = 3;" + recompute:                                                                "forged 1",
		"DELETE FROM audit WHERE seq = 2;" + shift(3, -1) + recompute:                                                              "forged 1",
		shift(2, 1) + copied(1, 2) + recompute:                                                                                     "forged 1",
		"UPDATE audit_checkpoints SET note = replace(note, char(10) || '4' || char(10), char(10) || '5' || char(10))":              "bad_checkpoint 0",
		"UPDATE audit_checkpoints SET size = 3":                                                                                    "bad_checkpoint 0",
		"UPDATE audit_checkpoints SET at = at + 1":                                                                                 "bad_checkpoint 0",
		"UPDATE audit_checkpoints SET origin = 'other'":                                                                            "bad_checkpoint 0",
		"UPDATE audit_tree SET hash = (SELECT hash FROM audit_tree WHERE place = 0) WHERE place = 3":                               "bad_tree 0",
		"DELETE FROM audit_tree WHERE place = 6":                                                                                   "bad_tree 0",
		"UPDATE audit_tree SET place = 99 WHERE place = 2":                                                                         "bad_tree 0",
		"DELETE FROM audit_tree WHERE place = 0; UPDATE audit SET actor = 'eve' WHERE seq = 6":                                     "changed 6",
		"DROP TABLE audit_tree":                                                        "bad_tree 0",
		"DROP TABLE audit_checkpoints":                                                 "bad_checkpoint 0",
		"UPDATE audit SET hash = x'00' WHERE seq = 2":                                  "changed 2",
		"UPDATE audit SET prev = (SELECT hash FROM audit WHERE seq = 4) WHERE seq = 3": "changed 3",
	}
	for _, column := range []string{"actor", "role", "origin", "action", "object", "region", "before", "after"} {
		for _, seq := range []int{1, 3, 6} {
			changes[fmt.Sprintf("UPDATE audit SET %s = %s || 'x' WHERE seq = %d", column, column, seq)] = fmt.Sprintf("changed %d", seq)
		}
	}
	for _, seq := range []int{1, 3, 6} {
		changes[fmt.Sprintf("UPDATE audit SET at = at + 1 WHERE seq = %d", seq)] = fmt.Sprintf("changed %d", seq)
		for _, column := range []string{"prev", "hash"} {
			changes[fmt.Sprintf("UPDATE audit SET %s = randomblob(32) WHERE seq = %d", column, seq)] = fmt.Sprintf("changed %d", seq)
		}
	}
	for statements, want := range changes {
		g := begin(t).six()
		sql, forged := strings.CutSuffix(statements, recompute)
		g.exec(sql)
		if forged {
			g.forge()
		}
		all := g.findings()
		if one(all) != want {
			t.Errorf("%s\n   found %v, want %s", statements, all, want)
		}
		for _, f := range all {
			if f.Seq > 0 && !strings.Contains(f.Text, fmt.Sprint(f.Seq)) {
				t.Errorf("%s: %q does not name entry %d", statements, f.Text, f.Seq)
			}
		}
	}
}

func TestAChangedEntryWithItsOwnHashMadeToFit(t *testing.T) {
	g := begin(t).six()
	err := g.db.Tx(t.Context(), func(tx *sql.Tx) error {
		all, err := behind(t.Context(), tx, 1)
		if err != nil {
			return err
		}
		e := all[0]
		e.Actor = "eve"
		e.Hash = e.digest()
		_, err = tx.Exec("UPDATE audit SET actor = ?, hash = ? WHERE seq = 2", e.Actor, e.Hash[:])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if all := g.findings(); one(all) != "changed 2" || !strings.Contains(all[0].Text, "by eve") {
		t.Errorf("%v", all)
	}
}

// A database as it was before, with its own checkpoints, is whole in itself:
// only what lies outside of it tells that it is old.
func TestAnOlderDatabaseIsTruncated(t *testing.T) {
	g := begin(t)
	g.to = t.TempDir()
	g.open()
	g.write("device t1", "device t2")
	g.sign()
	old := filepath.Join(t.TempDir(), "old.db")
	if err := g.db.Copy(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	g.write("device t3")
	c := g.sign()
	outside := filepath.Join(g.to, c.Origin+".checkpoints")
	if all := g.findings(outside); len(all) != 0 {
		t.Fatal(all)
	}
	var err error
	if g.db, err = records.Open(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	defer g.db.Close()
	if all := g.findings(); one(all) != "truncated 3" {
		t.Errorf("by the file beside it: %v", all)
	}
	if err := os.Remove(filepath.Join(g.dir, CheckpointsFile)); err != nil {
		t.Fatal(err)
	}
	if all := g.findings(); len(all) != 0 {
		t.Errorf("what this cannot know: %v", all)
	}
	if all := g.findings(outside); one(all) != "truncated 3" || !strings.Contains(all[0].Text, "covers 3 entries, and there are 2") {
		t.Errorf("by a checkpoint on another disk: %v", all)
	}
	single := filepath.Join(t.TempDir(), "kept.txt") // as somebody saves one that was logged
	if err := os.WriteFile(single, []byte(c.Note), 0o600); err != nil {
		t.Fatal(err)
	}
	if all := g.findings(single); one(all) != "truncated 3" {
		t.Errorf("by a single checkpoint: %v", all)
	}
}

func TestACheckpointOfAnotherRecord(t *testing.T) {
	g, other := begin(t).six(), begin(t).six()
	if all := g.findings(filepath.Join(other.dir, CheckpointsFile)); one(all) != "other_record 0" || !strings.Contains(all[0].Text, other.signer.Name()) {
		t.Errorf("%v", all)
	}
	keys, err := ParseKeys(other.State().Key + "\n")
	if err != nil {
		t.Fatal(err)
	}
	var all []Finding
	o, err := ReadOutside(g.dir, keys, nil, func(f Finding) { all = append(all, f) })
	if err == nil {
		_, err = Verify(t.Context(), g.db, o, func(f Finding) { all = append(all, f) })
	}
	if err != nil || one(all) != "other_record 0, other_record 0" {
		t.Errorf("with another's key: %v, %v", all, err)
	}
	text := strings.Replace(g.sign().Note, g.signer.Name(), other.signer.Name(), 1)
	if _, err := g.keys.Open(text); err == nil {
		t.Error("a checkpoint is taken for another record's")
	}
}

// A kill may come before a checkpoint, after it is in the database, or while it
// is written to a file: none of that is damage, and the next start goes on.
func TestAKillIsNoDamage(t *testing.T) {
	g := begin(t)
	g.write("device t1")
	if all := g.findings(); len(all) != 0 {
		t.Errorf("before the first checkpoint: %v", all)
	}
	g.sign()
	path := filepath.Join(g.dir, CheckpointsFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	g.write("device t2")
	g.sign()
	both, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range order(len(whole), len(both)) {
		if err := os.WriteFile(path, both[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if all := g.findings(); len(all) != 0 {
			t.Fatalf("%d of %d bytes were written: %v", n, len(both), all)
		}
		g.db.Close()
		g.open()
		if v, err := g.Verify(t.Context()); err != nil || v.Problem != nil || v.Entries != 2 {
			t.Fatalf("%d bytes: %+v, %v", n, v, err)
		}
		due, err := g.due(t.Context())
		if n == len(both)-1 { // nothing of it is missing but the empty line
			g.write("device t3")
			c := g.sign()
			if after, err := os.ReadFile(path); err != nil || string(after) != string(both)+c.Note+"\n" {
				t.Fatalf("%d bytes: the file became\n%s", n, after)
			}
			break
		}
		if want := n < len(both); err != nil || due != want {
			t.Fatalf("%d of %d bytes: due is %v, %v", n, len(both), due, err)
		}
		g.sign()
		if after, err := os.ReadFile(path); err != nil || string(after) != string(both) {
			t.Fatalf("%d bytes: the file became\n%s", n, after)
		}
	}
}

// order counts from a to b, but puts b-1 last.
func order(a, b int) (all []int) {
	for n := a; n < b-1; n += 7 {
		all = append(all, n)
	}
	return append(all, b-2, b, b-1)
}

func TestWhatIsDamagedIsNotSigned(t *testing.T) {
	for statement, want := range map[string]string{
		"UPDATE audit SET actor = 'eve' WHERE seq = 5":              "entry 5",
		"DELETE FROM audit WHERE seq >= 4":                          "entry 4",
		"DELETE FROM audit WHERE seq = 5":                           "entry 6",
		"DELETE FROM audit_tree WHERE place = 6":                    "Merkle tree",
		"UPDATE audit_checkpoints SET note = note || 'x'":           "checkpoint",
		"UPDATE audit SET hash = x'00' WHERE seq = 5":               "entry 5",
		"UPDATE audit_tree SET hash = zeroblob(32) WHERE place = 6": "Merkle tree",
	} {
		g := begin(t).six()
		g.exec(statement)
		_, err := g.Checkpoint(t.Context())
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want one that says %q", statement, err, want)
		}
		if _, again := g.Checkpoint(t.Context()); !errors.Is(again, ErrDamaged) {
			t.Errorf("%s: signed after all: %v", statement, again)
		}
	}
	g := begin(t).six() // an old database under a newer file
	g.sign()
	g.exec("DELETE FROM audit WHERE seq > 4; DELETE FROM audit_checkpoints WHERE size > 4; DELETE FROM audit_tree WHERE place >= 7")
	g.db.Close()
	g.open()
	g.write("device x", "device y")
	if v, err := g.Verify(t.Context()); err != nil || v.Problem == nil {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := g.Checkpoint(t.Context()); !errors.Is(err, ErrDamaged) {
		t.Errorf("two records under one name: %v", err)
	}
}

func TestRunSignsWhenItIsDueAndAtTheEnd(t *testing.T) {
	g := begin(t)
	g.write("device t1")
	if due, err := g.due(t.Context()); due || err != nil {
		t.Errorf("before the first look: %v, %v", due, err)
	}
	if _, err := g.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		turn func()
		want bool
	}{
		{"a young entry", func() {}, false},
		{"an old one", func() { g.now = g.now.Add(time.Minute) }, true},
		{"all signed", func() { g.sign() }, false},
		{"many", func() { g.o.Config.CheckpointEntries = 2; g.write("a", "b") }, true},
	} {
		c.turn()
		if due, err := g.due(t.Context()); due != c.want || err != nil {
			t.Errorf("%s: due is %v, %v", c.name, due, err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := g.Run(ctx); err != nil || g.State().Newest.Size != 3 {
		t.Errorf("at the end: %v, %+v", err, g.State().Newest)
	}
	if n, age := g.waiting(); n != 3 || age != 0 {
		t.Errorf("%d entries, %s", n, age)
	}
	g.write("c")
	g.now = g.now.Add(time.Hour)
	if n, age := g.waiting(); n != 4 || age != time.Hour {
		t.Errorf("%d entries, %s", n, age)
	}
}

func TestAPlaceThatTakesNoCheckpointGetsTheNext(t *testing.T) {
	g := begin(t)
	g.to = filepath.Join(t.TempDir(), "unmounted")
	g.open()
	g.write("device t1")
	if _, err := g.Checkpoint(t.Context()); err == nil || !strings.Contains(err.Error(), g.to) {
		t.Fatalf("%v", err)
	}
	if _, err := g.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if due, err := g.due(t.Context()); !due || err != nil {
		t.Errorf("%v, %v", due, err)
	}
	if err := os.Mkdir(g.to, 0o700); err != nil {
		t.Fatal(err)
	}
	c := g.sign()
	if text, err := os.ReadFile(filepath.Join(g.to, c.Origin+".checkpoints")); err != nil || string(text) != c.Note+"\n" {
		t.Errorf("%q, %v", text, err)
	}
}

// A key that was lost takes nothing away: the record goes on under a new one.
func TestANewKey(t *testing.T) {
	g := begin(t).six()
	g.sign()
	first := g.State().Key
	if err := os.Remove(filepath.Join(g.dir, KeyFile)); err != nil {
		t.Fatal(err)
	}
	g.open()
	g.write("device t7")
	g.sign()
	s := g.State()
	if all := g.findings(); len(all) != 0 || s.Key == first || len(s.Keys) != 2 || s.Keys[0] != first {
		t.Errorf("%v, %+v", all, s)
	}
	info, err := os.Stat(filepath.Join(g.dir, KeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.WriteFile(filepath.Join(g.dir, KeyFile), []byte("PRIVATE+KEY+x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(g.o); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("a damaged key: %v", err)
	}
}

func TestAnEntryIsThereIfAndOnlyIfTheChangeIs(t *testing.T) {
	g := begin(t)
	failed := errors.New("failed")
	ctx := With(context.Background(), Entry{At: time.Now(), Object: "device t1"})
	if err := g.db.Tx(ctx, func(*sql.Tx) error { return failed }); !errors.Is(err, failed) {
		t.Fatal(err)
	}
	if page, err := g.List(t.Context(), Filter{}, 0, 10); len(page) != 0 || err != nil {
		t.Errorf("%v, %v", page, err)
	}
}

func TestListIsFilteredAndPaged(t *testing.T) {
	g := begin(t)
	at := g.now
	for i := range 6 {
		e := Entry{At: at.Add(time.Duration(i) * time.Minute), Actor: "ops", Origin: "10.0.0.1", Action: "devices.write", Object: "device a", Region: "220100"}
		if i%2 == 1 {
			e = Entry{At: e.At, Actor: "eve", Origin: "10.0.0.2", Action: "tokens.write", Object: "token b", Region: "110000"}
		}
		if err := g.Add(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		f    Filter
		want string
	}{
		"all":    {Filter{}, "[6 5 4 3 2 1]"},
		"region": {Filter{Region: "22"}, "[5 3 1]"},
		"actor":  {Filter{Actor: "eve"}, "[6 4 2]"},
		"action": {Filter{Action: "tokens.write"}, "[6 4 2]"},
		"object": {Filter{Object: "a"}, "[5 3 1]"},
		"origin": {Filter{Origin: "10.0.0.1"}, "[5 3 1]"},
		"time":   {Filter{Since: at.Add(time.Minute), Until: at.Add(3 * time.Minute)}, "[3 2]"},
		"both":   {Filter{Actor: "ops", Since: at.Add(time.Minute)}, "[5 3]"},
	} {
		var got []int64
		for before := int64(0); ; {
			page, err := g.List(t.Context(), c.f, before, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page {
				got = append(got, e.Seq)
			}
			if len(page) < 2 {
				break
			}
			before = page[1].Seq
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
}
