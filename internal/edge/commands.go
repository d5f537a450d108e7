package edge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/edge/uplink"
)

// maxKept bounds the commands that are remembered; the hub has at most eight
// under way.
const maxKept = 64

// commands does what the hub asks for, each command once however often it is
// delivered, and answers until the hub has the answer. What it took and what it
// answered are on disk.
type commands struct {
	file string
	do   func(ctx context.Context, name string, params json.RawMessage) (any, error)
	send func(context.Context, uplink.Message) error
	log  *slog.Logger
	now  func() time.Time
	wake chan struct{}

	mu   sync.Mutex
	kept []kept // the oldest first
}

// kept is a command with its answer.
type kept struct {
	order
	// Reply is nil until it is done.
	Reply *reply `json:"reply,omitempty"`
	// Told says that the hub has the answer.
	Told bool `json:"told,omitempty"`
}

// order is a command as the hub sends it (docs/formats/commands.md).
type order struct {
	ID       string          `json:"id"`
	Name     string          `json:"name"`
	Params   json.RawMessage `json:"params,omitempty"`
	Delivery string          `json:"delivery"`
	Expires  time.Time       `json:"expires"`
}

type reply struct {
	State  string          `json:"state"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// newCommands reads what was taken before. What may be done only once and was
// under way when the agent ended is not done again.
func newCommands(data string, log *slog.Logger, now func() time.Time) (*commands, error) {
	c := &commands{file: filepath.Join(data, "commands.json"), log: log, now: now, wake: make(chan struct{}, 1)}
	text, err := os.ReadFile(c.file)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &c.kept)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w; remove it, and commands that come again are done again", c.file, err)
	}
	for i, k := range c.kept {
		if k.Reply == nil && k.Delivery == "at_most_once" {
			c.kept[i].Reply = &reply{State: "failed", Error: "the agent ended before it had answered; nobody knows whether it was done"}
		}
	}
	return c, nil
}

// take is the [uplink.Inbox]'s.
func (c *commands) take(message []byte) error {
	var o order
	if err := json.Unmarshal(message, &o); err != nil || o.ID == "" {
		c.log.Warn("command_unreadable", "message", fmt.Sprintf("%.100q", message), "error", err)
		return nil // it would come again as it is
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	defer signal(c.wake)
	if i := c.find(o.ID); i >= 0 {
		c.kept[i].Told = false // the hub asks again: it has no answer
		return nil
	}
	if len(c.kept) >= maxKept {
		oldest := slices.IndexFunc(c.kept, func(k kept) bool { return k.Told })
		if oldest < 0 {
			return fmt.Errorf("command %s: %d others have no answer yet", o.ID, len(c.kept))
		}
		c.kept = slices.Delete(c.kept, oldest, oldest+1)
	}
	c.kept = append(c.kept, kept{order: o})
	if err := c.save(); err != nil {
		c.kept = c.kept[:len(c.kept)-1]
		return fmt.Errorf("command %s: %w", o.ID, err)
	}
	return nil
}

func (c *commands) find(id string) int {
	return slices.IndexFunc(c.kept, func(k kept) bool { return k.ID == id })
}

func (c *commands) save() error {
	text, err := json.Marshal(c.kept)
	if err != nil {
		return err
	}
	return replaceFile(c.file, text)
}

// run works until the context ends.
func (c *commands) run(ctx context.Context) error {
	for {
		var retry <-chan time.Time
		next, found := c.next()
		switch {
		case found && next.Reply == nil:
			c.settle(next.ID, func(k *kept) { k.Reply = c.answer(ctx, next.order) })
			continue
		case found:
			pause, err := c.tell(ctx, next)
			if err == nil {
				c.settle(next.ID, func(k *kept) { k.Told = true })
				continue
			}
			retry = time.After(pause)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		case <-retry:
		}
	}
}

// next is what is to be done, or else the answer that the hub has not.
func (c *commands) next() (kept, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.kept, func(k kept) bool { return k.Reply == nil })
	if i < 0 {
		i = slices.IndexFunc(c.kept, func(k kept) bool { return !k.Told })
	}
	if i < 0 {
		return kept{}, false
	}
	return c.kept[i], true
}

// settle changes a command and writes it down. A disk that fails costs that it
// is done again after a restart.
func (c *commands) settle(id string, change func(*kept)) {
	c.mu.Lock()
	i := c.find(id)
	k := c.kept[i] // only what has an answer that was told is ever removed
	c.mu.Unlock()
	change(&k)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept[c.find(id)] = k
	if err := c.save(); err != nil {
		c.log.Error("command_not_kept", "command", id, "error", err)
	}
}

// answer does what is asked, unless its time is over.
func (c *commands) answer(ctx context.Context, o order) *reply {
	failed := func(err error) *reply {
		c.log.Warn("command_failed", "command", o.ID, "name", o.Name, "error", err)
		return &reply{State: "failed", Error: fmt.Sprintf("%.1000s", err)}
	}
	if !o.Expires.IsZero() && c.now().After(o.Expires) {
		return failed(fmt.Errorf("it expired at %s, and was not done", o.Expires.Format(time.RFC3339)))
	}
	result, err := c.do(ctx, o.Name, o.Params)
	if err != nil {
		return failed(err)
	}
	text, err := json.Marshal(result)
	if err != nil {
		return failed(err)
	}
	c.log.Info("command_done", "command", o.ID, "name", o.Name)
	return &reply{State: "done", Result: text}
}

func (c *commands) tell(ctx context.Context, k kept) (time.Duration, error) {
	payload, err := json.Marshal(k.Reply)
	if err != nil {
		return 0, err
	}
	err = c.send(ctx, uplink.Message{Suffix: uplink.Commands + "/" + k.ID + "/reply", Payload: payload})
	return told(c.log, "command_not_answered", err)
}
