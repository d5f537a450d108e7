package web

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/gate"
	"github.com/songhua-io/hub/internal/catalog/search"
)

// Bounds of what a page of a dataset lists.
const (
	shownReleases = 12
	shownDays     = 30 // of quality
	shownRelated  = 12
)

// datasetView is what the page of a dataset is rendered from besides view.
type datasetView struct {
	*catalog.Dataset
	Name    catalog.Text
	Crumbs  []crumb
	URL     string
	Changed time.Time
	Latest  *releaseView
	Live    []liveView
	// Free says that everybody may have it without asking.
	Free     bool
	Coverage catalog.Coverage
	ByItem   bool // items differ in classes or grades
	Preview  *preview
	Failed   bool // the preview could not be made
	Map      *coverMap
	Quality  *qualityView
	Terms    []termsView
	Privacy  *privacyView
	Releases []releaseView
	More     int // releases that are not listed
	Examples []example
	Cite     citation
	Related  []datasetCard
	MayApply bool
	Steward  bool
}

// releaseView is a release as it is listed.
type releaseView struct {
	catalog.Release
	Href  string
	Files []fileView
	Rows  int64
	// ReplacedBy is the version that corrects it; 0: none.
	ReplacedBy int64
	Newest     bool
}

type fileView struct {
	catalog.Distribution
	Href, Format, Sum string
}

type liveView struct {
	catalog.Distribution
	Title catalog.Text
	Doc   string
}

// termsView are how far a dataset goes, with the law in words.
type termsView struct {
	Way string // share or open
	catalog.Terms
	Basis []basisView
	Rule  article // of the regulation, which says what the class means
	Href  string
}

type basisView struct {
	catalog.Law
	Href  string
	Words []string // the paragraphs, where they are known
}

type example struct{ Key, Command, Note string }

type citation struct{ Text, BibTeX string }

func releasesOf(e *catalog.Entry) (all []releaseView) {
	by := map[int64]int64{}
	for _, r := range e.Releases {
		if r.Replaces > 0 {
			by[r.Replaces] = r.Version
		}
	}
	newest := e.Newest()
	for i := len(e.Releases) - 1; i >= 0; i-- {
		r := e.Releases[i]
		v := releaseView{Release: r, Href: fmt.Sprintf("/catalog/dataset/%s/release/%d", e.Dataset.ID, r.Version), ReplacedBy: by[r.Version], Newest: r.Version == newest.Version}
		for _, f := range r.Files {
			v.Files = append(v.Files, fileView{f, v.Href + "/" + url.PathEscape(f.Name), formatName(f.MediaType), hex.EncodeToString(f.SHA256[:])})
			v.Rows = max(v.Rows, f.Rows)
		}
		all = append(all, v)
	}
	return all
}

func (p *pages) showDataset(w http.ResponseWriter, r *http.Request) {
	e := p.entry(w, r)
	if e == nil {
		return
	}
	l := p.language(w, r)
	v := p.datasetOf(r, e, l)
	p.publish(w, r, "dataset", http.StatusOK, view{Title: plain(l.tag(), v.Name), Page: v})
}

