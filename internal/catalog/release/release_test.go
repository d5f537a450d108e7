package release

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/telemetry"
)

var from = time.Date(2026, 11, 1, 0, 0, 0, 0, time.FixedZone("", 8*60*60))

// odd is a table with every type and what is hard to write.
func odd() *Table {
	ms := from.UnixMilli()
	item := func(name string, of catalog.Type) catalog.Item {
		return catalog.Item{Name: name, Title: catalog.Text{ZH: "列 " + name, EN: "Column " + name}, Type: of, Share: catalog.Unconditional, Open: catalog.Unconditional}
	}
	t := &Table{Rows: 4, Columns: []Column{
		{Item: item("time", catalog.Instant), Integers: []int64{ms, ms, ms + 60_000, -1}},
		{Item: item("device", catalog.String), Strings: []string{"b,\"x\"", "a", " 设备\r\n ", ""}},
		{Item: item("value", catalog.Number), Numbers: []float64{0.1, 1e21, -5e-324, math.MaxFloat64}},
		{Item: item("count", catalog.Integer), Integers: []int64{math.MaxInt64, math.MinInt64, 7, 0}, Absent: []bool{false, false, false, true}},
		{Item: item("small", catalog.Integer), Integers: []int64{1, 2, 0, -MaxExact}, Absent: []bool{false, false, true, false}},
		{Item: item("open", catalog.Boolean), Booleans: []bool{true, false, false, true}, Absent: []bool{false, false, true, false}},
		{Item: item("note", catalog.String), Strings: []string{"\x00\x1f\u2028<&>", "plain", "", ""}, Absent: []bool{false, false, true, false}},
		{Item: item("place", catalog.Place), Strings: []string{`{"type":"Point","coordinates":[125.3245678,43.88]}`, "", `{"type":"LineString","coordinates":[[125,43],[126,44]]}`, `{"type":"Point","coordinates":[-180,90]}`}, Absent: []bool{false, true, false, false}},
	}}
	t.Columns[2].Unit, t.Columns[3].Empty = "Cel", catalog.Text{ZH: "未测得", EN: "not measured"}
	return t
}

// draft is one of a dataset, for a day.
func draft(t *Table) Draft {
	return Draft{
		Dataset: &catalog.Dataset{ID: "soil", Code: "301/1", Title: catalog.Text{ZH: "墒情", EN: "Soil"}, State: catalog.Published, Licence: "https://creativecommons.org/licenses/by/4.0/",
			Share: catalog.Terms{Class: catalog.Unconditional}, Open: catalog.Terms{Class: catalog.Unconditional}},
		Table: t, Key: []string{"time", "device"}, Period: catalog.Period{From: from, To: from.Add(24 * time.Hour)},
		Recipe: Recipe{Transform: Transform{ID: "series/1", Hash: strings.Repeat("0", 64)}, Source: json.RawMessage(`{"kind":"series","bin":"1h"}`), Inputs: []Input{{ID: "soil_moisture{device=\"a\"}", Count: 2}}},
	}
}

type world struct {
	*Store
	deps    Deps
	noted   []string
	changed []string
}

// open opens a store in a directory.
func open(t testing.TB, dir string, keys *Keys) *world {
	t.Helper()
	w := &world{}
	w.deps = Deps{
		Dir: dir, Keys: keys, Log: slog.New(slog.DiscardHandler), Clock: func() time.Time { return from.Add(30 * time.Hour) },
		Noted: func(_ context.Context, e Event, m *Manifest) error {
			w.noted = append(w.noted, string(e)+" "+of(m.Dataset, m.Version))
			return nil
		},
		Changed: func(id string) { w.changed = append(w.changed, id) },
	}
	var err error
	if w.Store, err = Open(w.deps); err != nil {
		t.Fatal(err)
	}
	return w
}

