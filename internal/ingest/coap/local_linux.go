package coap

import (
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// controlSize is the room for the control message of a datagram.
var controlSize = unix.CmsgSpace(unix.SizeofInet6Pktinfo)

// watchLocal makes the kernel tell to which address of this host a datagram
// was sent, where conn is bound to all of them. An answer must leave from
// there: its receiver knows no other.
func watchLocal(conn *net.UDPConn) (watched bool, err error) {
	own, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok || !own.IP.IsUnspecified() {
		return false, nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return false, err
	}
	level, option := unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
	if own.IP.To4() != nil {
		level, option = unix.IPPROTO_IP, unix.IP_PKTINFO
	}
	failed := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, 1) })
	if failed != nil {
		err = failed
	}
	return err == nil, err
}

// localOf returns to which address a datagram was sent, and makes its control
// message one by which the answer leaves from there, over whatever interface
// leads to its receiver. Without one the kernel chooses.
func localOf(control []byte) (local netip.Addr, answer []byte) {
	if len(control) < unix.SizeofCmsghdr {
		return local, nil
	}
	header, data, _, err := unix.ParseOneSocketControlMessage(control)
	switch {
	case err != nil:
	case header.Level == unix.IPPROTO_IPV6 && header.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		clear(data[16:unix.SizeofInet6Pktinfo]) // the interface
		local = netip.AddrFrom16([16]byte(data[:16]))
	case header.Level == unix.IPPROTO_IP && header.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		clear(data[:4]) // the interface
		local = netip.AddrFrom4([4]byte(data[4:8]))
	}
	if !local.IsValid() || local.IsUnspecified() || local.Unmap().IsMulticast() {
		return netip.Addr{}, nil
	}
	return local, control
}

// controlFrom is the control message by which a datagram leaves from local.
func controlFrom(local netip.Addr) []byte {
	switch {
	case !local.IsValid():
		return nil
	case local.Is4():
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: local.As4()})
	}
	return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: local.As16()})
}
