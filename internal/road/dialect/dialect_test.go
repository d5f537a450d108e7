package dialect

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/songhua-io/hub/internal/codec/v2x"
	"github.com/songhua-io/hub/internal/road"
)

// shared reads a file of reference messages that lie beside the checkout.
func shared(t testing.TB, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "shared", "v2x", name))
	if os.IsNotExist(err) {
		t.Skipf("no reference messages beside the checkout: %v", err)
	}
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func load(t testing.TB) *Set {
	t.Helper()
	s, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var noon = time.Date(2026, 11, 26, 12, 0, 23, 0, time.UTC)

func TestTopics(t *testing.T) {
	s := load(t)
	for topic, want := range map[string][3]string{
		"V2X.RSU.HB.UP":                 {"tits", "heartbeat", ""},
		"V2X.RSU.ESN0001.HB.UP":         {"tits", "heartbeat", "ESN0001"},
		"V2X.RSU.CONFIG.DOWN.ACK":       {"tits", "ack", ""},
		"V2X/RSU/R328328/SPAT/UP":       {"openv2x", "spat", "R328328"},
		"V2X/RSU/R328328/RSI/UP/vendor": {"openv2x", "rsi", "R328328"},
		"V2X/RSU/HB/UP":                 {"openv2x", "heartbeat", ""},
		"V2X/RSU/R1/MAP/DOWN/ACK":       {"openv2x", "ack", "R1"},
		"v2x/v1/rsu/0123/bsm/up":        {"huawei", "bsm", "0123"},
		"v2x/v1/rsu//bsm/up":            {},
		"v2x/v1/rsu/0123/bsm/down":      {},
		"V2X/RSU/R328328/MAP/DOWN":      {},
		"V2X/RSU/R328328/SPAT/UP/more":  {},
		"devices/probe-1/telemetry":     {},
		"":                              {},
	} {
		r, ok := s.Route(topic)
		got := [3]string{}
		if ok {
			got = [3]string{r.Profile.ID, string(r.Kind), r.ESN}
		}
		if got != want {
			t.Errorf("%s: %q, not %q", topic, got, want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { s.Route("V2X/RSU/R328328/SPAT/UP") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestSamples reads one message of each kind as the standard has it: nothing is
// wrong with it, but for what the samples themselves spell otherwise.
func TestSamples(t *testing.T) {
	s := load(t)
	var all map[string]json.RawMessage
	shared(t, "rsu-json-samples.json", &all)
	read := map[road.Kind]*road.Message{}
	for name, text := range all {
		topic, _, _ := strings.Cut(name, " ")
		r, ok := s.Route(strings.Replace(topic, "*", "V2X.RSU.CONFIG.DOWN", 1))
		if !ok {
			t.Fatalf("%s: no profile has it", topic)
		}
		m, findings, err := s.ReadJSON(r, text, noon)
		if err != nil || len(findings) > 0 {
			t.Errorf("%s: %v, %+v", name, err, findings)
		}
		read[r.Kind] = m
	}
	p := read[road.KindRSM].Participants[0]
	if p.Type != road.Motor || p.Track != 7 || p.Source != 3 || math.Abs(p.Lat-43.88681) > 1e-9 || math.Abs(p.Speed-11) > 1e-9 || p.Heading != 90 || p.Length != 4.5 || !p.At.Equal(noon.Add(500*time.Millisecond)) {
		t.Errorf("participant: %+v", p)
	}
	x := read[road.KindSPAT].Signals[0]
	if x.Node != (road.NodeID{Region: 1, ID: 149}) || x.Status != road.StatusDependent || x.Phases[0].Light != road.ProtectedGreen || !x.Phases[0].States[0].End.Equal(noon.Add(30*time.Second)) {
		t.Errorf("signals: %+v", x)
	}
	e := read[road.KindRSI].Events[0]
	if e.ID != "cam-3/a-77" || e.Type != 707 || e.Confidence != 0.9 || e.Radius != 50 || e.Priority != 5 || e.Over || e.End.Sub(e.Start) != 10*time.Minute || len(e.Paths) != 1 {
		t.Errorf("event: %+v", e)
	}
	run := read[road.KindRunning].Status
	if run.Load != 0.42 || !slices.Equal(run.Cores, []float64{12.5, 8, 30.1, 4.4}) || run.Memory.Used != 900.5 || run.Sent != 20100 {
		t.Errorf("running: %+v", run)
	}
	info := read[road.KindInfo]
	if info.Unit != "ESN0001" || info.Status.At.Lat != 43.8868 || info.Status.Limits["bsm"] != 1000 || info.Status.ETag != "e1" {
		t.Errorf("info: %+v", info.Status)
	}
	base := read[road.KindBase].Status
	if base.Firmware != "2.1.0" || base.Devices[0] != (road.Device{ID: "sig-1", Type: "signal", Powered: 1, Runs: 1, Network: 2}) || base.At.Lon != 125.3235 {
		t.Errorf("base: %+v", base)
	}
	if a := read[road.KindAck].Ack; a.Seq != "9" || a.Code != 0 {
		t.Errorf("ack: %+v", a)
	}
	if read[road.KindAnswer].Status.Counts["bsm"] != 98123 {
		t.Errorf("answer: %+v", read[road.KindAnswer].Status)
	}
}

// TestDeviations: what is spelled otherwise is read and told, what nobody knows
// is neither read nor kept.
func TestDeviations(t *testing.T) {
	s := load(t)
	r, _ := s.Route("V2X.RSU.BaseINFO.UP")
	m, findings, err := s.ReadJSON(r, []byte(`{"rsuID": 7, "timestamp": "1605336902333", "location": {"lon": "125.3", "Lat": 43.8}, "vendorExtra": {"x": 1}, "deviceStatus": 3}`), noon)
	if err != nil {
		t.Fatal(err)
	}
	if m.Status.At != (road.Position{Lat: 43.8, Lon: 125.3}) || !m.At.Equal(time.UnixMilli(1605336902333)) {
		t.Errorf("%+v", m)
	}
	var told []string
	for _, f := range findings {
		zh, en := f.Text()
		if zh == "" {
			t.Error("nothing in Chinese")
		}
		told = append(told, en)
	}
	want := []string{
		"field deviceStatus should be object and is number",
		"field lon should be Lon",
		"field location.Lon should be number and is text",
		"field rsuID should be rsuId",
		"field timestamp should be time and is text",
		"field vendorExtra is not of the standard and is not read",
		"field rsuEsn is missing",
	}
	if !slices.Equal(told, want) {
		t.Errorf("%q", told)
	}
	open, _ := s.Route("V2X/RSU/BaseINFO/UP")
	if _, findings, err := s.ReadJSON(open, []byte(`{"rsuId": "a", "rsuEsn": "b", "location": {"lon": 125.3, "lat": 43.8}, "softwareVersion": "1"}`), noon); err != nil || len(findings) > 0 {
		t.Errorf("what the profile allows: %v, %+v", err, findings)
	}
}

func TestPeopleAreRefused(t *testing.T) {
	s := load(t)
	r, _ := s.Route("V2X.RSU.RSI.UP")
	for _, text := range []string{
		`{"rsi": {"alertID": "1", "eventType": 1, "eventDescription": "车辆吉A12345停在路边"}}`,
		`{"rsi": {"alertID": "1", "eventType": 1}, "owner": {"tel": 13912345678}}`,
		`{"吉A·12345": 1}`,
		`{"x": ["11010519491231002X"]}`,
	} {
		_, _, err := s.ReadJSON(r, []byte(text), noon)
		var people *PersonalError
		if !errors.As(err, &people) || strings.Contains(err.Error(), "12345") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestEventsMayHaveBegunLongAgo: a message of today tells of an event of then.
func TestEventsMayHaveBegunLongAgo(t *testing.T) {
	s := load(t)
	r, _ := s.Route("V2X.RSU.RSI.UP")
	m, _, err := s.ReadJSON(r, fmt.Appendf(nil, `{"rsi": {"alertID": "1", "eventType": 501, "timeStamp": %d}}`, noon.Add(-time.Hour).UnixMilli()), noon)
	if err != nil || !m.At.IsZero() || !m.Events[0].Start.Equal(noon.Add(-time.Hour)) {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestPeopleInFramesAreRefused: the texts of frames, which are few, are read too.
func TestPeopleInFramesAreRefused(t *testing.T) {
	plate, err := simplifiedchinese.GBK.NewEncoder().Bytes([]byte("逆行：吉A·12345"))
	if err != nil {
		t.Fatal(err)
	}
	event := func(d v2x.Description) v2x.MessageFrame {
		return v2x.MessageFrame{Alt: v2x.MessageFrameRsiFrame, RsiFrame: v2x.RoadSideInformation{Rtes: v2x.Some(v2x.RTEList{{EventType: 901, Description: v2x.Some(d)}})}}
	}
	called := func(node, link string) v2x.MessageFrame {
		l := v2x.Link{Name: v2x.Some(v2x.DescriptiveName(link)), Lanes: v2x.LaneList{{LaneID: 1}}}
		n := v2x.Node{Name: v2x.Some(v2x.DescriptiveName(node)), InLinks: v2x.Some(v2x.LinkList{l})}
		return v2x.MessageFrame{Alt: v2x.MessageFrameMapFrame, MapFrame: v2x.MapData{Nodes: v2x.NodeList{n}}}
	}
	for name, f := range map[string]v2x.MessageFrame{
		"plate":       event(v2x.Description{Alt: v2x.DescriptionTextGB2312, TextGB2312: plate}),
		"phone":       event(v2x.Description{Alt: v2x.DescriptionTextString, TextString: v2x.Text("call 13912345678")}),
		"of a node":   called("13912345678", "Renmin Street"),
		"of a link":   called("Renmin Square", "tel 13912345678"),
		"nobody":      called("Renmin Square", "Renmin Street"),
		"nobody else": event(v2x.Description{Alt: v2x.DescriptionTextString, TextString: v2x.Text("wrong way")}),
	} {
		data, err := f.AppendEncoded(nil)
		if err != nil {
			t.Fatal(name, err)
		}
		var frames Frames
		_, err = frames.Read(data, noon)
		var people *PersonalError
		if errors.As(err, &people) == strings.HasPrefix(name, "nobody") || err != nil && strings.Contains(err.Error(), "12345") || frames.Octets != len(data) {
			t.Errorf("%s: %v, %d octets of %d", name, err, frames.Octets, len(data))
		}
	}
}

func TestUnreadable(t *testing.T) {
	s := load(t)
	r, _ := s.Route("V2X.RSU.RSI.UP")
	for text, want := range map[string]string{
		`{`:           "is no JSON",
		`[]`:          "is no object",
		`{} {}`:       "more follows",
		`{"rsi": {}}`: "no alertID or no eventType",
	} {
		if _, _, err := s.ReadJSON(r, []byte(text), noon); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	r, _ = s.Route("V2X.RSU.BSM.UP")
	if _, _, err := s.ReadJSON(r, []byte(`{}`), noon); err == nil || !strings.Contains(err.Error(), "has no form in JSON") {
		t.Error(err)
	}
}

func TestFrames(t *testing.T) {
	var all []struct {
		Name, Hex string
		Value     json.RawMessage
	}
	shared(t, "frames-published.json", &all)
	var f Frames
	received := time.Date(2026, 11, 26, 12, 0, 9, 0, time.UTC)
	for _, e := range all {
		raw, err := hex.DecodeString(e.Hex)
		if err != nil {
			t.Fatal(err)
		}
		m, err := f.Read(raw, received)
		if err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
		kind, _, _ := strings.Cut(strings.TrimPrefix(e.Name, "example-"), "0")
		if !strings.HasPrefix(kind, string(m.Kind)) {
			t.Errorf("%s is of kind %s", e.Name, m.Kind)
		}
		if e.Name == "example-bsm0" {
			p := m.Participants[0]
			if !p.Self || math.Abs(p.Lat-39.9764645) > 1e-9 || math.Abs(p.Lon-116.3509503) > 1e-9 || p.Elevation != 37.5 || p.Speed != 0 || p.Width != 1.5 || p.Length != 4.5 || !math.IsNaN(p.Acceleration) ||
				!p.At.Equal(received.Add(500*time.Millisecond)) || m.Count != 117 {
				t.Errorf("%+v", p)
			}
		}
	}
	if _, err := f.Read([]byte{0x07}, received); err == nil || !errors.As(err, new(*v2x.Error)) {
		t.Error(err)
	}
}

// TestFramesAllocateNothing reads what comes by the thousand a second.
func TestFramesAllocateNothing(t *testing.T) {
	var all []struct{ Name, Hex string }
	shared(t, "frames-published.json", &all)
	var f Frames
	for _, e := range all {
		if strings.Contains(e.Name, "map") || strings.Contains(e.Name, "rsi") {
			continue
		}
		raw, err := hex.DecodeString(e.Hex)
		if err != nil {
			t.Fatal(err)
		}
		read := func() {
			if _, err := f.Read(raw, noon); err != nil {
				t.Fatal(err)
			}
		}
		read()
		if n := testing.AllocsPerRun(10, read); n > 1 { // the name of the unit
			t.Errorf("%s: %v allocations", e.Name, n)
		}
	}
}

func FuzzReadJSON(f *testing.F) {
	s, err := Load()
	if err != nil {
		f.Fatal(err)
	}
	f.Add("V2X.RSU.RSM.UP", `{"rsms": [{"refPos": {"lat": 438868000, "lon": 1253235000}, "participants": [{"ptcType": 1, "ptcId": 7, "secMark": 23500, "pos": {"lat": 1, "lon": 2}}]}]}`)
	f.Add("V2X.RSU.SPAT.UP", `{"intersections": {"intersectionId": {"id": 149}, "phases": {"phaseId": 1, "phaseStates": {"light": "red", "timing": {"counting": {"startTime": 0, "likelyEndTime": 300}}}}}}`)
	f.Add("V2X.RSU.RSI.UP", `{"rsi": {"alertID": "a", "eventType": 707, "duration": 1e300}}`)
	f.Add("V2X.RSU.INFO.UP", `{"config": {"bsmConfig": {"upLimit": -1}}}`)
	f.Fuzz(func(t *testing.T, topic, text string) {
		r, ok := s.Route(topic)
		if !ok {
			return
		}
		m, findings, err := s.ReadJSON(r, []byte(text), noon)
		if err == nil && m == nil || len(findings) > maxFindings {
			t.Fatal(m, findings, err)
		}
	})
}
