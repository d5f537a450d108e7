package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"time"
)

// CoAP posts confirmable messages to /devices/{id}/telemetry over plain UDP,
// with the device's secret as token, and repeats them as RFC 7252 section 4.2
// asks for.
func CoAP(ctx context.Context, cfg Config) (*Result, error) { return run(ctx, cfg, driveCoAP) }

// Transmission parameters (RFC 7252 section 4.8).
const (
	ackTimeout    = 2 * time.Second
	maxRetransmit = 4
)

// reporter is one CoAP endpoint. Message n goes out with the message id n,
// modulo 65,536, and with its slot and n as the token.
type reporter struct {
	*Line
	conn  *net.UDPConn
	tail  []byte // options, between token and payload
	slots []request
	free  []int
	next  int
	out   []byte
	in    []byte
	begin time.Time
	gap   time.Duration
}

// request is a message that waits for its answer.
type request struct {
	message int // -1 when the slot is free
	sent    time.Time
	due     time.Time // when it is to be sent again
	timeout time.Duration
	tries   int
	acked   bool // the answer will come by itself
}

func driveCoAP(ctx context.Context, l *Line) error {
	if l.Config.TLS != nil {
		return errors.New("the CoAP generator has no DTLS; use plain CoAP on loopback")
	}
	conn, err := net.Dial("udp", l.Config.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	r := &reporter{Line: l, conn: conn.(*net.UDPConn), slots: make([]request, l.Config.Window), in: make([]byte, 2048), next: l.Config.First, begin: time.Now()}
	if l.Config.Rate > 0 {
		r.gap = time.Duration(float64(l.Config.Connections) / l.Config.Rate * float64(time.Second))
	}
	for i := range r.slots {
		r.slots[i].message = -1
		r.free = append(r.free, i)
	}
	r.encodeTail()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for ctx.Err() == nil && (len(r.free) < len(r.slots) || !r.done(r.next)) {
		if err := r.step(); err != nil {
			return err
		}
	}
	return nil
}

// step sends what may be sent and waits for answers, or until something is due.
func (r *reporter) step() error {
	now := time.Now()
	if err := r.fill(now); err != nil {
		return err
	}
	r.conn.SetReadDeadline(r.wake(now))
	n, err := r.conn.Read(r.in)
	switch {
	case err == nil:
		return r.answer(r.in[:n], time.Now())
	case errors.Is(err, os.ErrDeadlineExceeded):
		return r.repeat(time.Now())
	case errors.Is(err, syscall.ECONNREFUSED):
		return r.refused()
	}
	return err
}

// refused means that nobody listens at the moment.
func (r *reporter) refused() error {
	if !r.Config.Again {
		return fmt.Errorf("nobody listens at %s", r.Config.Address)
	}
	r.Broken++
	for i := range r.slots {
		r.slots[i].tries = 0
		r.slots[i].due = time.Now().Add(50 * time.Millisecond)
	}
	return nil
}

// encodeTail writes the options: Uri-Path 11, Content-Format 12, Uri-Query 15.
func (r *reporter) encodeTail() {
	last := 0
	for _, segment := range []string{"devices", r.Device, "telemetry"} {
		r.tail = appendOption(r.tail, 11-last, segment)
		last = 11
	}
	format := map[Format]string{SenML: "\x6e", SenMLCBOR: "\x70", Influx: ""}[r.Config.Format]
	r.tail = appendOption(r.tail, 1, format)
	r.tail = appendOption(r.tail, 3, "token="+r.Secret)
	r.tail = append(r.tail, 0xff)
}

func appendOption(p []byte, delta int, value string) []byte {
	switch n := len(value); {
	case n < 13:
		p = append(p, byte(delta<<4|n))
	case n < 269:
		p = append(p, byte(delta<<4|13), byte(n-13))
	default:
		p = binary.BigEndian.AppendUint16(append(p, byte(delta<<4|14)), uint16(n-269))
	}
	return append(p, value...)
}

func (r *reporter) fill(now time.Time) error {
	due := len(r.free)
	if r.gap > 0 {
		due = min(due, int(now.Sub(r.begin)/r.gap)+1-(r.next-r.Config.First))
	}
	for ; due > 0 && !r.done(r.next); due-- {
		i := r.free[len(r.free)-1]
		r.free = r.free[:len(r.free)-1]
		sent := now
		if r.gap > 0 {
			sent = r.begin.Add(time.Duration(r.next-r.Config.First) * r.gap)
		}
		timeout := ackTimeout + rand.N(ackTimeout/2)
		r.slots[i] = request{message: r.next, sent: sent, due: now.Add(timeout), timeout: timeout}
		r.next++
		if err := r.send(i); err != nil {
			return err
		}
	}
	return nil
}

func (r *reporter) send(i int) error {
	n := r.slots[i].message
	r.out = append(r.out[:0], 0x46, 0x02, byte(n>>8), byte(n))
	r.out = binary.BigEndian.AppendUint16(r.out, uint16(i))
	r.out = binary.BigEndian.AppendUint32(r.out, uint32(n))
	r.out = append(r.out, r.tail...)
	r.out = r.Sequence.Append(r.out, n)
	_, err := r.conn.Write(r.out)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return r.refused()
	}
	return err
}

