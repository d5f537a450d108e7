package codec

import (
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/golang/snappy"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/songhua-io/hub/internal/telemetry"
)

// maxGrowth bounds what decoding allocates in all, kept or not, for each byte
// of any message (of the decompressed one, where it is compressed). The dearest
// four bytes are a bucket of OTLP JSON, whose sample carries as many tags as it
// may; then come the two of an array's element in flat JSON, whose sample has a
// name as long as it may be.
const maxGrowth = 2000

// affordable fails a test when decode, of a message of n bytes into an empty
// batch, allocates more than most times its length. What does not grow with
// the message is free.
func affordable(t *testing.T, n, most int, decode func()) {
	t.Helper()
	const free = 256 << 10
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	decode()
	runtime.ReadMemStats(&after)
	if spent := int(after.TotalAlloc - before.TotalAlloc); spent > free+most*n {
		t.Errorf("a message of %d bytes cost %d, %d times its length; at most %d times is right", n, spent, spent/max(n, 1), most)
	}
}

// filled returns text that repeats part until it has 64 KiB, between head and tail.
func filled(head, part, tail string) string {
	return head + strings.Repeat(part, (64<<10-len(head))/len(part)) + tail
}

// amplifiers are messages, most of 64 KiB, that make much of little, and how
// many times their length they may cost.
func amplifiers(t *testing.T) map[string]struct {
	most    int
	format  Format
	payload string
} {
	long, short := strings.Repeat("a", 32<<10), strings.Repeat("a", DefaultMaxName)
	cborLong := "\x21\x79\x80\x00" + long
	all := pmetric.NewMetrics()
	histogram := all.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	histogram.SetName(short[:DefaultMaxName-8])
	histogram.SetEmptyHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	point := histogram.Histogram().DataPoints().AppendEmpty()
	point.ExplicitBounds().FromRaw(make([]float64, 2000))
	point.BucketCounts().FromRaw(make([]uint64, 2001))
	for i := range DefaultMaxTags {
		point.Attributes().PutStr(metricName(i), "x")
	}
	buckets, err := (&pmetric.ProtoMarshaler{}).MarshalMetrics(all)
	if err != nil {
		t.Fatal(err)
	}
	bucketsJSON, err := (&pmetric.JSONMarshaler{}).MarshalMetrics(all)
	if err != nil {
		t.Fatal(err)
	}
	values := func(value string) string { return nested(5, nested(1, nested(7, nested(2, value)))) }
	metrics := func(content string) string { return nested(1, nested(2, nested(2, content))) }
	deep := ""
	for len(deep) < 64<<10 {
		deep = nested(5, nested(1, deep))
	}
	return map[string]struct {
		most    int
		format  Format
		payload string
	}{
		"json: leaves of a long name":           {8, JSON, filled(`{"`+long+`":{"b":1`, `,"b":1`, `}}`)},
		"json: elements of an allowed name":     {552, JSON, filled(`{"`+short[:250]+`":[1`, `,1`, `]}`)},
		"json: elements of a name too long":     {520, JSON, filled(`{"`+short+`":[1`, `,1`, `]}`)},
		"json: objects within objects":          {128, JSON, filled(`{"`+short[:240]+`":{"a":1`, `,"a":{"a":{"a":1}}`, `}}`)},
		"json: escapes":                         {56, JSON, filled(`{"a":1`, `,"\n\n\n":1`, `}`)},
		"json: tags":                            {56, JSON, filled(`{"a":1,"tags":{"a":1`, `,"a":1`, `}}`)},
		"json: overflows":                       {64, JSON, filled(`{"`+short+`":1`, `,"a":1e999`, `}`)},
		"senml: records of a long base name":    {56, SenML, filled(`[{"bn":"`+long+`"}`, `,{"v":1}`, `]`)},
		"senml: records of an allowed name":     {272, SenML, filled(`[{"bn":"`+short+`"}`, `,{"v":1}`, `]`)},
		"senml: sums of a long unit":            {48, SenML, filled(`[{"bn":"b","bu":"`+long+`"}`, `,{"s":1}`, `]`)},
		"senml: names that are not allowed":     {48, SenML, filled(`[{"bn":"`+short+`"}`, `,{"n":"!"}`, `]`)},
		"senml: records that are no objects":    {280, SenML, filled(`[1`, `,1`, `]`)},
		"senml: names of somebody else":         {328, SenML, filled(`[{"bn":"`+short+`:"}`, `,{"v":1}`, `]`)},
		"senml: tags":                           {56, SenML, filled(`[{"n":"a","v":1,"tags":{"a":1`, `,"a":1`, `}}]`)},
		"cbor: records of a long base name":     {168, SenMLCBOR, filled("\x9f\xa1"+cborLong, "\xa1\x02\x01", "\xff")},
		"cbor: sums of a long unit":             {104, SenMLCBOR, filled("\x9f\xa2\x21\x61b\x23\x79\x80\x00"+long, "\xa1\x05\x01", "\xff")},
		"cbor: records that are no maps":        {552, SenMLCBOR, filled("\x9f", "\x01", "\xff")},
		"cbor: a name in chunks":                {8, SenMLCBOR, filled("\x81\xa2\x02\x01\x00\x7f", "\x61a", "\xff")},
		"cbor: octets in chunks":                {8, SenMLCBOR, filled("\x81\xa2\x00\x61a\x08\x5f", "\x41a", "\xff")},
		"cbor: unknown text in chunks":          {8, SenMLCBOR, filled("\x81\xa1\x61x\x7f", "\x61a", "\xff")},
		"cbor: nesting":                         {8, SenMLCBOR, filled("", "\x81", "")},
		"cbor: nesting without lengths":         {8, SenMLCBOR, filled("", "\x9f", "")},
		"cbor: tags within tags":                {8, SenMLCBOR, filled("\x81\xa1\x02", "\xc1", "\x01")},
		"cbor: a huge array":                    {8, SenMLCBOR, "\x9b\x7f\xff\xff\xff\xff\xff\xff\xff"},
		"cbor: a huge map":                      {8, SenMLCBOR, "\x81\xbb\x7f\xff\xff\xff\xff\xff\xff\xff"},
		"cbor: a huge text":                     {8, SenMLCBOR, "\x81\xa1\x00\x7b\x7f\xff\xff\xff\xff\xff\xff\xff"},
		"cbor: huge octets":                     {8, SenMLCBOR, "\x81\xa1\x08\x5b\xff\xff\xff\xff\xff\xff\xff\xff"},
		"cbor: a huge array that is skipped":    {8, SenMLCBOR, "\x81\xa1\x61x\x9b\xff\xff\xff\xff\xff\xff\xff\xff"},
		"influx: fields of a long name":         {8, Influx, filled(long+" a=1", ",a=1", "")},
		"influx: fields of an allowed name":     {264, Influx, filled(short[:250]+" a=1", ",a=1", "")},
		"influx: strings of a long name":        {8, Influx, filled(long+` a=""`, `,a=""`, "")},
		"influx: lines of nothing":              {368, Influx, filled("", "a\n", "")},
		"influx: tags":                          {96, Influx, filled("a", ",a=b", " v=1")},
		"remote write 1: labels":                {96, RemoteWrite, filled("", nested(1, nested(1, "\x12\x01a")+nested(2, "")), "")},
		"remote write 2: labels of no bytes":    {8, RemoteWrite2, nested(4, "") + nested(4, "a") + nested(5, filled(nested(2, ""), nested(1, strings.Repeat("\x01", 1000)), ""))},
		"remote write 2: series of no values":   {200, RemoteWrite2, filled(nested(4, "")+nested(4, "a"), nested(5, nested(1, strings.Repeat("\x01", 2*DefaultMaxTags))), "")},
		"remote write 2: symbols":               {32, RemoteWrite2, filled("", nested(4, ""), "")},
		"otlp: buckets of many attributes":      {808, OTLP, string(buckets)},
		"otlp: attributes of no bytes":          {160, OTLP, metrics(nested(5, nested(1, filled("", nested(7, ""), ""))))},
		"otlp: exemplars of no bytes":           {288, OTLP, metrics(nested(5, nested(1, filled("", nested(5, ""), ""))))},
		"otlp: quantiles of no bytes":           {48, OTLP, metrics(nested(11, nested(1, filled("", nested(6, ""), ""))))},
		"otlp: exponential points":              {416, OTLP, metrics(nested(10, filled("", nested(1, ""), "")))},
		"otlp: values within values":            {8, OTLP, metrics(values(deep))},
		"otlp-json: buckets of many attributes": {2000, OTLPJSON, strings.ReplaceAll(string(bucketsJSON), `"0"`, `0`)},
		"otlp-json: null":                       {168, OTLPJSON, filled(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"a","gauge":{"dataPoints":[{}`, `,null`, `]}}]}]}]}`)},
		"otlp-json: values within values":       {24, OTLPJSON, `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"a","gauge":{"dataPoints":[{"attributes":[{"key":"a","value":` + strings.Repeat(`{"arrayValue":{"values":[`, 2000) + `]}}]}]}]}`},
		"sparkplug: metrics of no bytes":        {368, Sparkplug, filled("", nested(2, ""), "")},
		"sparkplug: metrics of a long name":     {24, Sparkplug, filled(string(message(0).metric(named(long).varint(2, 1).of(10).double(13, 1))), string(spark{}.metric(alias(1).of(10).double(13, 1))), "")},
		"sparkplug: strings of an alias":        {96, Sparkplug, filled(string(message(0).metric(named(short[:240]).varint(2, 1).of(12).text(15, ""))), string(spark{}.metric(alias(1).of(12).text(15, ""))), "")},
		"sparkplug: templates":                  {104, Sparkplug, filled("", string(spark{}.metric(alias(1).of(19).text(18, ""))), "")},
		"sparkplug: data sets":                  {8, Sparkplug, filled("", string(spark{}.metric(alias(1).of(16).text(17, filled("", "\x12\x00", "")[:200]))), "")},
		"sparkplug: properties":                 {8, Sparkplug, string(spark{}.metric(named("a").text(9, filled("", nested(1, "engUnit")+nested(2, ""), ""))))},
	}
}

// decodeAffordably is Decode within the bound of any message of n bytes.
func decodeAffordably(t *testing.T, b *telemetry.Batch, f Format, in Input, n int) (err error) {
	t.Helper()
	affordable(t, n, maxGrowth, func() { err = Decode(b, f, in) })
	return err
}

// A message costs memory in proportion to its length, whatever stands in it.
func TestDecodingCostsInProportionToTheMessage(t *testing.T) {
	for name, c := range amplifiers(t) {
		t.Run(name, func(t *testing.T) {
			n, in := len(c.payload), Input{Payload: []byte(c.payload), Device: "t1", Now: now}
			if c.format == RemoteWrite || c.format == RemoteWrite2 {
				in.Payload = snappy.Encode(nil, in.Payload)
			}
			if c.format != Sparkplug {
				var b telemetry.Batch
				affordable(t, n, c.most, func() { _ = Decode(&b, c.format, in) })
				return
			}
			var s Session
			for _, topic := range []SparkplugTopic{{Node: "n", Type: NBirth}, {Node: "n", Device: "d", Type: DBirth}, {Node: "n", Device: "d", Type: DData}} {
				var b telemetry.Batch
				affordable(t, n, c.most, func() { _, _ = s.Decode(&b, topic, in) })
			}
		})
	}
}

// What is beyond a bound is refused as ingest would refuse it; the rest is kept.
func TestNamesAndTagsBeyondTheBounds(t *testing.T) {
	bounds := Input{Device: "t1", MaxName: 8, MaxTags: 2, MaxValue: 4}
	for _, c := range []struct {
		format        Format
		payload, want string
	}{
		{JSON, `{"a":1,"longername":2,"long":{"er":3,"erer":{"x":4,"y":null},"s":"t"}}`, `