func put(t testing.TB, w *world, d Draft) *Manifest {
	t.Helper()
	m, err := w.Put(context.Background(), d)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func content(t testing.TB, w *world, version int64, name string) string {
	t.Helper()
	c, err := w.Store.Open("soil", version, name)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	text, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// golden are the files of odd. Where one of them changes, so do the bytes of
// releases that were made before when they are verified: Format must change, or
// the library that is new must not be taken.
var golden = map[string]string{
	CSVFile:     "f2d769c711dafa10f4e780ee88e3e70c6575eb45e0a5b8bbd894b5dc1483d1e0",
	SchemaFile:  "fe505de9bc1e30f1d1c6afb1141243de6891ac6dbfeb79c0a8ec0885481bf4d8",
	ParquetFile: "d0e9723571a0253881b8304885f5f80321e12b3a25a0cd00f941beeee43daf92",
	NDJSONFile:  "6463d80e9de9df28d90d02d2ebb27221cedb18b3aede29fffef78cdd7f5cd374",
	GeoJSONFile: "a1e59f21af3f7c1559e483918d1d303821f5b11ecdebadc6eed0ef964fc12f0a",
}

func TestFilesAreTheSameBytesEverywhere(t *testing.T) {
	zone, procs := time.Local, runtime.GOMAXPROCS(0)
	t.Cleanup(func() { time.Local = zone; runtime.GOMAXPROCS(procs) })
	var manifests []string
	for i, where := range []struct {
		zone  *time.Location
		procs int
		lang  string
	}{{time.UTC, 1, "C"}, {time.FixedZone("", -9*60*60-1800), 8, "zh_CN.GB18030"}} {
		time.Local = where.zone
		runtime.GOMAXPROCS(where.procs)
		t.Setenv("LC_ALL", where.lang)
		w := open(t, t.TempDir(), nil)
		m := put(t, w, draft(odd()))
		for name, want := range golden {
			if f := m.File(name); f == nil || f.SHA256 != want {
				t.Errorf("%d: %s has sha-256 %+v, want %s", i, name, f, want)
			}
		}
		manifests = append(manifests, content(t, w, 1, ManifestFile))
	}
	if manifests[0] != manifests[1] {
		t.Errorf("manifests differ:\n%s%s", manifests[0], manifests[1])
	}
}

// TestParquetOfManyRowsIsTheSameBytes has more than one row group, and columns of
// every encoding.
func TestParquetOfManyRowsIsTheSameBytes(t *testing.T) {
	if testing.Short() {
		t.Skip("many rows; make test")
	}
	table := day(200, true)
	r := rand.New(rand.NewPCG(3, 4))
	noise := Column{Item: catalog.Item{Name: "noise", Type: catalog.Number}}
	count := Column{Item: catalog.Item{Name: "count", Type: catalog.Integer}}
	id := Column{Item: catalog.Item{Name: "id", Type: catalog.String}}
	flag := Column{Item: catalog.Item{Name: "flag", Type: catalog.Boolean}, Absent: make([]bool, table.Rows)}
	for row := range table.Rows {
		noise.Numbers = append(noise.Numbers, r.NormFloat64())
		count.Integers = append(count.Integers, r.Int64N(1<<40))
		id.Strings = append(id.Strings, fmt.Sprint("row-", r.Int64()))
		flag.Absent[row] = row%7 == 0
		flag.Booleans = append(flag.Booleans, row%3 == 0 && !flag.Absent[row])
	}
	table.Columns = append(table.Columns, noise, count, id, flag)
	var b bytes.Buffer
	if err := writeParquet(context.Background(), table, &b); err != nil {
		t.Fatal(err)
	}
	const want = "1eeea49277ea6e4dff48b1906aa985d06fdf7b41483b454fa4016125a1f0891c"
	if got := hexSum(b.Bytes()); got != want {
		t.Errorf("%d bytes with sha-256 %s, want %s", b.Len(), got, want)
	}
	back, err := readParquet(bytes.NewReader(b.Bytes()), int64(b.Len()), (&Manifest{Columns: infos(table)}).Items())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, table) {
		t.Error("other rows came back")
	}
}

func TestWhatIsInTheFiles(t *testing.T) {
	w := open(t, t.TempDir(), nil)
	put(t, w, draft(odd()))
	wantCSV := "time,device,value,count,small,open,note,place\r\n" +
		`1969-12-31T23:59:59.999Z,"",1.7976931348623157e+308,,-9007199254740991,true,"","{""type"":""Point"",""coordinates"":[-180,90]}"` + "\r\n" +
		"2026-10-31T16:00:00Z,a,1e+21,-9223372036854775808,2,false,plain,\r\n" +
		`2026-10-31T16:00:00Z,"b,""x""",0.1,9223372036854775807,1,true,` + "\x00\x1f\u2028<&>" + `,"{""type"":""Point"",""coordinates"":[125.3245678,43.88]}"` + "\r\n" +
		"2026-10-31T16:01:00Z,\" 设备\r\n \",-5e-324,7,,,,\"{\"\"type\"\":\"\"LineString\"\",\"\"coordinates\"\":[[125,43],[126,44]]}\"\r\n"
	if got := content(t, w, 1, CSVFile); got != wantCSV {
		t.Errorf("got\n%s\nwant\n%s", got, wantCSV)
	}
	if rows, err := csv.NewReader(strings.NewReader(wantCSV)).ReadAll(); err != nil || len(rows) != 5 {
		t.Error(err)
	}
	lines := strings.Split(content(t, w, 1, NDJSONFile), "\n")
	want := `{"time":"2026-10-31T16:00:00Z","device":"b,\"x\"","value":0.1,"count":"9223372036854775807","small":1,"open":true,"note":"\u0000\u001f` + "\u2028" + `<&>","place":{"type":"Point","coordinates":[125.3245678,43.88]}}`
	if len(lines) != 5 || lines[2] != want || !strings.Contains(lines[0], `"count":null`) || !strings.Contains(lines[0], `"value":1.7976931348623157e+308`) {
		t.Errorf("got\n%s\nwant\n%s", lines[2], want)
	}
	var places struct {
		Type     string
		Features []struct {
			Type       string
			Geometry   *struct{ Type string }
			Properties map[string]any
		}
	}
	if err := json.Unmarshal([]byte(content(t, w, 1, GeoJSONFile)), &places); err != nil {
		t.Fatal(err)
	}
	if len(places.Features) != 4 || places.Features[1].Geometry != nil || places.Features[3].Geometry.Type != "LineString" || len(places.Features[0].Properties) != 7 {
		t.Errorf("%+v", places)
	}
}

func TestWithoutPlacesThereIsNoGeoJSON(t *testing.T) {
	w := open(t, t.TempDir(), nil)
	table := odd()
	table.Columns = table.Columns[:7]
	if m := put(t, w, draft(table)); m.File(GeoJSONFile) != nil || len(m.Files) != 4 {
		t.Errorf("%+v", m.Files)
	}
}

// TestTheSidecarIsCSVW checks what the standard asks of the description: the
// properties that there are, that names are names, and that the header is among
// the titles.
func TestTheSidecarIsCSVW(t *testing.T) {
	w := open(t, t.TempDir(), nil)
	put(t, w, draft(odd()))
	var d struct {
		Context     []any  `json:"@context"`
		URL         string `json:"url"`
		TableSchema struct {
			Columns []struct {
				Name     string
				Titles   map[string][]string
				Datatype any
				Null     []string
				Required bool
				Unit     string `json:"schema:unitText"`
			}
			PrimaryKey []string
		}
	}
	if err := json.Unmarshal([]byte(content(t, w, 1, SchemaFile)), &d); err != nil {
		t.Fatal(err)
	}
	if d.Context[0] != "http://www.w3.org/ns/csvw" || d.URL != CSVFile || !reflect.DeepEqual(d.TableSchema.PrimaryKey, []string{"time", "device"}) {
		t.Errorf("%+v", d)
	}
	header := strings.Split(strings.SplitN(content(t, w, 1, CSVFile), "\r\n", 2)[0], ",")
	kinds := []any{"dateTimeStamp", "string", "double", "long", "long", "boolean", "string", "json"}
	for i, c := range d.TableSchema.Columns {
		if c.Name != header[i] || c.Titles["und"][0] != header[i] || c.Titles["zh"][0] != "列 "+header[i] || c.Datatype != kinds[i] || c.Null[0] != "" || c.Required != (i < 2) {
			t.Errorf("%+v", c)
		}
	}
	if d.TableSchema.Columns[2].Unit != "Cel" {
		t.Error(d.TableSchema.Columns[2])
	}
}

func TestRowsComeBackFromParquet(t *testing.T) {
	w := open(t, t.TempDir(), nil)
	put(t, w, draft(odd()))
	want, err := odd().Ordered([]string{"time", "device"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.Table("soil", 1)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

// TestAnyTableComesBack: whatever the values, all files are made again of the
// Parquet file byte by byte.
func TestAnyTableComesBack(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(r, "rows")
		table := &Table{Rows: n}
		for i := range rapid.IntRange(0, 5).Draw(r, "columns") {
			c := Column{Item: catalog.Item{Name: fmt.Sprint("c", i), Type: rapid.SampledFrom(catalog.Types()).Draw(r, "type")}}
			c.room(n)
			if rapid.Bool().Draw(r, "gaps") && n > 0 {
				c.Absent = make([]bool, n)
				c.Absent[rapid.IntRange(0, n-1).Draw(r, "gap")] = true
			}
			for row := range n {
				c.Booleans, c.Integers, c.Strings, c.Numbers = anyValue(r, &c, row)
			}
			table.Columns = append(table.Columns, c)
		}
		key := Column{Item: catalog.Item{Name: "key", Type: catalog.Integer}, Integers: make([]int64, n)}
		for row := range n {
			key.Integers[row] = int64(row)
		}
		table.Columns = append(table.Columns, key)
		var first, again bytes.Buffer
		if err := writeParquet(context.Background(), table, &first); err != nil {
			r.Fatal(err)
		}
		back, err := readParquet(bytes.NewReader(first.Bytes()), int64(first.Len()), (&Manifest{Columns: infos(table)}).Items())
		if err != nil {
			r.Fatal(err)
		}
		if err := writeParquet(context.Background(), back, &again); err != nil || !bytes.Equal(first.Bytes(), again.Bytes()) {
			r.Fatal("Parquet differs", err)
		}
		for _, write := range []func(context.Context, *Table, io.Writer) error{writeCSV, writeNDJSON} {
			first.Reset()
			again.Reset()
			if err := write(context.Background(), table, &first); err != nil {
				r.Fatal(err)
			}
			if err := write(context.Background(), back, &again); err != nil || first.String() != again.String() {
				r.Fatalf("%v\n%s\n%s", err, &first, &again)
			}
		}
		for line := range bytes.Lines(first.Bytes()) {
			if !json.Valid(line) {
				r.Fatalf("%s is no JSON", line)
			}
		}
	})
}

func anyValue(r *rapid.T, c *Column, row int) ([]bool, []int64, []string, []float64) {
	if !c.Has(row) {
		return grown(c, false, 0, "", 0)
	}
	switch c.Type {
	case catalog.Instant:
		return grown(c, false, rapid.Int64Range(firstInstant, lastInstant).Draw(r, "instant"), "", 0)
	case catalog.Place:
		return grown(c, false, 0, fmt.Sprintf(`{"type":"Point","coordinates":[%d,%d]}`, rapid.IntRange(-180, 180).Draw(r, "lon"), rapid.IntRange(-90, 90).Draw(r, "lat")), 0)
	}
	return grown(c, rapid.Bool().Draw(r, "bool"), rapid.Int64().Draw(r, "int"), rapid.String().Draw(r, "string"), rapid.Float64().Draw(r, "float"))
}

func grown(c *Column, b bool, i int64, s string, f float64) ([]bool, []int64, []string, []float64) {
	switch c.Type {
	case catalog.Boolean:
		return append(c.Booleans, b), nil, nil, nil
	case catalog.Integer, catalog.Instant:
		return nil, append(c.Integers, i), nil, nil
	case catalog.String, catalog.Place:
		return nil, nil, append(c.Strings, s), nil
	}
	return nil, nil, nil, append(c.Numbers, f)
}

func TestTextsAreThoseOfOthers(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		v := rapid.Float64().Draw(r, "number")
		want, err := json.Marshal(v)
		if err != nil {
			r.Fatal(err)
		}
		if got := appendNumber(nil, v); string(got) != string(want) && v != 0 {
			r.Fatalf("%v: %s, want %s", v, got, want)
		}
		ms := rapid.Int64Range(firstInstant, lastInstant).Draw(r, "instant")
		format := "2006-01-02T15:04:05Z"
		if ms%1000 != 0 {
			format = "2006-01-02T15:04:05.000Z"
		}
		if got := (&instants{}).append(nil, ms); string(got) != time.UnixMilli(ms).UTC().Format(format) {
			r.Fatalf("%d: %s", ms, got)
		}
		s := rapid.String().Draw(r, "string")
		var back string
		if err := json.Unmarshal(appendString(nil, s), &back); err != nil || back != s {
			r.Fatalf("%q: %q, %v", s, back, err)
		}
		fields, err := csv.NewReader(strings.NewReader(string(appendField(append(appendField(nil, s), ','), "x")) + "\r\n")).Read()
		if err != nil || len(fields) != 2 || fields[0] != strings.ReplaceAll(s, "\r\n", "\n") {
			r.Fatalf("%q: %q, %v", s, fields, err)
		}
	})
}

