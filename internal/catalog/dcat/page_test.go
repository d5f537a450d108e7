package dcat

import (
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/catalogtest"
	"github.com/songhua-io/hub/internal/telemetry"
)

// TestTheTagOfAPageIsOfWhatPersonsDecide and so is the time of a record.
func TestTheTagOfAPageIsOfWhatPersonsDecide(t *testing.T) {
	a, f := about("https://data.example"), Formats()[0]
	was := catalogtest.Usual(1, 0)
	tag := func(e *catalog.Entry) string {
		s := catalog.NewSnapshot(1, []*catalog.Entry{catalogtest.Usual(0, 0), e}, nil)
		return ETag(f, a.Tag(s, func(e *catalog.Entry) [32]byte { return a.Digest(e, nil) }), 1)
	}
	for name, c := range map[string]struct {
		change func(*catalog.Entry)
		same   bool
	}{
		"coverage":                    {func(e *catalog.Entry) { e.Coverage.Time.To = e.Coverage.Time.To.Add(time.Hour) }, true},
		"measurements":                {func(e *catalog.Entry) { e.Measurements[0].Value = 0.5 }, true},
		"the time of the newest data": {func(e *catalog.Entry) { e.Dataset.Data = e.Dataset.Data.Add(time.Hour) }, true},
		"a title":                     {func(e *catalog.Entry) { e.Dataset.Title.ZH = "路面温度" }, false},
		"a grade":                     {func(e *catalog.Entry) { e.Dataset.Grade = telemetry.Important }, false},
		"a release":                   {func(e *catalog.Entry) { e.Releases[0].Version++ }, false},
		"an interface":                {func(e *catalog.Entry) { e.Live = nil }, false},
		"a withdrawal":                {func(e *catalog.Entry) { e.Dataset.State = catalog.Withdrawn }, false},
	} {
		e := catalogtest.Usual(1, 0)
		c.change(e)
		if same := tag(e) == tag(was); same != c.same {
			t.Errorf("%s: the tag is the same: %t", name, same)
		}
		if modified(e.Dataset) != modified(was.Dataset) {
			t.Errorf("%s: the record is modified", name)
		}
	}
}

// TestATitleMakesANameOfItsOwn for those who make names of titles.
func TestATitleMakesANameOfItsOwn(t *testing.T) {
	for _, title := range []string{"", "路面温度监测数据", "Road temperature", strings.Repeat("a long title ", 20), strings.Repeat("长", 200)} {
		if name := catalogtest.Munge(Title(title, "road-temperature-220100")); !strings.Contains(name, "road-temperature-220100") {
			t.Errorf("%.30q becomes %q", title, name)
		}
	}
}

// TestAPageOfEveryFormatLinksToItsOwn and an address out of range is an error.
func TestAPageOfEveryFormatLinksToItsOwn(t *testing.T) {
	a := about("https://data.example")
	var entries []*catalog.Entry
	for i := range 2*PerPage + 1 {
		entries = append(entries, catalogtest.Usual(i, 0))
	}
	s := catalog.NewSnapshot(42, entries, nil)
	for _, f := range Formats() {
		g, err := a.Page(f, s, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{1, 2, 3} {
			if want := "<" + a.Address(f, 42, n) + ">"; !strings.Contains(g.canonical(), want) {
				t.Errorf("%s does not name %s", f.Suffix, want)
			}
		}
	}
	for _, n := range []int{0, 4} {
		if _, err := a.Page(Formats()[0], s, n); err == nil || !strings.Contains(err.Error(), "1 to 3") {
			t.Errorf("page %d: %v", n, err)
		}
	}
}

// BenchmarkPages writes all pages of 10,000 datasets.
func BenchmarkPages(b *testing.B) {
	a := about("http://data.example.test")
	var entries []*catalog.Entry
	for i := range 10_000 {
		entries = append(entries, catalogtest.Usual(i, 0))
	}
	s := catalog.NewSnapshot(1, entries, nil)
	for _, f := range Formats() {
		b.Run(f.Suffix, func(b *testing.B) {
			b.ReportAllocs()
			var out []byte
			for b.Loop() {
				size := 0
				for n := range Pages(s) {
					g, err := a.Page(f, s, n+1)
					if err != nil {
						b.Fatal(err)
					}
					out = f.Append(out[:0], g)
					size += len(out)
				}
				b.ReportMetric(float64(size)/1e6, "MB/op")
				if size > Pages(s)*catalogtest.Largest {
					b.Fatal("harvesters take no page of this size")
				}
			}
		})
	}
}
