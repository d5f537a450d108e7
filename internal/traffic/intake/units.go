package intake

import (
	"bytes"
	"encoding/json"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Topic implements ingest.Units.
func (in *Intake) Topic(topic string) (esn string, ok bool) {
	r, ok := in.set.Route(topic)
	return r.ESN, ok
}

// Filters implements ingest.Units.
func (in *Intake) Filters() []string { return in.set.Filters() }

// ByKind implements ingest.Units.
func (in *Intake) ByKind(kind string) (topic string, ok bool) { return in.set.TopicOf(road.Kind(kind)) }

// Is implements ingest.Units.
func (in *Intake) Is(device, esn string) bool { return in.deps.IsUnit(device, esn) }

// Device implements ingest.Units.
func (in *Intake) Device(esn string) string { return in.deps.Unit(esn) }

// Named implements ingest.Units.
func (in *Intake) Named(topic string, payload []byte) string {
	if isJSON(payload) {
		return esnOf(payload)
	}
	r, _ := in.set.Route(topic)
	f, err := framed(payload, r.Kind)
	if err != nil {
		return ""
	}
	return string(bytes.TrimRight(f.RSU[:], "\x00 "))
}

// esnOf is the rsuEsn of a message, text or number; in whatever case.
func esnOf(payload []byte) string {
	var in struct {
		ESN json.RawMessage `json:"rsuEsn"`
	}
	if json.Unmarshal(payload, &in) != nil {
		return ""
	}
	var text string
	if json.Unmarshal(in.ESN, &text) == nil {
		return text
	}
	var number json.Number
	if json.Unmarshal(in.ESN, &number) == nil {
		return number.String()
	}
	return ""
}

// Knock implements ingest.Units. A message that names a person is nobody's.
func (in *Intake) Knock(k ingest.UnitKnock) {
	if in.deps.Knock == nil || telemetry.CheckDeviceID(k.ESN) != nil {
		return
	}
	var s *road.Status
	if r, ok := in.set.Route(k.Topic); ok && isJSON(k.Payload) {
		m, _, err := in.set.ReadJSON(r, k.Payload, in.deps.Clock())
		if err != nil {
			return
		}
		s = m.Status
	}
	in.deps.Knock(k.ESN, k.Gateway, k.Door, k.From, s)
}
