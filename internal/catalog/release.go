package catalog

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Period is a span of time. A zero end is open.
type Period struct{ From, To time.Time }

// Box is an area in degrees of WGS 84.
type Box struct{ West, South, East, North float64 }

// Sound reports whether the box lies on the Earth. One whose west is east of
// its east would cross the date line, which readers of boxes misread: it is none.
func (b Box) Sound() bool {
	return inside(b.West, 180) && inside(b.East, 180) && inside(b.South, 90) && inside(b.North, 90) && b.West <= b.East && b.South <= b.North
}

func inside(v, bound float64) bool { return !math.IsNaN(v) && math.Abs(v) <= bound }

// Coverage is what the data of a dataset cover when it is read. It moves with
// every sample, and is nobody's edit.
type Coverage struct {
	Time Period
	Area *Box // nil: not known
}

// Distribution is one form in which a dataset can be had: a file of a release
// or, where Service is set, a live interface.
type Distribution struct {
	// Name is that of the file, or of the interface in addresses: ASCII.
	Name      string
	MediaType string // without parameters, such as text/csv
	// Of files.
	SHA256     [32]byte
	Size, Rows int64
	// Of live interfaces: the service that offers it, and where this dataset is
	// read from it.
	Service, URL string
}

// Live reports whether it is an interface.
func (d *Distribution) Live() bool { return d.Service != "" }

// Release is an immutable state of a dataset: files that are never changed
// under their names.
type Release struct {
	// Version counts from 1 within the dataset.
	Version int64
	// Period is that of the rows.
	Period Period
	Made   time.Time
	Files  []Distribution
	// Replaces is the version that it corrects, and Reason says why; 0: none.
	Replaces int64
	Reason   Text
}

// Service is a program that hands out data of datasets.
type Service struct {
	ID    string // as those of datasets
	Title Text
	// Endpoint is where calls go to, Description its machine-readable
	// description, Standard the specification that it follows.
	Endpoint, Description, Standard string
}

// Dimension is a side of quality that is measured.
type Dimension string

// The dimensions.
const (
	Completeness  Dimension = "completeness"
	Timeliness    Dimension = "timeliness"
	Validity      Dimension = "validity"
	Consistency   Dimension = "consistency"
	Accessibility Dimension = "accessibility"
)

// Dimensions lists the dimensions.
func Dimensions() []Dimension {
	return []Dimension{Completeness, Timeliness, Validity, Consistency, Accessibility}
}

// Measurement says how good the data of a day were.
type Measurement struct {
	Dimension Dimension
	// Value is a share from 0 to 1; of timeliness the 95th percentile of the
	// delay in seconds.
	Value float64
	At    time.Time
}

// Entry is a dataset with all that is offered of it.
type Entry struct {
	Dataset *Dataset
	// Releases are in order of their versions.
	Releases     []Release
	Live         []Distribution
	Measurements []Measurement
	Coverage     Coverage
}

// Latest is the release that was made last; nil: none yet.
func (e *Entry) Latest() *Release {
	if len(e.Releases) == 0 {
		return nil
	}
	return &e.Releases[len(e.Releases)-1]
}

// Newest is the last release of the period that ends last; nil: none yet. A day that
// is released again, for late data or a correction, does not take its place.
func (e *Entry) Newest() (newest *Release) {
	for i := range e.Releases {
		if r := &e.Releases[i]; newest == nil || r.Period.To.IsZero() || !newest.Period.To.IsZero() && !r.Period.To.Before(newest.Period.To) {
			newest = r
		}
	}
	return newest
}

// Offered are the forms in which it can be had now: its newest release with its
// files, nil where there is none, and its interfaces. Nothing is offered of what
// is not opened.
func (e *Entry) Offered() (*Release, []Distribution) {
	if e.Dataset.Open.Class == None {
		return nil, nil
	}
	return e.Newest(), e.Live
}

// Snapshot is the public catalogue at one moment. It never changes: who reads
// it page by page reads what was true when it was taken.
type Snapshot struct {
	// Number is higher than that of every snapshot before.
	Number int64
	// Entries are the published datasets by their ids.
	Entries  []*Entry
	Services []Service
}

// NewSnapshot takes those entries that the public may know of.
func NewSnapshot(number int64, entries []*Entry, services []Service) *Snapshot {
	s := &Snapshot{Number: number, Entries: make([]*Entry, 0, len(entries)), Services: services}
	for _, e := range entries {
		if e.Dataset.State == Published {
			s.Entries = append(s.Entries, e)
		}
	}
	slices.SortFunc(s.Entries, func(a, b *Entry) int { return strings.Compare(a.Dataset.ID, b.Dataset.ID) })
	return s
}

