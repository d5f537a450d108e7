package ports

import (
	"net"
	"testing"
)

func TestAPortThatIsTakenIsNotFree(t *testing.T) {
	for _, network := range []string{"tcp", "udp"} {
		address := Free(t)
		if !free(address) {
			t.Fatalf("%s is free and is not", address)
		}
		if network == "tcp" {
			l, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
		} else {
			p, err := net.ListenPacket(network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
		}
		if free(address) {
			t.Errorf("%s is taken by %s and given out", address, network)
		}
	}
}
