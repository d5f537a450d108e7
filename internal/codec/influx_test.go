package codec

import (
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/telemetry"
)

func TestLineProtocol(t *testing.T) {
	for lines, want := range map[string]string{
		`temperature value=21.5`: "0 temperature 21.5 @now+0\n",
		`air,room=a,floor=2 temp=21.5,hum=40i,n=7u 1764000001500000000`:  "0 air_temp{room=a,floor=2} 21.5 @now+1500\n0 air_hum{room=a,floor=2} 40 @now+1500\n0 air_n{room=a,floor=2} 7 @now+1500\n",
		`a b=t,c=T,d=true,e=True,f=TRUE,g=f,h=F,i=false,j=False,k=FALSE`: "0 a_b 1 @now+0\n0 a_c 1 @now+0\n0 a_d 1 @now+0\n0 a_e 1 @now+0\n0 a_f 1 @now+0\n0 a_g 0 @now+0\n0 a_h 0 @now+0\n0 a_i 0 @now+0\n0 a_j 0 @now+0\n0 a_k 0 @now+0\n",
		`a b=-1.5e-3,c=+2,d=.5,e=1.,f=007`:                               "0 a_b -0.0015 @now+0\n0 a_c 2 @now+0\n0 a_d 0.5 @now+0\n0 a_e 1 @now+0\n0 a_f 7 @now+0\n",
		`a b=-9223372036854775808i,c=18446744073709551615u`:              "0 a_b -9.223372036854776e+18 @now+0\n0 a_c 1.8446744073709552e+19 @now+0\n",
		"# a comment\r\n\r\na v=1\r\n  # another\n b v=2 \n":             "0 a_v 1 @now+0\n1 b_v 2 @now+0\n",
		`a v=1 -1`: "0 a_v 1 @-1\n",
		"a v=1\r\nb v=2 1764000000000000000\r\n\r\n#c\r\nc v=3": "0 a_v 1 @now+0\n1 b_v 2 @now+0\n2 c_v 3 @now+0\n",
		"a,t=x\\ y v=\"#no\"\n#\n# c=\"\nb v=1i":                "1 b_v 1 @now+0\nstate a_v \"#no\" @now+0\n",
		"a v=0i,w=-0i,x=0u 9223372036854775807":                 "0 a_v 0 @9223372036854\n0 a_w -0 @9223372036854\n0 a_x 0 @9223372036854\n",
		"a v=1 -9223372036854775807":                            "0 a_v 1 @-9223372036855\n",

		// Escapes.
		`m\,1\ x\=y v=1`:                 "0 m,1 x\\=y_v 1 @now+0\n",
		`a=b v=1`:                        "0 a=b_v 1 @now+0\n",
		`m,t\,\ \=k=v\,\ \=w f\,\ \=n=1`: "0 m_f, =n{t, =k=v, =w} 1 @now+0\n",
		`m,path=C:\dir\n v=1`:            "0 m_v{path=C:\\dir\\n} 1 @now+0\n",
		`m s="a\"b\\c\d, x=1 "`:          "state m_s \"a\\\"b\\\\c\\\\d, x=1 \" @now+0\n",
		"m s=\"two\nlines\",v=1 1764000000000000000\nn v=2": "0 m_v 1 @now+0\n1 n_v 2 @now+0\nstate m_s \"two\\nlines\" @now+0\n",
		`m s=""`: "state m_s \"\" @now+0\n",

		// Faults end their line only.
		"a v=x\nb v=2":              "1 b_v 2 @now+0\n0 decode malformed: byte 4: field \"v\": \"x\" is no number, integer (12i), unsigned (12u), boolean or string in quotes\n",
		"a v=1,w=\nb v=2":           "1 b_v 2 @now+0\n0 decode malformed: byte 8: field \"w\" has no value\n",
		"a":                         "0 decode malformed: byte 1: expected a space and fields, found the end\n",
		"a \nb v=2":                 "1 b_v 2 @now+0\n0 decode malformed: byte 2: expected a field, found the end of the line\n",
		"a,t v=1":                   "0 decode malformed: byte 2: tag \"t\" has no value\n",
		"a,t= v=1":                  "0 decode malformed: byte 4: tag \"t\" has an empty value; leave the tag out\n",
		"a,=x v=1":                  "0 decode malformed: byte 2: a tag has no name\n",
		",t=x v=1":                  "0 decode malformed: byte 0: the line has no measurement before its ','\n",
		"a v":                       "0 decode malformed: byte 2: field \"v\" has no value\n",
		"a v=1 12x\nb v=2":          "1 b_v 2 @now+0\n0 decode malformed: byte 6: timestamp \"12x\" is no whole number of nanoseconds, or out of range\n",
		"a v=1 1 2":                 "0 decode malformed: byte 8: expected the end of the line, found '2'\n",
		"a v=\"open\nb v=2":         "1 b_v 2 @now+0\n0 decode malformed: byte 4: the string has no closing quote\n",
		"a v=9223372036854775808i":  "0 decode malformed: byte 4: field \"v\": \"9223372036854775808i\" is no number, integer (12i), unsigned (12u), boolean or string in quotes\n",
		"a v=-9223372036854775809i": "0 decode malformed: byte 4: field \"v\": \"-9223372036854775809i\" is no number, integer (12i), unsigned (12u), boolean or string in quotes\n",
		"a v=18446744073709551616u": "0 decode malformed: byte 4: field \"v\": \"18446744073709551616u\" is no number, integer (12i), unsigned (12u), boolean or string in quotes\n",
		"a v=1.5i":                  "0 decode malformed: byte 4: field \"v\": \"1.5i\" is no number, integer (12i), unsigned (12u), boolean or string in quotes\n",
		"a v=i":                     "0 decode malformed: byte 4: field \"v\": \"i\" is no number, integer (12i), unsigned (12u), boolean or string in quotes\n",
		"a v=tRUE":                  "0 decode malformed: byte 4: field \"v\": \"tRUE\" is no number, integer (12i), unsigned (12u), boolean or string in quotes\n",
		"a v=1 9223372036854775808": "0 decode malformed: byte 6: timestamp \"9223372036854775808\" is no whole number of nanoseconds, or out of range\n",
		"a v=1 1.5":                 "0 decode malformed: byte 6: timestamp \"1.5\" is no whole number of nanoseconds, or out of range\n",
		"a v=1 # c":                 "0 decode malformed: byte 6: timestamp \"#\" is no whole number of nanoseconds, or out of range\n",
		"a v=1 1\rb v=2":            "0 decode malformed: byte 8: expected the end of the line, found 'b'\n",
		"a v=-1u":                   "0 decode malformed: byte 4: field \"v\": \"-1u\" is no number, integer (12i), unsigned (12u), boolean or string in quotes\n",
		"a v=NaN":                   "0 decode malformed: byte 4: field \"v\": \"NaN\" is no number, integer (12i), unsigned (12u), boolean or string in quotes\n",
		"a v=1e999":                 "0 decode not_finite: byte 4: field \"v\" is beyond what a 64-bit float can hold\n",
		"a v=x,s=\"1\n2\"\nb v=2":   "1 b_v 2 @now+0\n0 decode malformed: byte 4: field \"v\": \"x\" is no number, integer (12i), unsigned (12u), boolean or string in quotes\n",
	} {
		expect(t, Influx, Input{Payload: []byte(lines)}, want)
	}
}

