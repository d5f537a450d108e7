package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/audit"
	"github.com/songhua-io/hub/internal/authority"
	"github.com/songhua-io/hub/internal/backfill"
	"github.com/songhua-io/hub/internal/catalog/gate"
	"github.com/songhua-io/hub/internal/catalog/outbox"
	"github.com/songhua-io/hub/internal/catalog/publish"
	"github.com/songhua-io/hub/internal/catalog/quality"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/catalog/release"
	"github.com/songhua-io/hub/internal/command"
	"github.com/songhua-io/hub/internal/correction"
	"github.com/songhua-io/hub/internal/enrolment"
	"github.com/songhua-io/hub/internal/model"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/schedule/ledger"
	"github.com/songhua-io/hub/internal/twin"
)

// problem is an RFC 9457 answer. Text says the detail in both languages where
// it is a decision that people should understand.
type problem struct {
	huma.ErrorModel
	Text *text `json:"text,omitempty"`
	// Count is how many were done before the problem, where that is known.
	Count *int `json:"count,omitempty"`
	// Reasons and Refused say why capacity was not promised.
	Reasons []reasonOut  `json:"reasons,omitempty"`
	Refused []refusalOut `json:"refused,omitempty"`
	// Dataset is the one that shares already what another would collect again.
	Dataset *sharedOut `json:"dataset,omitempty"`
	// Violated are the quotas that are used up.
	Violated []string `json:"violated-policies,omitempty"`
}

type text struct {
	ZH string `json:"zh"`
	EN string `json:"en"`
}

// withoutSecrets takes out of a refusal what may hold a secret of the request:
// refusals are logged by those who get them. Single values of other fields are
// told.
func withoutSecrets(_ huma.Context, _ string, v any) (any, error) {
	var told []*huma.ErrorDetail
	switch p := v.(type) {
	case *huma.ErrorModel:
		told = p.Errors
	case *problem:
		told = p.Errors
	}
	for _, d := range told {
		field := d.Location[strings.LastIndexByte(d.Location, '.')+1:]
		secret := strings.HasPrefix(d.Location, "body") && (field == "secret" || field == "token" || field == "body")
		switch d.Value.(type) {
		case string, bool, float64, int, int64, json.Number:
		default:
			secret = true // a whole object, or a part of one
		}
		if secret {
			d.Value = nil
		}
	}
	return v, nil
}

func newProblem(code int, detail string) *problem {
	return &problem{ErrorModel: huma.ErrorModel{Title: http.StatusText(code), Status: code, Detail: detail}}
}

// statusOf is where kinds of errors become status codes.
var statusOf = [...]struct {
	kind error
	code int
}{
	{registry.ErrUnknown, http.StatusNotFound},
	{registry.ErrExists, http.StatusConflict},
	{registry.ErrStale, http.StatusPreconditionFailed},
	{model.ErrUnknown, http.StatusNotFound},
	{model.ErrStale, http.StatusPreconditionFailed},
	{model.ErrInUse, http.StatusConflict},
	{model.ErrOfFile, http.StatusConflict},
	{model.ErrFull, http.StatusConflict},
	{model.ErrInvalid, http.StatusUnprocessableEntity},
	{publish.ErrUnknown, http.StatusNotFound},
	{publish.ErrShut, http.StatusConflict},
	{publish.ErrEarly, http.StatusConflict},
	{publish.ErrEmpty, http.StatusConflict},
	{publish.ErrGrade, http.StatusConflict},
	{publish.ErrSame, http.StatusConflict},
	{publish.ErrNewer, http.StatusConflict},
	{register.ErrUnknown, http.StatusNotFound},
	{register.ErrStale, http.StatusPreconditionFailed},
	{register.ErrState, http.StatusConflict},
	{register.ErrShut, http.StatusConflict},
	{register.ErrFull, http.StatusConflict},
	{register.ErrReason, http.StatusUnprocessableEntity},
	{outbox.ErrUnknown, http.StatusNotFound},
	{outbox.ErrAlike, http.StatusConflict},
	{release.ErrUnknown, http.StatusNotFound},
	{release.ErrInvalid, http.StatusUnprocessableEntity},
	{release.ErrKey, http.StatusConflict},
	{release.ErrNoCut, http.StatusConflict},
	{release.ErrCutsFull, http.StatusServiceUnavailable},
	{release.ErrCutLarge, http.StatusInsufficientStorage},
	{access.ErrUnknown, http.StatusNotFound},
	{backfill.ErrUnknown, http.StatusNotFound},
	{backfill.ErrInvalid, http.StatusUnprocessableEntity},
	{correction.ErrInvalid, http.StatusUnprocessableEntity},
	{correction.ErrNothing, http.StatusNotFound},
	{correction.ErrOld, http.StatusConflict},
	{correction.ErrFull, http.StatusConflict},
	{command.ErrUnknown, http.StatusNotFound},
	{twin.ErrInvalid, http.StatusUnprocessableEntity},
	{twin.ErrStale, http.StatusPreconditionFailed},
	{command.ErrInvalid, http.StatusUnprocessableEntity},
	{command.ErrEnded, http.StatusConflict},
	{command.ErrFull, http.StatusTooManyRequests},
	{access.ErrExists, http.StatusConflict},
	{enrolment.ErrUnknown, http.StatusNotFound},
	{enrolment.ErrExists, http.StatusConflict},
	{enrolment.ErrInvalid, http.StatusUnprocessableEntity},
	{enrolment.ErrToken, http.StatusUnauthorized},
	{enrolment.ErrScope, http.StatusForbidden},
	{authority.ErrRequest, http.StatusUnprocessableEntity},
	{ledger.ErrUnknown, http.StatusNotFound},
	{ledger.ErrInvalid, http.StatusUnprocessableEntity},
	{ledger.ErrConflict, http.StatusConflict},
	{ledger.ErrStale, http.StatusPreconditionFailed},
	{ledger.ErrState, http.StatusConflict},
	{ledger.ErrFenced, http.StatusConflict},
	{ledger.ErrInUse, http.StatusConflict},
	{ledger.ErrFull, http.StatusTooManyRequests},
	{ledger.ErrCompacted, http.StatusGone},
	{ErrFrozen, http.StatusConflict},
	{ErrNotFrozen, http.StatusNotFound},
	{audit.ErrDamaged, http.StatusConflict},
	{access.ErrInvalid, http.StatusUnprocessableEntity},
	{access.ErrRevoked, http.StatusUnauthorized},
}

