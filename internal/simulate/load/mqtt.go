package load

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// MQTT publishes with QoS 1 to devices/{id}/telemetry/{format}.
func MQTT(ctx context.Context, cfg Config) (*Result, error) {
	return run(ctx, cfg, func(ctx context.Context, l *Line) error { return driveMQTT(ctx, l, newTelemetry(l)) })
}

// row is what a connection publishes: messages by their numbers.
type row interface {
	// due reports whether message n is to be sent now, and when it was or will be.
	// A zero time when there is none until another one is acknowledged.
	due(n int, now time.Time) (at time.Time, ok bool)
	// over reports whether there is no message n, and none after it.
	over(n int) bool
	// publish appends the PUBLISH of message n.
	publish(p []byte, n int, id uint16) []byte
	// acknowledged says that message n is not needed any more.
	acknowledged(n int)
	// resume says that a connection goes on with message n.
	resume(n int)
}

// publisher is one MQTT connection. Its messages in flight have the packet
// identifiers 1 to Window; slot i holds identifier i+1.
type publisher struct {
	*Line
	row   row
	conn  net.Conn
	slots []slot
	free  []int
	next  int // number of the next message
	out   []byte
	in    []byte
	got   int       // bytes of in that are not read yet
	wake  time.Time // when the next message is due; zero: when one is acknowledged
}

type slot struct {
	message int
	sent    time.Time
}