func TestLineProtocolPrecisions(t *testing.T) {
	for text, c := range map[string]struct {
		unit time.Duration
		want string
	}{
		"1764000000000000999": {0, "0 a 1 @now+0\n"},
		"1764000000001000":    {time.Microsecond, "0 a 1 @now+1\n"},
		"1764000000002":       {time.Millisecond, "0 a 1 @now+2\n"},
		"1764000003":          {time.Second, "0 a 1 @now+3000\n"},
		"29400000":            {time.Minute, "0 a 1 @now+0\n"},
		"9223372036854775807": {time.Second, "0 decode malformed: byte 10: timestamp \"9223372036854775807\" is no whole number of seconds, or out of range\n"},
	} {
		expect(t, Influx, Input{Payload: []byte("a value=1 " + text), Precision: c.unit}, c.want)
	}
}

func FuzzInflux(f *testing.F) {
	for _, lines := range []string{"a,t=x v=1,w=2i,s=\"q\\\"\" 1764000000000000000\n# c\n", "m\\,1\\ x v=t", "a v=\"open\nb v=2", "a v=1\r\n\r\nb v=-.5e3"} {
		f.Add([]byte(lines))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		var b telemetry.Batch
		if err := decodeAffordably(t, &b, Influx, Input{Payload: payload, Now: now}, len(payload)); err != nil {
			t.Fatalf("small input was refused as a whole: %v", err)
		}
		// Each record is stored or rejected, never both and never neither.
		last, rejected := -1, map[int]bool{}
		for _, r := range b.Rejects {
			if r.Index <= last || rejected[r.Index] {
				t.Fatalf("rejects are out of order:\n%s", written(&b))
			}
			last, rejected[r.Index] = r.Index, true
		}
		for _, s := range b.Samples {
			if rejected[int(s.Index)] {
				t.Fatalf("record %d is both stored and rejected:\n%s", s.Index, written(&b))
			}
		}
		blank := strings.TrimSpace(string(payload)) == ""
		if !blank && payload[0] != '#' && !strings.ContainsAny(string(payload), "#\"") && len(b.Samples)+len(b.Rejects) == 0 {
			t.Fatal("a line vanished")
		}
	})
}
