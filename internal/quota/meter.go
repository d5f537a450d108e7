package quota

import (
	"net/netip"
	"time"
)

// Meter is what one registered device used. The zero value is that of one that
// used nothing.
type Meter struct{ messages, bytes, samples bucket }

// Sender is whose messages and new series count besides their device's: that of a
// token, and an address where addresses have a quota of them. The zero value is nobody.
type Sender struct {
	Door           Door
	token, address Key
	from           netip.Addr
	name           string
}

// Sender returns who sends through a door. Token is empty for devices.
func (q *Quotas) Sender(door Door, token string, from netip.Addr) Sender {
	s := Sender{Door: door, from: from}
	if t := q.cfg.Token; token != "" && t.MessagesPerSecond+t.BytesPerSecond+t.SeriesPerHour > 0 {
		s.token, s.name = q.name(token), token
	}
	if a := q.cfg.Address; a.MessagesPerSecond+a.BytesPerSecond+a.SeriesPerHour > 0 {
		s.address = q.address(from)
	}
	return s
}

// Messages counts messages of a device with so many bytes, or returns which
// quota is used up and counts nothing. What is let through may exceed what is
// left; it is owed. A nil sender is nobody.
func (q *Quotas) Messages(m *Meter, device string, s *Sender, messages, bytes int, now time.Time) *Exceeded {
	if s == nil {
		s = &q.nobody
	}
	at := momentOf(now, q.start)
	if over := q.mayMessage(m, device, s, at, now); over != nil {
		return over
	}
	m.messages.charge(at, messages, &q.device.messages.flow)
	m.bytes.charge(at, bytes, &q.device.bytes.flow)
	if s.token != 0 {
		q.tokens.messages.Charge(s.token, messages, now)
		q.tokens.bytes.Charge(s.token, bytes, now)
	}
	if s.address != 0 {
		q.addresses.messages.Charge(s.address, messages, now)
		q.addresses.bytes.Charge(s.address, bytes, now)
	}
	return nil
}

func (q *Quotas) mayMessage(m *Meter, device string, s *Sender, at moment, now time.Time) *Exceeded {
	if wait := m.messages.wait(at, &q.device.messages.flow); wait > 0 {
		return q.device.messages.refuse(s.Door, device, wait)
	}
	if wait := m.bytes.wait(at, &q.device.bytes.flow); wait > 0 {
		return q.device.bytes.refuse(s.Door, device, wait)
	}
	if wait := m.samples.wait(at, &q.device.samples.flow); wait > 0 {
		return q.device.samples.refuse(s.Door, device, wait)
	}
	if s.token|s.address == 0 {
		return nil
	}
	return q.maySend(s, now)
}

func (q *Quotas) maySend(s *Sender, now time.Time) *Exceeded {
	for _, c := range [...]struct {
		policy *Policy
		sketch *Sketch
		key    Key
	}{
		{&q.token.messages, q.tokens.messages, s.token}, {&q.token.bytes, q.tokens.bytes, s.token},
		{&q.addr.messages, q.addresses.messages, s.address}, {&q.addr.bytes, q.addresses.bytes, s.address},
	} {
		if c.key == 0 {
			continue
		}
		if wait := c.sketch.Wait(c.key, now); wait > 0 {
			name := s.name
			if c.policy.Of == Address {
				name = s.from.String()
			}
			return c.policy.refuse(s.Door, name, wait)
		}
	}
	return nil
}

// Samples counts the samples of messages that were let through.
func (q *Quotas) Samples(m *Meter, samples int, now time.Time) {
	m.samples.charge(momentOf(now, q.start), samples, &q.device.samples.flow)
}

// Standing returns the quota of a device's messages, or of their sender's, that
// is nearest to its end.
func (q *Quotas) Standing(m *Meter, s *Sender, now time.Time) Standing {
	at := momentOf(now, q.start)
	least := Standing{}
	for _, c := range [...]struct {
		policy *Policy
		bucket *bucket
	}{{&q.device.messages, &m.messages}, {&q.device.bytes, &m.bytes}, {&q.device.samples, &m.samples}} {
		if left := c.policy.standing(moment(c.bucket.full.Load()), at); left.less(least) {
			least = left
		}
	}
	if s.token != 0 {
		for _, left := range [...]Standing{q.tokens.messages.standing(&q.token.messages, s.token, now), q.tokens.bytes.standing(&q.token.bytes, s.token, now)} {
			if left.less(least) {
				least = left
			}
		}
	}
	return least
}