// problemOf turns an error of the owners of things into an answer. What is of
// no kind is the hub's own failure: the log has it, the caller a number.
func (a *API) problemOf(err error) error {
	var headed huma.HeadersError
	var ours *problem
	var invalid *registry.Invalid
	var batch *registry.BatchError
	var over *quota.Exceeded
	var document *model.Invalid
	var entry *register.Invalid
	var shared *register.Shared
	var again *quality.Again
	var overdraw *gate.Overdraw
	var refusal *gate.Refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &headed):
		return err
	case errors.As(err, &over):
		header := http.Header{}
		over.Set(header)
		return huma.ErrorWithHeaders(overProblem(over), header)
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &document):
		return documentProblem(document)
	case errors.As(err, &entry):
		return catalogProblem(entry)
	case errors.As(err, &shared):
		return sharedProblem(shared)
	case errors.As(err, &again):
		return againProblem(again)
	case errors.As(err, &overdraw):
		return overdrawn(overdraw)
	case errors.As(err, &refusal):
		return newProblem(http.StatusConflict, err.Error())
	case errors.As(err, &batch):
		return batchProblem(batch)
	case errors.As(err, &invalid):
		p := newProblem(http.StatusUnprocessableEntity, invalid.Error())
		p.Errors = details("body.", invalid)
		return p
	}
	for _, s := range statusOf {
		if errors.Is(err, s.kind) {
			return newProblem(s.code, err.Error())
		}
	}
	a.Log.Error("request failed", "error", err)
	return newProblem(http.StatusInternalServerError, "the hub failed to do this; its log says why")
}

func details(at string, e *registry.Invalid) []*huma.ErrorDetail {
	all := make([]*huma.ErrorDetail, len(e.Faults))
	for i, f := range e.Faults {
		all[i] = &huma.ErrorDetail{Message: f.Problem, Location: at + f.Field, Value: f.Value}
	}
	return all
}

// batchProblem is 409 when the only thing wrong is that devices exist, else
// 422.
func batchProblem(e *registry.BatchError) *problem {
	p := newProblem(http.StatusConflict, e.Error())
	for _, item := range e.Items {
		at := "body.devices[" + strconv.Itoa(item.Index) + "]"
		var invalid *registry.Invalid
		if errors.As(item.Err, &invalid) {
			p.Status, p.Title = http.StatusUnprocessableEntity, http.StatusText(http.StatusUnprocessableEntity)
			p.Errors = append(p.Errors, details(at+".", invalid)...)
			continue
		}
		p.Errors = append(p.Errors, &huma.ErrorDetail{Message: item.Err.Error(), Location: at + ".id", Value: item.ID})
	}
	return p
}

// fault is a problem with one value of the request.
func fault(location string, value any, message string) *problem {
	p := newProblem(http.StatusUnprocessableEntity, message)
	p.Errors = []*huma.ErrorDetail{{Message: message, Location: location, Value: value}}
	return p
}

// denied is 401 for strangers and 403 for those who are known.
func denied(c access.Caller, d access.Decision) *problem {
	code := http.StatusForbidden
	if !c.Known() {
		code = http.StatusUnauthorized
	}
	p := newProblem(code, d.EN)
	p.Text = &text{d.ZH, d.EN}
	if c.Refused != "" {
		p.Detail += " (" + c.Refused + ")"
	}
	return p
}

func overProblem(over *quota.Exceeded) *problem {
	p := newProblem(http.StatusTooManyRequests, over.Error())
	p.Type, p.Violated, p.Text = quota.ProblemType, []string{over.Policy.Name()}, &text{over.ZH(), over.Error()}
	return p
}

// Refuse answers a request of somebody whose quota is used up.
func Refuse(w http.ResponseWriter, over *quota.Exceeded) {
	over.Set(w.Header())
	overProblem(over).write(w)
}

// write sends the problem outside of huma.
func (p *problem) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/problem+json")
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="songhua"`)
	}
	w.WriteHeader(p.Status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // it is JSON that people read
	_ = enc.Encode(p)        // an error means that the caller is gone
}

func (a *API) noSuchPath(w http.ResponseWriter, r *http.Request) {
	newProblem(http.StatusNotFound, r.Method+" "+r.URL.Path+" is not served; /docs lists what is").write(w)
}
