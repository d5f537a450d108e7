package mqtt

import (
	"fmt"
	"slices"

	"github.com/songhua-io/hub/internal/telemetry"
)

// room is where messages towards one device are given out: the connections
// that subscribed, and what is retained. Server.mu guards it.
type room struct {
	listeners []*conn
	retained  map[string]retained // by topic
	bytes     int                 // of retained
}

type retained struct {
	payload []byte
	qos     byte
}

// Publish gives a message to the device's subscribers of
// devices/{device}/{suffix} and returns how many there are. With retain it is
// kept for those that subscribe later, until the hub ends; an empty payload
// clears it. It never blocks: what a slow reader has no room for ends that
// reader's connection.
func (s *Server) Publish(device, suffix string, payload []byte, retain bool, qos byte) (int, error) {
	topic := "devices/" + device + "/" + suffix
	if err := telemetry.CheckDeviceID(device); err != nil {
		return 0, err
	}
	if !validTopic([]byte(topic)) || !validText([]byte(topic)) || qos > 1 {
		return 0, fmt.Errorf("topic %q with QoS %d: the hub publishes to topic names of up to %d bytes with QoS 0 or 1", topic, qos, maxTopicBytes)
	}
	if len(payload)+len(topic)+16 > s.cfg.MaxPacketBytes {
		return 0, fmt.Errorf("message of %d bytes for %q is larger than max_packet_bytes %d", len(payload), topic, s.cfg.MaxPacketBytes)
	}
	if retain {
		if err := s.retain(device, topic, retained{slices.Clone(payload), qos}); err != nil {
			return 0, err
		}
	}
	return s.deliver(device, topic, payload, qos), nil
}

func (s *Server) retain(device, topic string, m retained) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.room(device)
	before, had := r.retained[topic]
	size := r.bytes
	if had {
		size -= len(topic) + len(before.payload)
	}
	switch {
	case len(m.payload) == 0:
		delete(r.retained, topic)
	case size+len(topic)+len(m.payload) > s.cfg.MaxRetainedBytes:
		s.tidy(device, r)
		return fmt.Errorf("retained messages of device %s would hold %d bytes; max_retained_bytes is %d", device, size+len(topic)+len(m.payload), s.cfg.MaxRetainedBytes)
	default:
		if r.retained == nil {
			r.retained = map[string]retained{}
		}
		r.retained[topic] = m
		size += len(topic) + len(m.payload)
	}
	s.metrics.retained.Add(float64(size - r.bytes))
	r.bytes = size
	s.tidy(device, r)
	return nil
}

// room returns the room of a device, made if need be. The caller holds mu and
// calls tidy at the end.
func (s *Server) room(device string) *room {
	r := s.rooms[device]
	if r == nil {
		r = &room{}
		s.rooms[device] = r
	}
	return r
}

func (s *Server) tidy(device string, r *room) {
	if len(r.listeners) == 0 && len(r.retained) == 0 {
		delete(s.rooms, device)
	}
}

// deliver gives a message to the subscribers among the device's connections.
func (s *Server) deliver(device, topic string, payload []byte, qos byte) (n int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.rooms[device]
	if r == nil {
		return 0
	}
	for _, c := range r.listeners {
		if c.out.offer(topic, payload, qos, false) {
			n++
		}
	}
	return n
}

// listened reports whether anybody hears of the device's rejects.
func (s *Server) listened(device string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.rooms[device]
	return r != nil && len(r.listeners) > 0
}

// hold adds a subscription, or replaces the one with the same filter.
func (s *Server) hold(c *conn, sub subscription) (again, full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.out == nil {
		c.out = newOutbox(c)
	}
	again, full = c.out.hold(sub, s.cfg.MaxSubscriptions)
	if !full {
		if r := s.room(c.id); !slices.Contains(r.listeners, c) {
			r.listeners = append(r.listeners, c)
		}
	}
	return again, full
}

// release takes a subscription back and reports whether there was one.
func (s *Server) release(c *conn, filter string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.out != nil && c.out.release(filter)
}

// deliverRetained gives a new subscriber what is kept for its filter.
func (s *Server) deliverRetained(c *conn, sub subscription) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.rooms[c.id]
	if r == nil {
		return
	}
	for topic, m := range r.retained {
		if matches(sub.filter, topic) {
			c.out.put(topic, m.payload, min(m.qos, sub.qos), true, []subscription{sub})
		}
	}
}

// silenceOf drops a connection's subscriptions. The caller holds mu.
func (s *Server) silenceOf(c *conn) {
	r := s.rooms[c.id]
	if c.out == nil || r == nil {
		return
	}
	r.listeners = slices.DeleteFunc(r.listeners, func(l *conn) bool { return l == c })
	s.tidy(c.id, r)
}
