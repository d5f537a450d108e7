package web

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/songhua-io/hub/internal/access"
)

// ChangeQuery chooses entries of the record of changes; zero fields choose all.
type ChangeQuery struct {
	Region                        string // prefix of division codes
	Since, Until                  time.Time
	Actor, Action, Object, Origin string
	Before                        int64 // only entries with smaller numbers; 0 for the newest
	Limit                         int
}

// Change is an entry of the record.
type Change struct {
	Seq                                         int64
	At                                          time.Time
	Actor, Role, Origin, Action, Object, Region string
	Before, After                               string // JSON; empty for nothing
}

// Changes are entries, the newest first, and how the record stands.
type Changes struct {
	Items    []Change
	Key      string // public
	Signed   int64  // entries that the newest checkpoint covers
	SignedAt time.Time
	Verified time.Time // the last verification of all; zero for none yet
	Problem  string    // that it found; empty for none
}

// changesPerPage is how many entries a page shows.
const changesPerPage = 50

// formTime is what a browser sends of a field for date and time.
const formTime = "2006-01-02T15:04"

// changesView is what the page is rendered from besides view.
type changesView struct {
	Changes
	Rows          []changeRow
	Form          url.Values // the filters, as they were sent
	Actions       []string
	Wrong         bool   // a time cannot be read
	Failed        bool   // the record cannot be read
	Zone          string // of all times
	Older, Newest string // addresses; empty for none
	Export        string
}

type changeRow struct {
	Change
	When  string
	First []delta // of the difference
	More  []delta
	Left  int // that are not shown at all
}

// Bounds of a difference: what is shown at once, what is folded away.
const (
	shownDeltas  = 3
	foldedDeltas = 50
)

func (p *pages) showChanges(w http.ResponseWriter, r *http.Request) {
	caller, may := p.admit(w, r, access.ReadAudit)
	if !may {
		return
	}
	v := changesView{Form: chosenOf(r.URL.Query()), Zone: zoneOf(time.Now())}
	q, code := ChangeQuery{Region: caller.Region, Limit: changesPerPage + 1}, http.StatusOK
	if err := q.read(r.URL.Query()); err != nil {
		v.Wrong, code = true, http.StatusBadRequest
	} else if err := v.ask(r.Context(), q, p.Changes); err != nil {
		p.Log.Error("audit_not_read", "error", err)
		v.Failed, code = true, http.StatusInternalServerError
	}
	p.render(w, r, p.changes, code, view{Who: p.greet(caller), Page: v})
}

// filters are the fields of the form.
func filters() []string { return []string{"since", "until", "actor", "action", "object", "origin"} }

func chosenOf(q url.Values) url.Values {
	chosen := url.Values{}
	for _, name := range filters() {
		if s := q.Get(name); s != "" {
			chosen.Set(name, s)
		}
	}
	return chosen
}

func (q *ChangeQuery) read(from url.Values) (err error) {
	q.Actor, q.Action, q.Object, q.Origin = from.Get("actor"), from.Get("action"), from.Get("object"), from.Get("origin")
	for name, t := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if s := from.Get(name); s != "" && err == nil {
			*t, err = time.ParseInLocation(formTime, s, time.Local)
		}
	}
	if s := from.Get("before"); s != "" && err == nil {
		q.Before, err = strconv.ParseInt(s, 10, 64)
	}
	return err
}

func (v *changesView) ask(ctx context.Context, q ChangeQuery, changes func(context.Context, ChangeQuery) (Changes, error)) (err error) {
	if v.Changes, err = changes(ctx, q); err != nil {
		return err
	}
	export := chosenOf(v.Form)
	for name, t := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if !t.IsZero() {
			export.Set(name, t.UTC().Format(time.RFC3339))
		}
	}
	v.Export = address("/api/v1/audit/export", export)
	if q.Before > 0 {
		v.Newest = address("/audit", v.Form)
	}
	if len(v.Items) > changesPerPage {
		v.Items = v.Items[:changesPerPage]
		older := chosenOf(v.Form)
		older.Set("before", strconv.FormatInt(v.Items[changesPerPage-1].Seq, 10))
		v.Older = address("/audit", older)
	}
	for _, c := range v.Items {
		v.Rows = append(v.Rows, rowOf(c))
	}
	for _, a := range append(access.Actions(), access.SignIn) {
		v.Actions = append(v.Actions, string(a))
	}
	return nil
}

func address(path string, q url.Values) string {
	u := url.URL{Path: path, RawQuery: q.Encode()}
	return u.String()
}

func rowOf(c Change) changeRow {
	all := difference(c.Before, c.After)
	first := min(len(all), shownDeltas)
	more := min(len(all), foldedDeltas)
	return changeRow{Change: c, When: shown(c.At), First: all[:first], More: all[first:more], Left: len(all) - more}
}

// shown is a time as the pages of the server show it.
func shown(t time.Time) string { return t.Local().Format(time.DateTime) }

// zoneOf names the zone that a time is shown in, and how far from UTC it is.
func zoneOf(t time.Time) string {
	if _, offset := t.Local().Zone(); offset == 0 {
		return "UTC"
	}
	return t.Local().Format("MST (UTC-07:00)")
}
