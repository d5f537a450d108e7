package doortest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/songhua-io/hub/internal/ingest"
)

// Mail is what is said to devices and what they answer, in memory. A command
// waits until a listener takes it, and comes again to the next one unless it
// was confirmed. The zero value is ready.
type Mail struct {
	mu        sync.Mutex
	commands  map[string][]*posted // by device
	listeners map[string][]*listener
	wanted    map[string][]byte
	watchers  map[string][]*watcher
	replies   map[string]string // by "device/command"
	reports   map[string]string // by device
}

type posted struct {
	id, message string
	received    bool
	to          *listener
}

type listener struct{ deliver func(ingest.Command) bool }

type watcher struct{ changed func([]byte) }

// Post issues a command.
func (m *Mail) Post(device, id, message string) {
	m.mu.Lock()
	if m.commands == nil {
		m.commands = map[string][]*posted{}
	}
	m.commands[device] = append(m.commands[device], &posted{id: id, message: message})
	m.mu.Unlock()
	m.hand(device)
}

func (m *Mail) hand(device string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.listeners[device]
	if len(all) == 0 {
		return
	}
	to := all[len(all)-1]
	for _, c := range m.commands[device] {
		if c.to != nil || c.received {
			continue
		}
		received := func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			c.received = true
		}
		if to.deliver(ingest.Command{ID: c.id, Message: []byte(c.message), Received: received}) {
			c.to = to
		}
	}
}

// Listen implements ingest.Mail.
func (m *Mail) Listen(device string, deliver func(ingest.Command) bool) (stop func()) {
	l := &listener{deliver}
	m.mu.Lock()
	if m.listeners == nil {
		m.listeners = map[string][]*listener{}
	}
	m.listeners[device] = append(m.listeners[device], l)
	m.mu.Unlock()
	m.hand(device)
	return sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.listeners[device] = slices.DeleteFunc(m.listeners[device], func(o *listener) bool { return o == l })
		for _, c := range m.commands[device] {
			if c.to == l {
				c.to = nil
			}
		}
	})
}

// Listeners returns how many listen for a device.
func (m *Mail) Listeners(device string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.listeners[device])
}

// Received reports whether a device confirmed a command.
func (m *Mail) Received(device, id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.commands[device] {
		if c.id == id {
			return c.received
		}
	}
	return false
}

// Watchers returns how many watch the configuration of a device.
func (m *Mail) Watchers(device string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.watchers[device])
}

// Reply implements ingest.Mail. The payload "bad" is refused.
func (m *Mail) Reply(_ context.Context, device, command string, payload []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.commands[device] {
		if c.id != command {
			continue
		}
		if string(payload) == "bad" {
			return fmt.Errorf("answer %w", ingest.ErrRefusedMail)
		}
		c.received = true
		if m.replies == nil {
			m.replies = map[string]string{}
		}
		m.replies[device+"/"+command] = string(payload)
		return nil
	}
	return fmt.Errorf("command %q %w", command, ingest.ErrNoCommand)
}

// Said returns what a device answered to a command, and reported last.
func (m *Mail) Said(device, command string) (reply, report string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.replies[device+"/"+command], m.reports[device]
}

// Want makes a message what a device reads as its wanted configuration.
func (m *Mail) Want(device, message string) {
	m.mu.Lock()
	if m.wanted == nil {
		m.wanted = map[string][]byte{}
	}
	m.wanted[device] = []byte(message)
	watchers := slices.Clone(m.watchers[device])
	m.mu.Unlock()
	for _, w := range watchers {
		w.changed([]byte(message))
	}
}

// Wanted implements ingest.Mail.
func (m *Mail) Wanted(_ context.Context, device string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wanted[device], nil
}

// Watch implements ingest.Mail.
func (m *Mail) Watch(device string, changed func([]byte)) (stop func()) {
	w := &watcher{changed}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.watchers == nil {
		m.watchers = map[string][]*watcher{}
	}
	m.watchers[device] = append(m.watchers[device], w)
	return sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.watchers[device] = slices.DeleteFunc(m.watchers[device], func(o *watcher) bool { return o == w })
	})
}

// Reported implements ingest.Mail. The payload "bad" is refused.
func (m *Mail) Reported(_ context.Context, device string, payload []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if string(payload) == "bad" {
		return fmt.Errorf("report %w", ingest.ErrRefusedMail)
	}
	if m.reports == nil {
		m.reports = map[string]string{}
	}
	m.reports[device] = string(payload)
	return nil
}