func (p *pages) datasetOf(r *http.Request, e *catalog.Entry, l lang) *datasetView {
	d, caller := e.Dataset, access.CallerOf(r.Context())
	v := &datasetView{Dataset: d, Name: ownTitle(d.ID, d.Title), Crumbs: p.crumbsOf(pathOf(d.Path)), URL: p.Catalogue.Base.Dataset(d.ID), Changed: search.Changed(e), Coverage: e.Coverage,
		Free: d.Open.Class == catalog.Unconditional, MayApply: access.May(caller.Role, access.ApplyGrants), Steward: mayStewards(caller, d)}
	for _, it := range d.Items {
		if it.Share != d.Share.Class || it.Open != d.Open.Class || it.Grade != d.Grade {
			v.ByItem = true
		}
	}
	v.Terms = []termsView{termsOf("open", d.Open, "第三十三条"), termsOf("share", d.Share, "第二十九条")}
	v.Releases = releasesOf(e)
	latest, live := e.Offered()
	if latest != nil {
		v.Latest = &v.Releases[slices.IndexFunc(v.Releases, func(r releaseView) bool { return r.Newest })]
	}
	if len(v.Releases) > shownReleases && r.URL.Query().Get("releases") != "all" {
		v.More = len(v.Releases) - shownReleases
		v.Releases = v.Releases[:shownReleases]
	}
	if newest := e.Newest(); newest != nil && (latest != nil || v.Steward) {
		v.fill(p, r, newest.Version)
	}
	for _, f := range live {
		one := liveView{Distribution: f, Title: catalog.Text{ZH: f.Service}}
		if s := p.Catalogue.Snapshot().Service(f.Service); s != nil {
			one.Title, one.Doc = s.Title, s.Description
		}
		v.Live = append(v.Live, one)
	}
	var marks []mark
	if v.Preview != nil {
		marks = v.Preview.marks
	}
	v.Map = coverOf(e.Coverage.Area, marks)
	v.Quality = p.qualityOf(r, e)
	v.Examples = examplesOf(p.Catalogue.Base, v)
	v.Cite = cite(v, p.Now(), l)
	v.Related = relatedTo(p.Catalogue.Snapshot(), d)
	return v
}

// fill reads what lies beside the newest release. Rows are shown where everybody may
// have them, and to those who keep the dataset.
func (v *datasetView) fill(p *pages, r *http.Request, version int64) {
	var err error
	if (v.Free || v.Steward) && p.Catalogue.Register.Open(v.ID, "") == nil {
		if v.Preview, err = p.previewOf(r.Context(), v.ID, version, r.URL.Query().Get("item")); err != nil {
			p.Log.Warn("preview_not_made", "dataset", v.ID, "version", version, "error", err)
			v.Failed = true
		}
	}
	v.Privacy = p.privacyOf(r, v.ID, version)
}

func termsOf(way string, t catalog.Terms, number string) termsView {
	rule, _ := articleOf(lawOf(number))
	v := termsView{Way: way, Terms: t, Rule: rule, Href: lawHref(lawOf(number))}
	for _, b := range t.Basis {
		one := basisView{Law: b, Href: lawHref(b)}
		if a, ok := articleOf(b); ok {
			one.Words = a.Words
		}
		v.Basis = append(v.Basis, one)
	}
	return v
}

// Says are the paragraphs of the rule that the class is about.
func (t termsView) Says() []string {
	if len(t.Rule.Words) < 4 {
		return nil
	}
	i := slices.Index(catalog.Classes(), t.Class)
	if i < 0 {
		return nil
	}
	return t.Rule.Words[1+i : 2+i]
}

// privacyView is the report of the gate in words.
type privacyView struct {
	gate.Report
	Href  string
	Sound bool // its hash is right
	Tried int64
	Share string // of cells withheld
	Bin   time.Duration
	Delay time.Duration
}

// Epsilon is what was spent for each day.
func (v *privacyView) Epsilon() string { return figure(float64(v.Noise.MicroEpsilon) / 1e6) }

// Spent is what this and the versions before have spent of the Budget of a day.
func (v *privacyView) Spent() string { return figure(float64(v.Noise.Spent) / 1e6) }

// Budget is what all versions of a day may spend.
func (v *privacyView) Budget() string { return figure(float64(v.Noise.Budget) / 1e6) }

func (p *pages) privacyOf(r *http.Request, dataset string, version int64) *privacyView {
	if p.Catalogue.Privacy == nil {
		return nil
	}
	text, err := p.Catalogue.Privacy(r.Context(), dataset, version)
	v := &privacyView{Href: fmt.Sprintf("/catalog/dataset/%s/release/%d/privacy.json", dataset, version)}
	if err == nil && len(text) > 0 {
		err = json.Unmarshal(text, &v.Report)
	}
	switch {
	case err != nil:
		p.Log.Warn("privacy_report_not_read", "dataset", dataset, "version", version, "error", err)
		return nil
	case len(text) == 0:
		return nil
	}
	v.Sound = gate.VerifyReport(text, nil) == nil
	for _, f := range v.Attacks {
		v.Tried += f.Tried
	}
	v.Share = figure(float64(v.Cells.WithheldPermille)/10) + "%"
	v.Bin, v.Delay = time.Duration(v.Policy.MinBin)*time.Second, time.Duration(v.Policy.Delay)*time.Second
	return v
}