0 a 1 @now+0
0 long_er 3 @now+0
state long_s "t" @now+0
0 validate metric_invalid: byte 20: the name that begins with "longername" has 10 bytes; at most 8 are allowed
0 validate metric_invalid: byte 44: the name that begins with "long" has 9 bytes; at most 8 are allowed
`},
		{JSON, `{"list":[1,[2,{"deep":3}],4],"s12345678":"x"}`, `
0 list_0 1 @now+0
0 list_1_0 2 @now+0
0 list_2 4 @now+0
0 validate metric_invalid: byte 22: the name that begins with "list_1_1" has 13 bytes; at most 8 are allowed
0 validate metric_invalid: byte 41: the name that begins with "s12345678" has 9 bytes; at most 8 are allowed
`},
		{JSON, `{"a":1,"tags":{"x":"1","y":"2","z":"3"},"s":"t"}`, `
state s "t" @now+0
0 validate label_limit: byte 14: the sample has 3 tags; at most 2 are allowed
`},
		{JSON, `{"a":1,"tags":{"x":"12345"}}`, "0 validate label_invalid: byte 14: the value of tag \"x\" has 5 bytes; at most 4 are allowed\n"},
		{JSON, `{"a":1,"tags":{"longername":"1"}}`, "0 validate label_invalid: byte 14: of a tag, the name that begins with \"longername\" has 10 bytes; at most 8 are allowed\n"},

		{SenML, `[{"bn":"t1:","n":"metric78","v":1},{"n":"metric789","v":2},{"n":"m5678","s":3},{"n":"m","v":4}]`, `
