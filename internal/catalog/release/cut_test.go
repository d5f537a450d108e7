package release

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"pgregory.net/rapid"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/telemetry"
)

// farms are three probes of three districts by the hour of a day. Each value, name
// and place of a probe is found nowhere else.
func farms() (*Table, []Stretch) {
	item := func(name string, of catalog.Type) catalog.Item {
		return catalog.Item{Name: name, Title: catalog.Text{ZH: "列" + name, EN: "Column " + name}, Type: of, Share: catalog.Conditional, Open: catalog.None}
	}
	t := &Table{Columns: []Column{{Item: item("device", catalog.String)}, {Item: item("time", catalog.Instant)}, {Item: item("moisture", catalog.Number)}, {Item: item("acid", catalog.Integer)}, {Item: item("site", catalog.Place)}}}
	var where []Stretch
	for d, region := range []string{"220102", "220103", "220203"} {
		for hour := range 24 {
			c := t.Columns
			c[0].Strings = append(c[0].Strings, fmt.Sprintf("probe-%d", d))
			c[1].Integers = append(c[1].Integers, from.Add(time.Duration(hour)*time.Hour).UnixMilli())
			c[2].Numbers, c[2].Absent = append(c[2].Numbers, float64(1000*(d+1)+hour)+0.5), append(c[2].Absent, false)
			c[3].Integers = append(c[3].Integers, int64(700_000*(d+1)+hour))
			c[4].Strings = append(c[4].Strings, fmt.Sprintf(`{"type":"Point","coordinates":[12%d.5,43.%d5]}`, d, d))
			t.Rows++
		}
		where = append(where, Stretch{Rows: 24, Regions: []string{region}, Bin: time.Hour, Key: []string{fmt.Sprintf("probe-%d", d)}})
	}
	return t, where
}

// cutting is a store that makes cuts, of what where says.
func cutting(t testing.TB, dir string, most int64, where []Stretch, keys *Keys) *world {
	t.Helper()
	w := &world{}
	w.deps = Deps{Dir: filepath.Join(dir, "releases"), Keys: keys, Log: slog.New(slog.DiscardHandler), Clock: func() time.Time { return from.Add(30 * time.Hour) },
		Noted: func(context.Context, Event, *Manifest) error { return nil },
		Cuts:  CutDeps{Dir: filepath.Join(dir, "cuts"), Max: most, Where: func(context.Context, string, int64) ([]Stretch, error) { return where, nil }}}
	w.Store = must(Open(w.deps))
	return w
}

// farmDraft is the release of a table of farms.
func farmDraft(t *Table) Draft {
	d := draft(t)
	d.Dataset.Open.Class, d.Key = catalog.None, []string{"device", "time"}
	d.Recipe.Source = json.RawMessage(`{"region":"22","source":{"kind":"series"}}`)
	d.Recipe.Inputs = []Input{{ID: `soil{device="probe-0"}`}, {ID: `soil{device="probe-2"}`}}
	return d
}

// filesOf reads all files of a cut.
func filesOf(t testing.TB, w *world, c *Cut) (*Manifest, map[string]string) {
	t.Helper()
	m, content, err := w.OpenCut(t.Context(), "soil", 1, c, ManifestFile)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(content)
	files := map[string]string{ManifestFile: string(text)}
	if err := errors.Join(err, content.Close()); err != nil {
		t.Fatal(err)
	}
	for _, f := range m.Files {
		_, content, err := w.OpenCut(t.Context(), "soil", 1, c, f.Name)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(content)
		if err := errors.Join(err, content.Close()); err != nil || hexSum(text) != f.SHA256 || int64(len(text)) != f.Size || content.SHA256 != f.SHA256 {
			t.Fatal(f, err)
		}
		files[f.Name] = string(text)
	}
	return must(ParseManifest([]byte(files[ManifestFile]))), files
}

// narrow is the cut that a scope comes to.
func narrow(t testing.TB, w *world, items []string, area string, from, to time.Time) *Cut {
	t.Helper()
	m := must(w.known("soil", 1))
	if items == nil {
		for _, c := range m.Columns {
			items = append(items, c.Name)
		}
	}
	return must(m.Narrow(items, area, from, to))
}

