package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/register"
)

type datasetChangeOut struct {
	register.Document
	State    catalog.State `json:"state"`
	Signed   string        `json:"signed,omitempty" doc:"who signed the grade"`
	SignedAt *time.Time    `json:"signed_at,omitempty"`
}

type datasetOut struct {
	register.Document
	Code      string            `json:"code,omitempty" doc:"信息资源代码: the class path and a number, given when it is first published, never given again"`
	State     catalog.State     `json:"state" doc:"draft, submitted, published, suspended or withdrawn"`
	Signed    string            `json:"signed,omitempty" doc:"the named person who signed the grade"`
	SignedAt  *time.Time        `json:"signed_at,omitempty"`
	Change    *datasetChangeOut `json:"change,omitempty" doc:"what it is to become when that is published; shown to stewards"`
	Reason    string            `json:"reason,omitempty" doc:"why it was given back, suspended or withdrawn"`
	Created   time.Time         `json:"created"`
	Published *time.Time        `json:"published,omitempty" doc:"for the first time"`
	Modified  time.Time         `json:"modified"`
	Version   int64             `json:"version"`
}

type oneDataset struct {
	ETag string `header:"ETag"`
	Body datasetOut
}

// DatasetID names a dataset, and the version of it that a change is made to.
type DatasetID struct {
	ID string `path:"id"`
	Conditional
}

// stewards reports whether the caller works on the catalogue.
func stewards(ctx context.Context) bool {
	return access.May(access.CallerOf(ctx).Role, access.WriteDatasets)
}

// showDataset is a dataset as the caller may see it.
func showDataset(ctx context.Context, r *register.Record) datasetOut {
	out := datasetOut{Document: r.Document, Code: r.Code, State: r.State, Signed: r.Signed, SignedAt: moment(r.SignedAt),
		Reason: r.Reason, Created: r.Created, Published: moment(r.Published), Modified: r.Modified, Version: r.Version}
	if c := r.Change; c != nil && stewards(ctx) {
		out.Change = &datasetChangeOut{c.Document, c.State, c.Signed, moment(c.SignedAt)}
	}
	return out
}

func theDataset(ctx context.Context, r *register.Record) *oneDataset {
	return &oneDataset{etag(r.Version), showDataset(ctx, r)}
}

// seesDataset reports whether the caller may know of a dataset: one that the
// public has seen, or any where the caller works on the catalogue.
func seesDataset(ctx context.Context, r *register.Record) bool {
	return strings.HasPrefix(r.Region(), region(ctx)) && (r.Public() || stewards(ctx))
}

func (a *API) dataset(ctx context.Context, id string) (*register.Record, error) {
	r, err := a.Catalog.Get(id)
	if err == nil && !seesDataset(ctx, r) {
		_, err = a.Catalog.Get("") // as if it were not there
	}
	return r, err
}

type datasetQuery struct {
	Paging
	State  string `query:"state" enum:"draft,submitted,published,suspended,withdrawn"`
	Region string `query:"region" doc:"prefix of the division code"`
	Q      string `query:"q" doc:"a part of the id, the code or a title"`
}

func (q *datasetQuery) takes(r *register.Record) bool {
	if q.State != "" && string(r.State) != q.State && (r.Change == nil || string(r.Change.State) != q.State) || !strings.HasPrefix(r.Region(), q.Region) {
		return false
	}
	d, part := &r.Document, strings.ToLower(q.Q)
	return part == "" || strings.Contains(strings.ToLower(strings.Join([]string{d.ID, r.Code, d.Title.ZH, d.Title.EN}, "\n")), part)
}