0 metric78 1 @now+0
3 m 4 @now+0
1 validate metric_invalid: byte 35: the name that begins with "metric789" has 9 bytes; at most 8 are allowed
2 validate metric_invalid: byte 59: the name that begins with "m5678" has 9 bytes; at most 8 are allowed
`},
		{SenML, `[{"bn":"room","n":"_tem","v":1},{"n":"_temp","v":2},{"bn":"t1","n":":_metric7","v":3}]`, `
0 room_tem 1 @now+0
2 _metric7 3 @now+0
1 validate metric_invalid: byte 32: the name that begins with "room_temp" has 9 bytes; at most 8 are allowed
`},
		{SenML, `[{"bn":"` + strings.Repeat("a", 200) + `","v":1}]`, "0 validate metric_invalid: byte 1: the name that begins with \"" + strings.Repeat("a", 40) + "…\" has 200 bytes; at most 8 are allowed\n"},
		{SenML, `[{"n":"a","v":1,"tags":{"x":"1","y":"2","z":"3"}},{"n":"b","v":1,"tags":{"x":"12345"}},{"n":"c","vs":"1","tags":{"123456789":1}},{"n":"d","v":1}]`, `
3 d 1 @now+0
0 validate label_limit: byte 1: the sample has 3 tags; at most 2 are allowed
1 validate label_invalid: byte 50: the value of tag "x" has 5 bytes; at most 4 are allowed
2 validate label_invalid: byte 87: of a tag, the name that begins with "123456789" has 9 bytes; at most 8 are allowed
`},
		{SenML, `[{"n":"a","u":"kilowatts","v":1,"s":2}]`, "0 a 1 @now+0\n0 a_sum 2 @now+0\n"},
		{SenMLCBOR, "\x82\xa2\x00\x69metric789\x02\x01\xa2\x00\x61a\x02\x01", `
