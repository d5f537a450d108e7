//go:build !linux

package coap

import (
	"net"
	"net/netip"
)

const controlSize = 0

// Elsewhere the kernel chooses from which address an answer leaves.
func watchLocal(*net.UDPConn) (bool, error) { return false, nil }
func localOf([]byte) (netip.Addr, []byte)   { return netip.Addr{}, nil }
func controlFrom(netip.Addr) []byte         { return nil }