// TestACutIsItsPartAlone cuts by items, area and time, and reads every file with
// the readers that people have. Nothing that lies outside is in any of them.
func TestACutIsItsPartAlone(t *testing.T) {
	table, where := farms()
	w := cutting(t, t.TempDir(), 1<<30, where, nil)
	d := farmDraft(table)
	d.Privacy = []byte(`{"cells":4711}`)
	put(t, w, d)
	c := narrow(t, w, []string{"time", "device", "moisture", "site"}, "2201", from.Add(90*time.Minute), from.Add(5*time.Hour+30*time.Minute))
	m, files := filesOf(t, w, c)
	for name, text := range files {
		for _, outside := range []string{"acid", "probe-2", "3002.5", "700002", "122.5", "4711", "1001.5", "1005.5", "soil{"} {
			if strings.Contains(text, outside) {
				t.Errorf("%s has %q, which is not granted", name, outside)
			}
		}
	}
	var want [][]string
	for d := range 2 {
		for hour := 2; hour < 5; hour++ { // the bins that lie within, of an hour each
			want = append(want, []string{fmt.Sprintf("probe-%d", d), from.Add(time.Duration(hour) * time.Hour).UTC().Format(time.RFC3339), fmt.Sprintf("%d.5", 1000*(d+1)+hour), fmt.Sprintf(`{"type":"Point","coordinates":[12%d.5,43.%d5]}`, d, d)})
		}
	}
	rows := must(csv.NewReader(strings.NewReader(files[CSVFile])).ReadAll())
	if diff := cmp.Diff(append([][]string{{"device", "time", "moisture", "site"}}, want...), rows); diff != "" {
		t.Error(diff)
	}
	if m.Rows != 6 || !slices.Equal(m.Key, d.Key) || len(m.Columns) != 4 || !m.Period.From.Equal(c.From) || !m.Period.To.Equal(c.To) || m.Diff != nil || m.File(PrivacyFile) != nil {
		t.Errorf("%+v", m)
	}
	var sidecar struct {
		TableSchema struct {
			Columns    []struct{ Name string }
			PrimaryKey []string
		}
	}
	if err := json.Unmarshal([]byte(files[SchemaFile]), &sidecar); err != nil || len(sidecar.TableSchema.Columns) != 4 || !slices.Equal(sidecar.TableSchema.PrimaryKey, d.Key) {
		t.Error(err, files[SchemaFile])
	}
	for i, line := range strings.Split(strings.TrimSuffix(files[NDJSONFile], "\n"), "\n") {
		var row map[string]any
		if err := json.Unmarshal([]byte(line), &row); err != nil || len(row) != 4 || row["device"] != want[i][0] || fmt.Sprint(row["moisture"]) != want[i][2] {
			t.Error(err, line)
		}
	}
	var features struct {
		Features []struct {
			Geometry   struct{ Coordinates []float64 }
			Properties map[string]any
		}
	}
	if err := json.Unmarshal([]byte(files[GeoJSONFile]), &features); err != nil || len(features.Features) != 6 || len(features.Features[5].Properties) != 3 || features.Features[5].Geometry.Coordinates[0] != 121.5 {
		t.Error(err, files[GeoJSONFile])
	}
	inParquet(t, files[ParquetFile], want)
}

