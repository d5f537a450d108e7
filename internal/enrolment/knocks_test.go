package enrolment

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func address(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

func TestAFloodOfKnocksIsBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	k := newKnocks(now)
	k.add("early", "mqtt", address(1), nil, now)
	for i := range 20_000 { // one sender
		k.add(fmt.Sprintf("flood-%d", i), "mqtt", address(2), nil, now)
	}
	if len(k.by) > 1+originKnocks.N || k.by["early"] == nil {
		t.Errorf("one address brought %d", len(k.by)-1)
	}
	for i := range 20_000 { // as many senders as ids, within a second
		k.add(fmt.Sprintf("net-%d", i), "mqtt", address(1000+i), nil, now.Add(time.Duration(i)*50*time.Microsecond))
	}
	if len(k.by) > 1+originKnocks.N+togetherKnocks.N+10 || k.by["early"] == nil {
		t.Errorf("all addresses together brought %d", len(k.by))
	}
	before := k.dropped
	for i := range 2 * maxKnocks { // for hours
		k.add(fmt.Sprintf("slow-%d", i), "mqtt", address(100_000+i), nil, now.Add(time.Duration(i)*time.Second))
		k.add("steady", "coap", address(1), nil, now.Add(time.Duration(i)*time.Second))
	}
	if len(k.by) != maxKnocks || k.by["steady"] == nil || k.by["early"] != nil || k.dropped == before {
		t.Errorf("%d are remembered, %v forgotten", len(k.by), k.dropped-before)
	}
	if n := k.by["steady"]; n.Count < maxKnocks || n.Door != "coap" || !n.First.Before(n.Last) {
		t.Errorf("%+v", n)
	}
}
