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
	Rows     *int64           `json:"rows,omitempty" doc:"absent of a part that was not made yet"`
	Files    []fileOut        `json:"files"`
	Replaces int64            `json:"replaces,omitempty" doc:"the version that it corrects"`
	Reason   *release.Text    `json:"reason,omitempty"`
	Removed  *release.Removal `json:"removed,omitempty" doc:"its files are gone, and why"`

	part
}

// part says which part of a release a grant gives.
type part struct {
	Grant   string       `json:"grant,omitempty" doc:"by which the caller has the part that is shown; absent: it is all of the release"`
	Cut     *release.Cut `json:"cut,omitempty" doc:"the part: its items, area and time, as far as they are narrowed"`
	Columns []string     `json:"columns,omitempty" doc:"of the part"`
	Note    *text        `json:"note,omitempty" doc:"what to know of the part"`
}

// fileOut is a file of a release, or of a part of it.
type fileOut struct {
	Name      string `json:"name"`
	MediaType string `json:"media_type"`
	Size      *int64 `json:"size,omitempty" doc:"absent of a part that was not made yet: known after the first download of one of its files"`
	SHA256    string `json:"sha256,omitempty" doc:"as the size"`
	Rows      int64  `json:"rows,omitempty"`
	URL       string `json:"url" doc:"path of the download"`
}

// manifestOut is a manifest as the caller may see it.
type manifestOut struct {
	Body struct {
		release.Manifest

		Rows  *int64    `json:"rows,omitempty" doc:"absent of a part that was not made yet"`
		Files []fileOut `json:"files"`
		Grant string    `json:"grant,omitempty" doc:"by which the caller has the part that is shown; absent: it is all of the release"`
		Note  *text     `json:"note,omitempty" doc:"what to know of the part"`
	}
}

func summary(s *shown) releaseOut {
	m := s.Manifest
	out := releaseOut{Dataset: m.Dataset, Version: m.Version, Period: m.Period, Made: m.Made, Grade: m.Grade, Rows: s.rows(), Files: s.files(), Replaces: m.Replaces, Removed: m.Removed}
	if m.Replaces != 0 {
		out.Reason = &m.Reason
	}
	if m.Cut != nil {
		out.part = part{Grant: s.grant, Cut: m.Cut, Note: s.note()}
		for _, c := range m.Columns {
			out.Columns = append(out.Columns, c.Name)
		}
	}
	return out
}

