package register

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
)

// GrantState is how far an application has come.
type GrantState string

// The states.
const (
	Applied   GrantState = "applied"   // its form is to be checked
	Reviewing GrantState = "reviewing" // its form is right, it is to be decided
	Granted   GrantState = "granted"
	Returned  GrantState = "returned" // its form is wrong: what is missing stands in the reason
	Refused   GrantState = "refused"
	Expired   GrantState = "expired"
	Revoked   GrantState = "revoked"
)

// GrantStates lists the states.
func GrantStates() []GrantState {
	return []GrantState{Applied, Reviewing, Granted, Returned, Refused, Expired, Revoked}
}

// open reports whether something is still to come of it.
func (s GrantState) open() bool { return s == Applied || s == Reviewing || s == Granted }

// Way is by which classes an application goes.
type Way string

// The ways.
const (
	Sharing Way = "share" // among authorities, Art. 29
	Opening Way = "open"  // to everybody else, Art. 33
)

// Application is what somebody asks for. Art. 29(3), Art. 33(3)
type Application struct {
	Dataset string `json:"dataset"`
	Way     Way    `json:"way"`
	// Body is who will use the data.
	Body Provider `json:"body"`
	// Purpose is what for; nothing else is allowed. Art. 30
	Purpose string `json:"purpose"`
	// Ground is the duty that an authority needs them for.
	Ground string `json:"ground,omitempty"`
	Scope  Scope  `json:"scope"`
	// Until is how long they are needed; zero: as long as a grant may be.
	Until time.Time `json:"until,omitzero"`
}

// Scope is how much of a dataset is meant.
type Scope struct {
	Items []string `json:"items,omitempty"` // none: all
	// Area is a prefix of division codes; empty: all of the dataset.
	Area string    `json:"area,omitempty"`
	From time.Time `json:"from,omitzero"` // zero: from its beginning
	To   time.Time `json:"to,omitzero"`   // not in it; zero: without an end
	// Rate is in requests a minute; 0: not bounded.
	Rate int `json:"rate,omitempty"`
}

