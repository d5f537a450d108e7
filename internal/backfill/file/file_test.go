package file

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/telemetry"
)

// read returns the samples of a file as a hub decodes them, and its faults. At
// each mark the file is opened anew when again.
func read(t *testing.T, path string, o Options, again bool) (samples, faults []string) {
	t.Helper()
	r, err := Open(path, o, Mark{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { r.Close() }()
	var e codec.RemoteWriteEncoder
	for p := (&Part{}); !p.Last; {
		if err := r.Next(p); err != nil {
			t.Fatal(err)
		}
		for _, f := range p.Faults {
			faults = append(faults, fmt.Sprintf("%d %s", f.Line, f.Detail))
		}
		samples = append(samples, decoded(t, p, p.Encode(&e, nil))...)
		if again && !p.Last {
			mark, err := ParseMark(p.Mark.String())
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			if r, err = Open(path, o, mark); err != nil {
				t.Fatal(err)
			}
		}
	}
	return samples, faults
}

// decoded writes what a part holds as line number, labels, time and value.
func decoded(t *testing.T, p *Part, body []byte) (all []string) {
	t.Helper()
	if body == nil {
		return nil
	}
	b := &telemetry.Batch{}
	if err := codec.Decode(b, codec.RemoteWrite, codec.Input{Payload: body}); err != nil {
		t.Fatal(err)
	}
	for _, s := range b.Samples {
		text := string(s.Metric)
		for _, tag := range s.Tags {
			text += fmt.Sprintf(",%s=%s", tag.Name, tag.Value)
		}
		_, metric, ms, line := p.At(int(s.Index))
		if metric != string(s.Metric) || ms != s.Time {
			t.Errorf("sample %d is %s at %d, and told to be %s at %d", s.Index, s.Metric, s.Time, metric, ms)
		}
		all = append(all, fmt.Sprintf("%d %s %d %v", line, text, s.Time, s.Value))
	}
	return all
}

func written(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWhatFilesHold(t *testing.T) {
	shanghai, err := time.LoadLocation("Asia/Shanghai")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o       Options
		text    string
		samples []string
		faults  []string
	}{
		"wide": {Options{Format: CSV, Time: "time", DeviceFrom: "device", Tags: []string{"room"}}, "\ufefftime,device,room,t,\"h,\"\"x\"\"\"\r\n1700000000,a,1,2.5,3\r\n1700000001,a,,,4\r\n\r\n1700000002,b,1,true,\r\n",
			[]string{"2 t,device=a,room=1 1700000000000 2.5", `2 h,"x",device=a,room=1 1700000000000 3`, `3 h,"x",device=a 1700000001000 4`, "5 t,device=b,room=1 1700000002000 1"}, nil},
		"wide with faults": {Options{Format: CSV, Time: "at", Device: "x", Zone: shanghai}, "at,t,h\n2024-02-29 08:00,1,no\n2024-02-30 08:00,1,2\nshort\n\"a\"b,1,2\n2024-02-29 08:01:30.5,2,\"3\n\"\n2024/2/29 8:02,5,\n",
			[]string{"2 t,device=x 1709164800000 1", "6 t,device=x 1709164890500 2", "8 t,device=x 1709164920000 5", "6 h,device=x 1709164890500 3"},
			[]string{`2 column "h": "no" is no number`, `3 "2024-02-30 08:00" is no time; RFC 3339 and seconds to nanoseconds since 1970 are recognised, others take --time-format`, "4 the row has 1 fields and the header 3", `5 extraneous or missing " in quoted-field`}},
		"long": {Options{Format: CSV, Time: "time", DeviceFrom: "device"}, "device,metric,time,value\na,t,2024-01-01T00:00:00+08:00,1e3\na,,1704038400000,2\n,t,1704038400000,2\nb,t,1704038400000,2\na,t,2024-01-01T00:01:00Z,NaN\n",
			[]string{"2 t,device=a 1704038400000 1000", "6 t,device=a 1704067260000 NaN", "5 t,device=b 1704038400000 2"}, []string{`3 column "metric" is empty: no metric is named`, `4 column "device" is empty: no device is named`}},
		"no zone": {Options{Format: CSV, Time: "time", Device: "x"}, "time,t\n2024-01-01 00:00:00,1\n", nil, []string{`2 time "2024-01-01 00:00:00" names no zone; say which with --zone, such as Asia/Shanghai`}},
		"form of time": {Options{Format: CSV, Time: "time", Device: "x", TimeFormat: "%d.%m.%Y %H:%M", Zone: time.UTC}, "time,t\n31.12.2023 23:59,1\n",
			[]string{"2 t,device=x 1704067140000 1"}, nil},
		"line protocol": {Options{Format: Influx, DeviceFrom: "host", Precision: time.Second}, "# c\ncpu,host=a,core=0 load=1,busy=2 1700000000\n\ncpu load=1 1700000000\ncpu,host=a load=1\ncpu,host=a load= 1700000000\ncpu,host=a state=\"on\",load=3 1700000001",
			[]string{"2 cpu_load,device=a,core=0 1700000000000 1", "2 cpu_busy,device=a,core=0 1700000000000 2", "7 cpu_load,device=a 1700000001000 3"},
			[]string{`4 no tag "host" names the device; say which tag does with --device-from, or whose all are with --device`, "5 the line has no time; history needs one", "6", `7 field "cpu_state" is text, and no sample`}},
		"openmetrics": {Options{Format: OpenMetrics, DeviceFrom: "instance"}, "# TYPE a counter\n# HELP a x\na_total{instance=\"h\",job=\"j\"} 5 1700000000.5\na_total{instance=\"h\",job=\"j\"} 6\nb 1 1700000000\nc{ 1\nh_bucket{instance=\"h\",le=\"+Inf\"} 3 1700000000 # {trace_id=\"x\"} 0.5\n",
			[]string{"3 a_total,device=h,job=j 1700000000500 5", "7 h_bucket,device=h,le=+Inf 1700000000000 3"},
			[]string{"4 the sample has no time; history needs one", `5 no label "instance" names the device; say which label does with --device-from, or whose all are with --device`, "6", "8 the file ends without # EOF: something may be missing behind it"}},
	} {
		t.Run(name, func(t *testing.T) {
			samples, faults := read(t, written(t, "f", c.text), c.o, false)
			if diff := cmp.Diff(c.samples, samples); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			for i := range faults {
				if i < len(c.faults) && !strings.Contains(c.faults[i], " ") {
					faults[i], _, _ = strings.Cut(faults[i], " ") // of a parser's own
				}
			}
			if diff := cmp.Diff(c.faults, faults); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// TestReadingGoesOnAtAnyMark opens long files anew at every mark: they hold the
// same as in one go, and lines are told by the same numbers.
func TestReadingGoesOnAtAnyMark(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var wide, lp, om strings.Builder
	wide.WriteString("time,device,a,b,\"c\n2\"\n")
	for i := range 90_000 {
		if random.IntN(5000) == 0 {
			fmt.Fprintf(&wide, "%d,x,1\n\n", i)
			fmt.Fprintf(&lp, "m,device=x bad\n")
			fmt.Fprintf(&om, "m{} bad\n")
		}
		fmt.Fprintf(&wide, "%d,d%d,%d,,\"%d\n\"\n", 1_700_000_000+i, i/30_000, i, i)
		fmt.Fprintf(&lp, "m,device=x%d v=%d %d\n", i/30_000, i, 1_700_000_000_000_000_000+i)
		fmt.Fprintf(&om, "m{device=\"x%d\"} %d %d\n", i/30_000, i, 1_700_000_000+i)
	}
	om.WriteString("# EOF\n")
	for format, text := range map[string]string{CSV: wide.String(), Influx: lp.String(), OpenMetrics: om.String()} {
		o := Options{Format: format, Time: "time", DeviceFrom: "device", Precision: time.Nanosecond}
		path := written(t, "f", text)
		inOne, faults := read(t, path, o, false)
		again, faultsAgain := read(t, path, o, true)
		if len(inOne) < 90_000 || len(faults) < 5 {
			t.Errorf("%s: %d samples, %d faults", format, len(inOne), len(faults))
		}
		if !slices.Equal(inOne, again) || !slices.Equal(faults, faultsAgain) {
			t.Errorf("%s: %d samples and %d faults in one go, %d and %d in parts; or others", format, len(inOne), len(faults), len(again), len(faultsAgain))
		}
	}
}

// newBlock makes a block with tsdb, as Prometheus does.
func newBlock(t testing.TB, series, samples int) string {
	t.Helper()
	dir := t.TempDir()
	w, err := tsdb.NewBlockWriter(slog.New(slog.DiscardHandler), dir, tsdb.DefaultBlockDuration)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	app := w.Appender(t.Context())
	for s := range series {
		ls := labels.FromStrings("__name__", "level", "instance", fmt.Sprintf("h%d", s%7), "job", "j", "room", fmt.Sprint(s))
		if s == series-1 {
			ls = labels.FromStrings("__name__", "up", "job", "j")
		}
		var ref storage.SeriesRef
		for i := range samples {
			if ref, err = app.Append(ref, ls, 1_700_006_400_000+int64(i)*15, float64(s*samples+i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	all, err := filepath.Glob(filepath.Join(dir, "*", "meta.json"))
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	return filepath.Dir(all[0])
}

func TestABlockIsReadSeriesBySeries(t *testing.T) {
	path := newBlock(t, 12, 11_000)
	o := Options{Format: Blocks, DeviceFrom: "instance"}
	inOne, faults := read(t, path, o, false)
	if len(inOne) != 11*11_000 || !slices.Contains(inOne, "1 level,device=h0,job=j,room=0 1700006400000 0") {
		t.Errorf("%d samples, such as %v", len(inOne), inOne[:3])
	}
	if len(faults) != 1 || !strings.HasPrefix(faults[0], "12 series 12 has no label") {
		t.Errorf("%v", faults)
	}
	again, faultsAgain := read(t, path, o, true)
	slices.Sort(inOne)
	slices.Sort(again)
	if !slices.Equal(inOne, again) || !slices.Equal(faults, faultsAgain) {
		t.Errorf("%d samples in one go, %d in parts", len(inOne), len(again))
	}
	if all, err := BlocksIn(filepath.Dir(path)); err != nil || !slices.Equal(all, []string{path}) {
		t.Error(all, err)
	}
	if _, err := BlocksIn(t.TempDir()); err == nil {
		t.Error("an empty folder has blocks")
	}
}

func TestAQuoteThatIsNotClosedEndsInAnError(t *testing.T) {
	path := written(t, "f.csv", "time,t\n1700000000,\"1\n"+strings.Repeat("1700000000,1\n", 500_000))
	r, err := Open(path, Options{Format: CSV, Time: "time", Device: "x"}, Mark{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Next(&Part{}); err == nil || !strings.Contains(err.Error(), "a quote is not closed") {
		t.Error(err)
	}
}

func TestAnImportIsAFileReadOneWay(t *testing.T) {
	quiet := func(int64, int64) {}
	seen := map[string]bool{}
	for _, text := range []string{"a", "b"} {
		for _, o := range []Options{{Format: CSV}, {Format: CSV, Device: "x"}, {Format: Influx}, {Format: CSV, Tags: []string{"a", "b"}}, {Format: CSV, Tags: []string{"b", "a"}}} {
			id, size, err := ID(t.Context(), written(t, "f", text), o, quiet)
			if err != nil || size != 1 || seen[id] {
				t.Error(id, size, err)
			}
			seen[id] = true
		}
	}
}
