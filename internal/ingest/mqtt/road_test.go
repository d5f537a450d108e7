package mqtt_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/ingest/mqtt"
)

// units are roadside units: E1 is t1, E2 is t2, and topics V2X/… name them.
type units struct {
	mu     sync.Mutex
	knocks []string
}

func (*units) Topic(topic string) (esn string, ok bool) {
	rest, ok := strings.CutPrefix(topic, "V2X/RSU/")
	if esn, _, deep := strings.Cut(rest, "/UP/"); deep {
		return esn, ok
	}
	return "", ok || topic == "V2X.RSU.HB.UP"
}
func (*units) Filters() []string                     { return []string{"V2X/RSU/+/UP/+", "V2X.RSU.HB.UP"} }
func (*units) ByKind(string) (string, bool)          { return "", false }
func (*units) Named(_ string, payload []byte) string { return strings.TrimSpace(string(payload)) }
func (u *units) Is(device, esn string) bool          { return u.Device(esn) == device }
func (*units) Device(esn string) string              { return map[string]string{"E1": "t1", "E2": "t2"}[esn] }
func (u *units) Knock(k ingest.UnitKnock) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.knocks = append(u.knocks, k.ESN+" by "+k.Gateway+" at "+k.Door)
}

// crossing is a pipeline that writes down what comes, as device, format, topic and
// what its door refused.
type crossing struct {
	units
	mu   sync.Mutex
	came []string
}

func (x *crossing) settings() []setting {
	return []setting{func(_ *mqtt.Config, _ *ingest.Config, d *mqtt.Deps) {
		d.Units = &x.units
		d.Ingest = func(all *ingest.Delivery) error {
			x.mu.Lock()
			defer x.mu.Unlock()
			for i := range all.Messages {
				m := &all.Messages[i]
				line := fmt.Sprint(m.Device, " ", m.Format, " ", m.Topic)
				if len(m.Rejects) > 0 {
					line += " " + string(m.Rejects[0].Reason)
				}
				if m.Again {
					line += fmt.Sprint(" again ", m.Packet)
				}
				m.Done = true
				x.came = append(x.came, line)
			}
			return nil
		}
	}}
}

func (x *crossing) expect(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, "all has come", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return len(x.came) >= len(want)
	})
	x.mu.Lock()
	defer x.mu.Unlock()
	if diff := cmp.Diff(want, x.came); diff != "" {
		t.Error(diff)
	}
	x.came = nil
}

// V2X goes to the unit whose ESN it names, if the sender is that unit or may speak
// for it.
func TestV2XIsOfTheUnitThatItNames(t *testing.T) {
	var x crossing
	m := newMemory("t1", "t2")
	m.speakers["t1>t2"] = true
	h := start(t, m, x.settings()...)
	w := login5(t, h, "unit")
	for i, topic := range []string{"V2X/RSU/E1/UP/BSM", "V2X/RSU/E1/UP/BSM", "V2X.RSU.HB.UP", "V2X/RSU/E2/UP/BSM", "V2X/RSU/E3/UP/BSM", "devices/t1/v2x/uper", "devices/t2/v2x/framed", "devices/t3/v2x/uper", "devices/t1/v2x/xml", "V2X.none"} {
		w.send(publish(5, 2, topic, uint16(i+1), []byte("\x1f\x8b\x08")))
		w.next()
	}
	again := publish(5, 2, "V2X.RSU.HB.UP", 10, []byte("E1"))
	again[0] |= 8 // DUP
	w.send(again)
	w.next()
	x.expect(t, "t1 v2x V2X/RSU/E1/UP/BSM", "t1 v2x V2X/RSU/E1/UP/BSM", "t1 v2x V2X.RSU.HB.UP", "t2 v2x V2X/RSU/E2/UP/BSM", "t1 v2x  not_permitted",
		"t1 v2x-uper ", "t2 v2x-framed ", "t1 v2x  not_permitted", "t1 v2x  unsupported", "t1 v2x  unsupported", "t1 v2x V2X.RSU.HB.UP again 10")
	if len(x.knocks) != 0 {
		t.Errorf("a device that is no gateway lets others knock: %v", x.knocks)
	}
}

// Behind a broker the topic, or the message, names the unit.
func TestV2XThroughABroker(t *testing.T) {
	var x crossing
	b := &broker{settings: x.settings(), filters: make(chan string, 100)}
	for i, c := range [][2]string{
		{"V2X/RSU/E1/UP/BSM", "frame"}, {"V2X.RSU.HB.UP", "E2"}, {"V2X.RSU.HB.UP", "E3"}, {"devices/t1/v2x/uper", "frame"},
		{"devices/t1/v2x/xml", "frame"}, {"devices/?/v2x/uper", "frame"}, {"devices/t1/telemetry", "{}"},
	} {
		b.backlog = append(b.backlog, publish(4, 2, c[0], uint16(i+1), []byte(c[1])))
	}
	b.backlog[0][0] |= 8
	behind(t, newMemory("t1", "t2"), b)
	b.up(t)
	x.expect(t, "t1 v2x V2X/RSU/E1/UP/BSM again 1", "t2 v2x V2X.RSU.HB.UP", "E3 v2x  unknown_device", "t1 v2x-uper ", "t1 v2x  unsupported", "? v2x  unknown_device", "t1 auto ")
	if !slices.Equal(x.knocks, []string{"E3 by  at broker"}) {
		t.Errorf("knocks %q", x.knocks)
	}
	var asked []string
	for len(b.filters) > 0 {
		if f := <-b.filters; strings.Contains(strings.ToLower(f), "v2x") {
			asked = append(asked, f)
		}
	}
	slices.Sort(asked)
	if want := []string{"$share/hub/V2X.RSU.HB.UP", "$share/hub/V2X/RSU/+/UP/+", "$share/hub/devices/+/v2x/+"}; !slices.Equal(asked, want) {
		t.Errorf("the hub asks for %q", asked)
	}
}
