// Package allowance says how often somebody may do something, and how long to
// wait otherwise. It remembers a bounded number of those who did.
package allowance

import (
	"net/netip"
	"sync"
	"time"
)

// maxKeys bounds what a limiter remembers; keys beyond it share one allowance.
const maxKeys = 10_000

// Limiter lets every key do something a number of times at once, and then again
// once an interval (the generic cell rate algorithm).
type Limiter[K comparable] struct {
	every time.Duration
	slack time.Duration // of burst - 1 times

	mu   sync.Mutex
	full map[K]time.Time // when the key has its whole allowance again
	// swept is when those that have it were last forgotten: once an interval, so
	// that a flood of keys costs no more than its bound.
	swept time.Time
}

// New lets every key do it burst times at once, and then again once an interval.
func New[K comparable](burst int, every time.Duration) *Limiter[K] {
	return &Limiter[K]{every: every, slack: time.Duration(burst-1) * every, full: map[K]time.Time{}}
}

// Take uses the allowance of a key once; when it is used up it returns how long
// to wait.
func (l *Limiter[K]) Take(k K, now time.Time) (after time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k = l.known(k, now)
	if after := l.left(k, now); after > 0 {
		return after
	}
	at := l.full[k]
	if at.Before(now) {
		at = now
	}
	l.full[k] = at.Add(l.every)
	return 0
}

// Wait returns how long a key has to wait until Take lets it.
func (l *Limiter[K]) Wait(k K, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.left(l.known(k, now), now)
}

func (l *Limiter[K]) left(k K, now time.Time) time.Duration {
	if at := l.full[k].Add(-l.slack); at.After(now) {
		return at.Sub(now)
	}
	return 0
}

// known returns k, or the key that all share when there is no room for k.
func (l *Limiter[K]) known(k K, now time.Time) K {
	if _, ok := l.full[k]; ok || len(l.full) < maxKeys {
		return k
	}
	if now.Sub(l.swept) >= l.every {
		l.swept = now
		for key, at := range l.full {
			if !at.After(now) {
				delete(l.full, key)
			}
		}
	}
	if len(l.full) >= maxKeys {
		var shared K
		return shared
	}
	return k
}

// Origin is what counts as one address: an IPv4 address, or the /64 network
// that a single IPv6 subscriber has.
func Origin(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