1 a 1 @now+0
0 validate metric_invalid: byte 1: the name that begins with "metric789" has 9 bytes; at most 8 are allowed
`},

		{Influx, "m_345678 value=1\nm_3456789 value=1\nm a=1,b23456=1\nm a23456=1,b234567=1\nm s234567=\"x\"\nok,a=1,b=2 v=1\nm,a=1,b=2,c=3 v=1\nm,a=12345 v=1\nm,longername=1 v=1", `
0 m_345678 1 @now+0
2 m_a 1 @now+0
2 m_b23456 1 @now+0
5 ok_v{a=1,b=2} 1 @now+0
1 validate metric_invalid: byte 26: the name that begins with "m_3456789" has 9 bytes; at most 8 are allowed
3 validate metric_invalid: byte 61: the name that begins with "m" has 9 bytes; at most 8 are allowed
4 validate metric_invalid: byte 73: the name that begins with "m" has 9 bytes; at most 8 are allowed
6 validate label_limit: byte 113: the sample has 3 tags; at most 2 are allowed
7 validate label_invalid: byte 127: the value of tag "a" has 5 bytes; at most 4 are allowed
8 validate label_invalid: byte 146: of a tag, the name that begins with "longername" has 10 bytes; at most 8 are allowed
`},
	} {
		in := bounds
		in.Payload = []byte(c.payload)
		expect(t, c.format, in, c.want)
	}
}

func TestSeriesBeyondTheBounds(t *testing.T) {
	bounds := Input{MaxName: 8, MaxTags: 2, MaxValue: 4}
	series := [][]string{
		{"__name__", "up", "a", "1", "b", "2"}, {"__name__", "up", "a", "1", "b", "2", "c", "3", "d", "4"},
		{"__name__", "upupupupu"}, {"__name__", "up", "a", "12345"}, {"__name__", "up", "longername", "1"}, {"__name__", "up"},
	}
	request1, request2, symbols := &prompb.WriteRequest{}, &writev2.Request{}, writev2.NewSymbolTable()
	for _, texts := range series {
		var labels []prompb.Label
		var refs []uint32
		for i := 0; i < len(texts); i += 2 {
			labels = append(labels, prompb.Label{Name: texts[i], Value: texts[i+1]})
			refs = append(refs, symbols.Symbolize(texts[i]), symbols.Symbolize(texts[i+1]))
		}
		request1.Timeseries = append(request1.Timeseries, prompb.TimeSeries{Labels: labels, Samples: []prompb.Sample{{Value: 1, Timestamp: now}}})
		request2.Timeseries = append(request2.Timeseries, writev2.TimeSeries{LabelsRefs: refs, Samples: []writev2.Sample{{Value: 1, Timestamp: now}}})
	}
	request2.Symbols = symbols.Symbols()
	for format, request := range map[Format]interface{ Marshal() ([]byte, error) }{RemoteWrite: request1, RemoteWrite2: request2} {
		in := bounds
		in.Payload, in.Now = sent(t, request), now
		var b telemetry.Batch
		if err := Decode(&b, format, in); err != nil {
			t.Fatal(err)
		}
		want := `
