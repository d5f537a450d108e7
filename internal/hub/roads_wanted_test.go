package hub

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/command"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/twin"
)

// info has a unit report a configuration, as the way up does for each INFO.
func (h *hub) info(t *testing.T, device, config string) {
	t.Helper()
	r, _ := h.orders.dialects.Route("V2X/RSU/R1/INFO/UP")
	m, _, err := h.orders.dialects.ReadJSON(r, []byte(`{"rsuId": "1", "rsuEsn": "R1", "config": `+config+`}`), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	h.steward.unitReported(t.Context(), device, m.Status)
}

func (h *hub) standing(t *testing.T, device string) twin.Twin {
	t.Helper()
	got, err := h.twins.Get(t.Context(), device)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// asked counts the commands of the steward.
func (h *hub) asked(t *testing.T, device string) (all []command.Command) {
	t.Helper()
	all, err := h.commands.List(t.Context(), command.Filter{Device: device}, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (h *hub) want(t *testing.T, device, doc string) {
	t.Helper()
	if code, text := h.ask(t, h.admin(t), http.MethodPut, "/api/v1/devices/"+device+"/twin/wanted", []byte(doc)); code != http.StatusOK {
		t.Fatalf("%d %s", code, text)
	}
}

func TestAUnitIsBroughtToWhatIsWanted(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	u := h.unitClient(t, "R1", h.register(t, registry.Spec{ID: "R1", Kind: "rsu"}))
	if !u.hear(t, "V2X/RSU/R1/#", 1) {
		t.Fatal("it may not hear its own topics")
	}
	const had, has = `{"mapConfig": {"eTag": "e1"}, "bsmConfig": {"upLimit": 1000, "sampleMode": "ByAll"}}`, `{"mapConfig": {"eTag": "e2"}, "bsmConfig": {"upLimit": 50, "sampleMode": "ByAll"}}`
	h.info(t, "R1", had)
	if s := h.standing(t, "R1"); s.Standing != twin.Unmanaged || !strings.Contains(string(s.Reported.Config), `"eTag":"e1"`) {
		t.Errorf("%+v %s", s, s.Reported.Config)
	}
	h.want(t, "R1", `{"v2x": {"bsmConfig": {"upLimit": 50}, "map": {"mapSlice": "m", "eTag": "e2", "map": {"nodes": []}}}}`)
	first, second := u.next(t), u.next(t)
	if second.topic == "V2X/RSU/R1/CONFIG/DOWN" {
		first, second = second, first
	}
	if bsm, _ := first.body["bsmConfig"].(map[string]any); first.topic != "V2X/RSU/R1/CONFIG/DOWN" || bsm["upLimit"] != 50.0 || second.topic != "V2X/RSU/R1/MAP/DOWN" || second.body["eTag"] != "e2" {
		t.Fatalf("%+v, %+v", first, second)
	}
	// Not again while one is open.
	h.info(t, "R1", had)
	if all := h.asked(t, "R1"); len(all) != 2 || h.standing(t, "R1").Standing != twin.Pending {
		t.Errorf("%s, %d commands", h.standing(t, "R1").Standing, len(all))
	}
	for _, s := range []order{first, second} {
		u.say(t, s.topic+"/ACK", `{"seqNum": "`+s.body["seqNum"].(string)+`", "errorCode": 0}`)
	}
	h.info(t, "R1", has)
	if s := h.standing(t, "R1"); s.Standing != twin.InStep || len(h.asked(t, "R1")) != 2 {
		t.Errorf("%+v", s)
	}
	// A unit that forgot is asked again, so often and no more.
	later := time.Now()
	h.steward.clock = func() time.Time { return later }
	for range stewardTries + 2 {
		later = later.Add(2 * stewardGrace)
		before := len(h.asked(t, "R1"))
		h.info(t, "R1", `{"mapConfig": {"eTag": "e2"}, "bsmConfig": {"upLimit": 1000, "sampleMode": "ByAll"}}`)
		if all := h.asked(t, "R1"); len(all) > before {
			s := u.next(t)
			u.say(t, s.topic+"/ACK", `{"seqNum": "`+s.body["seqNum"].(string)+`", "errorCode": 0}`)
			h.becomes(t, all[0].ID, command.Done)
		}
	}
	if all := h.asked(t, "R1"); len(all) != 2+stewardTries-1 {
		t.Errorf("%d commands", len(all))
	}
	if s := h.standing(t, "R1"); s.Standing != twin.Drifted || len(s.Drift) != 1 || s.Drift[0].Path != "/v2x/bsmConfig/upLimit" {
		t.Errorf("%+v", s)
	}
}

// What is wanted of a unit at most is known as soon as it is wanted, and when the hub
// starts.
func TestWhatIsWantedOfAUnitIsItsCap(t *testing.T) {
	dir := t.TempDir()
	h := everyDoor(t, dir, func(*config.Config) {})
	h.register(t, registry.Spec{ID: "R1", Kind: "rsu"})
	h.want(t, "R1", `{"v2x": {"bsmConfig": {"upLimit": 50}, "spatConfig": {"upLimit": 2}}}`)
	has := func(h *hub) func() bool {
		return func() bool {
			e := h.expected("R1").Limits
			return len(e) == 2 && e[road.KindBSM] == 50 && e[road.KindSPAT] == 2
		}
	}
	soon(t, "what is wanted is the cap", has(h))
	h.end(t)
	h = everyDoor(t, dir, func(*config.Config) {})
	soon(t, "it still is after a restart", has(h))
	h.want(t, "R1", `{"v2x": {}}`)
	soon(t, "nothing is wanted any more", func() bool { return len(h.expected("R1").Limits) == 0 })
}

func TestAUnitThatCannotIsRefused(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	u := h.unitClient(t, "R1", h.register(t, registry.Spec{ID: "R1", Kind: "rsu"}))
	u.hear(t, "V2X/RSU/R1/#", 1)
	h.want(t, "R1", `{"v2x": {"rsmConfig": {"upLimit": 3}}}`)
	s := u.next(t)
	u.say(t, s.topic+"/ACK", `{"seqNum": "`+s.body["seqNum"].(string)+`", "errorCode": 1, "errorDesc": "no RSM here"}`)
	soon(t, "its twin says so", func() bool { return h.standing(t, "R1").Standing == twin.Refused })
	if got := h.standing(t, "R1"); !strings.Contains(got.Reported.Faults[0].Message, "no RSM here") {
		t.Errorf("%+v", got)
	}
	for _, doc := range []string{`{"v2x": {"rsmConfig": {"upLimit": -3}}}`, `{"v2x": {"map": {"mapSlice": "m", "eTag": "e", "map": {"x": "` + strings.Repeat("x", command.MaxParams) + `"}}}}`} {
		if code, text := h.ask(t, h.admin(t), http.MethodPut, "/api/v1/devices/R1/twin/wanted", []byte(doc)); code != http.StatusUnprocessableEntity {
			t.Errorf("%d %s", code, text)
		}
	}
}

// What the hub bounds for now is not undone by what is wanted.
func TestWhatIsWantedYieldsToRelief(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	h.register(t, registry.Spec{ID: "R1", Kind: "rsu"})
	var relieved atomic.Bool
	h.steward.limits = func(string) map[road.Kind]float64 {
		if relieved.Load() {
			return nil
		}
		return map[road.Kind]float64{road.KindBSM: 10}
	}
	h.info(t, "R1", `{"bsmConfig": {"upLimit": 10}}`)
	h.want(t, "R1", `{"v2x": {"bsmConfig": {"upLimit": 50}}}`)
	h.info(t, "R1", `{"bsmConfig": {"upLimit": 10}}`)
	if all := h.asked(t, "R1"); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	if s := h.standing(t, "R1"); s.Standing != twin.Drifted {
		t.Errorf("%+v", s)
	}
	relieved.Store(true)
	h.info(t, "R1", `{"bsmConfig": {"upLimit": 10}}`)
	if all := h.asked(t, "R1"); len(all) != 1 || string(all[0].Params) != `{"bsmConfig":{"upLimit":50}}` {
		t.Errorf("%+v", all)
	}
}