// Decision is what was decided and why.
type Decision struct {
	Reason Text      `json:"reason"`
	Law    []Law     `json:"law,omitempty"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
}

// Opinion is what a reviewer says before the decision.
type Opinion struct {
	By   string    `json:"by"`
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// Grant is an application and what became of it.
type Grant struct {
	Number int64 `json:"number"`
	Application
	Region    string     `json:"region"`    // of the dataset
	Applicant string     `json:"applicant"` // name of the token
	State     GrantState `json:"state"`
	Applied   time.Time  `json:"applied"`
	// Due is until when the next step must be done, at the end of a working day;
	// zero: none is. Sure says that the calendar is complete up to then.
	Due      time.Time `json:"due,omitzero"`
	Sure     bool      `json:"sure,omitempty"`
	Opinions []Opinion `json:"opinions,omitempty"`
	Decision *Decision `json:"decision,omitempty"`
	// Expires is when a grant ends.
	Expires time.Time `json:"expires,omitzero"`
	// Ended is why it ended before.
	Ended   *Decision `json:"ended,omitempty"`
	Version int64     `json:"version"`
}

// ID is how people call it.
func (g *Grant) ID() string { return GrantID(g.Number) }

// GrantID is the name of a grant by its number.
func GrantID(n int64) string { return "g-" + strconv.FormatInt(n, 10) }

// Overdue reports whether somebody waits for a step longer than allowed.
func (g *Grant) Overdue(now time.Time) bool { return !g.Due.IsZero() && now.After(g.Due) }

func (r *Register) loadGrant(rows *sql.Rows) error {
	g := &Grant{}
	if err := scanJSON(rows, g); err != nil {
		return err
	}
	r.grants[g.Number] = g
	return nil
}

// Grant returns one, or ErrUnknown.
func (r *Register) Grant(ctx context.Context, id string) (*Grant, error) {
	n, err := strconv.ParseInt(strings.TrimPrefix(id, "g-"), 10, 64)
	if err == nil && strings.HasPrefix(id, "g-") {
		var all []*Grant
		if all, err = r.readGrants(ctx, "number = ?", 1, n); err == nil && len(all) == 1 {
			return all[0], nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("grant %.30q %w; see `hub grant list`", id, ErrUnknown)
}

// GrantQuery narrows which grants are meant; empty fields mean any.
type GrantQuery struct {
	Region    string // prefix
	Applicant string
	Dataset   string
	State     GrantState
	Overdue   bool
	Below     int64 // number; 0: the newest first
	Limit     int
}

// Grants lists grants, the newest first.
func (r *Register) Grants(ctx context.Context, q GrantQuery) ([]*Grant, error) {
	if q.Overdue {
		return r.overdueGrants(q), nil
	}
	if q.Below <= 0 {
		q.Below = 1<<63 - 1
	}
	return r.readGrants(ctx, "number < ? AND substr(region, 1, ?) = ? AND (? = '' OR applicant = ?) AND (? = '' OR dataset = ?) AND (? = '' OR state = ?)", q.Limit,
		q.Below, len(q.Region), q.Region, q.Applicant, q.Applicant, q.Dataset, q.Dataset, string(q.State), string(q.State))
}

func (q GrantQuery) takes(g *Grant) bool {
	return strings.HasPrefix(g.Region, q.Region) && (q.Applicant == "" || q.Applicant == g.Applicant) && (q.Dataset == "" || q.Dataset == g.Dataset) &&
		(q.State == "" || q.State == g.State) && (q.Below <= 0 || g.Number < q.Below)
}

// overdueGrants are found in memory: every open one is there.
func (r *Register) overdueGrants(q GrantQuery) (all []*Grant) {
	now := r.now()
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, g := range r.grants {
		if g.Overdue(now) && q.takes(g) {
			all = append(all, g)
		}
	}
	slices.SortFunc(all, func(a, b *Grant) int { return int(b.Number - a.Number) })
	return all[:min(len(all), q.Limit)]
}

func (r *Register) readGrants(ctx context.Context, where string, limit int, args ...any) (all []*Grant, err error) {
	err = r.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		g := &Grant{}
		all = append(all, g)
		return scanJSON(rows, g)
	}, "SELECT record FROM grants WHERE "+where+" ORDER BY number DESC LIMIT ?", append(args, limit)...)
	if err != nil {
		return nil, fmt.Errorf("read grants: %w", err)
	}
	return all, nil
}

// class is how far what an application asks for goes, with the law that says so.
func (a *Application) class(d *catalog.Dataset) (catalog.Class, catalog.Terms) {
	terms, of := d.Share, func(it catalog.Item) catalog.Class { return it.Share }
	if a.Way == Opening {
		terms, of = d.Open, func(it catalog.Item) catalog.Class { return it.Open }
	}
	if len(a.Scope.Items) == 0 {
		return terms.Class, terms
	}
	class := catalog.Unconditional
	for _, it := range d.Items {
		if slices.Contains(a.Scope.Items, it.Name) {
			class = class.Narrower(of(it))
		}
	}
	return class, terms
}

// Given are the items of a dataset, as it stands, that an application or a grant
// is for: those of its scope, or all, but for what its way does not give out.
func (a *Application) Given(d *catalog.Dataset) (names []string) {
	for _, it := range d.Items {
		class := it.Open
		if a.Way == Sharing {
			class = it.Share
		}
		if class != catalog.None && (len(a.Scope.Items) == 0 || slices.Contains(a.Scope.Items, it.Name)) {
			names = append(names, it.Name)
		}
	}
	return names
}

// check is what is wrong with the form of an application.
func (a *Application) check(d *catalog.Dataset, now time.Time, most time.Duration) *Invalid {
	var f reading
	if a.Way != Sharing && a.Way != Opening {
		f.add("way", "%.20q 不是途径：share（行政机关、公共企事业单位共享）或 open（向社会开放）", "%.20q is no way; write share (among authorities) or open (to everybody else)", a.Way)
	}
	if strings.TrimSpace(a.Purpose) == "" || len(a.Purpose) > maxText {
		f.add("purpose", "必须写明使用用途，至多 %d 字节", "must say what the data are for, in at most %d bytes", maxText)
	}
	if a.Body.Name.ZH == "" || len(a.Body.Name.ZH) > maxText || len(a.Body.Name.EN) > maxText || len(a.Ground) > maxText {
		f.add("body.name.zh", "必须填写使用单位名称，至多 %d 字节", "must name who uses them, in at most %d bytes", maxText)
	}
	if err := catalog.CreditCode(a.Body.Code).Check(); err != nil {
		f.add("body.code", "统一社会信用代码 %.20q 有误：%v", "%.20q is no unified social credit code: %v", a.Body.Code, err)
	}
	for i, name := range a.Scope.Items {
		if !slices.ContainsFunc(d.Items, func(it catalog.Item) bool { return it.Name == name }) {
			f.add(fmt.Sprintf("scope.items[%d]", i), "数据集没有字段 %.70q", "%.70q is no item of the dataset", name)
		}
	}
	if !strings.HasPrefix(a.Scope.Area, d.Region) && a.Scope.Area != "" {
		f.add("scope.area", "%.20q 不在数据集的区划 %q 之内", "%.20q lies outside of the dataset's region %q", a.Scope.Area, d.Region)
	}
	if !a.Scope.To.IsZero() && a.Scope.To.Before(a.Scope.From) {
		f.add("scope.to", "早于 from", "is before from")
	}
	if a.Scope.Rate < 0 {
		f.add("scope.rate", "%d 为负", "%d is negative", a.Scope.Rate)
	}
	if !a.Until.IsZero() && (!a.Until.After(now) || a.Until.After(now.Add(most))) {
		f.add("until", "须在 %s 之前且未过去", "must lie ahead, and before %s", now.Add(most).Format(time.RFC3339))
	}
	if len(f.faults) == 0 {
		return nil
	}
	return &Invalid{Of: "the application for dataset " + d.ID, Problems: f.faults}
}

// Apply files an application. What is unconditional is granted at once, what is
// not shared or opened is refused at once with the law that says so; in between
// people decide, within working days. Art. 29, Art. 33
func (r *Register) Apply(ctx context.Context, a Application) (*Grant, error) {
	r.change.Lock()
	defer r.change.Unlock()
	rec, err := r.Get(a.Dataset)
	if err != nil {
		return nil, err
	}
	if err := r.Open(a.Dataset, ""); err != nil {
		return nil, err
	}
	now := r.now()
	if bad := a.check(rec.dataset, now, r.cfg.MaxGrant); bad != nil {
		return nil, bad
	}
	g := &Grant{Application: a, Region: rec.Region(), Applicant: actor(ctx), State: Applied, Applied: now}
	switch class, terms := a.class(rec.dataset); class {
	case catalog.Unconditional:
		r.grant(g, "hub", Text{"无条件类别，即时授权。", "It is unconditional, and granted at once."}, lawsOf(terms), time.Time{})
	case catalog.None:
		g.State = Refused
		g.Decision = &Decision{Text{"该数据属于不予提供的类别。", "It is of the class that is not given out."}, lawsOf(terms), "hub", now}
	default:
		g.Due, g.Sure = r.calendar.after(now, r.cfg.CheckDays)
	}
	if g.State.open() && len(r.grants) >= r.cfg.MaxOpenGrants {
		return nil, fmt.Errorf("open grants %w, %d (catalog.max_open_grants)", ErrFull, r.cfg.MaxOpenGrants)
	}
	if g.Number, err = r.number(ctx, "grant"); err != nil {
		return nil, err
	}
	return g, r.keepGrant(ctx, access.ApplyGrants, nil, g)
}

func lawsOf(t catalog.Terms) (all []Law) {
	for _, l := range t.Basis {
		all = append(all, Law{Text(l.Title), l.Article, l.URL})
	}
	return all
}

// grant lets an application have what it asks for.
func (r *Register) grant(g *Grant, by string, reason Text, law []Law, until time.Time) {
	now := r.now()
	g.State, g.Due, g.Sure, g.Decision = Granted, time.Time{}, false, &Decision{reason, law, by, now}
	g.Expires = now.Add(r.cfg.MaxGrant)
	for _, t := range []time.Time{g.Until, until} {
		if !t.IsZero() && t.Before(g.Expires) {
			g.Expires = t
		}
	}
}

// Checked takes the result of the formal check: right, or what is missing.
func (r *Register) Checked(ctx context.Context, id string, version int64, right bool, missing Text) (*Grant, error) {
	return r.step(ctx, id, version, func(g *Grant) error {
		switch {
		case g.State != Applied:
			return g.wrong("only what was applied for is checked for its form")
		case right:
			g.State = Reviewing
			g.Due, g.Sure = r.calendar.after(r.now(), r.cfg.DecideDays)
			return nil
		case missing.ZH == "":
			return fmt.Errorf("returning grant %s %w; say in Chinese what is missing", g.ID(), ErrReason)
		}
		g.State, g.Due, g.Decision = Returned, time.Time{}, &Decision{Reason: missing, By: actor(ctx), At: r.now()}
		return nil
	})
}

// Review adds what a reviewer says.
func (r *Register) Review(ctx context.Context, id string, version int64, opinion string) (*Grant, error) {
	return r.step(ctx, id, version, func(g *Grant) error {
		switch {
		case g.State != Reviewing:
			return g.wrong("only what is being reviewed takes opinions")
		case strings.TrimSpace(opinion) == "" || len(opinion) > maxText:
			return fmt.Errorf("the opinion on grant %s %w; write it, in at most %d bytes", g.ID(), ErrReason, maxText)
		case len(g.Opinions) >= 100:
			return fmt.Errorf("opinions on grant %s %w, 100", g.ID(), ErrFull)
		}
		g.Opinions = append(slices.Clone(g.Opinions), Opinion{actor(ctx), r.now(), opinion})
		return nil
	})
}

// Verdict is a decision to be.
type Verdict struct {
	Grant  bool
	Reason Text
	Law    []Law
	// Items narrow the scope; Until ends the grant earlier than asked for.
	Items []string
	Until time.Time
}

// Decide decides an application. A refusal without a reason and the law is an
// error: nobody is refused silently. Art. 28(2)
func (r *Register) Decide(ctx context.Context, id string, version int64, v Verdict) (*Grant, error) {
	return r.step(ctx, id, version, func(g *Grant) error {
		switch {
		case g.State != Reviewing:
			return g.wrong("check its form first: `hub grant check " + g.ID() + "`")
		case v.Reason.ZH == "":
			return fmt.Errorf("the decision on grant %s %w, in Chinese", g.ID(), ErrReason)
		case !v.Grant && !cited(v.Law):
			return fmt.Errorf("refusing grant %s %w in the law: name it with its article", g.ID(), ErrReason)
		case !v.Grant:
			g.State, g.Due, g.Decision = Refused, time.Time{}, &Decision{v.Reason, v.Law, actor(ctx), r.now()}
			return nil
		}
		if err := r.Open(g.Dataset, ""); err != nil {
			return err
		}
		rec, err := r.Get(g.Dataset)
		if err != nil {
			return err
		}
		if class, terms := g.class(rec.dataset); class == catalog.None {
			return fmt.Errorf("grant %s %w: what it asks for is not given out any more; refuse it with its law, %v", g.ID(), ErrState, lawsOf(terms))
		}
		if !v.Until.IsZero() && !v.Until.After(r.now()) {
			return fmt.Errorf("grant %s %w: it would have ended at %s; leave out until, or name a time ahead", g.ID(), ErrState, v.Until.Format(time.RFC3339))
		}
		for _, name := range v.Items {
			if len(g.Scope.Items) > 0 && !slices.Contains(g.Scope.Items, name) {
				return fmt.Errorf("grant %s %w: the item %.70q was not applied for; a decision may narrow, never widen", g.ID(), ErrState, name)
			}
		}
		if len(v.Items) > 0 {
			g.Scope.Items = v.Items
		}
		r.grant(g, actor(ctx), v.Reason, v.Law, v.Until)
		return nil
	})
}

// cited reports whether every law is named with its article, and one is.
func cited(all []Law) bool {
	return len(all) > 0 && !slices.ContainsFunc(all, func(l Law) bool { return l.Title.ZH == "" || l.Article == "" })
}

// Revoke ends a grant, and what is read by it at this moment.
func (r *Register) Revoke(ctx context.Context, id string, version int64, reason Text, law []Law) (*Grant, error) {
	return r.step(ctx, id, version, func(g *Grant) error {
		switch {
		case g.State != Granted:
			return g.wrong("only what was granted can be revoked")
		case reason.ZH == "":
			return fmt.Errorf("revoking grant %s %w, in Chinese", g.ID(), ErrReason)
		}
		g.State, g.Ended = Revoked, &Decision{reason, law, actor(ctx), r.now()}
		return nil
	})
}

func (g *Grant) wrong(wayOut string) error { return wrong("grant "+g.ID(), string(g.State), wayOut) }

// step makes the next version of a grant.
func (r *Register) step(ctx context.Context, id string, version int64, f func(*Grant) error) (*Grant, error) {
	r.change.Lock()
	defer r.change.Unlock()
	old, err := r.Grant(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := fresh("grant", id, old.Version, version); err != nil {
		return nil, err
	}
	g := *old
	switch err := f(&g); {
	case errors.Is(err, errSame):
		return old, nil
	case err != nil:
		return nil, err
	}
	return &g, r.keepGrant(ctx, access.DecideGrants, old, &g)
}

// keepGrant writes a grant and tells of it. The caller holds change.
func (r *Register) keepGrant(ctx context.Context, action access.Action, old, g *Grant) error {
	g.Version++
	var before any
	if old != nil {
		before = old
	}
	ctx = r.deps.Noted(ctx, action, "grant "+g.ID(), g.Region, before, g)
	err := r.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO grants (number, dataset, region, applicant, state, version, record) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (number) DO UPDATE SET state = excluded.state, version = excluded.version, record = excluded.record`,
			g.Number, g.Dataset, g.Region, g.Applicant, string(g.State), g.Version, string(asJSON(g)))
		return err
	})
	if err != nil {
		return fmt.Errorf("keep grant %s: %w", g.ID(), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if g.State.open() {
		r.grants[g.Number] = g
	} else {
		delete(r.grants, g.Number)
	}
	r.shut()
	return nil
}

// endGrants ends what was applied for or granted of a dataset that is gone.
func (r *Register) endGrants(ctx context.Context, rec *Record, reason string) error {
	for _, g := range r.openGrants() {
		if g.Dataset != rec.ID {
			continue
		}
		_, err := r.step(ctx, g.ID(), 0, func(g *Grant) error {
			if !g.State.open() {
				return errSame
			}
			why := Decision{Text{"数据集已撤销：" + reason, "The dataset was withdrawn: " + reason}, nil, actor(ctx), r.now()}
			if g.State == Granted {
				g.State, g.Ended = Revoked, &why
			} else {
				g.State, g.Due, g.Decision = Returned, time.Time{}, &why
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Register) openGrants() (all []*Grant) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, g := range r.grants {
		all = append(all, g)
	}
	slices.SortFunc(all, func(a, b *Grant) int { return int(a.Number - b.Number) })
	return all
}

// Run ends grants at their time until ctx ends.
func (r *Register) Run(ctx context.Context) error {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := r.expire(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// expire ends the grants whose time has come, and those of withdrawn datasets
// that a crash left.
func (r *Register) expire(ctx context.Context) error {
	now := r.now()
	for _, g := range r.openGrants() {
		if rec, err := r.Get(g.Dataset); err == nil && rec.State == catalog.Withdrawn {
			if err := r.endGrants(ctx, rec, rec.Reason); err != nil {
				return err
			}
			continue
		}
		if g.State != Granted || now.Before(g.Expires) {
			continue
		}
		_, err := r.step(ctx, g.ID(), 0, func(g *Grant) error {
			if g.State != Granted {
				return errSame // it was ended otherwise meanwhile
			}
			g.State, g.Ended = Expired, &Decision{Text{"授权期满。", "Its time is over."}, nil, "hub", now}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
