package api

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/model"
)

type modelOut struct {
	model.Document
	File    string    `json:"file,omitempty" doc:"name of the file in models.dir that it comes from, and where it is changed"`
	Devices int       `json:"devices" doc:"how many name it, of those that the caller may see"`
	Version int64     `json:"version"`
	Updated time.Time `json:"updated"`
}

type oneModel struct {
	ETag string `header:"ETag"`
	Body modelOut
}

// ModelID names a model, and the version of it that a change is made to.
type ModelID struct {
	ID string `path:"id"`
	Conditional
}

func (a *API) showModel(ctx context.Context, m *model.Model) modelOut {
	return modelOut{m.Document, m.File, a.Registry.Users(m.ID, sees(ctx)), m.Version, m.Updated}
}

func (a *API) oneModel(ctx context.Context, m *model.Model) *oneModel {
	return &oneModel{etag(m.Version), a.showModel(ctx, m)}
}

func (a *API) listModels(ctx context.Context, in *Paging) (*pageOut[modelOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	part, next := cut(a.Models.List(), func(m *model.Model) string { return m.ID }, after, in.Limit)
	out := newPage[modelOut](len(part))
	for _, m := range part {
		out.Body.Items = append(out.Body.Items, a.showModel(ctx, m))
	}
	out.Body.Next = next
	return out, nil
}

func (a *API) getModel(ctx context.Context, in *ModelID) (*oneModel, error) {
	m, err := a.Models.Get(in.ID)
	if err != nil {
		return nil, err
	}
	return a.oneModel(ctx, m), nil
}

// described puts the schema of a type over a body that is read by its owner,
// who names all faults of it at once.
func (a *API) described(t reflect.Type) option {
	return func(op *huma.Operation) {
		op.SkipValidateBody = true
		op.MaxBodyBytes = model.MaxDocument
		op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"application/json": {Schema: a.huma.OpenAPI().Components.Schemas.Schema(t, true, "")},
		}}
	}
}

type modelPut struct {
	ModelID
	Again string `query:"again" maxLength:"1000" doc:"why devices of this model collect again what a published dataset shares, which is answered 409 else; kept in the record of changes"`
	Body  json.RawMessage
}

func (a *API) putModel(ctx context.Context, in *modelPut) (*oneModel, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	if err := may(ctx, access.WriteModels, ""); err != nil {
		return nil, err
	}
	m, err := model.Parse(in.Body)
	if err != nil {
		return nil, err
	}
	if m.ID != in.ID {
		return nil, fault("body.id", m.ID, "id "+m.ID+" is not the one of the path, "+in.ID+"; send the model to the path of its id")
	}
	highest := m.Highest()
	var before any
	old, err := a.Models.Get(in.ID)
	if err == nil {
		before, highest = old.Document, max(highest, old.Highest())
	}
	if err := mayGrade(ctx, highest); err != nil {
		return nil, err
	}
	var after any = m.Document
	if in.Again != "" {
		after = modelNote{m.Document, in.Again}
	} else if err := a.oneSourceOf(ctx, m, old); err != nil {
		return nil, err
	}
	if m, err = a.Models.Put(a.noted(ctx, access.WriteModels, "model "+m.ID, "", before, after), m, version); err != nil {
		return nil, err
	}
	return a.oneModel(ctx, m), nil
}

func (a *API) removeModel(ctx context.Context, in *ModelID) (*nothing, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	if err := may(ctx, access.WriteModels, ""); err != nil {
		return nil, err
	}
	m, err := a.Models.Get(in.ID)
	if err != nil {
		return nil, err
	}
	return nil, a.Models.Remove(a.noted(ctx, access.WriteModels, "model "+m.ID, "", m.Document, nil), m.ID, version)
}

func documentProblem(e *model.Invalid) *problem {
	p := newProblem(http.StatusUnprocessableEntity, strings.ReplaceAll(e.Error(), "\n", "; "))
	for _, f := range e.Faults {
		p.Errors = append(p.Errors, &huma.ErrorDetail{Message: f.Msg, Location: strings.TrimSuffix("body."+f.Path, ".")})
	}
	return p
}
