package quota

import "net/netip"

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
