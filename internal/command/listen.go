package command

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
)

// Letter is a command as it is handed to who listens for its device.
type Letter struct {
	ID      string
	Message []byte // the JSON object that the device reads
	// Name, Params and Seq are what a door needs that speaks otherwise to its
	// device: Seq names the command among those of the device (Ledger.Numbered).
	Name   string
	Params json.RawMessage
	Seq    int64
	// Received is called when the device has confirmed that it has it.
	Received func()
}

// listener is one connection that listens for a device.
type listener struct {
	name    string // of the commands that it takes; empty for all
	deliver func(Letter) bool
	mu      sync.Mutex // held while deliver runs
	stopped bool
}

// window is how many commands a listener holds that its device has not
// confirmed.
const window = 8

// handing is a command on its way to a listener.
type handing struct {
	to      *listener
	open    *open
	command Command
}

// Listen hands a device's commands to deliver, the oldest first, and each
// later one as it is issued, until stop is called. deliver must not block;
// false says that it could not take the command.
func (l *Ledger) Listen(id string, deliver func(Letter) bool) (stop func()) {
	return l.ListenFor(id, "", deliver)
}

// ListenFor is Listen for the commands of one name, which are handed to nobody
// who listens for all while this one does.
func (l *Ledger) ListenFor(id, name string, deliver func(Letter) bool) (stop func()) {
	n := &listener{name: name, deliver: deliver}
	l.mu.Lock()
	d := l.device(id)
	d.listeners = append(d.listeners, n)
	l.due[id] = struct{}{}
	l.mu.Unlock()
	l.nudge()
	return sync.OnceFunc(func() { l.stop(id, n) })
}

func (l *Ledger) stop(id string, n *listener) {
	n.mu.Lock()
	n.stopped = true
	n.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.device(id)
	d.listeners = slices.DeleteFunc(d.listeners, func(o *listener) bool { return o == n })
	for _, o := range d.commands {
		if o.to == n {
			o.to = nil
		}
	}
	if len(d.commands) > 0 { // also those that n could not take wait for others
		l.due[id] = struct{}{}
	}
	l.tidy(id)
}

func (n *listener) hand(l *Ledger, c Command) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped {
		return false
	}
	return n.deliver(Letter{ID: c.ID, Message: c.message(), Name: c.Name, Params: c.Params, Seq: c.Seq(), Received: func() { l.received(c.ID) }})
}

// listener returns who takes commands of a name: the newest who asked for it, or
// else the newest who takes all; nil when nobody does.
func (d *device) listener(name string) (best *listener) {
	for _, n := range d.listeners {
		if n.name == name || n.name == "" && (best == nil || best.name == "") {
			best = n
		}
	}
	return best
}

// held counts the commands that a listener has and its device did not confirm.
func (d *device) held(n *listener) (count int) {
	for _, o := range d.commands {
		if o.to == n && o.State == Sent {
			count++
		}
	}
	return count
}

// choose returns what is to be handed over now: what is queued, and what was
// sent to a listener that is gone without the device confirming it. The caller
// holds mu.
func (l *Ledger) choose() (out []handing) {
	now := l.deps.Clock()
	for id := range l.due {
		delete(l.due, id)
		d := l.devices[id]
		if d == nil || len(d.listeners) == 0 {
			continue
		}
		for _, o := range d.commands {
			again := o.State == Sent && !o.Once
			if o.to != nil || o.Expires.IsZero() || !again && o.State != Queued {
				continue
			}
			n := d.listener(o.Name)
			if n == nil || d.held(n) >= window {
				continue // what the device confirms makes room
			}
			o.to, o.State = n, Sent
			o.Attempts++
			if o.Sent.IsZero() {
				o.Sent = now
			}
			l.mark(o)
			out = append(out, handing{n, o, o.Command})
		}
	}
	return out
}

// untaken takes back a command that a door could not take. It waits for the
// next who listens.
func (l *Ledger) untaken(h handing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := h.open
	if o.to != h.to || o.State != Sent {
		return
	}
	o.to = nil
	if o.Once { // it certainly did not reach the device
		o.State = Queued
		o.Attempts--
		l.mark(o)
	}
	if d := l.devices[o.Device]; d != nil && d.listener(o.Name) != nil && d.listener(o.Name) != h.to {
		l.due[o.Device] = struct{}{}
		l.nudge()
	}
}

// received notes that a device confirmed a command.
func (l *Ledger) received(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o := l.open[id]; o != nil && o.advance(Received, l.deps.Clock()) {
		l.mark(o)
		l.due[o.Device] = struct{}{}
		l.nudge()
	}
}

// Reply takes a device's answer to a command (readAnswer) and returns when it
// is on disk. The same answer again changes nothing; another one is refused,
// and so is the answer to a command of another device: ErrUnknown. An answer
// that comes after the expiry is kept, and the command stays expired.
func (l *Ledger) Reply(ctx context.Context, device, id string, payload []byte) error {
	a, err := readAnswer(payload)
	if err != nil {
		return err
	}
	l.mu.Lock()
	o := l.open[id]
	if o == nil || o.Device != device || o.State.Ended() {
		l.mu.Unlock()
		return l.late(ctx, device, id, a)
	}
	if a.State == Received {
		o.advance(Received, l.deps.Clock())
	} else {
		o.Result = a.Result
		if a.State == Failed {
			l.end(o, Failed, ByDevice)
		} else {
			l.end(o, Done, "")
		}
	}
	f := l.mark(o)
	l.mu.Unlock()
	return l.written(ctx, f)
}

// late takes an answer to a command that has ended.
func (l *Ledger) late(ctx context.Context, device, id string, a answer) error {
	c, err := l.Get(ctx, id)
	if err == nil && c.Device != device {
		err = fmt.Errorf("command %q %w as one of device %q", id, ErrUnknown, device)
	}
	if err == nil && !c.State.Ended() { // its end is being written
		c, err = l.Wait(ctx, id)
	}
	switch {
	case err != nil:
		return err
	case a.State == Received, c.State == a.State && bytes.Equal(c.Result, a.Result):
		return nil
	case c.State == Expired && len(c.Result) == 0:
		return l.deps.Records.Together(ctx, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE commands SET result = ? WHERE id = ? AND state = ? AND result = ''", string(a.Result), id, string(Expired))
			return err
		})
	}
	return fmt.Errorf("command %q %w as %s; the first answer stays", id, ErrEnded, c.State)
}
