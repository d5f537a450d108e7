package enrolment

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

func TestUnitsBehindGatewaysAreRemembered(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	k := newKnocks(now)
	from := netip.MustParseAddr("192.0.2.7")
	nowhere := road.Position{Lat: math.NaN(), Lon: math.NaN()}
	info := &road.Status{Name: "人民大街" + strings.Repeat("路", 100), At: road.Position{Lat: 43.88, Lon: 125.32}}
	k.add("R1", "mqtt", from, knocking("edge", nil), now)
	k.add("R1", "mqtt", from, knocking("edge", info), now)
	k.add("R1", "mqtts", from, knocking("edge-2", &road.Status{At: nowhere}), now.Add(time.Minute))
	n := k.by["R1"]
	if u := n.Unit; n.Count != 3 || n.Door != "mqtts" || u.Gateway != "edge-2" || !strings.HasPrefix(u.Name, "人民大街路") || len(u.Name) > maxUnitName || *u.Lat != 43.88 || *u.Lon != 125.32 {
		t.Errorf("%+v %+v", n, u)
	}
	for i := range 2 * maxUnitKnocks { // slowly enough for all together
		k.add(fmt.Sprintf("far-%d", i), "mqtt", from, knocking("edge", &road.Status{At: road.Position{Lat: 91, Lon: 0}}), now.Add(time.Duration(i)*time.Second))
	}
	if count := k.behind("edge"); count != maxUnitKnocks || k.by["far-0"].Unit.Lat != nil || k.dropped == 0 {
		t.Errorf("%d of one gateway, %v dropped", count, k.dropped)
	}
	k.add("near", "mqtt", from, knocking("edge-3", nil), now.Add(time.Hour))
	if k.by["near"] == nil {
		t.Error("one gateway left no room for another")
	}
}
