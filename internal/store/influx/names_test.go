package influx

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/telemetry"
)

var oddTexts = []string{
	"plain", "长春", "a b", "a,b", "a=b", `C:\dir\`, `\`, `a\,b`, "a\nb", "\r", "\x00", "\xff\xfe", "\ufffd", "\u241b", "\u241b5c", "\u241b\u241b", "#comment", " lead", "trail ",
	`"quoted"`, "time", "result", "table", "_field", "_measurement", "_value", "__x__", "$", "${x}", "\u200b", "é", "\u2028", "𝄞", strings.Repeat("长", 80),
}

func TestNamesComeBack(t *testing.T) {
	for _, text := range append(oddTexts, "") {
		for name, stored := range map[string]func(string) string{"metric": storedMetric, "name": storedName, "value": storedValue} {
			if got := original(stored(text)); got != text {
				t.Errorf("%s %q is stored as %q, which reads %q", name, text, stored(text), got)
			}
			for _, r := range stored(text) {
				if r != '\u241b' && !holds(r) {
					t.Errorf("%s %q is stored as %q, which InfluxDB does not hold", name, text, stored(text))
				}
			}
		}
	}
	for _, plain := range []string{"temperature", "房间 3", "a,b=c d"} {
		if storedValue(plain) != plain {
			t.Errorf("%q is stored as %q, and need not be", plain, storedValue(plain))
		}
	}
	if got := original("foreign\u241b"); got != "foreign\u241b" {
		t.Errorf("what nobody wrote so reads %q", got)
	}
}

// FuzzLines has the line of any point read by the codec of the doors, which reads
// line protocol as InfluxDB does.
func FuzzLines(f *testing.F) {
	for i, text := range oddTexts {
		f.Add("metric", "label", text, int64(1764000000000+i), 21.5)
		f.Add(text, "label", "value", int64(-i), math.Inf(1))
		f.Add("metric", text, "value", int64(i), math.Float64frombits(0x7ff0000000000002))
	}
	f.Add("m", "l", "v", int64(minTime), math.Copysign(0, -1))
	f.Add("", "", "", int64(maxTime), math.SmallestNonzeroFloat64)
	f.Fuzz(func(t *testing.T, metric, name, value string, ms int64, v float64) {
		if name == "" || name == "__name__" || !hasTime(ms) || ms > 1<<48 || ms < -1<<48 {
			t.Skip() // the codec bounds times more narrowly
		}
		labels := []telemetry.Label{{Name: "__name__", Value: metric}, {Name: "device", Value: "probe-1"}, {Name: name, Value: value}}
		lines := appendPoint(nil, appendKey(nil, labels), ms, v)
		lines = appendPoint(lines, []byte("after "), ms, 1)
		var b telemetry.Batch
		in := codec.Input{Payload: lines, Precision: time.Millisecond, MaxName: 1 << 20, MaxValue: 1 << 20}
		if err := codec.Decode(&b, codec.Influx, in); err != nil || len(b.Rejects) > 0 || len(b.Samples) != 2 {
			t.Fatalf("%q reads %v %v, error %v", lines, b.Samples, b.Rejects, err)
		}
		s := b.Samples[0]
		want := []string{"device=probe-1"}
		if value != "" {
			want = append(want, name+"="+value)
		}
		var got []string
		for _, tag := range s.Tags {
			got = append(got, original(string(tag.Name))+"="+original(string(tag.Value)))
		}
		of, bits := strings.CutSuffix(string(s.Metric), "_"+bitsField)
		if finite(math.Float64bits(v)) == bits && !(bits && strings.HasSuffix(storedMetric(metric), "_"+bitsField)) {
			t.Fatalf("%v is in the wrong field of %q", v, lines)
		}
		if !finite(math.Float64bits(v)) && fmt.Sprint(s.Value) != fmt.Sprint(float64(int64(math.Float64bits(v)))) ||
			finite(math.Float64bits(v)) && math.Float64bits(s.Value) != math.Float64bits(v) {
			t.Errorf("%v reads %v of %q", v, s.Value, lines)
		}
		if finite(math.Float64bits(v)) {
			of = string(s.Metric)
		}
		if original(of) != metric || !slices.Equal(got, want) || s.Time != ms {
			t.Errorf("%q %q at %d reads %q %q at %d of %q", metric, want, ms, original(of), got, s.Time, lines)
		}
	})
}
