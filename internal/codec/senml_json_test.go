package codec

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/songhua-io/hub/internal/telemetry"
)

// The examples of RFC 8428 §5.1, read without a device so that names stay whole.
func TestSenMLExamplesOfTheRFC(t *testing.T) {
	for name, c := range map[string]struct{ pack, want string }{
		"5.1.1 single data point": {
			`[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]`, `
0 urn:dev:ow:10e2073a01080063 23.1 Cel @now+0
`},
		"5.1.2 multiple data points": {`
[
  {"bn":"urn:dev:ow:10e2073a01080063:","n":"voltage","u":"V","v":120.1},
  {"n":"current","u":"A","v":1.2}
]`, `
0 urn:dev:ow:10e2073a01080063:voltage 120.1 V @now+0
1 urn:dev:ow:10e2073a01080063:current 1.2 A @now+0
`},
		"5.1.2 with times": {`
[
  {"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,
   "bu":"A","bver":5,
   "n":"voltage","u":"V","v":120.1},
  {"n":"current","t":-5,"v":1.2},
  {"n":"current","t":-4,"v":1.3},
  {"n":"current","t":-3,"v":1.4},
  {"n":"current","t":-2,"v":1.5},
  {"n":"current","t":-1,"v":1.6},
  {"n":"current","v":1.7}
]`, `
0 urn:dev:ow:10e2073a0108006:voltage 120.1 V @1276020076001
1 urn:dev:ow:10e2073a0108006:current 1.2 A @1276020071001
2 urn:dev:ow:10e2073a0108006:current 1.3 A @1276020072001
3 urn:dev:ow:10e2073a0108006:current 1.4 A @1276020073001
4 urn:dev:ow:10e2073a0108006:current 1.5 A @1276020074001
5 urn:dev:ow:10e2073a0108006:current 1.6 A @1276020075001
6 urn:dev:ow:10e2073a0108006:current 1.7 A @1276020076001
`},
		"5.1.3 a changing unit of time": {`
[
  {"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,
   "bu":"%RH","v":20},
  {"u":"lon","v":24.30621},
  {"u":"lat","v":60.07965},
  {"t":60,"v":20.3}
]`, `
0 urn:dev:ow:10e2073a01080063 20 %RH @1320067464000
1 urn:dev:ow:10e2073a01080063 24.30621 lon @1320067464000
2 urn:dev:ow:10e2073a01080063 60.07965 lat @1320067464000
3 urn:dev:ow:10e2073a01080063 20.3 %RH @1320067524000
`},
		"5.1.4 different types of values": {`
[
  {"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},
  {"n":"label","vs":"Machine Room"},
  {"n":"open","vb":false},
  {"n":"nfc-reader","vd":"aGkgCg"}
]`, `
0 urn:dev:ow:10e2073a01080063:temp 23.1 Cel @now+0
2 urn:dev:ow:10e2073a01080063:open 0 @now+0
state urn:dev:ow:10e2073a01080063:label "Machine Room" @now+0
state urn:dev:ow:10e2073a01080063:nfc-reader "aGkgCg" @now+0
`},
		"5.1.5 a collection of resources": {`
[
  {"bn":"2001:db8::2/","bt":1.320078429e+09,
   "n":"temperature","u":"Cel","v":25.2},
  {"n":"humidity","u":"%RH","v":30},
  {"bn":"2001:db8::1/","n":"temperature","u":"Cel","v":12.3},
  {"n":"humidity","u":"%RH","v":67}
]`, `
0 2001:db8::2/temperature 25.2 Cel @1320078429000
1 2001:db8::2/humidity 30 %RH @1320078429000
2 2001:db8::1/temperature 12.3 Cel @1320078429000
3 2001:db8::1/humidity 67 %RH @1320078429000
`},
		"5.1.6 setting an actuator": {`
[
  {"bn":"urn:dev:ow:10e2073a01080063:"},
  {"n":"temp","u":"Cel","v":23.1},
  {"n":"heat","u":"/","v":1},
  {"n":"fan","u":"/","v":0}
]`, `
1 urn:dev:ow:10e2073a01080063:temp 23.1 Cel @now+0
2 urn:dev:ow:10e2073a01080063:heat 1 / @now+0
3 urn:dev:ow:10e2073a01080063:fan 0 / @now+0
`},
		"base fields in the middle": {
			`[{"n":"a","v":1},{"bn":"x_","bt":1764000000,"bu":"V","bv":10,"bs":100,"n":"b","v":1,"s":1},{"n":"c","v":2,"u":"A","t":1},{"bn":"","bu":"","bv":0,"bt":0,"bs":0,"n":"d","v":3,"s":3}]`, `
0 a 1 @now+0
1 x_b 11 V @now+0
1 x_b_sum 101 V.s @now+0
2 x_c 12 A @now+1000
3 d 3 @now+0
3 d_sum 3 @now+0
`},
		"base values and sums": {
			`[{"bt":1.320078429e+09,"bu":"Cel","bver":10,"bv":20,"bs":100,"n":"t","v":1.5,"s":7}]`, `
0 t 21.5 Cel @1320078429000
0 t_sum 107 Cel.s @1320078429000
`},
	} {
		t.Run(name, func(t *testing.T) { expect(t, SenML, Input{Payload: []byte(c.pack)}, c.want) })
	}
}