// inParquet reads a file of Parquet with the library, its statistics and metadata
// among them.
func inParquet(t *testing.T, text string, want [][]string) {
	t.Helper()
	f, err := parquet.OpenFile(strings.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	if n := f.NumRows(); n != int64(len(want)) || len(f.Metadata().KeyValueMetadata) != 0 || len(f.Root().Columns()) != 4 {
		t.Errorf("%d rows, %v", n, f.Metadata())
	}
	got := must(readParquet(strings.NewReader(text), int64(len(text)), []catalog.Item{{Name: "device", Type: catalog.String}, {Name: "time", Type: catalog.Instant}, {Name: "moisture", Type: catalog.Number}, {Name: "site", Type: catalog.Place}}))
	for i, row := range want {
		if got.Columns[0].Strings[i] != row[0] || fmt.Sprint(got.Columns[2].Numbers[i]) != row[2] {
			t.Errorf("row %d", i)
		}
	}
	chunk := f.RowGroups()[0].ColumnChunks()[2].(*parquet.FileColumnChunk)
	if low, high, ok := chunk.Bounds(); ok && (low.Double() != 1002.5 || high.Double() != 2004.5) {
		t.Errorf("statistics from %v to %v", low, high)
	}
}

// TestTheSameCutIsTheSameBytes wherever it is made, and is verified without a hub.
func TestTheSameCutIsTheSameBytes(t *testing.T) {
	table, where := farms()
	var first map[string]string
	for range 2 {
		w := cutting(t, t.TempDir(), 1<<30, where, nil)
		put(t, w, farmDraft(table))
		c := narrow(t, w, []string{"moisture", "acid"}, "220102", time.Time{}, time.Time{})
		if m, known := w.Describe(must(w.known("soil", 1)), c); known || len(m.Files) != 4 || m.Files[0].SHA256 != "" {
			t.Errorf("%+v", m)
		}
		m, files := filesOf(t, w, c)
		if first == nil {
			first = files
		}
		if diff := cmp.Diff(first, files); diff != "" {
			t.Error(diff)
		}
		if is, known := w.Describe(must(w.known("soil", 1)), c); !known || is.Files[0].SHA256 != m.Files[0].SHA256 {
			t.Errorf("%+v", is)
		}
		dir := t.TempDir()
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r, err := VerifyDir(t.Context(), dir)
		if err != nil || !r.OK() || slices.ContainsFunc(r.Files, func(f Finding) bool { return f.Rebuilt != Same }) {
			t.Errorf("%+v %v", r, err)
		}
		if use := w.CutUse(); use.Made != 1 || use.Kept != 1 || use.Found != 4 {
			t.Errorf("%+v", use)
		}
	}
}

// TestTheOrderTellsNothingOfColumnsThatAreGone: without its key a cut is in the
// order of its values, and a row that another column alone has reason for is not
// there.
func TestTheOrderTellsNothingOfColumnsThatAreGone(t *testing.T) {
	table, where := farms()
	for row := range table.Rows {
		table.Columns[2].Numbers[row] = float64((row * 7) % 24)
		if table.Columns[2].Absent[row] = row%5 == 0; row%5 == 0 {
			table.Columns[2].Numbers[row] = 0
		}
	}
	w := cutting(t, t.TempDir(), 1<<30, where, nil)
	put(t, w, farmDraft(table))
	m, files := filesOf(t, w, narrow(t, w, []string{"moisture"}, "", time.Time{}, time.Time{}))
	rows := must(csv.NewReader(strings.NewReader(files[CSVFile])).ReadAll())[1:]
	if len(rows) != 72-15 || len(m.Key) != 0 || strings.Contains(files[SchemaFile], "primaryKey") {
		t.Errorf("%d rows, key %v", len(rows), m.Key)
	}
	last := -1.
	for _, row := range rows {
		var v float64
		fmt.Sscan(row[0], &v)
		if row[0] == "" || v < last {
			t.Fatalf("%q after %v", row[0], last)
		}
		last = v
	}
	if m, _ := filesOf(t, w, narrow(t, w, []string{"device", "time"}, "", time.Time{}, time.Time{})); m.Rows != 72 {
		t.Errorf("%d rows of the key alone", m.Rows)
	}
}

// TestWhatAScopeComesTo is nothing, all, or what is left of it.
func TestWhatAScopeComesTo(t *testing.T) {
	table, where := farms()
	w := cutting(t, t.TempDir(), 1<<30, where, nil)
	m := put(t, w, farmDraft(table))
	all := []string{"device", "time", "moisture", "acid", "site"}
	for name, c := range map[string]struct {
		items    []string
		area     string
		from, to time.Time
		want     *Cut
		outside  bool
	}{
		"all":            {items: append([]string{"more"}, all...), area: "22", from: from, to: m.Period.To},
		"wider":          {items: all, from: from.AddDate(-1, 0, 0), to: m.Period.To.AddDate(1, 0, 0)},
		"items in order": {items: []string{"acid", "device"}, want: &Cut{Items: []string{"device", "acid"}}},
		"area":           {items: all, area: "2201", want: &Cut{Area: "2201"}},
		"from":           {items: all, from: from.Add(time.Hour), want: &Cut{From: from.Add(time.Hour).UTC()}},
		"no item":        {items: []string{"other"}, outside: true},
		"before":         {items: all, to: m.Period.From, outside: true},
		"after":          {items: all, from: m.Period.To, outside: true},
	} {
		got, err := m.Narrow(c.items, c.area, c.from, c.to)
		var outside *Outside
		if errors.As(err, &outside) != c.outside || !cmp.Equal(c.want, got) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
		if outside != nil && (outside.ZH == "" || outside.EN == "") {
			t.Errorf("%s: %+v", name, outside)
		}
	}
	if _, _, err := w.OpenCut(t.Context(), "soil", 1, &Cut{Items: []string{"acid"}}, GeoJSONFile); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	if w.CutUse().Made != 0 {
		t.Error("a cut was made for a file that none of it has")
	}
}

// TestRowsOfWhichItIsNotKnownWhereTheyAre are not guessed at.
func TestRowsOfWhichItIsNotKnownWhereTheyAre(t *testing.T) {
	table, where := farms()
	for name, wrong := range map[string][]Stretch{
		"too few": where[:2], "too many": append(slices.Clone(where), Stretch{Rows: 1}), "another order": {where[1], where[0], where[2]},
	} {
		w := cutting(t, t.TempDir(), 1<<30, wrong, nil)
		put(t, w, farmDraft(table))
		if _, _, err := w.OpenCut(t.Context(), "soil", 1, &Cut{Area: "2201"}, CSVFile); !errors.Is(err, ErrNoCut) {
			t.Errorf("%s: %v", name, err)
		}
		if use := w.CutUse(); use.Bytes != 0 || use.Kept != 0 {
			t.Errorf("%s: %+v", name, use)
		}
	}
	nowhere := slices.Clone(where)
	nowhere[0].Regions, nowhere[1].Regions = nil, []string{"220103", ""}
	w := cutting(t, t.TempDir(), 1<<30, nowhere, nil)
	put(t, w, farmDraft(table))
	if m, _ := filesOf(t, w, &Cut{Area: "2201"}); m.Rows != 0 {
		t.Errorf("%d rows of nowhere are said to be within", m.Rows)
	}
}

// TestCutsLieOnDiskSealed whatever the grade, and go with their release and their
// hub.
func TestCutsLieOnDiskSealed(t *testing.T) {
	table, where := farms()
	for _, grade := range []telemetry.Grade{telemetry.General, telemetry.Important} {
		dir := t.TempDir()
		w := cutting(t, dir, 1<<30, where, keysOf(t, keyA))
		d := farmDraft(table)
		d.Dataset.Grade = grade
		put(t, w, d)
		_, files := filesOf(t, w, &Cut{Items: []string{"device"}})
		if !strings.Contains(files[CSVFile], "probe-2") {
			t.Error(files[CSVFile])
		}
		entries, found := 0, false
		err := filepath.Walk(filepath.Join(dir, "cuts"), func(path string, info os.FileInfo, err error) error {
			if err == nil && !info.IsDir() {
				entries++
				text := must(os.ReadFile(path))
				found = found || bytes.Contains(text, []byte("probe")) || bytes.Contains(text, []byte("device"))
			}
			return err
		})
		if err != nil || entries == 0 || found {
			t.Errorf("%d files, plain %v, %v", entries, found, err)
		}
		if _, err := w.Remove(t.Context(), "soil", 1, catalog.Text{ZH: "保存期满", EN: "over"}); err != nil {
			t.Fatal(err)
		}
		if left := must(os.ReadDir(filepath.Join(dir, "cuts"))); len(left) != 0 || w.CutUse().Bytes != 0 {
			t.Errorf("%v %+v", left, w.CutUse())
		}
		if _, _, err := w.OpenCut(t.Context(), "soil", 1, &Cut{Items: []string{"device"}}, CSVFile); !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
		if err := os.Mkdir(filepath.Join(dir, "cuts", "old"), 0o700); err != nil {
			t.Fatal(err)
		}
		cutting(t, dir, 1<<30, where, keysOf(t, keyA))
		if left := must(os.ReadDir(filepath.Join(dir, "cuts"))); len(left) != 0 {
			t.Errorf("%v of a hub before", left)
		}
	}
}

// TestCutsHaveABound: the one that was not read for longest makes room, none that
// is being read does, and what has no room is refused.
func TestCutsHaveABound(t *testing.T) {
	table, where := farms()
	dir := t.TempDir()
	w := cutting(t, dir, 1<<30, where, nil)
	put(t, w, farmDraft(table))
	for _, item := range []string{"moisture", "acid", "site"} {
		filesOf(t, w, &Cut{Items: []string{item}})
	}
	w = cutting(t, dir, w.CutUse().Bytes-1, where, nil) // two of the three
	cut := func(item string) *Cut { return &Cut{Items: []string{item}} }
	known := func(item string) bool { _, known := w.Describe(must(w.known("soil", 1)), cut(item)); return known }
	filesOf(t, w, cut("moisture"))
	filesOf(t, w, cut("acid"))
	filesOf(t, w, cut("moisture"))
	filesOf(t, w, cut("site"))
	if use := w.CutUse(); known("acid") || !known("moisture") || !known("site") || use.Dropped != 1 || use.Bytes > w.deps.Cuts.Max {
		t.Errorf("%+v", use)
	}
	var open []*Content
	for _, item := range []string{"moisture", "site"} {
		_, c, err := w.OpenCut(t.Context(), "soil", 1, cut(item), CSVFile)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	if _, _, err := w.OpenCut(t.Context(), "soil", 1, cut("acid"), CSVFile); !errors.Is(err, ErrCutsFull) || !known("moisture") || !known("site") {
		t.Error(err, "one that is read made room for another")
	}
	for _, c := range open {
		if text, err := io.ReadAll(c); err != nil || len(text) == 0 {
			t.Error(err)
		}
		c.Close()
		c.Close()
	}
	filesOf(t, w, cut("acid"))
	if n := len(must(os.ReadDir(filepath.Join(dir, "cuts")))); n != w.CutUse().Kept {
		t.Errorf("%d directories, %+v", n, w.CutUse())
	}
	w = cutting(t, dir, 500, where, nil)
	if _, _, err := w.OpenCut(t.Context(), "soil", 1, cut("acid"), CSVFile); !errors.Is(err, ErrCutLarge) || w.CutUse().Bytes != 0 || len(must(os.ReadDir(filepath.Join(dir, "cuts")))) != 0 {
		t.Error(err, w.CutUse())
	}
	ctx, end := context.WithCancelCause(t.Context())
	end(errors.New("revoked"))
	if _, _, err := w.OpenCut(ctx, "soil", 1, cut("acid"), CSVFile); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Error(err)
	}
}

// TestAnyCutIsAPartOfItsRelease: whatever the scope, each row of the cut is one of
// the release, within the scope, with nothing more; and each such row that has a
// value is there.
func TestAnyCutIsAPartOfItsRelease(t *testing.T) {
	table, where := farms()
	for row := range table.Rows {
		if table.Columns[2].Absent[row] = row%3 == 1; row%3 == 1 {
			table.Columns[2].Numbers[row] = 0
		}
	}
	w := cutting(t, t.TempDir(), 1<<20, where, nil)
	put(t, w, farmDraft(table))
	rapid.Check(t, func(r *rapid.T) {
		items := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"device", "time", "moisture", "acid", "site"}), 1, 5, rapid.ID).Draw(r, "items")
		area := rapid.SampledFrom([]string{"", "2201", "220103", "2202", "220299"}).Draw(r, "area")
		begin := from.Add(time.Duration(rapid.IntRange(-60, 1380).Draw(r, "from")) * time.Minute)
		end := begin.Add(time.Duration(rapid.IntRange(61, 600).Draw(r, "length")) * time.Minute)
		c, err := must(w.known("soil", 1)).Narrow(items, area, begin, end)
		if err != nil {
			r.Fatal(err)
		}
		_, files := filesOf(t, w, c)
		rows := must(csv.NewReader(strings.NewReader(files[CSVFile])).ReadAll())
		var want []string
		for row := range table.Rows {
			at := from.Add(time.Duration(row%24) * time.Hour)
			in := !at.Before(begin) && !at.Add(time.Hour).After(end) && where[row/24].within(area)
			if slices.Contains(items, "moisture") && !slices.Contains(items, "acid") {
				in = in && !table.Columns[2].Absent[row]
			}
			if !in {
				continue
			}
			var line []byte
			for _, name := range rows[0] {
				column := table.Column(name)
				line = append(line, '|')
				if column.Has(row) {
					line = inCSV(&Column{Item: column.Item, Strings: column.Strings, Integers: column.Integers, Numbers: column.Numbers})(line, row)
				}
			}
			want = append(want, strings.ReplaceAll(string(line), `""`, `"`))
		}
		got := make([]string, len(rows)-1)
		for i, row := range rows[1:] {
			got[i] = "|" + strings.Join(row, "|")
		}
		for i := range want {
			want[i] = strings.NewReplacer(`"{`, `{`, `}"`, `}`).Replace(want[i])
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			r.Fatalf("%+v\ngot  %q\nwant %q", c, got, want)
		}
	})
}
