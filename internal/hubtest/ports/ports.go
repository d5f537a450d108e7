// Package ports gives out ports for servers that tests start again where they
// were: nobody takes one of them while its server is away.
package ports

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// The ports, all below the range from which the kernel gives them to whoever asks
// for any (32768 on Linux).
const first, count = 10_000, 20_000

// Free is an address of loopback that nobody has, by TCP and UDP. Ask for it
// rather than for the port of a listener that is closed again: that one is the
// kernel's to give to any other program, also as the source of a connection.
func Free(t testing.TB) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", first+rand.IntN(count))
		if free(address) {
			return address
		}
	}
	t.Fatalf("none of 100 ports from %d to %d is free", first, first+count-1)
	return ""
}

func free(address string) bool {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return false
	}
	defer l.Close() //nolint:errcheck // it listened for nothing
	p, err := net.ListenPacket("udp", address)
	if err != nil {
		return false
	}
	return p.Close() == nil
}
