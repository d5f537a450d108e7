package command_test

import (
	"errors"
	"testing"

	"github.com/songhua-io/hub/internal/command"
)

// Each command has a number of its own among those of its device, by which it is
// found, also after a restart and after its end.
func TestCommandsAreFoundByTheirNumbers(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir, command.DefaultConfig())
	numbers := map[int64]string{}
	for range 50 { // within few milliseconds
		c, err := h.Issue(t.Context(), "t1", command.Request{Name: "go"})
		if err != nil {
			t.Fatal(err)
		}
		if other := numbers[c.Seq()]; other != "" {
			t.Fatalf("%s and %s have the same number", other, c.ID)
		}
		numbers[c.Seq()] = c.ID
	}
	find := func() {
		t.Helper()
		for seq, id := range numbers {
			if c, err := h.Numbered(t.Context(), "t1", seq); err != nil || c.ID != id || c.Seq() != seq {
				t.Fatalf("%d is %s, %v, not %s", seq, c.ID, err, id)
			}
			if _, err := h.Numbered(t.Context(), "t2", seq); !errors.Is(err, command.ErrUnknown) {
				t.Fatalf("another device has it: %v", err)
			}
		}
	}
	find()
	box := h.listen("t1")
	if l := box.next(t); numbers[l.Seq] != l.ID || l.Name != "go" {
		t.Errorf("%+v", l)
	}
	for _, id := range numbers {
		if err := h.Reply(t.Context(), "t1", id, []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
	}
	h.end()
	h = open(t, dir, command.DefaultConfig())
	find()
	for _, seq := range []int64{-1, 0, 1 << 48, 1 << 62} {
		if _, err := h.Numbered(t.Context(), "t1", seq); !errors.Is(err, command.ErrUnknown) {
			t.Errorf("%d: %v", seq, err)
		}
	}
}

// Who asks for commands of a name gets them, and who takes all the others; what
// nobody takes waits as queued.
func TestListenersForOneName(t *testing.T) {
	h := open(t, t.TempDir(), command.DefaultConfig())
	turns := make(chan command.Letter, 10)
	stop := h.ListenFor("t1", "turn", func(l command.Letter) bool { turns <- l; return true })
	waits := h.issue(t, "t1", command.Request{Name: "go"})
	h.issue(t, "t1", command.Request{Name: "turn", Params: []byte(`{"to": 1}`)})
	turn := &inbox{letters: turns}
	if l := turn.next(t); l.Name != "turn" || string(l.Params) != `{"to": 1}` {
		t.Errorf("%+v", l)
	}
	if c, err := h.Get(t.Context(), waits); err != nil || c.State != command.Queued || c.Attempts != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	all := h.listen("t1")
	if l := all.next(t); l.ID != waits {
		t.Errorf("%+v", l)
	}
	second := h.issue(t, "t1", command.Request{Name: "turn"})
	if l := turn.next(t); l.ID != second {
		t.Errorf("%+v", l)
	}
	stop() // what it did not confirm goes to who takes all
	if l, m := all.next(t), all.next(t); l.Name != "turn" || m.Name != "turn" {
		t.Errorf("%+v, %+v", l, m)
	}
}