func (a *API) listDatasets(ctx context.Context, in *datasetQuery) (*pageOut[datasetOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	var all []*register.Record
	for _, r := range a.Catalog.List() {
		if seesDataset(ctx, r) && in.takes(r) {
			all = append(all, r)
		}
	}
	part, next := cut(all, func(r *register.Record) string { return r.ID }, after, in.Limit)
	out := newPage[datasetOut](len(part))
	for _, r := range part {
		out.Body.Items = append(out.Body.Items, showDataset(ctx, r))
	}
	out.Body.Next = next
	return out, nil
}

func (a *API) getDataset(ctx context.Context, in *DatasetID) (*oneDataset, error) {
	r, err := a.dataset(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return theDataset(ctx, r), nil
}

type datasetPut struct {
	DatasetID
	Body json.RawMessage
}

func (a *API) putDataset(ctx context.Context, in *datasetPut) (*oneDataset, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	d, err := register.Parse(in.Body)
	if err != nil {
		return nil, err
	}
	if d.ID != in.ID {
		return nil, fault("body.id", d.ID, "id "+d.ID+" is not the one of the path, "+in.ID+"; send the dataset to the path of its id")
	}
	if err := may(ctx, access.WriteDatasets, d.Region); err != nil {
		return nil, err
	}
	made, _ := d.Dataset()
	highest := made.Grade
	if old, err := a.Catalog.Get(in.ID); err == nil {
		if err := may(ctx, access.WriteDatasets, old.Region()); err != nil {
			return nil, err
		}
		highest = max(highest, old.Dataset().Grade)
	}
	if err := mayGrade(ctx, highest); err != nil {
		return nil, err
	}
	r, err := a.Catalog.Put(ctx, *d, version)
	if err != nil {
		return nil, err
	}
	return theDataset(ctx, r), nil
}

// mayChange decides whether the caller may change a dataset, and to which
// version of it the change is made.
func (a *API) mayChange(ctx context.Context, in *DatasetID) (version int64, err error) {
	r, err := a.dataset(ctx, in.ID)
	if err != nil {
		return 0, err
	}
	if err := may(ctx, access.WriteDatasets, r.Region()); err != nil {
		return 0, err
	}
	if err := mayGrade(ctx, r.Dataset().Grade); err != nil {
		return 0, err
	}
	return in.version()
}

// moveDataset makes a handler of an act that says nothing more.
func (a *API) moveDataset(act func(*register.Register, context.Context, string, int64) (*register.Record, error)) func(context.Context, *DatasetID) (*oneDataset, error) {
	return func(ctx context.Context, in *DatasetID) (*oneDataset, error) {
		version, err := a.mayChange(ctx, in)
		if err != nil {
			return nil, err
		}
		r, err := act(a.Catalog, ctx, in.ID, version)
		if err != nil {
			return nil, err
		}
		return theDataset(ctx, r), nil
	}
}

type reasonIn struct {
	DatasetID
	Body struct {
		Reason string `json:"reason" minLength:"1" maxLength:"2000" doc:"shown with the dataset"`
	}
}

// moveBecause is moveDataset for acts that need a reason.
func (a *API) moveBecause(act func(*register.Register, context.Context, string, int64, string) (*register.Record, error)) func(context.Context, *reasonIn) (*oneDataset, error) {
	return func(ctx context.Context, in *reasonIn) (*oneDataset, error) {
		return a.moveDataset(func(c *register.Register, ctx context.Context, id string, version int64) (*register.Record, error) {
			return act(c, ctx, id, version, in.Body.Reason)
		})(ctx, &in.DatasetID)
	}
}

type signIn struct {
	DatasetID
	Body struct {
		By    string            `json:"by" minLength:"1" maxLength:"200" doc:"the named person who answers for the grade"`
		Grade string            `json:"grade,omitempty" enum:"general,important,core" doc:"as it is written when absent; one that is raised counts at once"`
		Items map[string]string `json:"items,omitempty" doc:"grades of single items by name"`
	}
}

func (a *API) signDataset(ctx context.Context, in *signIn) (*oneDataset, error) {
	return a.moveDataset(func(c *register.Register, ctx context.Context, id string, version int64) (*register.Record, error) {
		return c.Sign(ctx, id, version, register.Signing{By: in.Body.By, Grade: in.Body.Grade, Items: in.Body.Items})
	})(ctx, &in.DatasetID)
}

type versionOut struct {
	Version int64       `json:"version"`
	At      time.Time   `json:"at"`
	Actor   string      `json:"actor"`
	Act     string      `json:"act" doc:"put, submit, return, publish, suspend, withdraw or sign"`
	Reason  string      `json:"reason,omitempty"`
	Before  *datasetOut `json:"before,omitempty"`
	After   datasetOut  `json:"after"`
}

type versionsIn struct {
	ID string `path:"id"`
	Paging
}

func (a *API) listVersions(ctx context.Context, in *versionsIn) (*pageOut[versionOut], error) {
	before, err := in.before()
	if err != nil {
		return nil, err
	}
	r, err := a.dataset(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if err := may(ctx, access.WriteDatasets, r.Region()); err != nil {
		return nil, err
	}
	all, err := a.Catalog.History(ctx, in.ID, before, in.Limit)
	if err != nil {
		return nil, err
	}
	out := newPage[versionOut](len(all))
	for _, v := range all {
		o := versionOut{Version: v.Number, At: v.At, Actor: v.Actor, Act: v.Act, Reason: v.Reason, After: showDataset(ctx, v.After)}
		if v.Before != nil {
			was := showDataset(ctx, v.Before)
			o.Before = &was
		}
		out.Body.Items = append(out.Body.Items, o)
	}
	if n := len(all); n == in.Limit && all[n-1].Number > 1 {
		out.Body.Next = cursor(strconv.FormatInt(all[n-1].Number, 10))
	}
	return out, nil
}

type draftIn struct {
	Body struct {
		Selector string `json:"selector" minLength:"1" maxLength:"4096" doc:"PromQL that selects series"`
		ID       string `json:"id,omitempty" doc:"of the dataset; made of the metric and the region when absent"`
	}
}

type draftOut struct{ Body register.Document }

func (a *API) draftDataset(ctx context.Context, in *draftIn) (*draftOut, error) {
	d, err := a.Catalog.Draft(ctx, in.Body.ID, in.Body.Selector)
	if err != nil {
		return nil, err
	}
	return &draftOut{*d}, nil
}

// sharedOut is the dataset that has already what another one would collect.
type sharedOut struct {
	ID    string        `json:"id"`
	Code  string        `json:"code"`
	Title register.Text `json:"title"`
	Class catalog.Class `json:"share" doc:"how far it is shared"`
}

func sharedProblem(e *register.Shared) *problem {
	p := newProblem(http.StatusConflict, e.Error())
	p.Text = &text{e.ZH(), e.Error()}
	p.Dataset = &sharedOut{e.By.ID, e.By.Code, e.By.Document.Title, catalog.Class(e.By.Document.Share.Class)}
	return p
}

func catalogProblem(e *register.Invalid) *problem {
	p := newProblem(http.StatusUnprocessableEntity, e.Error())
	p.Text = &text{e.ZH(), e.Error()}
	for _, f := range e.Problems {
		p.Errors = append(p.Errors, &huma.ErrorDetail{Message: f.EN + " · " + f.ZH, Location: strings.TrimSuffix("body."+f.Path, ".")})
	}
	return p
}
