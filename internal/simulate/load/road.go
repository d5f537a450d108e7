package load

import (
	"context"
	"encoding/binary"
	"sync"
	"time"
)

// Play is a play in which connections publish what its units send: each connection
// is one unit.
type Play struct {
	// Now is the time of the play.
	Now time.Time
	// Tick is how far a step moves it on.
	Tick time.Duration
	// Step moves the play on and hands over what is sent in it. The memory of a
	// payload is used again after send returns.
	Step func(send func(connection int, topic string, payload []byte))
	// Length is how long is played.
	Length time.Duration
}

// ahead is how far the play is ahead of the clock, so that what is due is there.
const ahead = 500 * time.Millisecond

// Road publishes with QoS 1 what the units of a play send, each message when it is
// due, until all of it is acknowledged. It returns how far the play was behind the
// clock at most: what is sent so late is older than units send it.
func Road(ctx context.Context, cfg Config, p Play) (r *Result, late time.Duration, err error) {
	rows := make([]*units, cfg.Connections)
	for i := range rows {
		// Units send at times of their own within a tick.
		rows[i] = &units{tick: p.Tick, shift: p.Tick * time.Duration(i) / time.Duration(len(rows)), version: cfg.complete().Version}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var played sync.WaitGroup
	played.Go(func() { late = p.play(ctx, rows) })
	r, err = run(ctx, cfg, func(ctx context.Context, l *Line) error { return driveMQTT(ctx, l, rows[l.Index]) })
	stop()
	played.Wait()
	return r, late, err
}

// play moves the play on, a little ahead of the clock.
func (p *Play) play(ctx context.Context, rows []*units) (late time.Duration) {
	for end := p.Now.Add(p.Length); p.Now.Before(end) && wait(ctx, time.Until(p.Now)-ahead) == nil; {
		p.Now = p.Now.Add(p.Tick)
		p.Step(func(connection int, topic string, payload []byte) {
			rows[connection].add(p.Now, topic, payload)
		})
		late = max(late, time.Since(p.Now))
	}
	for _, u := range rows {
		u.end()
	}
	return late
}

// units is the row of a unit of a play.
type units struct {
	tick, shift time.Duration
	version     byte

	mu    sync.Mutex
	first int // number of the first message in posts
	posts []post
	ended bool
}

// post is a PUBLISH whose identifier is not set yet.
type post struct {
	at     time.Time
	packet []byte // nil: acknowledged
	id     int    // where the identifier is
}

func (u *units) add(at time.Time, topic string, payload []byte) {
	size := 2 + len(topic) + 2 + len(payload)
	if u.version == 5 {
		size++
	}
	p := append(make([]byte, 0, size+5), 0x32)
	p = appendString(appendLength(p, size), topic)
	m := post{at: at.Add(u.shift), id: len(p)}
	p = append(p, 0, 0)
	if u.version == 5 {
		p = append(p, 0)
	}
	m.packet = append(p, payload...)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.posts = append(u.posts, m)
}

func (u *units) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ended = true
}

func (u *units) due(n int, now time.Time) (time.Time, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if n -= u.first; n >= len(u.posts) {
		return now.Add(u.tick), false
	}
	return u.posts[n].at, !u.posts[n].at.After(now)
}

func (u *units) over(n int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.ended && n >= u.first+len(u.posts)
}

func (u *units) publish(p []byte, n int, id uint16) []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	m := &u.posts[n-u.first]
	binary.BigEndian.PutUint16(m.packet[m.id:], id)
	return append(p, m.packet...)
}

func (u *units) acknowledged(n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.posts[n-u.first].packet = nil
	for len(u.posts) > 0 && u.posts[0].packet == nil {
		u.posts = u.posts[1:]
		u.first++
	}
}

func (u *units) resume(int) {}
