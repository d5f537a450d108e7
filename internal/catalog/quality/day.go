package quality

import (
	"math"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
)

// china is the time by which days are counted; it has no summer time.
var china = time.FixedZone("Asia/Shanghai", 8*60*60)

// Day names a day of China's time: 2026-11-26.
type Day string

// DayOf is the day of a moment.
func DayOf(t time.Time) Day { return Day(t.In(china).Format(time.DateOnly)) }

// Begin is when the day begins; it ends as the next one begins.
func (d Day) Begin() time.Time {
	t, err := time.ParseInLocation(time.DateOnly, string(d), china)
	if err != nil {
		return time.Time{}
	}
	return t
}

// End is when the day ends.
func (d Day) End() time.Time { return d.Begin().Add(24 * time.Hour) }

// Next is the day after.
func (d Day) Next() Day { return DayOf(d.End()) }

// Measured is what was measured of a dataset on a day. Counts that come to no
// share (nothing was expected, nothing came) leave it out of Share.
type Measured struct {
	Dataset string    `json:"dataset"`
	Day     Day       `json:"day"`
	At      time.Time `json:"at"`
	// From is where the day begins for this dataset: later where it was published in
	// the day.
	From time.Time `json:"from"`

	Series  int `json:"series"`
	Devices int `json:"devices"`
	// Cut says that there are more series than could be looked at.
	Cut bool `json:"cut,omitempty"`

	// Expected samples by the periods of what measures, and those of them that
	// came. Silent series had none at all.
	Expected int64 `json:"expected"`
	Received int64 `json:"received"`
	Silent   int   `json:"silent"`

	// Samples were looked at; the others are those of them that are not plausible, a
	// sample each but for Invalid, which has each once.
	Samples int64 `json:"samples"`
	Invalid int64 `json:"invalid"`
	Range   int64 `json:"out_of_range"` // by its model now, or flagged when it came
	Jump    int64 `json:"jump"`
	Flat    int64 `json:"flat"`

	Arrived Arrived `json:"arrived"`
	// AgeSeconds is how old the newest of its data was at the end of the day; -1:
	// there never was any.
	AgeSeconds float64 `json:"age_seconds"`
	// CycleSeconds is the declared cycle; 0 for none.
	CycleSeconds float64 `json:"cycle_seconds,omitempty"`

	Probes []Probe `json:"probes,omitempty"`

	// Former are the counts that stood before samples were corrected or came late,
	// the oldest first: what was told of the day once is not lost.
	Former []Counts `json:"former,omitempty"`
}

// Counts are what was counted of the samples of a day, and when.
type Counts struct {
	At       time.Time `json:"at"`
	Series   int       `json:"series"`
	Expected int64     `json:"expected"`
	Received int64     `json:"received"`
	Silent   int       `json:"silent"`
	Samples  int64     `json:"samples"`
	Invalid  int64     `json:"invalid"`
}

func (m *Measured) counts() Counts {
	return Counts{At: m.At, Series: m.Series, Expected: m.Expected, Received: m.Received, Silent: m.Silent, Samples: m.Samples, Invalid: m.Invalid}
}

// Arrived is how the samples of its devices came that day, as far as the hub saw
// it.
type Arrived struct {
	Samples   uint64 `json:"samples"`
	Repeated  uint64 `json:"repeated"`
	Conflicts uint64 `json:"conflicts"`
	Behind    uint64 `json:"behind"`
	Ahead     uint64 `json:"ahead"`
	Refused   uint64 `json:"refused"`
	// Delays in seconds from when it was taken to when it came; 0 without samples.
	P50 float64 `json:"p50_seconds"`
	P95 float64 `json:"p95_seconds"`
	P99 float64 `json:"p99_seconds"`
}

// Probe is how one of the own addresses answered.
type Probe struct {
	Path   string  `json:"path"`
	Status int     `json:"status"` // 0: it did not
	MS     float64 `json:"ms"`
}

// Good reports whether it was there.
func (p Probe) Good() bool { return p.Status >= 200 && p.Status < 400 }

// Share is how good a dimension was, from 0 to 1; timeliness is the 95th
// percentile of the delay in seconds. False: it could not be measured.
func (m *Measured) Share(of catalog.Dimension) (float64, bool) {
	switch of {
	case catalog.Completeness:
		return share(m.Received, m.Expected)
	case catalog.Timeliness:
		return m.Arrived.P95, m.Arrived.Samples > 0
	case catalog.Validity:
		return share(m.Samples-m.Invalid, m.Samples)
	case catalog.Consistency:
		a := &m.Arrived
		total := a.Samples + a.Refused
		return share(int64(total-min(total, a.Repeated+a.Conflicts+a.Behind+a.Ahead+a.Refused)), int64(total))
	case catalog.Accessibility:
		good := 0
		for _, p := range m.Probes {
			if p.Good() {
				good++
			}
		}
		return share(int64(good), int64(len(m.Probes)))
	}
	return 0, false
}

func share(part, of int64) (float64, bool) {
	if of <= 0 {
		return 0, false
	}
	return float64(part) / float64(of), true
}

// Measurements are what the catalogue's feed says of the day.
func (m *Measured) Measurements() (all []catalog.Measurement) {
	for _, d := range catalog.Dimensions() {
		if v, ok := m.Share(d); ok {
			all = append(all, catalog.Measurement{Dimension: d, Value: v, At: m.At})
		}
	}
	return all
}

// latency is a percentile of the probes that were answered, in milliseconds.
func (m *Measured) latency(q float64) float64 {
	var all []float64
	for _, p := range m.Probes {
		if p.Status > 0 {
			all = append(all, p.MS)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(len(all)-1, int(math.Ceil(q*float64(len(all))))-1)]
}