func TestSenMLNamesBelongToTheDevice(t *testing.T) {
	for pack, want := range map[string]string{
		`[{"n":"temp","v":1}]`:                           "0 temp 1 @now+0\n",
		`[{"n":"t1:temp","v":1}]`:                        "0 temp 1 @now+0\n",
		`[{"n":"t1/room/temp","v":1}]`:                   "0 room/temp 1 @now+0\n",
		`[{"bn":"t1:","n":"temp","v":1}]`:                "0 temp 1 @now+0\n",
		`[{"bn":"t1","n":":temp","v":1}]`:                "0 temp 1 @now+0\n",
		`[{"bn":"t1/","n":"_hidden","v":1}]`:             "0 _hidden 1 @now+0\n",
		`[{"bn":"room_","n":"temp","v":1}]`:              "0 room_temp 1 @now+0\n",
		`[{"bn":"urn:dev:mac:t1:","n":"temp","v":1}]`:    "0 temp 1 @now+0\n",
		`[{"n":"node:cpu","v":1}]`:                       "0 node:cpu 1 @now+0\n",
		`[{"n":"t\u0031:temp","v":1}]`:                   "0 temp 1 @now+0\n",
		`[{"bn":"t2:","n":"temp","v":1}]`:                "0 identify foreign_name: byte 1: name \"t2:temp\" is not under the device t1; send <metric> or t1:<metric>\n",
		`[{"n":"urn:dev:mac:0024befffe804ff1:x","v":1}]`: "0 identify foreign_name: byte 1: name \"urn:dev:mac:0024befffe804ff1:x\" is not under the device t1; send <metric> or t1:<metric>\n",
		`[{"bn":"t1:","v":1}]`:                           "0 validate metric_invalid: byte 1: name \"t1:\" is the device's own and names no metric; send t1:<metric>\n",
		`[{"n":"t1","v":1}]`:                             "0 validate metric_invalid: byte 1: name \"t1\" is the device's own and names no metric; send t1:<metric>\n",
		`[{"n":"温度","v":1}]`:                             "0 validate metric_invalid: byte 1: name \"温度\": byte 0 is not allowed; names begin with a letter or digit and go on with A-Z a-z 0-9 - : . / _\n",
		`[{"n":"_a","v":1}]`:                             "0 validate metric_invalid: byte 1: name \"_a\": byte 0 is not allowed; names begin with a letter or digit and go on with A-Z a-z 0-9 - : . / _\n",
		`[{"bn":"t1:","n":"a b","v":1}]`:                 "0 validate metric_invalid: byte 1: name \"t1:a b\": byte 4 is not allowed; names begin with a letter or digit and go on with A-Z a-z 0-9 - : . / _\n",
		`[{"v":1}]`:                                      "0 validate metric_invalid: byte 1: the record has no name: neither bn nor n\n",
	} {
		expect(t, SenML, Input{Payload: []byte(pack), Device: "t1"}, want)
	}
}

