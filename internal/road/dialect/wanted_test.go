package dialect

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/road"
)

func status1(t *testing.T, config string) *road.Status {
	t.Helper()
	s := load(t)
	r, _ := s.Route("V2X.RSU.INFO.UP")
	m, findings, err := s.ReadJSON(r, []byte(`{"rsuId": "a", "rsuEsn": "b", "config": `+config+`}`), noon)
	if err != nil || len(findings) > 0 {
		t.Fatal(findings, err)
	}
	return m.Status
}

func TestWhatAUnitLacks(t *testing.T) {
	const want = `{"bsmConfig": {"sampleMode": "ByID", "upLimit": 100, "upFilters": [{"ptcType": "1"}]}, "rsmConfig": {"upLimit": 10}, "map": {"mapSlice": "m", "eTag": "e2", "map": {"nodes": []}}}`
	for name, c := range map[string]struct{ reported, config, piece string }{
		"all of it":            {`{"mapConfig": {"eTag": "e2"}, "bsmConfig": {"sampleMode": "ByID", "upLimit": 100, "actualSampleRate": 3, "upFilters": [{"ptcType": "1"}]}, "rsmConfig": {"upLimit": 10, "downLimit": 3}}`, "", ""},
		"a limit":              {`{"mapConfig": {"eTag": "e2"}, "bsmConfig": {"sampleMode": "ByID", "upLimit": 100, "upFilters": [{"ptcType": "1"}]}, "rsmConfig": {"upLimit": 11}}`, `{"rsmConfig":{"upLimit":10}}`, ""},
		"a filter, and no map": {`{"mapConfig": {}, "bsmConfig": {"sampleMode": "ByID", "upLimit": 100, "upFilters": [{"ptcType": "2"}]}, "rsmConfig": {"upLimit": 10}}`, `{"bsmConfig":{"sampleMode":"ByID","upLimit":100,"upFilters":[{"ptcType":"1"}]}}`, "e2"},
	} {
		w, err := ReadWanted(json.RawMessage(want))
		if err != nil {
			t.Fatal(err)
		}
		config, piece := w.Lacks(Reported(status1(t, c.reported), w))
		text, tag := "", ""
		if config != nil {
			b, _ := json.Marshal(config)
			text = string(b)
		}
		if piece != nil {
			tag = piece.ETag
		}
		if text != c.config || tag != c.piece {
			t.Errorf("%s: %s, map %q", name, text, tag)
		}
	}
	if got := Reported(status1(t, `{"mapConfig": {"eTag": "e1"}}`), nil); string(got) != `{"mapConfig":{"eTag":"e1"}}` {
		t.Errorf("%s", got)
	}
	if Reported(&road.Status{}, nil) != nil {
		t.Error("a unit that said nothing reports something")
	}
}

func TestWantedIsStrict(t *testing.T) {
	for doc, want := range map[string]string{
		`{"bsmConfig": {"upLimit": "fast"}}`:             "bsmConfig.upLimit",
		`{"mapConfig": {"eTag": 3}}`:                     `mapConfig.eTag: is a number where the standard has text; write it like "3"`,
		`{"rsmConfig": {"upFilters": [{"ptcType": 1}]}}`: "rsmConfig.upFilters.ptcType: is a number",
		`{"map": {"mapSlice": "m"}}`:                     "map.eTag: is missing",
		`{"bsm": {}}`:                                    "unknown key",
	} {
		if _, err := ReadWanted(json.RawMessage(doc)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", doc, err)
		}
	}
}

func TestLimitsThatHoldForNow(t *testing.T) {
	w, err := ReadWanted(json.RawMessage(`{"bsmConfig": {"upLimit": -1}, "rsmConfig": {"upLimit": 5}, "spatConfig": {"downLimit": 3}}`))
	if err != nil {
		t.Fatal(err)
	}
	w.Cap(map[road.Kind]float64{road.KindBSM: 20, road.KindRSM: 20, road.KindSPAT: 20})
	got, _ := json.Marshal(w)
	if want := `{"bsmConfig":{"upLimit":20},"spatConfig":{"downLimit":3},"rsmConfig":{"upLimit":5}}`; string(got) != want {
		t.Errorf("%s, not %s", got, want)
	}
	got, _ = json.Marshal(Limit(map[road.Kind]float64{road.KindRSM: 2, road.KindMap: 1}))
	if string(got) != `{"rsmConfig":{"upLimit":2}}` {
		t.Errorf("%s", got)
	}
}
