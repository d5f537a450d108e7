package command

import (
	"context"
	"fmt"
	"time"
)

// Seq is the number of a command among those of its device: the millisecond of
// its making, which it shares with none of them. It stays the same over all
// deliveries, restarts, and backups that are restored.
func (c *Command) Seq() int64 { return c.Created.UnixMilli() }

// moment returns when a new command of a device is made: each has a millisecond
// of its own.
func (l *Ledger) moment(device string, now time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	ms := max(now.UnixMilli(), l.newest[device]+1)
	l.newest[device] = ms
	return time.UnixMilli(ms).UTC()
}

// settled forgets the moments that no new command can share. The caller holds mu.
func (l *Ledger) settled(now time.Time) {
	for device, ms := range l.newest {
		if now.UnixMilli()-ms > 2*tick.Milliseconds() {
			delete(l.newest, device)
		}
	}
}

// Numbered returns the command of a device with a number, or ErrUnknown.
func (l *Ledger) Numbered(ctx context.Context, device string, seq int64) (Command, error) {
	if seq < 0 || seq >= 1<<48 {
		return Command{}, fmt.Errorf("command number %d of device %q %w", seq, device, ErrUnknown)
	}
	found, err := l.read(ctx, "device = ? AND id >= ? AND id < ?", 1, device, idFrom(seq), idFrom(seq+1))
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("command number %d of device %q %w", seq, device, ErrUnknown)
	}
	if err != nil {
		return Command{}, err
	}
	return found[0], nil
}

// idFrom is the least id of a command that is made in a millisecond.
func idFrom(ms int64) string {
	var b [11]byte
	putMillis(&b, ms)
	return commandPrefix + idAlphabet.EncodeToString(b[:])
}