func TestSenMLTimes(t *testing.T) {
	for pack, want := range map[string]string{
		`[{"n":"a","v":1}]`:                                                "0 a 1 @now+0\n",
		`[{"n":"a","v":1,"t":-2.5}]`:                                       "0 a 1 @now-2500\n",
		`[{"n":"a","v":1,"t":1.5}]`:                                        "0 a 1 @now+1500\n",
		`[{"bt":-10,"n":"a","v":1,"t":1}]`:                                 "0 a 1 @now-9000\n",
		`[{"n":"a","v":1,"t":268435455}]`:                                  "0 a 1 @2032435455000\n",
		`[{"n":"a","v":1,"t":268435456}]`:                                  "0 a 1 @268435456000\n",
		`[{"bt":1764000000.0004,"n":"a","v":1,"t":0.0004}]`:                "0 a 1 @now+1\n",
		`[{"bt":1764000000,"n":"a","v":1},{"n":"a","v":2,"ut":5,"t":-3}]`:  "0 a 1 @now+0\n1 a 2 @now-3000\n",
		`[{"bt":268435456,"n":"a","v":1,"t":-0.5}]`:                        "0 a 1 @2032435455500\n",
		`[{"bt":268435400,"n":"a","v":1,"t":56}]`:                          "0 a 1 @268435456000\n",
		`[{"bt":-1e6,"n":"a","v":1}]`:                                      "0 a 1 @1763000000000\n",
		`[{"bt":1764000000,"n":"a","v":1},{"n":"a","v":2,"ut":"x","t":1}]`: "0 a 1 @now+0\n1 decode malformed: byte 53: field ut is no number\n",
		`[{"n":"a","v":1,"t":1e300}]`:                                      "0 decode malformed: byte 1: the time is out of range\n",
	} {
		expect(t, SenML, Input{Payload: []byte(pack)}, want)
	}
}