func driveMQTT(ctx context.Context, l *Line, r row) error {
	p := &publisher{Line: l, row: r, slots: make([]slot, l.Config.Window), in: make([]byte, 8<<10), next: l.Config.First}
	for i := range p.slots {
		p.slots[i].message = -1
	}
	for {
		err := p.session(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
			return nil
		case !l.Config.Again:
			return err
		}
		l.Broken++
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// telemetry is the row of a Sequence, at full speed or with a gap between two
// messages.
type telemetry struct {
	*Line
	head  []byte // of every PUBLISH, up to the packet identifier
	tail  []byte // between packet identifier and payload
	begin time.Time
	gap   time.Duration // 0 at full speed
}

func newTelemetry(l *Line) *telemetry {
	t := &telemetry{Line: l}
	if l.Config.Rate > 0 {
		t.gap = time.Duration(float64(l.Config.Connections) / l.Config.Rate * float64(time.Second))
	}
	topic := "devices/" + l.Device + "/telemetry/" + l.Config.Format.String()
	if l.Config.Version == 5 {
		t.tail = []byte{0}
	}
	t.head = appendLength([]byte{0x32}, 2+len(topic)+2+len(t.tail)+l.Sequence.Size())
	t.head = appendString(t.head, topic)
	return t
}

func (t *telemetry) due(n int, now time.Time) (time.Time, bool) {
	if t.gap == 0 {
		return now, true
	}
	// Waiting for a free slot is part of the latency.
	at := t.begin.Add(time.Duration(n-t.Config.First) * t.gap)
	return at, !at.After(now)
}

func (t *telemetry) over(n int) bool { return t.done(n) }

func (t *telemetry) publish(p []byte, n int, id uint16) []byte {
	p = append(p, t.head...)
	p = binary.BigEndian.AppendUint16(p, id)
	p = append(p, t.tail...)
	return t.Sequence.Append(p, n)
}

func (t *telemetry) acknowledged(int) {}

func (t *telemetry) resume(n int) {
	t.begin = time.Now().Add(-time.Duration(n-t.Config.First) * t.gap)
}

func appendLength(p []byte, n int) []byte {
	for n >= 0x80 {
		p = append(p, byte(n)|0x80)
		n >>= 7
	}
	return append(p, byte(n))
}

func appendString(p []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(p, uint16(len(s))), s...)
}

// session connects, sends again what is in flight, and goes on until all is
// acknowledged or the connection breaks.
func (p *publisher) session(ctx context.Context) error {
	if err := p.connect(ctx); err != nil {
		return err
	}
	defer p.conn.Close()
	stop := context.AfterFunc(ctx, func() { p.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	p.resume()
	for ctx.Err() == nil {
		if err := p.fill(); err != nil {
			return err
		}
		if len(p.free) == len(p.slots) && p.row.over(p.next) {
			_, err := p.conn.Write([]byte{0xe0, 0})
			return err
		}
		if err := p.acknowledgements(); err != nil {
			return err
		}
	}
	return nil
}

func (p *publisher) connect(ctx context.Context) error {
	d := net.Dialer{Timeout: 10 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", p.Config.Address)
	if err != nil {
		return err
	}
	if p.Config.TLS != nil {
		conn = tls.Client(conn, p.Config.TLS)
	}
	body := appendString(nil, "MQTT")
	body = append(body, p.Config.Version, 0xc2, 0, 0)
	if p.Config.Version == 5 {
		body = append(body, 0)
	}
	body = appendString(body, fmt.Sprintf("load-%d", p.Index))
	body = appendString(body, p.Device)
	body = appendString(body, p.Secret)
	hello := appendLength([]byte{0x10}, len(body))
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	defer conn.SetDeadline(time.Time{})
	if _, err := conn.Write(append(hello, body...)); err != nil {
		conn.Close()
		return err
	}
	p.conn, p.got = conn, 0
	head := p.in[:2]
	if _, err := io.ReadFull(conn, head); err != nil {
		conn.Close()
		return fmt.Errorf("no CONNACK: %w", err)
	}
	rest := p.in[2 : 2+int(head[1]&0x7f)]
	if _, err := io.ReadFull(conn, rest); err != nil || head[0] != 0x20 || len(rest) < 2 || rest[1] != 0 {
		conn.Close()
		return fmt.Errorf("CONNECT refused: % x % x", head, rest)
	}
	return nil
}

// resume sends what is in flight anew, marked as sent before.
func (p *publisher) resume() {
	p.free = p.free[:0]
	p.out = p.out[:0]
	for i := range p.slots {
		if s := &p.slots[i]; s.message >= 0 {
			at := len(p.out)
			p.append(i, s.message)
			p.out[at] |= 8
			continue
		}
		p.free = append(p.free, i)
	}
	p.row.resume(p.next)
}

func (p *publisher) append(slot, message int) {
	p.out = p.row.publish(p.out, message, uint16(slot+1))
}

// fill sends as many messages as window and row allow, in one write.
func (p *publisher) fill() error {
	now := time.Now()
	p.wake = time.Time{}
	for len(p.free) > 0 && !p.row.over(p.next) {
		sent, due := p.row.due(p.next, now)
		if !due {
			p.wake = sent
			break
		}
		i := p.free[len(p.free)-1]
		p.free = p.free[:len(p.free)-1]
		p.slots[i] = slot{p.next, sent}
		p.append(i, p.next)
		p.next++
	}
	if len(p.out) == 0 {
		return nil
	}
	_, err := p.conn.Write(p.out)
	p.out = p.out[:0]
	return err
}

// tick is the shortest wait of a connection with a rate: what falls due within
// it is sent together.
const tick = time.Millisecond

// acknowledgements waits for bytes, or until the next message is due, and
// notes what they acknowledge.
func (p *publisher) acknowledgements() error {
	paced := !p.wake.IsZero()
	if paced {
		p.conn.SetReadDeadline(maxTime(p.wake, time.Now().Add(tick)))
	}
	n, err := p.conn.Read(p.in[p.got:])
	if paced && errors.Is(err, os.ErrDeadlineExceeded) && n == 0 {
		p.conn.SetReadDeadline(time.Time{})
		return nil
	}
	if err != nil {
		return err
	}
	if paced {
		p.conn.SetReadDeadline(time.Time{})
	}
	p.got += n
	return p.parse(time.Now())
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (p *publisher) parse(now time.Time) error {
	in := p.in[:p.got]
	for len(in) >= 2 && len(in) >= 2+int(in[1]) {
		if in[1] >= 0x80 {
			return fmt.Errorf("an answer of more than 127 bytes: % x", in[:2])
		}
		body := in[2 : 2+int(in[1])]
		if err := p.packet(in[0], body, now); err != nil {
			return err
		}
		in = in[2+len(body):]
	}
	p.got = copy(p.in, in)
	return nil
}

func (p *publisher) packet(head byte, body []byte, now time.Time) error {
	if head != 0x40 || len(body) < 2 {
		return fmt.Errorf("the hub sent % x % x", head, body)
	}
	i := int(binary.BigEndian.Uint16(body)) - 1
	if i < 0 || i >= len(p.slots) || p.slots[i].message < 0 {
		return fmt.Errorf("PUBACK for packet %d, which is not in flight", i+1)
	}
	s := p.slots[i]
	p.slots[i].message = -1
	p.free = append(p.free, i)
	p.row.acknowledged(s.message)
	if len(body) > 2 && body[2] != 0 || len(body) > 3 {
		p.Refused++
		return nil
	}
	p.Ledger.Acknowledge(s.message)
	p.Latencies.Observe(now.Sub(s.sent), 1)
	return nil
}
