package mqtt

import "slices"

// room is where messages towards one device are given out: the connections
// that subscribed. Server.mu guards it.
type room struct{ listeners []*conn }

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
	if len(r.listeners) == 0 {
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
		if c.out.offer(mailing{topic: topic, payload: payload, qos: qos}) {
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
	again, full = c.out.hold(sub, s.most(sub))
	if !full {
		if r := s.room(c.id); !slices.Contains(r.listeners, c) {
			r.listeners = append(r.listeners, c)
		}
	}
	return again, full
}

// release takes a subscription back and reports whether there was one, and of
// which device behind a gateway.
func (s *Server) release(c *conn, filter string) (child string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.out == nil {
		return "", false
	}
	return c.out.release(filter)
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