// What people read when a message or a record is wrong.
func TestSenMLFaults(t *testing.T) {
	for pack, want := range map[string]string{
		``:                                        "error senml: byte 0: expected '[', the start of a SenML pack, found the end\n",
		`{"n":"a"}`:                               "error senml: byte 0: expected '[', the start of a SenML pack, found '{'\n",
		`[{"n":"a","v":1}`:                        "error senml: byte 16: expected ',' or ']' after a record, found the end\n",
		`[{"n":"a" "v":1}]`:                       "error senml: byte 10: expected ',' or '}' after a field, found '\"'\n",
		`[{"n":"a","v":1},]`:                      "error senml: byte 17: expected a value, found ']'\n",
		`[{"n":"a","v":1}] x`:                     "error senml: byte 18: expected nothing more, found 'x'\n",
		`[{n:1}]`:                                 "error senml: byte 2: expected a field name in quotes, found 'n'\n",
		`[{"n":"a}]`:                              "error senml: byte 6: the string has no closing quote\n",
		`[{"n":"a","v":01}]`:                      "error senml: byte 14: not a number of JSON: \"01\"\n",
		`[{"n":"a","v":1.}]`:                      "error senml: byte 14: not a number of JSON: \"1.\"\n",
		`[{"n":"a","v":+1}]`:                      "error senml: byte 14: expected a value, found '+'\n",
		"[{\"n\":\"a\tb\"}]":                      "error senml: byte 8: control character 0x09 in a string; write it as an escape\n",
		`[{"n":"\q"}]`:                            "error senml: byte 7: unknown escape in a string\n",
		"[{\"n\":\"\xff\"}]":                      "error senml: byte 6: the string is not valid UTF-8\n",
		`[{"bver":11,"n":"a","v":1}]`:             "error senml: byte 1: bver is 11; versions 1 to 10 of SenML are read (RFC 8428 is 10)\n",
		`[{"bver":10,"n":"a","v":1}]`:             "0 a 1 @now+0\n",
		`[{"n":"a","v":1},{"bver":11}]`:           "error senml: byte 17: bver is 11; versions 1 to 10 of SenML are read (RFC 8428 is 10)\n",
		`[{"bver":0}]`:                            "error senml: byte 1: bver is 0; versions 1 to 10 of SenML are read (RFC 8428 is 10)\n",
		`[{"bver":2.5}]`:                          "error senml: byte 1: bver is 2.5; versions 1 to 10 of SenML are read (RFC 8428 is 10)\n",
		`[{"bn":"a","bn":"b","n":"c","v":1}]`:     "error senml: byte 11: field bn stands twice in one record\n",
		`[{"n":"a","v":1},{"lock_":null}]`:        "error senml: byte 18: field \"lock_\" must be understood (its name ends with _) and is not; leave it out\n",
		`[{"n":"a","v":NaN}]`:                     "error senml: byte 14: expected a value, found 'N'\n",
		`[{"n":"a","v":Infinity}]`:                "error senml: byte 14: expected a value, found 'I'\n",
		`[{"n":"a","v":-Infinity}]`:               "error senml: byte 14: not a number of JSON: \"-\"\n",
		`[{"n":"a","v":.5}]`:                      "error senml: byte 14: expected a value, found '.'\n",
		`[{"n":"a","v":1e}]`:                      "error senml: byte 14: not a number of JSON: \"1\"\n",
		`[{"n":"a","v":0x10}]`:                    "error senml: byte 15: expected ',' or '}' after a field, found 'x'\n",
		`[{"n":"a","v":1_000}]`:                   "error senml: byte 15: expected ',' or '}' after a field, found '_'\n",
		"[{\"n\":\"a\",\"vs\":\"\xed\xa0\x80\"}]": "error senml: byte 15: the string is not valid UTF-8\n",
		"[{\"n\":\"a\",\"vs\":\"\xc0\xaf\"}]":     "error senml: byte 15: the string is not valid UTF-8\n",
		"[{\"n\":\"a\",\"vs\":\"\x00\"}]":         "error senml: byte 16: control character 0x00 in a string; write it as an escape\n",
		`[{"bver":5,"n":"a","v":1},{"bver":6}]`:   "error senml: byte 26: bver changes from 5 to 6 within one pack\n",
		`[{"n":"a","v":1,"lock_":2}]`:             "error senml: byte 16: field \"lock_\" must be understood (its name ends with _) and is not; leave it out\n",
		`[{"bn":5,"n":"a","v":1}]`:                "error senml: byte 7: field bn is no text\n",
		`[{"bt":1e999}]`:                          "error senml: byte 7: bt is beyond what a 64-bit float can hold\n",
		`[` + strings.Repeat("[", 40):             "error senml: byte 34: values nest deeper than 32 levels\n",

		`[{"n":"a"},{"n":"b","v":2}]`:                                "1 b 2 @now+0\n0 decode malformed: byte 1: the record has no value: none of v, vb, vs, vd and s\n",
		`[{"bn":"x"},{"n":"b","v":2}]`:                               "1 xb 2 @now+0\n",
		`[{}]`:                                                       "0 decode malformed: byte 1: the record has no value: none of v, vb, vs, vd and s\n",
		`[{"n":"a","v":1,"vb":true}]`:                                "0 decode malformed: byte 1: the record has several values: only one of v, vb, vs and vd may stand in it\n",
		`[{"n":"a","v":"1"},{"n":"b","v":2}]`:                        "1 b 2 @now+0\n0 decode malformed: byte 14: field v is no number\n",
		`[{"n":"a","v":null}]`:                                       "0 decode malformed: byte 14: field v is no number\n",
		`[{"n":"a","vb":1}]`:                                         "0 decode malformed: byte 15: field vb is no boolean\n",
		`[{"n":"a","v":1e999}]`:                                      "0 decode not_finite: byte 14: v is beyond what a 64-bit float can hold\n",
		`[{"n":"a","v":1,"v":2}]`:                                    "0 decode malformed: byte 16: field v stands twice in one record\n",
		`[7,{"n":"b","v":2}]`:                                        "1 b 2 @now+0\n0 decode malformed: byte 1: the record is no object\n",
		`[{"n":"a","v":1,"v":"x"}]`:                                  "0 decode malformed: byte 16: field v stands twice in one record\n",
		`[{"n":"a","n":"b","v":1}]`:                                  "0 decode malformed: byte 10: field n stands twice in one record\n",
		`[{"n":"a","vs":"x","s":1}]`:                                 "0 a_sum 1 @now+0\nstate a \"x\" @now+0\n",
		`[{"n":"a","u":"W","s":1,"vb":true}]`:                        "0 a 1 W @now+0\n0 a_sum 1 W.s @now+0\n",
		`[{"n":"a","v":1,"tags":5}]`:                                 "0 validate label_invalid: byte 23: tags is no object of names and texts\n",
		`[{"n":"a","v":1,"tags":{"x":null}}]`:                        "0 validate label_invalid: byte 23: tag \"x\" is no text, number or boolean\n",
		`[{"n":"a","s":4}]`:                                          "0 a_sum 4 @now+0\n",
		`[{"n":"a","v":1,"other":[{"x":null}]}]`:                     "0 a 1 @now+0\n",
		`[{"n":"a","v":1,"tags":{"room":"\u4e00","n":5,"on":true}}]`: "0 a{room=一,n=5,on=true} 1 @now+0\n",
		`[]`: "",
	} {
		expect(t, SenML, Input{Payload: []byte(pack)}, want)
	}
}