// qualityView is how good a dataset was.
type qualityView struct {
	Dimensions []dimensionView
	Days       []qualityDay
	Compared   []Comparison
	Broken     int // of those compared
}

type dimensionView struct {
	Dimension catalog.Dimension
	Now       string
	Spark     string
	At        time.Time
}

type qualityDay struct {
	Day    string
	Values []string // by dimension
}

// measured writes a value of a dimension.
func measured(d catalog.Dimension, v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case d == catalog.Timeliness && v >= 120:
		return figure(math.Round(v/6)/10) + " min"
	case d == catalog.Timeliness:
		return figure(v) + " s"
	case v < 1 && v > .999:
		return strconv.FormatFloat(100*v, 'f', 2, 64) + "%"
	}
	return strconv.FormatFloat(100*v, 'f', 1, 64) + "%"
}

func (p *pages) qualityOf(r *http.Request, e *catalog.Entry) *qualityView {
	q := &Quality{History: e.Measurements}
	if p.Catalogue.Quality != nil {
		known, err := p.Catalogue.Quality(r.Context(), e.Dataset.ID)
		if err != nil {
			p.Log.Warn("quality_not_read", "dataset", e.Dataset.ID, "error", err)
		} else if known != nil {
			q = known
		}
	}
	if len(q.History) == 0 && len(q.Compared) == 0 {
		return nil
	}
	v := &qualityView{Compared: q.Compared}
	for _, c := range q.Compared {
		if !c.Holds {
			v.Broken++
		}
	}
	v.days(q.History)
	return v
}

func (v *qualityView) days(history []catalog.Measurement) {
	by := map[string]map[catalog.Dimension]float64{}
	newest := map[catalog.Dimension]catalog.Measurement{}
	for _, m := range history {
		d := day(m.At)
		if by[d] == nil {
			by[d] = map[catalog.Dimension]float64{}
		}
		by[d][m.Dimension], newest[m.Dimension] = m.Value, m
	}
	days := make([]string, 0, len(by))
	for d := range by {
		days = append(days, d)
	}
	slices.Sort(days)
	days = days[max(0, len(days)-shownDays):]
	for _, dim := range catalog.Dimensions() {
		now, known := newest[dim]
		if !known {
			continue
		}
		values, low, high := make([]float64, len(days)), .95, 1.0 // a share is seen against what is good
		for i, d := range days {
			values[i] = math.NaN()
			if x, ok := by[d][dim]; ok {
				values[i] = x
				low, high = min(low, x), max(high, x)
			}
		}
		one := dimensionView{Dimension: dim, Now: measured(dim, now.Value), At: now.At}
		if dim == catalog.Timeliness {
			low = 0
		}
		one.Spark = spark(values, low-.08*(high-low)-1e-9, high+.08*(high-low)+1e-9)
		v.Dimensions = append(v.Dimensions, one)
	}
	for i := len(days) - 1; i >= 0; i-- {
		row := qualityDay{Day: days[i]}
		for _, one := range v.Dimensions {
			x, ok := by[days[i]][one.Dimension]
			if !ok {
				x = math.NaN()
			}
			row.Values = append(row.Values, measured(one.Dimension, x))
		}
		v.Days = append(v.Days, row)
	}
}

// examplesOf are calls that work as they are, but for the token.
func examplesOf(base catalog.Base, v *datasetView) (all []example) {
	auth := ""
	if !v.Free {
		auth = `-H "Authorization: Bearer $TOKEN" `
	}
	if v.Latest != nil && len(v.Latest.Files) > 0 {
		all = append(all, example{Key: "file", Command: "curl -O " + auth + base.File(v.ID, v.Latest.Version, v.Latest.Files[0].Name)})
	}
	for _, l := range v.Live {
		all = append(all, example{Key: "live", Command: "curl " + auth + "'" + l.URL + "'"})
	}
	return append(all,
		example{Key: "dcat", Command: "curl -H 'Accept: text/turtle' " + v.URL},
		example{Key: "ckan", Command: "curl '" + string(base) + "/ckan/api/3/action/package_show?id=" + v.ID + "'"},
	)
}

