package edge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/edge/uplink"
)

// desk is a hub that takes answers, and what does commands.
type desk struct {
	mu      sync.Mutex
	down    bool
	done    []string          // ids are the parameters
	replies map[string]string // by topic; the newest
	count   int
}

func (d *desk) send(_ context.Context, m uplink.Message) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down {
		return uplink.ErrDown
	}
	d.count++
	d.replies[m.Suffix] = string(m.Payload)
	return nil
}

func (d *desk) do(_ context.Context, name string, params json.RawMessage) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done = append(d.done, string(params))
	if name != "ping" {
		return nil, errors.New("no such thing")
	}
	return "pong", nil
}

func (d *desk) reply(id string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.replies["commands/"+id+"/reply"]
}

// start runs the commands of a data directory until stop.
func (d *desk) start(t *testing.T, data string) (c *commands, stop func()) {
	t.Helper()
	c, err := newCommands(data, testLog(t), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	c.do, c.send = d.do, d.send
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = c.run(ctx) }()
	return c, func() { cancel(); <-ended }
}

func deliver(t *testing.T, c *commands, id, name, delivery string, expires time.Time) {
	t.Helper()
	message := fmt.Sprintf(`{"id": %q, "name": %q, "params": %q, "delivery": %q, "expires": %q}`, id, name, id, delivery, expires.Format(time.RFC3339Nano))
	if err := c.take([]byte(message)); err != nil {
		t.Fatal(err)
	}
}

func TestACommandIsDoneOnceHoweverOftenItComes(t *testing.T) {
	d := &desk{down: true, replies: map[string]string{}}
	data, later := t.TempDir(), time.Now().Add(time.Hour)
	c, stop := d.start(t, data)
	deliver(t, c, "c-1", "ping", "at_least_once", later)
	until(t, "it is done", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return len(d.done) == 1 })
	deliver(t, c, "c-1", "ping", "at_least_once", later)
	stop()
	d.mu.Lock()
	d.down = false
	d.mu.Unlock()
	c, stop = d.start(t, data) // the answer was on disk
	until(t, "it is answered", func() bool { return d.reply("c-1") == `{"state":"done","result":"pong"}` })
	deliver(t, c, "c-1", "ping", "at_least_once", later)
	until(t, "it is answered again", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.count >= 2 })
	stop()
	if len(d.done) != 1 {
		t.Errorf("done %d times", len(d.done))
	}
}

func TestWhatIsNotDoneIsAnswered(t *testing.T) {
	d := &desk{replies: map[string]string{}}
	c, stop := d.start(t, t.TempDir())
	defer stop()
	deliver(t, c, "late", "ping", "at_least_once", time.Now().Add(-time.Second))
	deliver(t, c, "unknown", "rm", "at_least_once", time.Now().Add(time.Hour))
	for id, want := range map[string]string{"late": "it expired at", "unknown": "no such thing"} {
		until(t, id, func() bool { return strings.Contains(d.reply(id), want) && strings.Contains(d.reply(id), `"failed"`) })
	}
	if len(d.done) != 1 || d.done[0] != `"unknown"` {
		t.Errorf("done: %q", d.done)
	}
	for _, nonsense := range []string{"", "{", "[]", "7", `{"name": "ping"}`, `{"id": 7}`} {
		if err := c.take([]byte(nonsense)); err != nil {
			t.Errorf("%q would come again and again: %v", nonsense, err)
		}
	}
}

// What may be done only once is not done by an agent that does not know whether
// the one before did it.
func TestAtMostOnceOutlivesTheAgent(t *testing.T) {
	d := &desk{replies: map[string]string{}}
	data := t.TempDir()
	c, err := newCommands(data, testLog(t), time.Now) // it takes them and is killed
	if err != nil {
		t.Fatal(err)
	}
	deliver(t, c, "once", "ping", "at_most_once", time.Now().Add(time.Hour))
	deliver(t, c, "again", "ping", "at_least_once", time.Now().Add(time.Hour))
	_, stop := d.start(t, data)
	defer stop()
	until(t, "both are answered", func() bool { return d.reply("once") != "" && d.reply("again") != "" })
	if !strings.Contains(d.reply("once"), `"failed"`) || len(d.done) != 1 || d.done[0] != `"again"` {
		t.Errorf("%s; done %q", d.reply("once"), d.done)
	}
}

func TestCommandsAreBounded(t *testing.T) {
	c, err := newCommands(t.TempDir(), testLog(t), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxKept {
		deliver(t, c, fmt.Sprintf("c-%d", i), "ping", "at_least_once", time.Now())
	}
	if err := c.take([]byte(`{"id": "one-more", "name": "ping"}`)); err == nil {
		t.Error("a command was taken that there is no room for")
	}
	c.settle("c-0", func(k *kept) { k.Reply, k.Told = &reply{State: "done"}, true })
	if err := c.take([]byte(`{"id": "one-more", "name": "ping"}`)); err != nil {
		t.Error(err)
	}
	if len(c.kept) != maxKept || c.find("c-0") >= 0 {
		t.Errorf("%d are kept", len(c.kept))
	}
}