func TestWhatFilesCannotSayIsRefused(t *testing.T) {
	w := open(t, t.TempDir(), nil)
	for want, change := range map[string]func(*Draft){
		"no number that JSON can say": func(d *Draft) { d.Table.Columns[2].Numbers[1] = math.NaN() },
		"is not UTF-8":                func(d *Draft) { d.Table.Columns[1].Strings[0] = "\xff" },
		"longer than the 2":           func(d *Draft) { d.Table.Columns[1].Length = 2 },
		"outside of the years":        func(d *Draft) { d.Table.Columns[0].Integers[0] = math.MaxInt64 },
		"has white space":             func(d *Draft) { d.Table.Columns[7].Strings[0] = `{"type": "Point","coordinates":[1,2]}` },
		"none of a Point":             func(d *Draft) { d.Table.Columns[7].Strings[0] = `{"type":"Point","coordinates":[43.88,125.3]}` },
		"no type of geometry":         func(d *Draft) { d.Table.Columns[7].Strings[0] = `{"type":"Circle","coordinates":[1,2]}` },
		"the same key: time":          func(d *Draft) { d.Table.Columns[1].Strings[0] = "a" },
		"needs a key":                 func(d *Draft) { d.Key = nil },
		"none of the table":           func(d *Draft) { d.Key = []string{"x"} },
		"says not why":                func(d *Draft) { d.Replaces = 1 },
		"version 7":                   func(d *Draft) { d.Replaces, d.Reason = 7, catalog.Text{ZH: "误", EN: "wrong"} },
		"names no transform":          func(d *Draft) { d.Recipe.Transform.ID = "" },
		"is none: it has a beginning": func(d *Draft) { d.Period.To = d.Period.From },
		"above that of the dataset":   func(d *Draft) { d.Table.Columns[0].Grade = telemetry.Important },
		"no id of a dataset":          func(d *Draft) { d.Dataset.ID = "../soil" },
		"privacy report is no JSON":   func(d *Draft) { d.Privacy = []byte("{") },
		"releases.key_file":           func(d *Draft) { d.Dataset.Grade = telemetry.Important },
	} {
		d := draft(odd())
		change(&d)
		if _, err := w.Put(context.Background(), d); err == nil || !strings.Contains(err.Error(), want) {
			if want != "version 7" || err == nil || !strings.Contains(err.Error(), "release 7 of dataset") {
				t.Errorf("%s: %v", want, err)
			}
		}
	}
	if len(w.noted) != 0 || len(w.List("soil")) != 0 {
		t.Error(w.noted)
	}
	if entries, err := os.ReadDir(w.deps.Dir); err != nil || len(entries) != 0 {
		t.Error(entries, err)
	}
}

