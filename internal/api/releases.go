package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/publish"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/catalog/release"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Releases are the files of datasets, and who makes them.
type Releases struct {
	Store *release.Store
	// Make makes a release of a dataset now; nil: this hub makes none.
	Make func(ctx context.Context, o ReleaseOrder) (*release.Manifest, error)
	// Budget is how the privacy budget of a dataset stands.
	Budget func(ctx context.Context, d *catalog.Dataset) (*publish.Budget, error)
	// Rebuild makes the rows of a release again of what they were made of; nil: of the
	// rows that are kept.
	Rebuild release.Rebuild
}

// ReleaseOrder asks for a release of a period. Replaces other than 0 is the version
// that it corrects, for the reason; Ticket the objection that it answers, or empty.
type ReleaseOrder struct {
	Dataset  string
	Period   catalog.Period
	Replaces int64
	Reason   catalog.Text
	Ticket   string
}

// ReleaseID names a release.
type ReleaseID struct {
	Dataset string `path:"dataset"`
	Version int64  `path:"version" minimum:"1"`
}

type releaseOut struct {
	Dataset  string           `json:"dataset"`
	Version  int64            `json:"version" doc:"counts from 1 within the dataset"`
	Period   release.Period   `json:"period"`
	Made     time.Time        `json:"made"`
	Grade    string           `json:"grade"`
	Rows     int64            `json:"rows"`
	Files    []release.File   `json:"files"`
	Replaces int64            `json:"replaces,omitempty" doc:"the version that it corrects"`
	Reason   *release.Text    `json:"reason,omitempty"`
	Removed  *release.Removal `json:"removed,omitempty" doc:"its files are gone, and why"`
}

type manifestOut struct{ Body release.Manifest }

func summary(m *release.Manifest) releaseOut {
	out := releaseOut{Dataset: m.Dataset, Version: m.Version, Period: m.Period, Made: m.Made, Grade: m.Grade, Rows: m.Rows, Files: m.Files, Replaces: m.Replaces, Removed: m.Removed}
	if m.Replaces != 0 {
		out.Reason = &m.Reason
	}
	return out
}

type releaseQuery struct {
	Paging
	Dataset string `query:"dataset" maxLength:"63" doc:"only of this dataset"`
}