0 up{a=1,b=2} 1 @now+0
5 up 1 @now+0
1 validate label_limit: the series has more than 2 labels besides __name__
2 validate metric_invalid: the name that begins with "upupupupu" has 9 bytes; at most 8 are allowed
3 validate label_invalid: the value of tag "a" has 5 bytes; at most 4 are allowed
4 validate label_invalid: of a tag, the name that begins with "longername" has 10 bytes; at most 8 are allowed
`
		got := regexp.MustCompile(`byte \d+: `).ReplaceAllString(written(&b), "")
		if diff := cmp.Diff(want[1:], got); diff != "" {
			t.Errorf("%s: want -, got +:\n%s", format, diff)
		}
	}
	for format, series := range map[Format]string{RemoteWrite: nested(1, ""), RemoteWrite2: nested(5, "")} {
		var b telemetry.Batch
		err := Decode(&b, format, Input{Payload: snappy.Encode(nil, []byte(strings.Repeat(series, 6))), MaxSamples: 5})
		if err == nil || !strings.HasSuffix(err.Error(), "byte 12: the request holds more than 5 series; send it in smaller pieces") {
			t.Errorf("%s: series without values: %v", format, err)
		}
	}
}

func TestOTLPBeyondTheBounds(t *testing.T) {
	all := pmetric.NewMetrics()
	metrics := all.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics()
	for _, c := range []struct {
		name       string
		attributes []string
	}{{"up", []string{"a", "1", "b", "2"}}, {"up", []string{"a", "1", "b", "2", "c", "3"}}, {"up", []string{"a", "12345"}}, {"up", []string{"longername", "1"}}, {"longername", nil}, {"ok", nil}} {
		m := metrics.AppendEmpty()
		m.SetName(c.name)
		p := m.SetEmptyGauge().DataPoints().AppendEmpty()
		p.SetIntValue(1)
		for i := 0; i < len(c.attributes); i += 2 {
			p.Attributes().PutStr(c.attributes[i], c.attributes[i+1])
		}
	}
	payload, err := (&pmetric.ProtoMarshaler{}).MarshalMetrics(all)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, OTLP, Input{Payload: payload, MaxName: 8, MaxTags: 2, MaxValue: 4}, `
