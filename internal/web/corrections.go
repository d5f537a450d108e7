package web

import (
	"context"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/songhua-io/hub/internal/access"
)

// CorrectionQuery chooses corrections; zero fields choose all.
type CorrectionQuery struct {
	Device, Metric string
	Ticket         string
	Before         int64 // only those with smaller numbers; 0 for the newest
	Limit          int
}

// Correction is what somebody found wrong in stored samples.
type Correction struct {
	ID             int64
	At, From, To   time.Time // To is included
	Device, Metric string
	Labels         [][2]string // that a series must have besides, sorted
	Operation      string      // set, scale, remove or restore
	Value          float64     // of set
	Factor, Offset float64     // of scale
	Old            *float64    // what the one sample was; nil for a range
	Samples        int64       // how many it was about when it was made
	By, Reason     string
	Ticket         string // that it answers; empty: none
}

// One reports whether it is about a single time.
func (c Correction) One() bool { return c.From.Equal(c.To) }

// CorrectedSample is a sample that a correction is about; nil where there is none:
// it was removed.
type CorrectedSample struct {
	At                      time.Time
	Labels                  [][2]string // besides device and metric
	Raw, Before, After, Now *float64
}

// Shown is a correction with what it is about, as far as the page shows it.
type Shown struct {
	Correction

	Unit    bool // its device is a roadside unit, which has a page of its own
	Samples []CorrectedSample
	More    bool // there are others
}

// Corrections is where the pages of corrections come from. One returns false when
// there is none of a number, or none that the caller may see.
type Corrections struct {
	List func(context.Context, access.Caller, CorrectionQuery) ([]Correction, error)
	One  func(context.Context, access.Caller, int64) (Shown, bool, error)
}

// correctionsView is what the pages are rendered from besides view.
type correctionsView struct {
	Items         []Correction
	Form          url.Values // the filters, as they were sent
	Failed        bool
	Older, Newest string // addresses; empty for none
	Zone          string // of all times
}

type correctionView struct {
	Shown

	ID              int64
	Missing, Failed bool
	Of              string // the address of all of its device and metric
	DeviceHref      string // the page of its device
	Handles         bool   // the caller may open the thread of its ticket
	Zone            string
	// Former is the end of a command that shows what was known before it.
	Former string
}

// zoneNow names the zone of the times of a page.
func zoneNow() string {
	now := time.Now()
	if _, offset := now.Zone(); offset == 0 {
		return "UTC"
	}
	return now.Format("MST (UTC-07:00)")
}

// exact writes a value with all digits that mean something: a 15th or 16th is what
// arithmetic in binary leaves.
func exact(v float64) string {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 14, 64), 64)
	if err != nil {
		rounded = v
	}
	if a := math.Abs(rounded); a >= 1e-6 && a < 1e15 {
		return strconv.FormatFloat(rounded, 'f', -1, 64)
	}
	return strconv.FormatFloat(rounded, 'g', -1, 64)
}

func (p *pages) showCorrections(w http.ResponseWriter, r *http.Request) {
	caller, may := p.admit(w, r, access.ReadCorrections)
	if !may {
		return
	}
	v, code, from := correctionsView{Form: url.Values{}, Zone: zoneNow()}, http.StatusOK, r.URL.Query()
	for _, name := range []string{"device", "metric", "ticket"} {
		if s := from.Get(name); s != "" {
			v.Form.Set(name, s)
		}
	}
	q := CorrectionQuery{Device: from.Get("device"), Metric: from.Get("metric"), Ticket: from.Get("ticket"), Limit: changesPerPage + 1}
	q.Before, _ = strconv.ParseInt(from.Get("before"), 10, 64) // what is no number is the first page
	found, err := p.Corrections.List(r.Context(), caller, q)
	if err != nil {
		p.Log.Error("corrections_not_read", "error", err)
		v.Failed, code = true, http.StatusInternalServerError
	}
	if q.Before > 0 {
		v.Newest = address("/corrections", v.Form)
	}
	if len(found) > changesPerPage {
		found = found[:changesPerPage]
		older := url.Values{"before": {strconv.FormatInt(found[changesPerPage-1].ID, 10)}}
		for name := range v.Form {
			older.Set(name, v.Form.Get(name))
		}
		v.Older = address("/corrections", older)
	}
	v.Items = found
	p.render(w, r, p.corrections, code, view{Who: p.greet(caller), Page: v})
}

func (p *pages) showCorrection(w http.ResponseWriter, r *http.Request) {
	caller, may := p.admit(w, r, access.ReadCorrections)
	if !may {
		return
	}
	v, code := correctionView{Zone: zoneNow()}, http.StatusOK
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	known := err == nil
	if known {
		v.Shown, known, err = p.Corrections.One(r.Context(), caller, id)
	}
	switch v.ID = id; {
	case !known:
		v.Missing, code = true, http.StatusNotFound
	case err != nil:
		p.Log.Error("correction_not_read", "id", id, "error", err)
		v.Failed, code = true, http.StatusInternalServerError
	default:
		v.Of = address("/corrections", url.Values{"device": {v.Device}, "metric": {v.Metric}})
		v.DeviceHref = address("/", url.Values{"device": {v.Device}, "metric": {v.Metric}})
		if v.Unit {
			v.DeviceHref = "/roads/units/" + url.PathEscape(v.Device)
		}
		v.Handles = access.May(caller.Role, access.HandleObjections)
		v.Former = v.At.Add(-time.Millisecond).UTC().Format(time.RFC3339Nano)
	}
	p.render(w, r, p.correction, code, view{Who: p.greet(caller), Page: v})
}