func TestADiffSaysWhatIsDifferent(t *testing.T) {
	w := open(t, t.TempDir(), nil)
	put(t, w, draft(odd()))
	late := odd()
	late.Columns[2].Numbers[1] = 2   // changed
	late.Columns[3].Absent = nil     // and so is the first row in time
	late.Columns[0].Integers[2] += 1 // removed and added
	d := draft(late)
	d.Replaces, d.Reason = 1, catalog.Text{ZH: "迟到数据", EN: "late data"}
	m := put(t, w, d)
	if m.Version != 2 || m.Diff == nil || m.Diff.Added != 1 || m.Diff.Removed != 1 || m.Diff.Changed != 2 || m.Diff.Same != 1 || m.Diff.Items["value"] != 1 || m.Diff.Items["count"] != 1 {
		t.Fatalf("%+v", m.Diff)
	}
	back, err := w.Get("soil", 2)
	if err != nil || len(back.Diff.Examples) != 4 {
		t.Fatal(back, err)
	}
	for _, e := range back.Diff.Examples {
		if e.Kind == "changed" && string(e.Key["device"]) == `"a"` && (string(e.Before["value"]) != "1e+21" || string(e.After["value"]) != "2" || len(e.After) != 1) {
			t.Errorf("%+v", e)
		}
	}
	r := w.Releases("soil")
	if len(r) != 2 || r[1].Replaces != 1 || r[1].Reason.EN != "late data" || len(r[1].Files) != 5 || r[1].Files[0].SHA256 == [32]byte{} {
		t.Errorf("%+v", r)
	}
}