func (a *API) listReleases(ctx context.Context, in *releaseQuery) (*pageOut[releaseOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	ids := []string{in.Dataset}
	if in.Dataset == "" {
		ids = a.Releases.Store.Datasets()
	} else if _, err := a.dataset(ctx, in.Dataset); err != nil {
		return nil, err
	}
	key := func(m *release.Manifest) string { return fmt.Sprintf("%s %019d", m.Dataset, m.Version) }
	from, _, _ := strings.Cut(after, " ")
	var all []*release.Manifest
	for _, id := range ids {
		if _, err := a.dataset(ctx, id); err != nil || id < from {
			continue
		}
		for _, m := range a.Releases.Store.History(id) {
			if key(m) > after {
				all = append(all, m)
			}
		}
		if len(all) > in.Limit {
			break
		}
	}
	part, next := cut(all, key, after, in.Limit)
	out := newPage[releaseOut](len(part))
	for _, m := range part {
		out.Body.Items = append(out.Body.Items, summary(m))
	}
	out.Body.Next = next
	return out, nil
}

// showManifest is a manifest as the caller may see it: rows that are not for
// everybody are shown to stewards alone.
func showManifest(ctx context.Context, rec *register.Record, m *release.Manifest) *manifestOut {
	out := *m
	if d := rec.Dataset(); m.Diff != nil && (d.Open.Class != catalog.Unconditional || rec.State != catalog.Published) && !stewards(ctx) {
		counts := *m.Diff
		counts.Examples, out.Diff = nil, &counts
	}
	return &manifestOut{out}
}

// release returns what the caller may know of a release.
func (a *API) release(ctx context.Context, in *ReleaseID) (*register.Record, *release.Manifest, error) {
	rec, err := a.dataset(ctx, in.Dataset)
	if err != nil {
		return nil, nil, err
	}
	m, err := a.Releases.Store.Get(in.Dataset, in.Version)
	if err != nil {
		return nil, nil, err
	}
	return rec, m, mayGrade(ctx, gradeNow(rec, m))
}

// gradeNow is the grade of a release: that of its dataset, or the one that it
// was made with where that was higher.
func gradeNow(rec *register.Record, m *release.Manifest) telemetry.Grade {
	made, err := telemetry.ParseGrade(m.Grade)
	if err != nil {
		made = telemetry.Core // a store has read it
	}
	return max(rec.Dataset().Grade, made)
}

func (a *API) getRelease(ctx context.Context, in *ReleaseID) (*manifestOut, error) {
	rec, m, err := a.release(ctx, in)
	if err != nil {
		return nil, err
	}
	return showManifest(ctx, rec, m), nil
}

type makeIn struct {
	Body struct {
		Dataset  string        `json:"dataset" minLength:"1" maxLength:"63"`
		From     time.Time     `json:"from"`
		To       time.Time     `json:"to" doc:"its end; not in it"`
		Replaces int64         `json:"replaces,omitempty" minimum:"0" doc:"the version that it corrects, which must be the newest of the period"`
		Reason   *release.Text `json:"reason,omitempty" doc:"why, where it corrects one"`
		Ticket   string        `json:"ticket,omitempty" maxLength:"32" doc:"the objection that it answers; who filed it is told"`
	}
}

func (a *API) makeRelease(ctx context.Context, in *makeIn) (*manifestOut, error) {
	b := &in.Body
	rec, err := a.dataset(ctx, b.Dataset)
	if err != nil {
		return nil, err
	}
	if err := may(ctx, access.MakeReleases, rec.Region()); err != nil {
		return nil, err
	}
	if err := mayGrade(ctx, rec.Dataset().Grade); err != nil {
		return nil, err
	}
	if a.Releases.Make == nil {
		return nil, newProblem(http.StatusNotImplemented, "this hub makes no releases")
	}
	if !b.To.After(b.From) {
		return nil, fault("body.to", b.To, "to must be after from")
	}
	o := ReleaseOrder{Dataset: b.Dataset, Period: catalog.Period{From: b.From, To: b.To}, Replaces: b.Replaces, Ticket: b.Ticket}
	if b.Reason != nil {
		o.Reason = catalog.Text(*b.Reason)
	}
	if err := a.mayAnswer(ctx, b.Ticket, b.Dataset); err != nil {
		return nil, err
	}
	m, err := a.Releases.Make(ctx, o)
	if err != nil {
		return nil, err
	}
	return showManifest(ctx, rec, m), nil
}

// mayAnswer looks at the ticket of an order before anything is made: a release that
// is out cannot be taken back for a number that was mistyped.
func (a *API) mayAnswer(ctx context.Context, ticket, dataset string) error {
	if ticket == "" {
		return nil
	}
	t, _, err := a.objection(ctx, &TicketID{ID: ticket})
	if err == nil && t.Dataset != dataset {
		err = fault("body.ticket", ticket, fmt.Sprintf("is about dataset %q, not %s; `hub objection list` shows which are about it", t.Dataset, dataset))
	}
	return err
}

type reportOut struct {
	Body struct {
		release.Report
		OK bool `json:"ok" doc:"every file is what was released, and is that again when it is made anew"`
	}
}

func (a *API) verifyRelease(ctx context.Context, in *ReleaseID) (*reportOut, error) {
	rec, _, err := a.release(ctx, in)
	if err != nil {
		return nil, err
	}
	if err := may(ctx, access.MakeReleases, rec.Region()); err != nil {
		return nil, err
	}
	r, err := a.Releases.Store.Verify(ctx, in.Dataset, in.Version, a.Releases.Rebuild)
	if err != nil {
		return nil, err
	}
	out := &reportOut{}
	out.Body.Report, out.Body.OK = *r, r.OK()
	return out, nil
}

// maxDownloads bounds the files that are read at one moment; each holds a chunk
// of some 100 KB.
const maxDownloads = 512

// download gives a file of a release to whoever may have it.
func (a *API) download(w http.ResponseWriter, r *http.Request) {
	if a.downloads.Add(1) > maxDownloads {
		a.downloads.Add(-1)
		w.Header().Set("Retry-After", "5")
		newProblem(http.StatusServiceUnavailable, "as many files are read at this moment as this hub hands out at once; try again in some seconds").write(w)
		return
	}
	defer a.downloads.Add(-1)
	m, c, held, done, err := a.opened(r)
	if err != nil {
		a.refuse(w, err)
		return
	}
	defer done()
	defer c.Close() //nolint:errcheck // it was read
	release.Serve(w, r, held, m, c)
}

func (a *API) opened(r *http.Request) (*release.Manifest, *release.Content, context.Context, func(), error) {
	id, name := r.PathValue("id"), r.PathValue("name")
	version, err := strconv.ParseInt(r.PathValue("version"), 10, 64)
	if err != nil {
		return nil, nil, nil, nil, newProblem(http.StatusNotFound, "version "+strconv.Quote(r.PathValue("version"))+" is no number; /api/v1/releases lists versions")
	}
	rec, err := a.Catalog.Get(id)
	if err == nil && !rec.Public() {
		_, err = a.Catalog.Get("") // as if it were not there
	}
	if err == nil {
		err = shut(rec, a.Catalog.Open(id, "")) // which is no matter of rights
	}
	if err != nil {
		return nil, nil, nil, nil, err
	}
	m, held, done, err := a.admitted(r.Context(), rec, version)
	if err != nil {
		return nil, nil, nil, nil, err
	}
	c, err := a.Releases.Store.Open(id, version, name)
	if err != nil {
		done()
		return nil, nil, nil, nil, err
	}
	return m, c, held, done, nil
}

// admitted decides who may read a release: everybody what is opened to everybody,
// by a grant what is not, and stewards of its region for their work. What the
// register shuts later ends held.
func (a *API) admitted(ctx context.Context, rec *register.Record, version int64) (*release.Manifest, context.Context, func(), error) {
	m, err := a.releaseKept(rec.ID, version)
	if err != nil {
		return nil, nil, nil, err
	}
	var items []string
	for _, c := range m.Columns {
		items = append(items, c.Name)
	}
	c := access.CallerOf(ctx)
	if g := gradeNow(rec, m); g > telemetry.General {
		if d := access.AllowGrade(c, g); !d.Allowed || !c.Known() {
			return nil, nil, nil, denied(c, d)
		}
	}
	if rec.Dataset().Open.Class == catalog.Unconditional || access.Allow(c, access.WriteDatasets, rec.Region()).Allowed {
		held, done, err := a.Catalog.Hold(ctx, rec.ID, items, 0)
		return m, held, done, shut(rec, err)
	}
	grants, err := a.Catalog.Grants(ctx, register.GrantQuery{Applicant: c.Name, Dataset: rec.ID, State: register.Granted, Limit: 100})
	if err != nil || !c.Known() {
		grants = nil
	}
	err = errors.Join(err, needsGrant(c, rec))
	for _, g := range grants {
		if !covers(g, rec, m) {
			continue
		}
		held, done, refused := a.Catalog.Hold(ctx, rec.ID, items, g.Number)
		if refused != nil {
			err = shut(rec, refused)
			continue
		}
		if over := a.Catalog.Charge(g.Number, g.Scope.Rate); over != nil {
			done()
			err = over
			continue
		}
		return m, held, done, nil
	}
	return nil, nil, nil, err
}

// releaseKept is what the store has of a release that still has its files.
func (a *API) releaseKept(dataset string, version int64) (*release.Manifest, error) {
	for _, m := range a.Releases.Store.History(dataset) {
		if m.Version != version {
			continue
		}
		if m.Removed != nil {
			p := newProblem(http.StatusGone, "the files of release "+strconv.FormatInt(version, 10)+" were removed: "+m.Removed.Reason.EN)
			p.Text = &text{"该版本的文件已移除：" + m.Removed.Reason.ZH, p.Detail}
			return nil, p
		}
		return m, nil
	}
	return nil, fmt.Errorf("release %d of dataset %s %w", version, dataset, release.ErrUnknown)
}

// covers reports whether a grant is for all of a release.
func covers(g *register.Grant, rec *register.Record, m *release.Manifest) bool {
	s := &g.Scope
	return strings.HasPrefix(rec.Region(), s.Area) && !m.Period.From.Before(s.From) && (s.To.IsZero() || !m.Period.To.After(s.To))
}

func needsGrant(c access.Caller, rec *register.Record) error {
	d := access.Decision{
		ZH: fmt.Sprintf("数据集 %s 不是无条件开放的数据：须以获得授权的令牌读取，且授权须涵盖该版本的全部字段、区域与时段。申请：`hub grant apply FILE` 或目录页面。", rec.ID),
		EN: fmt.Sprintf("Dataset %s is not open to everybody: it takes a token with a grant, which must cover all items, the area and the period of this release. Apply with `hub grant apply FILE`, or on the page of the dataset.", rec.ID),
	}
	return denied(c, d)
}

// shut says what the register refuses to somebody who reads.
func shut(rec *register.Record, err error) error {
	if err == nil || !errors.Is(err, register.ErrShut) {
		return err
	}
	code := http.StatusForbidden
	if rec.State == catalog.Withdrawn {
		code = http.StatusGone
	}
	return newProblem(code, err.Error())
}

// refuse answers outside of huma with what an error is.
func (a *API) refuse(w http.ResponseWriter, err error) {
	var over *quota.Exceeded
	if errors.As(err, &over) {
		Refuse(w, over)
		return
	}
	var p *problem
	if !errors.As(a.problemOf(err), &p) {
		p = newProblem(http.StatusInternalServerError, "the hub failed to do this; its log says why")
	}
	p.write(w)
}