// RFC 8428 §4.3: base64url without padding.
func TestSenMLDataValues(t *testing.T) {
	most := strings.Repeat("A", maxData)
	for pack, want := range map[string]string{
		`[{"n":"a","vd":"aGkgCg"}]`:                   "state a \"aGkgCg\" @now+0\n",
		`[{"n":"a","vd":""}]`:                         "state a \"\" @now+0\n",
		`[{"bn":"t1:","bt":-5,"n":"a","vd":"_-09"}]`:  "state a \"_-09\" @now-5000\n",
		`[{"n":"a","vd":"\u0061Gkg"}]`:                "state a \"aGkg\" @now+0\n",
		`[{"n":"a","vd":"AQ","s":2}]`:                 "0 a_sum 2 @now+0\nstate a \"AQ\" @now+0\n",
		`[{"n":"a","vd":"` + most + `"}]`:             "state a \"" + most + "\" @now+0\n",
		`[{"n":"a","vd":"` + most + `AA"}]`:           "0 validate label_invalid: byte 1: vd has 4098 characters of base64url; at most 4096 are kept\n",
		`[{"n":"a","vd":"aGkgCg=="},{"n":"b","v":1}]`: "1 b 1 @now+0\n0 decode malformed: byte 1: vd \"aGkgCg==\" is no base64url without padding (A-Z a-z 0-9 - _)\n",
		`[{"n":"a","vd":"a+/b"}]`:                     "0 decode malformed: byte 1: vd \"a+/b\" is no base64url without padding (A-Z a-z 0-9 - _)\n",
		`[{"n":"a","vd":"aGkg\n"}]`:                   "0 decode malformed: byte 1: vd \"aGkg\\n\" is no base64url without padding (A-Z a-z 0-9 - _)\n",
		`[{"n":"a","vd":"aGkgC"}]`:                    "0 decode malformed: byte 1: vd \"aGkgC\" is no base64url without padding (A-Z a-z 0-9 - _)\n",
		`[{"n":"a","vd":7}]`:                          "0 decode malformed: byte 15: field vd is no text\n",
		`[{"n":"a","vd":"AQ","vs":"x"}]`:              "0 decode malformed: byte 1: the record has several values: only one of v, vb, vs and vd may stand in it\n",
		`[{"vd":"AQ"}]`:                               "0 validate metric_invalid: byte 1: the record has no name: neither bn nor n\n",
	} {
		expect(t, SenML, Input{Payload: []byte(pack), Device: "t1"}, want)
	}
	octets := strings.Repeat("\x00", 3072)
	expect(t, SenMLCBOR, Input{Payload: []byte("\x81\xa2\x00\x61a\x08\x59\x0c\x00" + octets)}, "state a \""+most+"\" @now+0\n")
	expect(t, SenMLCBOR, Input{Payload: []byte("\x81\xa2\x00\x61a\x08\x59\x0c\x01" + octets + "\x00")},
		"0 validate label_invalid: byte 1: vd has 4098 characters of base64url; at most 4096 are kept\n")
}

