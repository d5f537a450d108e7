package allowance

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestALimiterLetsABurstThroughAndThenOneAnInterval(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	l := New[string](3, time.Minute)
	for i := range 3 {
		if after := l.Take("a", now); after != 0 {
			t.Errorf("time %d waits %s", i, after)
		}
	}
	if after := l.Take("a", now); after != time.Minute || l.Wait("a", now) != after {
		t.Errorf("the fourth waits %s", after)
	}
	if after := l.Take("b", now); after != 0 {
		t.Errorf("another waits %s", after)
	}
	if after := l.Take("a", now.Add(time.Minute)); after != 0 {
		t.Errorf("a minute later it waits %s", after)
	}
	if after := l.Take("a", now.Add(time.Minute)); after == 0 {
		t.Error("a minute later it may twice")
	}
	for i := range 3 * maxKeys {
		l.Take(fmt.Sprint(i), now)
	}
	if len(l.full) > maxKeys+1 {
		t.Errorf("%d keys are remembered", len(l.full))
	}
	l.Take("new", now.Add(time.Hour))
	if len(l.full) > 2 {
		t.Errorf("after an hour %d keys are remembered", len(l.full))
	}
}

func TestOneSubscriberIsOneAddress(t *testing.T) {
	for a, b := range map[string]string{"192.0.2.1": "::ffff:192.0.2.1", "2001:db8::1": "2001:db8::ffff:1"} {
		if Origin(netip.MustParseAddr(a)) != Origin(netip.MustParseAddr(b)) {
			t.Errorf("%s and %s are two", a, b)
		}
	}
	if Origin(netip.MustParseAddr("192.0.2.1")) == Origin(netip.MustParseAddr("192.0.2.2")) {
		t.Error("two are one")
	}
}
