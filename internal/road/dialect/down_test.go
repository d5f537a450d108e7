package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

func profile(t testing.TB, s *Set, id string) *Profile {
	t.Helper()
	for _, p := range s.Profiles {
		if p.ID == id {
			return p
		}
	}
	t.Fatalf("there is no profile %s", id)
	return nil
}

// TestOrdersAreWritten compares what is sent with the files of testdata/down: the
// parameters of an order, and its message in each dialect.
func TestOrdersAreWritten(t *testing.T) {
	s := load(t)
	head := Head{ESN: "R328328", Seq: "1795694400000", At: noon}
	files, err := filepath.Glob("testdata/down/*.json")
	if err != nil || len(files) != len(Orders()) {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var golden struct {
			Params json.RawMessage
			Sent   map[string]json.RawMessage
		}
		if err := json.Unmarshal(text, &golden); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		o := Order(strings.TrimSuffix(filepath.Base(file), ".json"))
		what, err := ReadOrder(o, golden.Params)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for id, want := range golden.Sent {
			got, err := profile(t, s, id).Write(o, what, head)
			var flat bytes.Buffer
			if err == nil {
				err = json.Compact(&flat, want)
			}
			if err != nil || flat.String() != string(got) {
				t.Errorf("%s for %s: %v\n%s\nnot\n%s", o, id, err, got, flat.Bytes())
			}
		}
	}
}