type releaseQuery struct {
	Paging
	Dataset string `query:"dataset" maxLength:"63" doc:"only of this dataset"`
	Grant   string `query:"grant" maxLength:"32" doc:"what this grant gives of them; absent: what the caller's own grants give, or all"`
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
	who, err := a.viewer(ctx, in.Grant)
	if err != nil {
		return nil, err
	}
	key := func(m *release.Manifest) string { return fmt.Sprintf("%s %019d", m.Dataset, m.Version) }
	from, _, _ := strings.Cut(after, " ")
	var all []*release.Manifest
	for _, id := range ids {
		if _, err := a.dataset(ctx, id); err != nil || id < from || !who.looksAt(id) {
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
		s, err := who.sees(ctx, m)
		if err != nil {
			return nil, err
		}
		if s != nil {
			out.Body.Items = append(out.Body.Items, summary(s))
		}
	}
	out.Body.Next = next
	return out, nil
}

// showManifest is a manifest as the caller may see it: rows that are not for
// everybody are shown to stewards alone.
func showManifest(ctx context.Context, rec *register.Record, s *shown) *manifestOut {
	out := &manifestOut{}
	b := &out.Body
	b.Manifest = *s.Manifest
	if d := rec.Dataset(); b.Diff != nil && (d.Open.Class != catalog.Unconditional || rec.State != catalog.Published) && !stewards(ctx) {
		counts := *b.Diff
		counts.Examples, b.Diff = nil, &counts
	}
	b.Files, b.Rows = s.files(), s.rows()
	if s.Cut != nil {
		b.Grant, b.Note = s.grant, s.note()
	}
	return out
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

type getReleaseIn struct {
	ReleaseID
	Grant string `query:"grant" maxLength:"32" doc:"what this grant gives of it; absent: what the caller's own grants give, or all"`
}

func (a *API) getRelease(ctx context.Context, in *getReleaseIn) (*manifestOut, error) {
	rec, m, err := a.release(ctx, &in.ReleaseID)
	if err != nil {
		return nil, err
	}
	who, err := a.viewer(ctx, in.Grant)
	if err != nil {
		return nil, err
	}
	s, err := who.sees(ctx, m)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, fmt.Errorf("release %d of dataset %s by grant %s %w; `hub release list %s --grant %s` shows what there is", m.Version, m.Dataset, in.Grant, release.ErrUnknown, m.Dataset, in.Grant)
	}
	return showManifest(ctx, rec, s), nil
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
	return showManifest(ctx, rec, &shown{Manifest: m, known: true}), nil
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
	d, err := a.opened(r)
	if err != nil {
		a.refuse(w, err)
		return
	}
	defer d.done()
	defer d.content.Close()                 //nolint:errcheck // it was read
	w.Header().Add("Vary", "Authorization") // whose grant it is says what of it is answered
	if err := a.noteDownload(r, d); err != nil {
		a.refuse(w, err)
		return
	}
	release.Serve(w, r, d.held, d.manifest, d.content)
}

// download is a file that somebody reads: of a release, or of the part that a grant
// gives.
type download struct {
	record   *register.Record
	manifest *release.Manifest
	content  *release.Content
	grant    *register.Grant // nil: by none
	cut      *release.Cut    // nil: all of it
	held     context.Context // ends with the right to read
	done     func()
}

func (a *API) opened(r *http.Request) (*download, error) {
	id, name := r.PathValue("id"), r.PathValue("name")
	version, err := strconv.ParseInt(r.PathValue("version"), 10, 64)
	if err != nil {
		return nil, newProblem(http.StatusNotFound, "version "+strconv.Quote(r.PathValue("version"))+" is no number; /api/v1/releases lists versions")
	}
	rec, err := a.Catalog.Get(id)
	if err == nil && !rec.Public() {
		_, err = a.Catalog.Get("") // as if it were not there
	}
	if err == nil {
		err = shut(rec, a.Catalog.Open(id, "")) // which is no matter of rights
	}
	if err != nil {
		return nil, err
	}
	d, err := a.admitted(r.Context(), rec, version, r.URL.Query().Get(grantOption))
	if err != nil {
		return nil, err
	}
	if d.cut == nil {
		d.content, err = a.Releases.Store.Open(id, version, name)
	} else {
		d.manifest, d.content, err = a.Releases.Store.OpenCut(d.held, id, version, d.cut, name)
	}
	if err != nil {
		switch ended := context.Cause(d.held); {
		case r.Context().Err() != nil:
			err = newProblem(http.StatusServiceUnavailable, "the request was given up")
		case ended != nil:
			err = shut(rec, ended)
		}
		d.done()
		return nil, err
	}
	return d, nil
}

// grantOption names the grant by which a release is read, where there are several.
const grantOption = "grant"

// admitted decides who may read a release, and how much of it: everybody all of
// what is opened to everybody, by a grant what it is for, and stewards of its region
// for their work. What the register shuts later ends held.
func (a *API) admitted(ctx context.Context, rec *register.Record, version int64, grant string) (*download, error) {
	m, err := a.releaseKept(rec.ID, version)
	if err != nil {
		return nil, err
	}
	c := access.CallerOf(ctx)
	if g := gradeNow(rec, m); g > telemetry.General {
		if d := access.AllowGrade(c, g); !d.Allowed || !c.Known() {
			return nil, denied(c, d)
		}
	}
	if grant == "" && readsAll(c, rec) {
		d := &download{record: rec, manifest: m}
		d.held, d.done, err = a.Catalog.Hold(ctx, rec.ID, columnNames(m), 0)
		return d, shut(rec, err)
	}
	of, err := a.grantsOf(ctx, rec)
	if err != nil {
		return nil, err
	}
	err = needsGrant(c, rec)
	for _, p := range partsOf(of, rec, m) {
		if grant != "" && p.grant.ID() != grant {
			continue
		}
		if p.outside != nil {
			err = denied(c, access.Decision{ZH: p.outside.ZH, EN: p.outside.EN})
			continue
		}
		d := &download{record: rec, manifest: m, grant: p.grant, cut: p.cut}
		items := columnNames(m)
		if p.cut != nil && p.cut.Items != nil {
			items = p.cut.Items
		}
		held, done, refused := a.Catalog.Hold(ctx, rec.ID, items, p.grant.Number)
		if refused != nil {
			err = shut(rec, refused)
			continue
		}
		if over := a.Catalog.Charge(p.grant.Number, p.grant.Scope.Rate); over != nil {
			done()
			err = over
			continue
		}
		d.held, d.done = held, done
		return d, nil
	}
	return nil, err
}

func columnNames(m *release.Manifest) (all []string) {
	for i := range m.Columns {
		all = append(all, m.Columns[i].Name)
	}
	return all
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

func needsGrant(c access.Caller, rec *register.Record) error {
	d := access.Decision{
		ZH: fmt.Sprintf("数据集 %s 不是无条件开放的数据：须以获得授权的令牌读取，所得为授权范围之内的部分。申请：`hub grant apply FILE` 或目录页面。", rec.ID),
		EN: fmt.Sprintf("Dataset %s is not open to everybody: it takes a token with a grant, and gives what the grant is for. Apply with `hub grant apply FILE`, or on the page of the dataset.", rec.ID),
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
	if errors.Is(err, release.ErrCutsFull) {
		w.Header().Set("Retry-After", "30")
	}
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
