package codec

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/songhua-io/hub/internal/telemetry"
)

// spark writes Sparkplug payloads field by field.
type spark []byte

func (p spark) varint(field protowire.Number, v uint64) spark {
	return protowire.AppendVarint(protowire.AppendTag(p, field, protowire.VarintType), v)
}

func (p spark) double(field protowire.Number, v float64) spark {
	return protowire.AppendFixed64(protowire.AppendTag(p, field, protowire.Fixed64Type), math.Float64bits(v))
}

func (p spark) float(field protowire.Number, v float32) spark {
	return protowire.AppendFixed32(protowire.AppendTag(p, field, protowire.Fixed32Type), math.Float32bits(v))
}

func (p spark) text(field protowire.Number, v string) spark {
	return protowire.AppendString(protowire.AppendTag(p, field, protowire.BytesType), v)
}

func (p spark) metric(m spark) spark { return p.text(2, string(m)) }

// message begins a payload of the test's time with a sequence number.
func message(seq uint64) spark { return spark{}.varint(1, now).varint(3, seq) }

func named(name string) spark     { return spark{}.text(1, name) }
func alias(n uint64) spark        { return spark{}.varint(2, n) }
func (p spark) of(t uint64) spark { return p.varint(4, t) }

// node plays an edge node: it decodes messages and renders what they say.
type node struct {
	t       *testing.T
	session Session
}

func (n *node) says(topic string, payload spark, want string) {
	n.t.Helper()
	parsed, err := ParseSparkplugTopic("spBv1.0/plant/" + topic)
	if err != nil {
		n.t.Fatal(err)
	}
	var b telemetry.Batch
	note, err := n.session.Decode(&b, parsed, Input{Payload: payload, Now: now + 500})
	got := written(&b)
	if err != nil {
		got += err.Error() + "\n"
	}
	if note.Missed > 0 {
		got += "missed " + string(rune('0'+note.Missed)) + "\n"
	}
	if note.Rebirth {
		got += "rebirth\n"
	}
	if note.Died {
		got += "died\n"
	}
	if diff := cmp.Diff(strings.TrimLeft(want, "\n"), got); diff != "" {
		n.t.Errorf("%s\nwant -, got +:\n%s", topic, diff)
	}
}

func TestSparkplugSession(t *testing.T) {
	n := node{t: t}
	units := spark{}.text(1, "engLow").text(1, "engUnit").text(2, string(spark{}.varint(1, 10).double(6, 0))).text(2, string(spark{}.varint(1, 12).text(8, "°C")))
	n.says("NBIRTH/e1", message(0).
		metric(named("bdSeq").of(8).varint(11, 4)).
		metric(named("Node Control/Rebirth").of(11).varint(14, 0)).
		metric(named("temp").varint(2, 1).of(10).double(13, 21.5).text(9, string(units))).
		metric(named("firmware").varint(2, 2).of(12).text(15, "2.1")).
		metric(named("level").varint(2, 3).of(1).varint(10, 0xff)), `
2 temp 21.5 °C @now+0
4 level -1 @now+0
state firmware "2.1" @now+0
`)
	n.says("DBIRTH/e1/plc7", message(1).
		metric(named("temp").varint(2, 10).of(9).float(12, 1.5)).
		metric(named("running").varint(2, 11).of(11).varint(14, 1)).
		metric(named("name").varint(2, 12).of(14).text(15, "pump")), `
0 temp{sparkplug_device=plc7} 1.5 @now+0
1 running{sparkplug_device=plc7} 1 @now+0
state plc7/name "pump" @now+0
`)
	n.says("NDATA/e1", message(2).
		metric(alias(1).varint(3, now-9000).varint(5, 1).double(13, 20)).
		metric(alias(3).varint(10, 0x80)).
		metric(alias(2).varint(7, 1)), `
0 temp 20 °C @now-9000
1 level -128 @now+0
`)
	n.says("DDATA/e1/plc7", message(3).metric(alias(10).float(12, 2)), "0 temp{sparkplug_device=plc7} 2 @now+0\n")
	n.says("DDATA/e1/plc7", message(3).metric(alias(10).float(12, 2)), "0 temp{sparkplug_device=plc7} 2 @now+0\n")
	n.says("DDATA/e1/plc7", message(6).metric(alias(11).varint(14, 0)), "0 running{sparkplug_device=plc7} 0 @now+0\nmissed 2\nrebirth\n")
	n.says("DDATA/e1/plc8", message(7).metric(alias(10).float(12, 2)), `
0 decode malformed: byte 11: metric with alias 10: no birth has announced what its alias stands for; the edge node must be born again (Node Control/Rebirth)
rebirth
`)
	n.says("DDEATH/e1/plc7", message(8), "")
	n.says("DDATA/e1/plc7", message(9).metric(alias(10).float(12, 2)), `
0 decode malformed: byte 11: metric with alias 10: no birth has announced what its alias stands for; the edge node must be born again (Node Control/Rebirth)
rebirth
`)
	n.says("NDEATH/e1", spark{}.metric(named("bdSeq").of(8).varint(11, 3)), "")
	n.says("NDEATH/e1", spark{}.metric(named("bdSeq").of(8).varint(11, 4)), "died\n")
	n.says("NDATA/e1", message(10).metric(alias(1).double(13, 20)).metric(named("x").of(10).double(13, 5)), `
1 x 5 @now+0
0 decode malformed: byte 11: metric with alias 1: no birth has announced what its alias stands for; the edge node must be born again (Node Control/Rebirth)
rebirth
`)
}