func TestDiffOfColumnsThatAreOthers(t *testing.T) {
	old, new := odd(), odd()
	new.Columns[6].Name = "remark"
	new.Columns[5] = Column{Item: catalog.Item{Name: "open", Type: catalog.Number}, Numbers: make([]float64, 4)}
	d, err := Diff(old, new, []string{"device", "time"})
	if err != nil || d.Same != 4 || !reflect.DeepEqual(d.NewItems, []string{"open", "remark"}) || !reflect.DeepEqual(d.GoneItems, []string{"open", "note"}) {
		t.Error(d, err)
	}
}

func TestVerifyFindsWhatIsNotTheSame(t *testing.T) {
	w := open(t, t.TempDir(), nil)
	d := draft(odd())
	d.Privacy = []byte(`{"k":10}`)
	m := put(t, w, d)
	r, err := w.Verify(context.Background(), "soil", 1, nil)
	if err != nil || !r.OK() || len(r.Files) != 6 {
		t.Fatal(r, err)
	}
	r, err = w.Verify(context.Background(), "soil", 1, func(_ context.Context, got *Manifest) (*Table, []byte, error) {
		if len(got.Recipe.Inputs) != 1 {
			t.Error("a rebuild must have the inputs")
		}
		table := odd()
		table.Columns[2].Numbers[0] = 0.2
		return table, []byte(`{"k":10}`), nil
	})
	if err != nil || r.OK() {
		t.Fatal(r, err)
	}
	for _, f := range r.Files {
		if want := map[bool]string{true: Same, false: Different}[f.Name == SchemaFile || f.Name == PrivacyFile]; f.Rebuilt != want || f.Stored != Same {
			t.Errorf("%+v", f)
		}
	}

	// The same without a hub, of files that were downloaded.
	dir := t.TempDir()
	for _, f := range append(m.Files, File{Name: ManifestFile}) {
		if err := os.WriteFile(filepath.Join(dir, f.Name), []byte(content(t, w, 1, f.Name)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r, err = VerifyDir(context.Background(), dir); err != nil || !r.OK() || r.Files[0].Rebuilt != Same {
		t.Fatal(r, err)
	}
	csv := filepath.Join(dir, CSVFile)
	text, err := os.ReadFile(csv)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(csv, bytes.Replace(text, []byte("0.1"), []byte("0.2"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, NDJSONFile)); err != nil {
		t.Fatal(err)
	}
	if r, err = VerifyDir(context.Background(), dir); err != nil || r.OK() || r.Files[0].Stored != Damaged || r.Files[0].Rebuilt != Same || r.Files[3].Stored != Absent || r.Files[3].Rebuilt != Same {
		t.Fatal(r, err)
	}
}
