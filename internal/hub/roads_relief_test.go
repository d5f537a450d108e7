package hub

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/command"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/traffic"
)

// relieved builds a hub that looks at its load when the test does.
func relieved(t *testing.T, dir string) *hub {
	t.Helper()
	return everyDoor(t, dir, func(c *config.Config) { c.Relief.Interval = time.Hour })
}

// busy sets what the next look at the load sees.
func (h *hub) busy(share float64, rates map[road.Kind]float64) {
	h.relief.load = func() (traffic.Load, error) { return traffic.Load{Share: share}, nil }
	h.relief.units = func() []traffic.UnitView {
		return []traffic.UnitView{{Unit: "R1", Rates: rates, Status: road.Status{Limits: map[string]float64{"bsm": 1000}}}}
	}
}

func TestANoisyUnitIsAskedToSendLess(t *testing.T) {
	dir := t.TempDir()
	h := relieved(t, dir)
	h.register(t, registry.Spec{ID: "R1", Kind: "rsu", Region: "220100"})
	h.busy(0.9, map[road.Kind]float64{road.KindBSM: 100, road.KindSPAT: 10})
	h.relief.look(t.Context())
	all := h.asked(t, "R1")
	if len(all) != 1 || all[0].Name != "v2x.config" || all[0].Actor != "hub" || string(all[0].Params) != `{"bsmConfig":{"upLimit":50},"was":{"bsm":1000}}` {
		t.Fatalf("%+v", all)
	}
	if got := h.relief.limits("R1"); !maps.Equal(got, map[road.Kind]float64{road.KindBSM: 50}) {
		t.Errorf("%v", got)
	}
	if _, text := h.ask(t, h.admin(t), http.MethodGet, "/api/v1/audit?actor=hub", nil); !strings.Contains(text, "upLimit") || !strings.Contains(text, "device R1") {
		t.Errorf("%s", text)
	}
	// What is sent does not say what was.
	u := h.unitClient(t, "R1", func() string {
		made, err := h.registry.Rotate(t.Context(), "R1", 0)
		if err != nil {
			t.Fatal(err)
		}
		return made.Secret
	}())
	u.hear(t, "V2X/RSU/R1/#", 1)
	if s := u.next(t); s.body["was"] != nil || s.body["bsmConfig"] == nil {
		t.Errorf("%+v", s)
	}
	h.end(t)

	// After a restart the unit gets back what it had.
	h = relieved(t, dir)
	rates := map[road.Kind]float64{road.KindBSM: 50}
	for range 200 {
		h.busy(0.01, rates)
		h.relief.look(t.Context())
	}
	if got := h.relief.limits("R1"); got != nil {
		t.Errorf("%v", got)
	}
	all = h.asked(t, "R1")
	if string(all[0].Params) != `{"bsmConfig":{"upLimit":1000},"was":{"bsm":1000}}` || len(all) > 10 {
		t.Errorf("%d commands, the last %s", len(all), all[0].Params)
	}
}

func TestReliefIsOffWithoutUnits(t *testing.T) {
	h := relieved(t, t.TempDir())
	h.register(t, registry.Spec{ID: "R1", Kind: "rsu"})
	h.relief.load = func() (traffic.Load, error) {
		t.Error("the load is looked at")
		return traffic.Load{}, nil
	}
	h.relief.look(t.Context())
	if all := h.asked(t, "R1"); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	// Another's order by hand is no bound of the hub's.
	if got := boundsOf("R1", []command.Command{{Actor: "anna", Name: "v2x.config", Params: []byte(config1)}}); got != nil {
		t.Errorf("%v", got)
	}
}

func TestTheLoadIsThatSinceTheLastLook(t *testing.T) {
	h := relieved(t, t.TempDir())
	h.register(t, registry.Spec{ID: "t1"})
	var c cost
	at := time.Now()
	if load, err := c.since(h.metrics, at); err != nil || load != (traffic.Load{}) {
		t.Errorf("%+v, %v", load, err)
	}
	h.report(t, "t1", at)
	if load, err := c.since(h.metrics, at.Add(time.Second)); err != nil || load.CommitWait <= 0 || load.Share != 0 {
		t.Errorf("%+v, %v", load, err)
	}
}