func TestSparkplugDataTypes(t *testing.T) {
	n := node{t: t}
	n.says("NBIRTH/e1", message(0).
		metric(named("i16").of(2).varint(10, 0xfffe)).
		metric(named("i32").of(3).varint(10, 0xfffffffd)).
		metric(named("i64").of(4).varint(11, math.MaxUint64)).
		metric(named("u8").of(5).varint(10, 200)).
		metric(named("u16").of(6).varint(10, 60000)).
		metric(named("u32").of(7).varint(11, 4e9)).
		metric(named("u64").of(8).varint(11, 1<<60)).
		metric(named("at").of(13).varint(11, now)).
		metric(named("id").of(15).text(15, "c0ffee")).
		metric(named("set").of(16).text(17, "")).
		metric(named("raw").of(17).text(16, "x")).
		metric(named("list").of(22).text(16, "x")).
		metric(named("odd").of(10).text(15, "x")).
		metric(named("none").of(10)).
		metric(named("untyped").double(13, 1)).
		metric(spark{}.of(10).double(13, 1)).
		metric(named("late").of(10).double(13, 1).varint(3, math.MaxUint64)), `
0 i16 -2 @now+0
1 i32 -3 @now+0
2 i64 -1 @now+0
3 u8 200 @now+0
4 u16 60000 @now+0
5 u32 4e+09 @now+0
6 u64 1.152921504606847e+18 @now+0
7 at 1.764e+09 s @now+0
state id "c0ffee" @now+0
9 decode unsupported: byte 148: metric "set": its data type (DataSet) is not stored; send numbers, booleans or strings
10 decode unsupported: byte 160: metric "raw": its data type (Bytes) is not stored; send numbers, booleans or strings
11 decode unsupported: byte 173: metric "list": its data type (an array) is not stored; send numbers, booleans or strings
12 decode malformed: byte 187: metric "odd": its value is not of its data type (Double)
13 decode malformed: byte 199: metric "none": it has no value and is not marked as null
14 decode malformed: byte 209: metric "untyped": its data type is not known: neither the message nor a birth names it
15 decode malformed: byte 229: metric with alias 0: the metric has neither a name nor an alias
16 decode malformed: byte 242: metric "late": the time is out of range
`)
	n.says("NDATA/e1", message(1)[:10], "sparkplug: byte 9: the protobuf message is cut off or broken here\n")
}

func TestSparkplugSequenceWrapsAround(t *testing.T) {
	n := node{t: t}
	n.says("NBIRTH/e1", message(254), "")
	n.says("NDATA/e1", message(255), "")
	n.says("NDATA/e1", message(0), "")
	n.says("NDATA/e1", message(0), "")
	n.says("NDATA/e1", message(3), "missed 2\nrebirth\n")
	n.says("NDATA/e1", spark{}.varint(1, now), "")
	n.says("NDATA/e1", message(4), "")
	n.says("NBIRTH/e1", message(0), "")
	n.says("NDATA/e1", message(1), "")
}

func TestSparkplugTimes(t *testing.T) {
	n := node{t: t}
	value := func() spark { return named("a").of(10).double(13, 1) }
	n.says("NBIRTH/e1", spark{}.varint(3, 0).metric(value()).metric(value().varint(3, now-7)), "0 a 1 @now+500\n1 a 1 @now-7\n")
	n.says("NDATA/e1", message(1).metric(value().varint(3, 0)), "0 a 1 @0\n")
	n.says("NDATA/e1", spark{}.varint(1, math.MaxUint64).varint(3, 2).metric(value()).metric(value().varint(3, now)),
		"1 a 1 @now+0\n0 decode malformed: byte 15: metric \"a\": the time is out of range\n")
}

// A field of another kind on the wire is no field (protobuf).
func TestSparkplugValuesOfAnotherKind(t *testing.T) {
	n := node{t: t}
	n.says("NBIRTH/e1", message(0).
		metric(named("name").of(12).varint(15, 7)).
		metric(named("f").of(9).double(12, 1)).
		metric(named("d").of(10).varint(13, 1).double(13, 2)).
		metric(named("null").of(12).varint(7, 1).text(15, "x")), `
2 d 2 @now+0
0 decode malformed: byte 11: metric "name": it has no value and is not marked as null
1 decode malformed: byte 23: metric "f": it has no value and is not marked as null
`)
}