// wake returns when the next message is due, or the next repetition.
func (r *reporter) wake(now time.Time) time.Time {
	at := now.Add(time.Hour)
	for i := range r.slots {
		if s := &r.slots[i]; s.message >= 0 && s.due.Before(at) {
			at = s.due
		}
	}
	if r.gap > 0 && len(r.free) > 0 && !r.done(r.next) {
		if due := r.begin.Add(time.Duration(r.next-r.Config.First) * r.gap); due.Before(at) {
			at = maxTime(due, now.Add(tick))
		}
	}
	return at
}

// repeat sends again what has waited too long.
func (r *reporter) repeat(now time.Time) error {
	for i := range r.slots {
		s := &r.slots[i]
		if s.message < 0 || now.Before(s.due) {
			continue
		}
		if s.tries++; s.tries > maxRetransmit && !r.Config.Again {
			return fmt.Errorf("message %d was not answered after %d tries", s.message, s.tries)
		}
		s.timeout = min(2*s.timeout, 16*ackTimeout)
		s.due, s.acked = now.Add(s.timeout), false
		if err := r.send(i); err != nil {
			return err
		}
	}
	return nil
}

// answer reads one datagram of the hub.
func (r *reporter) answer(b []byte, now time.Time) error {
	if len(b) < 4 || b[0]>>6 != 1 {
		return fmt.Errorf("the hub sent % x", b)
	}
	kind, code, id := b[0]>>4&3, b[1], binary.BigEndian.Uint16(b[2:])
	if kind == 0 { // a separate answer: confirm it
		if _, err := r.conn.Write([]byte{0x60, 0, byte(id >> 8), byte(id)}); err != nil {
			return err
		}
	}
	if code == 0 {
		return r.empty(kind, id)
	}
	if b[0]&15 != 6 || len(b) < 10 {
		return fmt.Errorf("an answer without our token: % x", b)
	}
	i, n := int(binary.BigEndian.Uint16(b[4:])), binary.BigEndian.Uint32(b[6:])
	if i >= len(r.slots) || r.slots[i].message < 0 || uint32(r.slots[i].message) != n {
		return nil // answered before
	}
	return r.outcome(i, code, len(b) == 10, now)
}

// empty notes an acknowledgement whose answer will follow.
func (r *reporter) empty(kind uint8, id uint16) error {
	for i := range r.slots {
		s := &r.slots[i]
		if s.message < 0 || uint16(s.message) != id {
			continue
		}
		if kind == 3 {
			return fmt.Errorf("the hub rejected message %d with a reset", s.message)
		}
		s.acked, s.due = true, time.Now().Add(10*time.Second)
	}
	return nil
}

func (r *reporter) outcome(i int, code byte, bare bool, now time.Time) error {
	s := &r.slots[i]
	switch {
	case code == 2<<5|4 && bare:
		r.Ledger.Acknowledge(s.message)
		r.Latencies.Observe(now.Sub(s.sent), 1)
	case code == 4<<5|29, code == 5<<5|3: // too fast, or busy: again in a second
		s.due, s.tries = now.Add(time.Second), 0
		return nil
	default:
		r.Refused++
	}
	s.message = -1
	r.free = append(r.free, i)
	return nil
}