// TestOrdersOfTheStandard takes the messages that T/ITS 0117-2020 shows apart and
// puts them together again.
func TestOrdersOfTheStandard(t *testing.T) {
	s := load(t)
	var all map[string]json.RawMessage
	shared(t, "rsu-json-samples.json", &all)
	same := func(name string, o Order, params map[string]any, want map[string]any) {
		t.Helper()
		text, _ := json.Marshal(params)
		what, err := ReadOrder(o, text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := profile(t, s, "tits").Write(o, what, Head{ESN: "ESN0001", Seq: "9", At: noon})
		if err != nil {
			t.Fatal(err)
		}
		var read map[string]any
		if err := json.Unmarshal(got, &read); err != nil {
			t.Fatal(err)
		}
		a, _ := json.Marshal(read)
		b, _ := json.Marshal(want)
		if !bytes.Equal(a, b) {
			t.Errorf("%s: %s, not %s", name, a, b)
		}
	}
	var rsi map[string]any
	if err := json.Unmarshal(all["V2X.RSU.RSI.UP (JSON form)"], &rsi); err != nil {
		t.Fatal(err)
	}
	params := maps.Clone(rsi)
	delete(params, "ack")
	delete(params, "seqNum")
	same("RSI", OrderRSI, params, rsi)

	var info struct{ Config map[string]map[string]any }
	if err := json.Unmarshal(all["V2X.RSU.INFO.UP"], &info); err != nil {
		t.Fatal(err)
	}
	delete(info.Config["bsmConfig"], "actualSampleRate")
	delete(info.Config["bsmConfig"], "upFilters") // an empty list says nothing
	delete(info.Config, "rsiConfig")              // of which the unit alone speaks
	config, want := map[string]any{}, map[string]any{"seqNum": "9", "ack": true}
	for name, block := range info.Config {
		config[name], want[name] = block, block
	}
	same("CONFIG", OrderConfig, config, want)

	r, _ := s.Route("V2X.RSU.CONFIG.DOWN.ACK")
	m, _, err := s.ReadJSON(r, all["*.ACK"], noon)
	if err != nil || OutcomeOf(m.Ack) != (Outcome{Seq: "9", Done: true, ZH: "已完成", EN: "done"}) {
		t.Errorf("%+v, %v", m, err)
	}
	r, _ = s.Route("V2X/RSU/INFOQuery/Response")
	if m, _, err = s.ReadJSON(r, all["V2X.RSU.INFOQuery.Response (InfoType 1)"], noon); err != nil || m.Ack == nil || m.Ack.Seq != "3" {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestOrdersAreStrict(t *testing.T) {
	for _, c := range []struct {
		order  Order
		params string
		want   string
	}{
		{"reset", `{}`, "there is no such order; known are config, manage, map, rsi, query, ota"},
		{OrderConfig, ``, "says nothing; give one of mapConfig"},
		{OrderConfig, `[]`, "is no JSON object"},
		{OrderConfig, `{"bsmConfg": {}}`, `bsmConfg: unknown key; did you mean "bsmConfig"?`},
		{OrderConfig, `{"bsmConfig": {"upLimit": -2}}`, "bsmConfig.upLimit: -2 is no rate; use 0 to 10000"},
		{OrderConfig, `{"rsmConfig": {"upFilters": [{"ptcType": "1"}, {}]}}`, "rsmConfig.upFilters[1]: lets everybody through"},
		{OrderConfig, `{"bsmConfig": {"sampleMode": "all"}}`, `bsmConfig.sampleMode: "all" is not one of ByAll, ByID`},
		{OrderManage, `{}`, "says nothing; give one of HBRate"},
		{OrderManage, `{"HBRate": 86401}`, "HBRate: 86401 is out of bounds; use 0 to 86400"},
		{OrderManage, `{"reboot": 2, "logLevel": "LOUD"}`, "LOUD"},
		{OrderMap, `{"mapSlice": "m1", "eTag": "e2"}`, "map: is no map; give the object with its nodes"},
		{OrderMap, `{"map": {"nodes": []}}`, "eTag: is missing"},
		{OrderRSI, `{"rsi": {"alertID": "a"}}`, "rsi.eventType: is missing"},
		{OrderRSI, `{"rsi": {"alertID": "a", "eventType": 1, "eventPosition": [{"lat": 438868000}]}}`, "rsi.eventPosition[0].lon: is missing"},
		{OrderRSI, `{"rsi": {"alertID": "a", "eventType": 1, "timeStamp": "noon"}}`, `rsi.timeStamp: "noon" is no time`},
		{OrderRSI, `{"rsi": {"alertID": "a", "eventType": 1, "eventDescription": "吉A·12345 停在路边"}}`, "plate"},
		{OrderQuery, `{"infoId": 256}`, "infoId: 256 is out of bounds"},
		{OrderQuery, `{"infoId": "\ud83d\ude97"}`, "infoId"},
		{OrderOTA, `{"version": "2", "url": "ftp://x/y", "sha256": "00"}`, "url: \"ftp://x/y\" is none that a unit can fetch"},
	} {
		_, err := ReadOrder(c.order, json.RawMessage(c.params))
		var people *PersonalError
		if err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, new(*OrderError)) && !errors.As(err, &people) {
			t.Errorf("%s %s: %v", c.order, c.params, err)
		}
	}
}

func TestWays(t *testing.T) {
	s := load(t)
	for _, c := range []struct {
		filter, esn string
		topics      []string
		ok          bool
	}{
		{"V2X/RSU/R328328/CONFIG/DOWN", "R328328", []string{"V2X/RSU/R328328/CONFIG/DOWN", "V2X/RSU/R328328/INFOQuery"}, true},
		{"V2X/RSU/R328328/#", "R328328", []string{"V2X/RSU/R328328/MAP/DOWN"}, true},
		{"V2X/RSU/R328328/+/DOWN", "R328328", []string{"V2X/RSU/R328328/RSI/DOWN"}, true},
		{"V2X.RSU.ESN0001.MNG.DOWN", "ESN0001", []string{"V2X.RSU.ESN0001.MNG.DOWN"}, true},
		{"V2X.RSU.CONFIG.DOWN", "", []string{"V2X.RSU.CONFIG.DOWN"}, true},
		{"V2X.RSU.INFOQuery", "", []string{"V2X.RSU.INFOQuery"}, true},
		{"v2x/v1/rsu/0123/map/down", "0123", []string{"v2x/v1/rsu/0123/map/down", "v2x/v1/rsu/0123/rsi/down"}, true},
		{"V2X/RSU/+/CONFIG/DOWN", "", nil, false},
		{"V2X/RSU/#", "", nil, false},
		{"V2X/RSU/R328328", "", nil, false},
		{"V2X/RSU/{esn}/CONFIG/DOWN", "", nil, false},
		{"V2X.RSU.{esn}.CONFIG.DOWN", "", nil, false},
		{"V2X/#", "", nil, false},
		{"#", "", nil, false},
		{"devices/a/#", "", nil, false},
	} {
		esn, ways, ok := s.Ways(c.filter)
		var topics []string
		for _, w := range ways {
			topics = append(topics, w.Topic)
		}
		if esn != c.esn || ok != c.ok || ok && !c.ok {
			t.Errorf("%s: %q, %q, %v", c.filter, esn, topics, ok)
		}
		for _, want := range c.topics {
			if !slices.Contains(topics, want) {
				t.Errorf("%s does not hear %s: %q", c.filter, want, topics)
			}
		}
	}
}

func TestAcknowledgements(t *testing.T) {
	for code, want := range map[int][2]string{
		0:  {"已完成", "done"},
		1:  {"参数错误：no such rate", "a parameter is wrong: no such rate"},
		2:  {"路侧单元系统错误：no such rate", "the roadside unit has failed: no such rate"},
		17: {"未知错误码 17：no such rate", "error code 17, which the standard does not have: no such rate"},
	} {
		o := OutcomeOf(&road.Ack{Seq: "5", Code: code, Description: "no such rate"})
		if o.Seq != "5" || o.Done != (code == 0) || o.ZH != want[0] || o.EN != want[1] {
			t.Errorf("%d: %+v", code, o)
		}
	}
	if o := OutcomeOf(&road.Ack{Code: 1, Description: strings.Repeat("长", 1000)}); len(o.EN) > maxDescription+100 || !json.Valid([]byte(`"`+o.EN+`"`)) {
		t.Errorf("%d bytes", len(o.EN))
	}
}

func FuzzReadOrder(f *testing.F) {
	s, err := Load()
	if err != nil {
		f.Fatal(err)
	}
	f.Add("config", `{"bsmConfig": {"sampleMode": "ByID", "upLimit": -1, "upFilters": [{"ptcType": "1"}]}}`)
	f.Add("map", `{"mapSlice": "m", "eTag": "e", "map": {"nodes": [{"id": {"id": 1}}], "x": 1e400}}`)
	f.Add("rsi", `{"rsi": {"alertID": "a", "eventType": 1, "referencePaths": [{"active_path": [{"lat": 1, "lon": 2}]}]}}`)
	f.Add("ota", `{"version": "<<", "url": "https://a/b", "sha256": ""}`)
	f.Fuzz(func(t *testing.T, order, params string) {
		what, err := ReadOrder(Order(order), json.RawMessage(params))
		if err != nil {
			return
		}
		for _, p := range s.Profiles {
			out, err := p.Write(Order(order), what, Head{ESN: "E", Seq: "1", At: time.UnixMilli(1)})
			if err != nil || !json.Valid(out) {
				t.Fatalf("%s, %v", out, err)
			}
		}
	})
}
