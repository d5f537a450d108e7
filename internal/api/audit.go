package api

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/songhua-io/hub/internal/audit"
)

type auditOut struct {
	Seq    int64           `json:"seq"`
	At     time.Time       `json:"at"`
	Actor  string          `json:"actor"`
	Role   string          `json:"role"`
	Origin string          `json:"origin" doc:"the caller's address, or the file that a change came from"`
	Action string          `json:"action"`
	Object string          `json:"object"`
	Region string          `json:"region"`
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
	Hash   string          `json:"hash"`
}

// AuditChoice narrows which entries are meant.
type AuditChoice struct {
	Since  time.Time `query:"since" doc:"from this time on"`
	Until  time.Time `query:"until" doc:"before this time"`
	Actor  string    `query:"actor" doc:"name of the token, or what else acted"`
	Action string    `query:"action" doc:"such as devices.write"`
	Object string    `query:"object" doc:"a part of it, such as device t1"`
	Origin string    `query:"origin" doc:"the caller's address"`
}

// filter is the choice within the caller's region.
func (c *AuditChoice) filter(ctx context.Context) audit.Filter {
	return audit.Filter{Region: region(ctx), Since: c.Since, Until: c.Until, Actor: c.Actor, Action: c.Action, Object: c.Object, Origin: c.Origin}
}

type auditQuery struct {
	Paging
	AuditChoice
}

func (a *API) listAudit(ctx context.Context, in *auditQuery) (*pageOut[auditOut], error) {
	before, err := in.before()
	if err != nil {
		return nil, err
	}
	found, err := a.Audit.List(ctx, in.filter(ctx), before, in.Limit)
	if err != nil {
		return nil, err
	}
	out := newPage[auditOut](len(found))
	for _, e := range found {
		out.Body.Items = append(out.Body.Items, auditOut{e.Seq, e.At, e.Actor, string(e.Role), e.Origin, string(e.Action), e.Object, e.Region,
			json.RawMessage(e.Before), json.RawMessage(e.After), hex.EncodeToString(e.Hash[:])})
	}
	if len(found) == in.Limit && found[len(found)-1].Seq > 1 {
		out.Body.Next = cursor(strconv.FormatInt(found[len(found)-1].Seq, 10))
	}
	return out, nil
}

type verifyOut struct {
	Body struct {
		Intact  bool   `json:"intact"`
		Entries int64  `json:"entries" doc:"that were found intact"`
		Head    string `json:"head" doc:"hash of the last intact entry"`
		Signed  int64  `json:"signed" doc:"entries that the newest fitting checkpoint covers"`
		Damaged int64  `json:"damaged,omitempty" doc:"the first damaged entry"`
		How     string `json:"how,omitempty" doc:"changed, removed, inserted, reordered, truncated, forged, other_record, bad_checkpoint or bad_tree"`
		Problem string `json:"problem,omitempty"`
	}
}

func (a *API) verifyAudit(ctx context.Context, _ *nothing) (*verifyOut, error) {
	v, err := a.Audit.Verify(ctx)
	if err != nil {
		return nil, err
	}
	out := &verifyOut{}
	out.Body.Intact, out.Body.Entries, out.Body.Head, out.Body.Signed = v.Problem == nil, v.Entries, hex.EncodeToString(v.Head[:]), v.Signed.Size
	if v.Problem != nil {
		out.Body.Damaged, out.Body.How, out.Body.Problem = v.Problem.Seq, string(v.Problem.How), v.Problem.Text
	}
	return out, nil
}

type auditKeyOut struct {
	Body struct {
		Key        string     `json:"key" doc:"public key of the checkpoints to come (C2SP signed-note verifier key)"`
		Keys       []string   `json:"keys" doc:"every key that has signed here, the newest last"`
		Checkpoint string     `json:"checkpoint,omitempty" doc:"the newest (C2SP tlog-checkpoint); keep it elsewhere to notice entries cut off at the end"`
		Entries    int64      `json:"entries" doc:"that it covers"`
		At         *time.Time `json:"at" doc:"when it was signed"`
		Verified   *time.Time `json:"verified" doc:"when the whole record was verified last"`
		Intact     bool       `json:"intact" doc:"what came of it"`
	}
}

func (a *API) showAuditKey(context.Context, *nothing) (*auditKeyOut, error) {
	s := a.Audit.State()
	out := &auditKeyOut{}
	b := &out.Body
	b.Key, b.Keys, b.Checkpoint, b.Entries, b.At = s.Key, s.Keys, s.Newest.Note, s.Newest.Size, moment(s.Newest.At)
	b.Verified, b.Intact = moment(s.Verified.At), !s.Verified.At.IsZero() && s.Verified.Problem == nil
	return out, nil
}

type exportQuery struct {
	AuditChoice
	After int64 `query:"after" minimum:"0" doc:"only entries behind this number: where an export that broke off is taken up again"`
}

type exportOut struct {
	Type        string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Body        func(huma.Context)
}

// exportAudit sends lines as they are read. One that ends without its last line
// broke off; who reads it asks for the rest.
func (a *API) exportAudit(ctx context.Context, in *exportQuery) (*exportOut, error) {
	if _, err := a.Audit.Checkpoint(ctx); err != nil {
		return nil, err
	}
	f := in.filter(ctx)
	return &exportOut{Type: "application/x-ndjson", Disposition: `attachment; filename="audit.ndjson"`, Body: func(hc huma.Context) {
		_, w := humago.Unwrap(hc)
		lines := bufio.NewWriterSize(&unhurried{w, http.NewResponseController(w)}, 64<<10)
		err := a.Audit.Export(ctx, lines, f, in.After)
		if err == nil {
			err = lines.Flush()
		}
		if err != nil && ctx.Err() == nil {
			a.Log.Warn("audit_export_broke_off", "error", err)
		}
	}}, nil
}

// writeTime is how long a reader may take for one write of a long answer.
const writeTime = time.Minute

// unhurried gives every write its own time, so that an answer may be as long as
// it is while somebody reads it.
type unhurried struct {
	io.Writer
	control *http.ResponseController
}

func (u *unhurried) Write(b []byte) (int, error) {
	_ = u.control.SetWriteDeadline(time.Now().Add(writeTime)) // not every server has one
	return u.Writer.Write(b)
}
