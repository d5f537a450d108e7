// Package freeport gives ports of loopback to outside programs that cannot choose
// one by themselves: such a port is still free when the program takes it.
package freeport

import (
	"math/rand/v2"
	"net"
	"testing"
)

// Below the range from which the kernel gives ports out: whatever asks for any port
// meanwhile is given another.
const (
	first = 10_000
	count = 20_000
)

// New returns a port of 127.0.0.1 that nobody has, for TCP.
func New(t testing.TB) int {
	t.Helper()
	for range 100 {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: first + rand.IntN(count)})
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return l.Addr().(*net.TCPAddr).Port
	}
	t.Fatal("no port is free")
	return 0
}