func TestSparkplugDeathBelongsToItsSession(t *testing.T) {
	n := node{t: t}
	death := func(session uint64) spark { return spark{}.metric(named("bdSeq").of(8).varint(11, session)) }
	n.says("NDEATH/e1", death(1), "")
	n.says("NBIRTH/e1", message(0).metric(named("bdSeq").of(8).varint(11, 1)), "")
	n.says("NBIRTH/e1", message(0).metric(named("bdSeq").of(8).varint(11, 2)), "")
	n.says("NDEATH/e1", death(1), "")
	n.says("NDATA/e1", message(1), "")
	n.says("NDEATH/e1", spark{}, "died\n")
	n.says("NDATA/e1", message(2), "rebirth\n")
}

func TestSparkplugSessionIsBounded(t *testing.T) {
	birth := message(0)
	for i := range uint64(MaxSparkplugMetrics + 5) {
		birth = birth.metric(named("m"+formatFloat(float64(i))).varint(2, i).of(10).varint(7, 1))
	}
	var s Session
	var b telemetry.Batch
	if _, err := s.Decode(&b, SparkplugTopic{Node: "e1", Type: NBirth}, Input{Payload: birth, Now: now}); err != nil {
		t.Fatal(err)
	}
	if s.Metrics() != MaxSparkplugMetrics || len(b.Rejects) != 5 || b.Rejects[0].Reason != telemetry.ReasonSeriesLimit {
		t.Errorf("%d metrics are kept, %d rejected", s.Metrics(), len(b.Rejects))
	}
}

func TestSparkplugTopics(t *testing.T) {
	for topic, want := range map[string]SparkplugTopic{
		"spBv1.0/g/NBIRTH/n":  {Group: "g", Node: "n", Type: NBirth},
		"spBv1.0/g/DDATA/n/d": {Group: "g", Node: "n", Device: "d", Type: DData},
	} {
		if got, err := ParseSparkplugTopic(topic); err != nil || got != want {
			t.Errorf("%s: %+v %v", topic, got, err)
		}
	}
	for topic, want := range map[string]string{
		"spBv1.0/g/NCMD/n":    `topic "spBv1.0/g/NCMD/n" is a command to an edge node, not telemetry`,
		"spBv1.0/g/DCMD/n/d":  `topic "spBv1.0/g/DCMD/n/d" is a command to an edge node, not telemetry`,
		"spBv1.0/STATE/scada": `topic "spBv1.0/STATE/scada" tells the state of a host application and carries no telemetry`,
		"spBv1.0/g/NDATA":     `topic "spBv1.0/g/NDATA" is not of the form spBv1.0/<group>/<type>/<edge node>[/<device>]`,
		"spBv1.0/g/NDATA/n/d": `topic "spBv1.0/g/NDATA/n/d" names a device, but NDATA is a message of the edge node`,
		"spBv1.0/g/DDATA/n":   `topic "spBv1.0/g/DDATA/n" names no device, but DDATA is a message of one`,
		"spBv1.0/g/XDATA/n":   `topic "spBv1.0/g/XDATA/n" has an unknown message type; NBIRTH, NDATA, NDEATH, DBIRTH, DDATA and DDEATH are read`,
		"spAv1.0/g/NDATA/n":   `topic "spAv1.0/g/NDATA/n" is not one of Sparkplug B, which begin with spBv1.0/`,
	} {
		_, err := ParseSparkplugTopic(topic)
		if e := (*Error)(nil); !errors.As(err, &e) || e.Detail != want {
			t.Errorf("%s: %v, want %s", topic, err, want)
		}
	}
}

func FuzzSparkplug(f *testing.F) {
	f.Add([]byte(message(0).metric(named("a").varint(2, 1).of(10).double(13, 1))), []byte(message(1).metric(alias(1).double(13, 2))))
	f.Add([]byte(message(0).metric(named("s").of(12).text(15, "x"))), []byte(message(9)))
	f.Fuzz(func(t *testing.T, birth, data []byte) {
		var s Session
		var b telemetry.Batch
		for _, step := range []struct {
			kind    SparkplugType
			device  string
			payload []byte
		}{{NBirth, "", birth}, {NData, "", data}, {DBirth, "d", birth}, {DData, "d", data}, {DDeath, "d", data}, {NDeath, "", birth}} {
			b.Reset()
			var err error
			affordable(t, len(birth)+len(data), maxGrowth, func() {
				_, err = s.Decode(&b, SparkplugTopic{Node: "n", Device: step.device, Type: step.kind}, Input{Payload: step.payload, Now: now})
			})
			if err != nil && len(b.Samples)+len(b.States)+len(b.Rejects) > 0 {
				t.Fatal("a refused message left something behind")
			}
		}
	})
}