// cite says how to name what was used, so that others find it.
func cite(v *datasetView, now time.Time, l lang) citation {
	provider, year, version := plain(l.tag(), v.Provider.Name), v.Changed.In(chinaTime).Format("2006"), ""
	if v.Latest != nil {
		version = strconv.FormatInt(v.Latest.Version, 10)
	}
	name := plain(l.tag(), v.Name)
	var c citation
	if l == chinese {
		c.Text = fmt.Sprintf("%s：《%s》", provider, name)
		if version != "" {
			c.Text += "，第 " + version + " 版"
		}
		c.Text += fmt.Sprintf("，%s 年。%s（%s 查阅）", year, v.URL, day(now))
	} else {
		c.Text = fmt.Sprintf("%s (%s): %s", provider, year, name)
		if version != "" {
			c.Text += ", version " + version
		}
		c.Text += fmt.Sprintf(". %s (seen %s)", v.URL, day(now))
	}
	lines := []string{"@misc{" + v.ID + ",", "  author = {{" + provider + "}},", "  title = {{" + name + "}},", "  year = {" + year + "},"}
	if version != "" {
		lines = append(lines, "  version = {"+version+"},")
	}
	c.BibTeX = strings.Join(append(lines, "  url = {"+v.URL+"}", "}"), "\n")
	return c
}

// relatedTo are the datasets that are named as related, and others of the same
// place in the classification.
func relatedTo(s *catalog.Snapshot, d *catalog.Dataset) (all []datasetCard) {
	seen := map[string]bool{d.ID: true}
	add := func(e *catalog.Entry) {
		if e != nil && !seen[e.Dataset.ID] && len(all) < shownRelated {
			seen[e.Dataset.ID] = true
			all = append(all, cardOf(e))
		}
	}
	for _, id := range d.Related {
		add(s.Find(id))
	}
	for _, e := range s.Entries {
		if len(all) >= 3 {
			break
		}
		if e.Dataset.Path == d.Path {
			add(e)
		}
	}
	return all
}

// releasePage is what the page of a release is rendered from besides view.
type releasePage struct {
	*datasetView
	R          releaseView
	Before     *releaseView // that it replaces
	Difference *Difference
	Compare    *compareView // nil: nobody may, or there is no other
}

func (p *pages) showRelease(w http.ResponseWriter, r *http.Request) {
	e := p.entry(w, r)
	if e == nil {
		return
	}
	version, err := strconv.ParseInt(r.PathValue("version"), 10, 64)
	all := releasesOf(e)
	i := slices.IndexFunc(all, func(v releaseView) bool { return v.Version == version })
	if err != nil || i < 0 {
		p.noSuch(w, r)
		return
	}
	d := e.Dataset
	v := releasePage{datasetView: &datasetView{Dataset: d, Name: ownTitle(d.ID, d.Title), Crumbs: p.crumbsOf(pathOf(d.Path)), URL: p.Catalogue.Base.Release(d.ID, version), Free: d.Open.Class == catalog.Unconditional}, R: all[i]}
	if d.Open.Class != catalog.None {
		v.fill(p, r, version)
	}
	if j := slices.IndexFunc(all, func(other releaseView) bool { return other.Version == v.R.Replaces }); j >= 0 {
		v.Before = &all[j]
	}
	if v.R.Replaces > 0 && v.Free && p.Catalogue.Difference != nil {
		if v.Difference, err = p.Catalogue.Difference(r.Context(), d.ID, version); err != nil {
			p.Log.Warn("difference_not_read", "dataset", d.ID, "version", version, "error", err)
		}
	}
	if v.Free {
		var versions []int64
		for _, one := range all {
			versions = append(versions, one.Version)
		}
		v.Compare = p.compare(r, d.ID, versions, version, nil)
	}
	l := p.language(w, r)
	p.publish(w, r, "release", http.StatusOK, view{Title: fmt.Sprintf("%s · %s", cmp.Or(plain(l.tag(), v.Name), d.ID), strconv.FormatInt(version, 10)), Page: v})
}
