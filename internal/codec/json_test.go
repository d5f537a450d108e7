package codec

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/songhua-io/hub/internal/telemetry"
)

func TestFlatJSON(t *testing.T) {
	for message, want := range map[string]string{
		`{"ts":1764000001000,"tags":{"room":"a"},"temperature":21.5,"door_open":true}`:          "0 temperature{room=a} 21.5 @now+1000\n0 door_open{room=a} 1 @now+1000\n",
		`{"temperature":21.5,"tags":{"room":"a","floor":2},"ts":"2025-11-25T00:00:01.5+08:00"}`: "0 temperature{room=a,floor=2} 21.5 @now+1500\n",
		`{"ts":"2025-11-24T16:00:00Z","a":1}`:                                                   "0 a 1 @now+0\n",
		`{"a":1}`:                                                                               "0 a 1 @now+0\n",
		`{"air":{"pm25":12,"at":{"x":1}},"b":0}`:                                                "0 air_pm25 12 @now+0\n0 air_at_x 1 @now+0\n0 b 0 @now+0\n",
		`{"cell":[3.7,[1,2],{"v":null}]}`:                                                       "0 cell_0 3.7 @now+0\n0 cell_1_0 1 @now+0\n0 cell_1_1 2 @now+0\n",
		`{"fw":"1.2","a":null,"p\u0061":false}`:                                                 "0 pa 0 @now+0\nstate fw \"1.2\" @now+0\n",
		`{"a":{"ts":5,"tags":{"x":1}}}`:                                                         "0 a_ts 5 @now+0\n0 a_tags_x 1 @now+0\n",
		`{}`:                                                                                    "",
		`{"a":1e999,"b":1}`:                                                                     "0 b 1 @now+0\n0 decode not_finite: byte 5: field \"a\" is beyond what a 64-bit float can hold\n",

		`[1]`:                             "error json: byte 0: expected '{', the start of an object, found '['\n",
		`{"a":1,}`:                        "error json: byte 7: expected a field name in quotes, found '}'\n",
		`{"a":tru}`:                       "error json: byte 5: expected a value, found 't'\n",
		`{"a":1}{`:                        "error json: byte 7: expected nothing more, found '{'\n",
		`{"a":1`:                          "error json: byte 6: expected ',' or '}' after a field, found the end\n",
		`{"ts":"yesterday"}`:              "error json: byte 6: ts \"yesterday\" is no time of RFC 3339, such as 2025-11-24T16:00:00+08:00\n",
		`{"ts":1e300}`:                    "error json: byte 6: ts \"1e300\" is out of range; it counts milliseconds since 1970\n",
		`{"ts":null}`:                     "error json: byte 6: ts is neither milliseconds since 1970 nor a time of RFC 3339 in quotes\n",
		`{"tags":["a"],"b":1}`:            "error json: byte 8: tags is no object of names and texts\n",
		`{"a":` + strings.Repeat("[", 20): "error json: byte 20: values nest deeper than 16 levels\n",
	} {
		expect(t, JSON, Input{Payload: []byte(message)}, want)
	}
}

func TestTimesOfRFC3339(t *testing.T) {
	for _, text := range []string{"2025-11-24T16:00:00Z", "2025-11-24t16:00:00.123456z", "2024-02-29T23:59:59+08:00", "1969-12-31T23:59:59.999-11:30",
		"2025-11-24 16:00:00Z", "2025-02-29T00:00:00Z", "2025-13-01T00:00:00Z", "2025-11-24T24:00:00Z", "2025-11-24T16:00:00", "2025-11-24T16:00:00.Z",
		"2025-11-24T16:00:60Z", "2025-11-24T16:00:00+0800", "20x5-11-24T16:00:00Z", ""} {
		want, err := time.Parse(time.RFC3339Nano, strings.ToUpper(text))
		got, ok := parseRFC3339([]byte(text))
		if ok != (err == nil) || ok && got != want.UnixMilli() {
			t.Errorf("%s is read as %d %v, want %d %v", text, got, ok, want.UnixMilli(), err)
		}
	}
}

// leaves counts what flat JSON makes of a value read with encoding/json.
func leaves(v any) (numbers, texts int) {
	switch v := v.(type) {
	case float64, bool:
		return 1, 0
	case string:
		return 0, 1
	case map[string]any:
		for _, inner := range v {
			n, s := leaves(inner)
			numbers, texts = numbers+n, texts+s
		}
	case []any:
		for _, inner := range v {
			n, s := leaves(inner)
			numbers, texts = numbers+n, texts+s
		}
	}
	return numbers, texts
}

// FuzzJSON compares syntax with encoding/json.
func FuzzJSON(f *testing.F) {
	for _, message := range []string{`{"ts":1764000000000,"tags":{"room":"a"},"t":21.5,"on":true}`, `{"a":{"b":[1,"x",null]}}`, `{"ts":"2025-11-24T16:00:00Z"}`, `{"a":1e999}`} {
		f.Add([]byte(message))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		var b telemetry.Batch
		err := decodeAffordably(t, &b, JSON, Input{Payload: payload, Now: now}, len(payload))
		valid := json.Valid(payload) && utf8.Valid(payload)
		var fields map[string]any
		object := valid && json.Unmarshal(payload, &fields) == nil && fields != nil
		if err == nil && !valid {
			t.Fatal("read what is no JSON")
		}
		if err != nil && object && !strings.Contains(err.Error(), "nest deeper") && !strings.Contains(err.Error(), ": ts ") && !strings.Contains(err.Error(), ": tag") {
			t.Fatalf("refused an object: %v", err)
		}
		// A reject beyond the bounds stands for all that it refuses.
		beyond := slices.ContainsFunc(b.Rejects, func(r telemetry.Reject) bool { return r.Stage == telemetry.StageValidate })
		if err == nil && object && !beyond {
			delete(fields, "ts")
			delete(fields, "tags")
			numbers, texts := leaves(fields)
			// encoding/json keeps only the last of repeated fields.
			if len(b.Samples)+len(b.Rejects) < numbers || len(b.Samples)+len(b.States) < numbers+texts-len(b.Rejects) {
				t.Fatalf("%d numbers and %d texts became\n%s", numbers, texts, written(&b))
			}
		}
	})
}
