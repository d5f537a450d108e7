package mqtt

// Deliver gives a message to all subscribers of a device, as rejects are.
func (s *Server) Deliver(device, suffix string, payload []byte, qos byte) int {
	return s.deliver(device, "devices/"+device+"/"+suffix, payload, qos)
}
