package freeport

import (
	"fmt"
	"net"
	"testing"
)

// Address is an address of loopback that nobody has, by TCP and UDP, for a server
// that a test starts again where it was: nobody takes it while the server is away.
func Address(t testing.TB) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", New(t))
		if p, err := net.ListenPacket("udp", address); err == nil {
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			return address
		}
	}
	t.Fatal("no port is free for UDP")
	return ""
}
