package codec

import (
	"encoding/hex"
	"math"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/songhua-io/hub/internal/telemetry"
)

// unhex reads hex with comments behind # and white space.
func unhex(t testing.TB, text string) []byte {
	var digits strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The example of RFC 8428 §6, the same pack as the second one of §5.1.2.
const rfcPackInCBOR = `
87
 a7
  21 78 1b 75726e3a6465763a6f773a3130653230373361303130383030363a  # bn
  22 fb 41d303a15b001062                                          # bt
  23 61 41                                                        # bu
  20 05                                                           # bver
  00 67 766f6c74616765                                            # n voltage
  01 61 56                                                        # u
  02 fb 405e066666666666                                          # v
 a3 00 67 63757272656e74 06 24 02 fb 3ff3333333333333
 a3 00 67 63757272656e74 06 23 02 fb 3ff4cccccccccccd
 a3 00 67 63757272656e74 06 22 02 fb 3ff6666666666666
 a3 00 67 63757272656e74 06 21 02 f9 3e00
 a3 00 67 63757272656e74 06 20 02 fb 3ff999999999999a
 a3 00 67 63757272656e74 06 00 02 fb 3ffb333333333333`

func TestSenMLCBORExampleOfTheRFC(t *testing.T) {
	in := Input{Payload: unhex(t, rfcPackInCBOR), Device: "urn:dev:ow:10e2073a0108006"}
	expect(t, SenMLCBOR, in, `
0 voltage 120.1 V @1276020076001
1 current 1.2 A @1276020071001
2 current 1.3 A @1276020072001
3 current 1.4 A @1276020073001
4 current 1.5 A @1276020074001
5 current 1.6 A @1276020075001
6 current 1.7 A @1276020076001
`)
}

func TestSenMLCBORItems(t *testing.T) {
	record := func(value string) string { return "81 a2 00 61 61 02 " + value }
	for pack, want := range map[string]string{
		"80":                                               "",
		"9f ff":                                            "",
		"9f bf 00 7f 61 61 61 62 ff 02 01 ff ff":           "0 ab 1 @now+0\n",
		record("17"):                                       "0 a 23 @now+0\n",
		record("38 63"):                                    "0 a -100 @now+0\n",
		record("3b ffffffffffffffff"):                      "0 a -1.8446744073709552e+19 @now+0\n",
		record("f9 3c00"):                                  "0 a 1 @now+0\n",
		record("f9 0001"):                                  "0 a 5.960464477539063e-08 @now+0\n",
		record("f9 fc00"):                                  "0 a -Inf @now+0\n",
		record("fa 41ac0000"):                              "0 a 21.5 @now+0\n",
		record("fb 7ff8000000000000"):                      "0 a NaN @now+0\n",
		record("fb 7ff0000000000000"):                      "0 a +Inf @now+0\n",
		"81 a3 00 61 61 02 01 06 f9 7e00":                  "0 decode malformed: byte 1: the time is out of range\n",
		"81 a3 00 61 61 02 01 22 f9 7c00":                  "0 decode malformed: byte 1: the time is out of range\n",
		"81 a3 00 61 61 02 01 06 22":                       "0 a 1 @now-3000\n",
		"82 a2 20 0a 21 60 a3 00 61 61 02 01 05 02":        "1 a 1 @now+0\n1 a_sum 2 @now+0\n",
		record("c4 82 21 19 6ab3"):                         "0 a 273.15 @now+0\n",
		record("c4 82 38 1e 39 03e7"):                      "0 a -1e-28 @now+0\n",
		record("c1 1a 6924 8100"):                          "0 a 1.764e+09 @now+0\n",
		"81 a3 00 61 61 04 f5 64 74616773 a1 61 6b 61 76":  "0 a{k=v} 1 @now+0\n",
		"81 a2 00 61 61 03 62 6f6b":                        "state a \"ok\" @now+0\n",
		"81 a4 00 61 61 02 01 18 63 80 63 616263 d8 20 f6": "0 a 1 @now+0\n",

		record("c2 41 01"):                             "0 decode unsupported: byte 6: field v is a bignum; write it as a float\n",
		record("c4 82 f5 01"):                          "0 decode malformed: byte 6: field v is a decimal fraction that is no array of two integers\n",
		record("c4 82 1a 00ffffff 01"):                 "0 decode malformed: byte 6: field v is a decimal fraction with an absurd exponent\n",
		record("61 31"):                                "0 decode malformed: byte 6: field v is no number\n",
		"81 a2 00 61 61 08 41 01":                      "state a \"AQ\" @now+0\n",
		"81 a2 00 61 61 08 5f 42 6869 42 200a ff":      "state a \"aGkgCg\" @now+0\n",
		"81 a2 00 61 61 08 40":                         "state a \"\" @now+0\n",
		"81 a2 00 61 61 08 62 4151":                    "0 decode malformed: byte 6: field vd is no byte string\n",
		"82 01 a2 00 61 61 02 01":                      "1 a 1 @now+0\n0 decode malformed: byte 1: the record is no map\n",
		"81 a3 00 61 61 02 01 64 74616773 a1 61 6b 01": "",

		"":                               "error senml-cbor: byte 0: the data ends in the middle of an item\n",
		"a0":                             "error senml-cbor: byte 0: a SenML pack is a CBOR array; this begins with byte 0xa0\n",
		"81":                             "error senml-cbor: byte 1: the data ends in the middle of an item\n",
		"9b ffffffffffffffff":            "error senml-cbor: byte 9: the data ends in the middle of an item\n",
		"80 00":                          "error senml-cbor: byte 1: 1 bytes stand behind the pack\n",
		"81 a1 00 5c":                    "error senml-cbor: byte 3: byte 0x5c begins no CBOR item\n",
		"81 ff":                          "error senml-cbor: byte 1: a break stands where an item should begin\n",
		"81 bf 00 ff":                    "error senml-cbor: byte 3: a break stands where an item should begin\n",
		"81 a1 00 7f 41 61 ff":           "error senml-cbor: byte 4: a string in chunks holds something that is no chunk of it\n",
		"81 a1 00 61 ff":                 "error senml-cbor: byte 4: the text is not valid UTF-8\n",
		"81 f8 10":                       "error senml-cbor: byte 1: simple value 16 is written in two bytes\n",
		"81 a1 20 0b":                    "error senml-cbor: byte 1: bver is 11; versions 1 to 10 of SenML are read (RFC 8428 is 10)\n",
		"81 a3 00 61 61 02 01 02 02":     "0 decode malformed: byte 7: field v stands twice in one record\n",
		"81 a2 21 61 61 21 61 62":        "error senml-cbor: byte 5: field bn stands twice in one record\n",
		"81 a2 00 61 61 61 76 01":        "0 decode malformed: byte 1: the record has no value: none of v, vb, vs, vd and s\n",
		"81 a1 00 63 eda080":             "error senml-cbor: byte 4: the text is not valid UTF-8\n",
		"81 a1 62 785f 00":               "error senml-cbor: byte 2: field \"x_\" must be understood (its name ends with _) and is not; leave it out\n",
		"81 a1 21 05":                    "error senml-cbor: byte 3: field bn is no text\n",
		"81 " + strings.Repeat("81", 40): "error senml-cbor: byte 34: items nest deeper than 32 levels\n",
	} {
		if strings.HasSuffix(pack, "a1 61 6b 01") {
			want = "0 validate label_invalid: byte 13: a tag's name or value is no text\n"
		}
		expect(t, SenMLCBOR, Input{Payload: unhex(t, pack)}, want)
	}
}

func TestSenMLCBORGivesBackWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.Map(rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._-]{0,30}`), func(s string) []byte { return []byte(s) })
		text := rapid.Map(rapid.String(), func(s string) []byte { return []byte(s) })
		value := rapid.OneOf(rapid.Float64(), rapid.Map(rapid.Int64(), func(n int64) float64 { return float64(n) }),
			rapid.Map(rapid.Float32(), func(f float32) float64 { return float64(f) }), rapid.SampledFrom([]float64{staleNaN, math.NaN(), math.Inf(-1), math.Copysign(0, -1)}))
		at := rapid.OneOf(rapid.Int64Range(now-5000, now+5000), rapid.Int64Range(earliest, 4e12))
		want := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) telemetry.Sample {
			s := telemetry.Sample{Metric: word.Draw(t, "metric"), Value: value.Draw(t, "value"), Time: at.Draw(t, "time")}
			s.Unit = rapid.SampledFrom([][]byte{nil, []byte("Cel"), []byte("%RH")}).Draw(t, "unit")
			for range rapid.IntRange(0, 3).Draw(t, "tags") {
				s.Tags = append(s.Tags, telemetry.Tag{Name: text.Draw(t, "name"), Value: text.Draw(t, "text")})
			}
			return s
		}), 0, 30).Draw(t, "samples")
		for i := range want {
			want[i].Index = int32(i)
		}
		pack := AppendSenMLCBOR(nil, want)
		if err := cbor.Wellformed(pack); err != nil {
			t.Fatal(err)
		}
		var b telemetry.Batch
		// No metric has the name of the device, which would be refused: it is longer than all.
		if err := Decode(&b, Auto, Input{Payload: pack, Device: strings.Repeat("d", 32), Now: now}); err != nil {
			t.Fatal(err)
		}
		bits := cmp.Comparer(func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) })
		texts := cmp.Comparer(func(a, b []byte) bool { return string(a) == string(b) })
		if diff := cmp.Diff(append([]telemetry.Sample{}, want...), append([]telemetry.Sample{}, b.Samples...), bits, texts); diff != "" || len(b.Rejects) > 0 {
			t.Fatal(diff, b.Rejects)
		}
	})
}

func TestUnsetClockIsWrittenAsThePast(t *testing.T) {
	pack := AppendSenMLCBOR(nil, []telemetry.Sample{{Metric: []byte("a"), Time: 100_000, Value: 1}})
	expect(t, SenMLCBOR, Input{Payload: pack}, "0 a 1 @268435457000\n")
}

// FuzzSenMLCBOR compares well-formedness with fxamacker/cbor.
func FuzzSenMLCBOR(f *testing.F) {
	for _, pack := range []string{rfcPackInCBOR, "80", "9f bf 00 7f 61 61 ff 02 01 ff ff", "81 a2 00 61 61 02 c4 82 21 19 6ab3",
		"81 a3 00 61 61 04 f5 64 74616773 a1 61 6b 61 76", "82 01 a0", "81 a1 02 c1 c1 01"} {
		f.Add(unhex(f, pack))
	}
	options := cbor.DecOptions{MaxNestedLevels: 256, UTF8: cbor.UTF8DecodeInvalid}
	mode, err := options.DecMode()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		var b telemetry.Batch
		err := decodeAffordably(t, &b, SenMLCBOR, Input{Payload: payload, Now: now}, len(payload))
		wellFormed := mode.Wellformed(payload) == nil
		if err == nil && !wellFormed {
			t.Fatalf("read what is not well-formed: %v", mode.Wellformed(payload))
		}
		if err != nil && wellFormed && payload[0]>>5 == cborArray && !refusedByMeaning(err.Error()) {
			t.Fatalf("refused what is well-formed: %v", err)
		}
	})
}

// refusedByMeaning tells errors of SenML from errors of CBOR.
func refusedByMeaning(message string) bool {
	for _, part := range []string{"must be understood", "bver ", ": field b", "stands twice", "nest deeper", "not valid UTF-8"} {
		if strings.Contains(message, part) {
			return true
		}
	}
	return false
}
