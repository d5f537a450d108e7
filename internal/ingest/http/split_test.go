package http

import (
	"bytes"
	"math"
	"testing"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/telemetry"
)

func TestCutDevice(t *testing.T) {
	for _, c := range []struct{ line, rest, device string }{
		{"cpu,device=t1,host=a usage=1 5", "cpu,host=a usage=1 5", "t1"},
		{"cpu,host=a,device=t1 usage=1", "cpu,host=a usage=1", "t1"},
		{"cpu usage=1", "cpu usage=1", ""},
		{"cpu,mydevice=t1 usage=1", "cpu,mydevice=t1 usage=1", ""},
		{`c\,device=x,device=t\ 1 usage=1`, `c\,device=x usage=1`, "t 1"},
		{`cpu text="a,device=t2 "`, `cpu text="a,device=t2 "`, ""},
		{"# a,device=t1 comment", "# a,device=t1 comment", ""},
		{"", "", ""},
		{",device=", ",device=", ""},
	} {
		before, device, after := cutDevice([]byte(c.line))
		if got := string(before) + string(after); got != c.rest || string(device) != c.device {
			t.Errorf("%q: rest %q of %q, want %q of %q", c.line, got, device, c.rest, c.device)
		}
	}
}

// Cutting a message into its lines loses nothing: decoded line by line it gives
// the samples that it gives as a whole.
func FuzzLines(f *testing.F) {
	for _, s := range []string{
		"cpu usage=1 5\nmem,host=a used=2i\n", "a t=\"two\nlines\",n=1\nb v=1", "a t=\"q\\\"\n\",n=1\nb v=1", "# c\n\n\na v=1", "a\\ b,c=d\\\ne v=1\nb v=2", "m v=\"", "a  v=1\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var whole, lines telemetry.Batch
		in := codec.Input{Payload: b, Device: "t1", Now: 1000}
		if err := codec.Decode(&whole, codec.Influx, in); err != nil || len(whole.Rejects) > 0 {
			return
		}
		for rest := b; len(rest) > 0; {
			end := lineEnd(rest)
			in.Payload = rest[:end]
			if err := codec.Decode(&lines, codec.Influx, in); err != nil {
				t.Fatalf("%q: line %q: %v", b, rest[:end], err)
			}
			rest = rest[min(end+1, len(rest)):]
		}
		if len(lines.Samples) != len(whole.Samples) || len(lines.Rejects) > 0 {
			t.Fatalf("%q: %d samples whole, %d by line, rejects %v", b, len(whole.Samples), len(lines.Samples), lines.Rejects)
		}
		for i := range whole.Samples {
			a, c := &whole.Samples[i], &lines.Samples[i]
			if !bytes.Equal(a.Metric, c.Metric) || math.Float64bits(a.Value) != math.Float64bits(c.Value) || a.Time != c.Time {
				t.Fatalf("%q: sample %d is %s %v and %s %v", b, i, a.Metric, a.Value, c.Metric, c.Value)
			}
		}
	})
}