0 up{a=1,b=2} 1 @now+0
5 ok 1 @now+0
1 validate label_limit: metric "up": the point has 3 tags; at most 2 are allowed
2 validate label_invalid: metric "up": the value of tag "a" has 5 bytes; at most 4 are allowed
3 validate label_invalid: metric "up": of a tag, the name that begins with "longername" has 10 bytes; at most 8 are allowed
4 validate metric_invalid: the name that begins with "longername" has 10 bytes; at most 8 are allowed
`)
	deep := ""
	for range 40 {
		deep = nested(5, nested(1, deep))
	}
	attribute := nested(1, nested(2, nested(2, nested(5, nested(1, nested(7, nested(2, deep)))))))
	expect(t, OTLP, Input{Payload: []byte(attribute)}, "error otlp: byte 89: values nest deeper than 32 levels\n")
	attributes := nested(1, nested(2, nested(2, nested(5, nested(1, strings.Repeat(nested(7, ""), 2000))))))
	expect(t, OTLP, Input{Payload: []byte(attributes), MaxSamples: 100}, "error otlp: byte 3217: the request holds more than 1600 attributes and other parts; send it in smaller pieces\n")
	expect(t, OTLPJSON, Input{Payload: []byte("[" + strings.Repeat("null,", 2000)), MaxSamples: 100}, "error otlp-json: byte 0: the request holds 2000 objects; send it in smaller pieces\n")
}

func TestSparkplugBeyondTheBounds(t *testing.T) {
	var s Session
	says := func(topic SparkplugTopic, payload spark, want string) {
		t.Helper()
		var b telemetry.Batch
		_, err := s.Decode(&b, topic, Input{Payload: payload, Now: now, MaxName: 8, MaxValue: 4})
		got := written(&b)
		if err != nil {
			got += err.Error() + "\n"
		}
		if diff := cmp.Diff(strings.TrimLeft(want, "\n"), got); diff != "" {
			t.Errorf("%s\nwant -, got +:\n%s", topic.Type, diff)
		}
	}
	unit := spark{}.text(1, "engUnit").text(2, string(spark{}.text(8, "kilowatts")))
	says(SparkplugTopic{Node: "n", Type: NBirth}, message(0).
		metric(named("metric78").varint(2, 1).of(10).double(13, 1).text(9, string(unit))).
		metric(named("metric789").varint(2, 2).of(10).double(13, 1)), `
0 metric78 1 @now+0
1 validate metric_invalid: byte 60: the name that begins with "metric789" has 9 bytes; at most 8 are allowed
`)
	if s.Metrics() != 1 {
		t.Errorf("%d metrics are remembered, want the one with an allowed name", s.Metrics())
	}
	says(SparkplugTopic{Node: "n", Device: "plc7", Type: DBirth}, message(1).
		metric(named("fw1").of(12).text(15, "1")).
		metric(named("fw12").of(12).text(15, "1")), `
state plc7/fw1 "1" @now+0
1 validate metric_invalid: byte 23: the name that begins with "plc7" has 9 bytes; at most 8 are allowed
`)
	says(SparkplugTopic{Node: "n", Device: "plc77", Type: DBirth}, message(1), "sparkplug: byte 0: the device \"plc77\" of the topic has a name of 5 bytes; at most 4 are allowed\n")
}