func TestStringsOfJSON(t *testing.T) {
	for text, want := range map[string]string{
		`\ud83d\ude00`:                 "😀",
		`\uD83D\uDE00x`:                "😀x",
		`\ud83d`:                       "\ufffd",
		`\ud83dx`:                      "\ufffdx",
		`\ud83d\u0041`:                 "\ufffdA",
		`\ude00\ud83d`:                 "\ufffd\ufffd",
		`\u0000`:                       "\x00",
		`\"\\\/\b\f\n\r\t`:             "\"\\/\b\f\n\r\t",
		`\u4e00一`:                      "一一",
		"\x7f":                         "\x7f",
		`a` + strings.Repeat("b", 300): "a" + strings.Repeat("b", 300),
		`\u006eonsense` + "é":          "nonsenseé",
	} {
		var theirs string
		if err := json.Unmarshal([]byte(`"`+text+`"`), &theirs); err != nil || theirs != want {
			t.Fatalf("%s: encoding/json reads %q %v", text, theirs, err)
		}
		expect(t, SenML, Input{Payload: []byte(`[{"n":"a","vs":"` + text + `"}]`)}, fmt.Sprintf("state a %q @now+0\n", want))
		expect(t, JSON, Input{Payload: []byte(`{"a":"` + text + `"}`)}, fmt.Sprintf("state a %q @now+0\n", want))
	}
	for _, text := range []string{`\u12`, `\u12x4`, `\x`, `\`, `\ud83d\u12`, "\n", "\xff", "\xed\xa0\x80", "\xf4\x90\x80\x80"} {
		for f, message := range map[Format]string{SenML: `[{"n":"a","vs":"` + text + `"}]`, JSON: `{"a":"` + text + `"}`} {
			var b telemetry.Batch
			if err := Decode(&b, f, Input{Payload: []byte(message)}); err == nil {
				t.Errorf("%s: %q was read as %s", f, text, written(&b))
			}
		}
	}
}

func TestNumbersAreReadExactly(t *testing.T) {
	for _, text := range []string{"0", "-0", "1", "-1.5", "0.1", "123456789.123456789", "9007199254740993", "1e22", "1e23", "1.7976931348623157e308",
		"5e-324", "2.2250738585072014e-308", "0.3e-22", "12345678901234567890123", "1E+5", "1e-400", "1e-99999999999999999999", "0e99999999999999999999", "-0e5", "0.00000001", "12345678", "123456789012345678", "1234567890123456789", "12345678.12345678e-8", "0.000000000000000000000000000001", "18446744073709551616"} {
		var want float64
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		got := scanNumber([]byte(text), 0, true)
		if !got.valid || got.end != len(text) || math.Float64bits(got.value) != math.Float64bits(want) {
			t.Errorf("%s is read as %+v, want %v", text, got, want)
		}
	}
}

// senmlByTheBook decodes with encoding/json what FuzzSenML compares with. ok
// is false where the message as a whole must be refused.
func senmlByTheBook(payload []byte) (values []float64, rejects int, ok bool) {
	if !json.Valid(payload) || !utf8.Valid(payload) || bytes.TrimLeft(payload, " \t\r\n")[0] != '[' {
		return nil, 0, false
	}
	var records []json.RawMessage
	if json.Unmarshal(payload, &records) != nil {
		return nil, 0, false
	}
	base := book{}
	for _, raw := range records {
		fields, isObject := orderedFields(raw)
		record, fault := book{}, !isObject
		for _, f := range fields {
			isBase := strings.HasPrefix(f.key, "b")
			err := record.take(f.key, f.value)
			switch {
			case err == nil:
			case isBase || errors.Is(err, errMustUnderstand):
				return nil, 0, false
			default:
				fault = true
			}
		}
		if v, has := record["bver"]; has {
			n := v.(float64)
			if n < 1 || n > 10 || n != math.Trunc(n) || base["bver"] != nil && base["bver"] != v {
				return nil, 0, false
			}
		}
		for k, v := range record {
			if k[0] == 'b' {
				base[k] = v
			}
		}
		if len(record) > 0 && len(record) == record.bases() && !fault {
			continue
		}
		got, good := base.resolve(record)
		if fault || !good {
			rejects++
			continue
		}
		values = append(values, got...)
	}
	return values, rejects, true
}

type book map[string]any

func (r book) bases() (n int) {
	for key := range r {
		if key[0] == 'b' {
			n++
		}
	}
	return n
}

var errMustUnderstand, errField = errors.New("must understand"), errors.New("field")

func (r book) take(key string, raw json.RawMessage) error {
	var v any
	switch key {
	case "bt", "bv", "bs", "bver", "v", "s", "t", "ut":
		var f *float64
		if json.Unmarshal(raw, &f) != nil || f == nil {
			return errField
		}
		v = *f
	case "bn", "bu", "n", "u", "vs", "vd":
		var s *string
		if json.Unmarshal(raw, &s) != nil || s == nil {
			return errField
		}
		v = *s
	case "vb":
		var b *bool
		if json.Unmarshal(raw, &b) != nil || b == nil {
			return errField
		}
		v = *b
	case "tags":
		var tags map[string]json.RawMessage
		if json.Unmarshal(raw, &tags) != nil || tags == nil {
			return errField
		}
		fields, _ := orderedFields(raw)
		for _, t := range fields {
			if strings.ContainsAny(string(t.value[:1]), "{[n") {
				return errField
			}
		}
		v = fields
	default:
		if strings.HasSuffix(key, "_") {
			return errMustUnderstand
		}
		return nil
	}
	if r[key] != nil {
		return errField
	}
	r[key] = v
	return nil
}

func (base book) resolve(r book) (values []float64, ok bool) {
	n := 0
	for _, k := range []string{"v", "vs", "vd", "vb"} {
		if r[k] != nil {
			n++
		}
	}
	if n > 1 || n == 0 && r["s"] == nil {
		return nil, false
	}
	if vd, is := r["vd"].(string); is {
		if _, err := base64.RawURLEncoding.DecodeString(vd); err != nil || strings.ContainsAny(vd, "\r\n") || len(vd) > maxData {
			return nil, false
		}
	}
	number := func(m book, k string) float64 { f, _ := m[k].(float64); return f }
	bn, _ := base["bn"].(string)
	name, _ := r["n"].(string)
	name = bn + name
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-:./_") != "" || strings.ContainsAny(name[:1], "-:./_") {
		return nil, false
	}
	for _, c := range name {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-:./_", c) {
			return nil, false
		}
	}
	if tags, is := r["tags"].([]jsonField); is && !tagsByTheBook(tags) {
		return nil, false
	}
	longest := DefaultMaxName
	if r["s"] != nil {
		longest -= len("_sum")
	}
	if len(name) > longest {
		return nil, false
	}
	if math.Abs(math.RoundToEven((number(base, "bt")+number(r, "t"))*1000)) > maxTime {
		return nil, false
	}
	switch {
	case r["vb"] == true:
		values = append(values, 1)
	case r["vb"] == false:
		values = append(values, 0)
	case r["v"] != nil:
		values = append(values, plus(number(base, "bv"), number(r, "v")))
	}
	if r["s"] != nil {
		values = append(values, plus(number(base, "bs"), number(r, "s")))
	}
	return values, true
}

// tagsByTheBook reports whether tags are within the bounds.
func tagsByTheBook(tags []jsonField) bool {
	for _, t := range tags {
		value := string(t.value)
		if value[0] == '"' && json.Unmarshal(t.value, &value) != nil {
			return false
		}
		if len(t.key) > DefaultMaxName || len(value) > DefaultMaxValue {
			return false
		}
	}
	return len(tags) <= DefaultMaxTags
}

type jsonField struct {
	key   string
	value json.RawMessage
}

// orderedFields returns the fields of an object as they stand, repeated ones too.
func orderedFields(raw json.RawMessage) (fields []jsonField, isObject bool) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil, false
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, false
		}
		var f jsonField
		if f.key = key.(string); d.Decode(&f.value) != nil {
			return nil, false
		}
		fields = append(fields, f)
	}
	_, err := d.Token()
	return fields, err == nil || err == io.EOF
}

func FuzzSenML(f *testing.F) {
	for _, pack := range []string{`[]`, `[{"n":"a","v":1.5e3}]`, ` [ {"bn":"x:","bt":1.76e9,"bu":"Cel","n":"t","v":-0.5} , {"vb":true,"n":"o"} ] `,
		`[{"n":"\u0061\ud83d\ude00","vs":"\n"}]`, `[{"n":"a","s":1,"tags":{"k":"v"}}]`, `[{"x_":1}]`, `[{"n":"a","v":1,"v":2}]`, `[1,null,{"a":[{}]}]`} {
		f.Add([]byte(pack))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		var b telemetry.Batch
		err := decodeAffordably(t, &b, SenML, Input{Payload: payload, Now: now}, len(payload))
		if err != nil && strings.Contains(err.Error(), "nest deeper") {
			return
		}
		values, rejects, ok := senmlByTheBook(payload)
		if ok != (err == nil) {
			t.Fatalf("encoding/json and RFC 8428 say %v, the scanner says %v", ok, err)
		}
		if !ok {
			return
		}
		if len(values) != len(b.Samples) || rejects != len(b.Rejects) {
			t.Fatalf("want %v and %d rejects, got\n%s", values, rejects, written(&b))
		}
		for i, want := range values {
			if got := b.Samples[i].Value; math.Float64bits(got) != math.Float64bits(want) {
				t.Errorf("sample %d is %v, want %v", i, got, want)
			}
		}
	})
}
