package hub

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/model"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// give puts a model as the API does.
func (h *hub) give(t *testing.T, text string) {
	t.Helper()
	m, err := model.Parse([]byte(text))
	if err == nil {
		_, err = h.models.Put(t.Context(), m, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestDevicesHaveThePresentStateOfTheirModel(t *testing.T) {
	dir := t.TempDir()
	h := whole(t, dir)
	h.give(t, "id: probe\nnames: {en: Probe}\nkind: sensor")
	h.register(t, registry.Spec{ID: "t1", Model: "probe"})
	h.register(t, registry.Spec{ID: "t2", Grade: "important"})
	before := h.registry.Device("t1")
	if before.Model == nil || before.EffectiveGrade() != telemetry.Ungraded {
		t.Errorf("%+v", before)
	}
	other := h.registry.Device("t2")

	h.give(t, "id: probe\nnames: {en: Probe}\nkind: rsu\ngrade: general")
	after := h.registry.Device("t1")
	if after == before || after.EffectiveGrade() != telemetry.General {
		t.Errorf("after the model changed: %+v", after)
	}
	if h.registry.Device("t2") != other {
		t.Error("a device of no model has another state")
	}
	if err := h.models.Remove(t.Context(), "probe", 0); !errors.Is(err, model.ErrInUse) {
		t.Error(err)
	}
	_, err := h.registry.Update(t.Context(), registry.Spec{ID: "t1", Model: "prove"}, 0)
	var invalid *registry.Invalid
	if !errors.As(err, &invalid) || invalid.Faults[0].Field != "model" || !strings.Contains(err.Error(), "hub model add") {
		t.Errorf("a model that is not known: %v", err)
	}
	h.end(t)

	// A device stays of a model whose kind is another by now.
	again := whole(t, dir)
	if d := again.registry.Device("t1"); d.Model == nil || d.EffectiveGrade() != telemetry.General || d.Kind != telemetry.KindSensor {
		t.Errorf("after a restart: %+v", d)
	}
	if _, err := again.registry.Update(t.Context(), registry.Spec{ID: "t1"}, 0); err != nil {
		t.Fatal(err)
	}
	if err := again.models.Remove(t.Context(), "probe", 0); err != nil {
		t.Error(err)
	}
}

func TestModelsDecideWhatDevicesAreAskedFor(t *testing.T) {
	h := whole(t, t.TempDir())
	h.give(t, "id: probe\nnames: {en: Probe}\ncommands: {reboot: {required: [at]}}\nconfig: {type: object}")
	h.register(t, registry.Spec{ID: "t1", Model: "probe"})
	h.register(t, registry.Spec{ID: "t2"})
	c := checks{h}
	for _, good := range []error{
		c.Command("t1", "reboot", []byte(`{"at": "now"}`)), c.Config("t1", []byte(`{}`)),
		c.Command("t2", "explode", nil), c.Config("t2", []byte(`[]`)), c.Command("nobody", "explode", nil),
	} {
		if good != nil {
			t.Error(good)
		}
	}
	for _, bad := range []error{c.Command("t1", "reboot", nil), c.Command("t1", "explode", nil), c.Config("t1", []byte(`[]`))} {
		if !errors.Is(bad, model.ErrInvalid) {
			t.Error(bad)
		}
	}
}

// What the model says of a metric counts in queries: for how long a value stands,
// and in which unit it is.
func TestQueriesGoByTheModel(t *testing.T) {
	h := whole(t, t.TempDir())
	h.give(t, "id: probe\nnames: {en: Probe}\nmetrics:\n- {name: air, unit: Cel}\n- {name: soil, unit: '%', period: 24h}")
	h.register(t, registry.Spec{ID: "t1", Model: "probe", Period: time.Minute})
	h.register(t, registry.Spec{ID: "t2", Period: time.Minute})
	p := &periods{registry: h.registry, presence: h.presence}
	for _, c := range []struct {
		device, metric string
		want           time.Duration
	}{{"t1", "air", time.Minute}, {"t1", "soil", 24 * time.Hour}, {"t1", "soil_out_of_range", 24 * time.Hour}, {"t1", "", 24 * time.Hour}, {"t2", "soil", time.Minute}} {
		if got, ok := p.Period(c.device, c.metric); got != c.want || !ok {
			t.Errorf("%s of %s: %s, want %s", c.metric, c.device, got, c.want)
		}
	}
	if long := p.LongPeriods(); p.MaxPeriod() != 24*time.Hour || len(long) != 1 || long[0] != "t1" {
		t.Errorf("the longest is %s, of %v", p.MaxPeriod(), long)
	}
	// A change is known to the next query, whatever made it.
	follows := func(what string, longest time.Duration, long ...string) {
		t.Helper()
		if got := p.LongPeriods(); p.MaxPeriod() != longest || !slices.Equal(got, long) {
			t.Errorf("%s: the longest is %s, of %v; want %s of %v", what, p.MaxPeriod(), got, longest, long)
		}
	}
	h.register(t, registry.Spec{ID: "t3", Period: 48 * time.Hour})
	follows("a device comes", 48*time.Hour, "t1", "t3")
	h.register(t, registry.Spec{ID: "t4", Period: 11 * time.Hour})
	follows("one that is no slower", 48*time.Hour, "t1", "t3", "t4")
	h.give(t, "id: probe\nnames: {en: Probe}\nmetrics:\n- {name: air, unit: Cel}\n- {name: soil, unit: '%', period: 72h}")
	follows("a model changes", 72*time.Hour, "t1", "t3", "t4")
	if err := h.registry.Remove(t.Context(), "t1", 0); err != nil {
		t.Fatal(err)
	}
	follows("one goes", 48*time.Hour, "t3", "t4")
	for _, id := range []string{"t3", "t4"} {
		if code, text := h.ask(t, h.admin(t), http.MethodPatch, "/api/v1/devices/"+id, []byte(`{"period": "2m"}`)); code != http.StatusOK {
			t.Fatalf("%d %s", code, text)
		}
	}
	follows("all are quick", 2*time.Minute)
	before := h.registry.Changes()
	h.register(t, registry.Spec{ID: "t5", Period: time.Minute})
	if h.registry.Changes() != before {
		t.Error("a device that changes nothing makes all be looked at")
	}
	h.register(t, registry.Spec{ID: "t6", Period: 3 * time.Minute})
	follows("one is less quick", 3*time.Minute)
	h.register(t, registry.Spec{ID: "t1", Model: "probe", Period: time.Minute})
	if h.unitOf("t1", "air") != "Cel" || h.unitOf("t2", "air") != "" || h.unitOf("", "air") != "Cel" {
		t.Error("the unit of air")
	}
	h.give(t, "id: other\nnames: {en: Other}\nmetrics: [{name: air, unit: degF}]")
	if unit := h.unitOf("", "air"); unit != "" {
		t.Errorf("models differ about air, and yet it is in %s", unit)
	}
}