// Find returns the entry of a dataset; nil: it is not public.
func (s *Snapshot) Find(id string) *Entry {
	i, found := slices.BinarySearchFunc(s.Entries, id, func(e *Entry, id string) int { return strings.Compare(e.Dataset.ID, id) })
	if !found {
		return nil
	}
	return s.Entries[i]
}

// Service returns a service; nil: there is none.
func (s *Snapshot) Service(id string) *Service {
	i := slices.IndexFunc(s.Services, func(sv Service) bool { return sv.ID == id })
	if i < 0 {
		return nil
	}
	return &s.Services[i]
}

// Change is one step of the public catalogue.
type Change struct {
	// Number is higher than that of every change before.
	Number int64
	At     time.Time
	// Dataset is its id. Entry is what it is since; nil: it is gone, and Reason
	// says why.
	Dataset string
	Entry   *Entry
	Reason  Text
}

var (
	fileName  = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$`)
	mediaType = regexp.MustCompile(`^[a-z]+/[a-z0-9][a-z0-9.+-]{0,100}$`)
)

// Check returns all that is wrong with what is offered of a dataset; the
// dataset has a Check of its own.
func (e *Entry) Check() []Problem {
	var ps problems
	last := int64(0)
	for i, r := range e.Releases {
		at := fmt.Sprintf("releases[%d]", i)
		if r.Version <= last {
			ps.add(at+".version", "版本 %d 须大于前一版本 %d", "version %d must be above the one before, %d", r.Version, last)
		}
		last = r.Version
		ps.period(at+".period", r.Period)
		ps.distributions(at+".files", r.Files, false)
	}
	ps.distributions("live", e.Live, true)
	ps.period("coverage.time", e.Coverage.Time)
	if a := e.Coverage.Area; a != nil && !a.Sound() {
		ps.add("coverage.area", "%v 不是地球上的范围：西、南不大于东、北，经度 ±180，纬度 ±90", "%v is no area on the Earth: west and south come first, within 180 and 90 degrees", *a)
	}
	for i, m := range e.Measurements {
		if !slices.Contains(Dimensions(), m.Dimension) {
			ps.add(fmt.Sprintf("measurements[%d].dimension", i), "%.30q 不是质量维度；可用：%v", "%.30q is no dimension of quality; there are %v", m.Dimension, Dimensions())
		}
		if math.IsNaN(m.Value) || math.IsInf(m.Value, 0) || m.Value < 0 {
			ps.add(fmt.Sprintf("measurements[%d].value", i), "%v 不是测得的值；没有测得就不要写入", "%v is not measured; leave out what was not", m.Value)
		}
	}
	return ps
}

func (ps *problems) period(at string, p Period) {
	if !p.From.IsZero() && !p.To.IsZero() && p.To.Before(p.From) {
		ps.add(at, "终点 %s 早于起点 %s", "ends %s, before it begins, %s", p.To.UTC().Format(time.RFC3339), p.From.UTC().Format(time.RFC3339))
	}
}

func (ps *problems) distributions(at string, all []Distribution, live bool) {
	names := map[string]bool{}
	for i, d := range all {
		at := fmt.Sprintf("%s[%d]", at, i)
		if !fileName.MatchString(d.Name) || names[d.Name] {
			ps.add(at+".name", "%.140q 不能作文件名或重复：1 到 128 个 A-Z、a-z、0-9、点、连字符、下划线", "%.140q is no name of a file, or is there twice: it has 1 to 128 of A-Z, a-z, 0-9, dot, hyphen and underscore", d.Name)
		}
		names[d.Name] = true
		if !mediaType.MatchString(d.MediaType) {
			ps.add(at+".media_type", "%.110q 不是媒体类型，例如 text/csv", "%.110q is no media type, such as text/csv", d.MediaType)
		}
		if d.Live() != live {
			ps.add(at+".service", "发布的文件没有服务，实时接口必须有服务", "a file of a release has no service, and a live interface has one")
		}
		if live {
			if _, ok := Link(d.URL); !ok {
				ps.add(at+".url", "%.200q 不是完整网址", "%.200q is no address; it begins with https:// or http://", d.URL)
			}
		}
		if d.Size < 0 || d.Rows < 0 {
			ps.add(at, "大小 %d 与行数 %d 不得为负", "its size %d and rows %d cannot be negative", d.Size, d.Rows)
		}
	}
}
