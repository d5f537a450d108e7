package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/quota"
)

type ticketOut struct {
	ID      string             `json:"id"`
	Kind    string             `json:"kind" doc:"error, omission, privacy, trade_secret (objections, Art. 27); access, copy, transfer, rectify, erase (of a person about the own data, Art. 38)"`
	Dataset string             `json:"dataset,omitempty"`
	Region  string             `json:"region,omitempty"`
	State   string             `json:"state" doc:"filed, answered or closed"`
	Filed   time.Time          `json:"filed"`
	Due     *time.Time         `json:"due,omitempty" doc:"when it must be answered, in working days"`
	DueBy   string             `json:"due_by,omitempty" doc:"holidays, or weekends where the table of holidays is not complete up to then"`
	Overdue bool               `json:"overdue,omitempty"`
	Outcome string             `json:"outcome,omitempty" doc:"corrected, explained or rejected"`
	Law     []register.Law     `json:"law,omitempty"`
	Closed  *time.Time         `json:"closed,omitempty"`
	Contact string             `json:"contact,omitempty" doc:"shown to who handles the ticket"`
	Thread  []register.Message `json:"thread,omitempty"`
	Steps   []stepOut          `json:"steps,omitempty" doc:"what was done about it, in order of time; last what is still to come"`
	Secret  string             `json:"secret,omitempty" doc:"shown this once: with it the thread is read and continued"`
	Version int64              `json:"version"`
}

// stepOut is something that was done about a ticket.
type stepOut struct {
	At          *time.Time `json:"at,omitempty" doc:"absent: not yet"`
	Kind        string     `json:"kind" doc:"corrected (samples), released (a version, because of that), told (a destination has it); waiting or refused: it has not yet, or does not take it"`
	Correction  int64      `json:"correction,omitempty"`
	From        *time.Time `json:"from,omitempty" doc:"of the samples"`
	To          *time.Time `json:"to,omitempty"`
	Dataset     string     `json:"dataset,omitempty"`
	Version     int64      `json:"version,omitempty"`
	Replaces    int64      `json:"replaces,omitempty"`
	Rows        *stepRows  `json:"rows,omitempty" doc:"what the version changed"`
	Destination string     `json:"destination,omitempty"`
	Text        text       `json:"text"`
}

type stepRows struct {
	Added   int64 `json:"added"`
	Removed int64 `json:"removed"`
	Changed int64 `json:"changed"`
}

func showStep(s *register.Step) stepOut {
	out := stepOut{At: moment(s.At), Kind: string(s.Kind), Correction: s.Correction, From: moment(s.From), To: moment(s.To), Dataset: s.Dataset, Version: s.Version, Replaces: s.Replaces, Destination: s.Destination}
	if s.Rows != nil {
		out.Rows = &stepRows{s.Rows.Added, s.Rows.Removed, s.Rows.Changed}
	}
	words := s.Text()
	out.Text = text{words.ZH, words.EN}
	return out
}

// followed is a ticket with what was done about it.
func (a *API) followed(ctx context.Context, t *register.Ticket, desk bool) (*oneTicket, error) {
	out := a.theTicket(t)
	all, err := a.Steps(ctx, t, desk)
	for i := range all {
		out.Body.Steps = append(out.Body.Steps, showStep(&all[i]))
	}
	return out, err
}

type oneTicket struct {
	ETag string `header:"ETag"`
	Body ticketOut
}

// TicketID names a ticket, and the version of it that a change is made to.
type TicketID struct {
	ID string `path:"id"`
	Conditional
}

func (a *API) showTicket(t *register.Ticket) ticketOut {
	return ticketOut{ID: t.ID(), Kind: string(t.Kind), Dataset: t.Dataset, Region: t.Region, State: string(t.State), Filed: t.Filed, Due: moment(t.Due), DueBy: dueBy(t.Due, t.Sure),
		Overdue: t.Overdue(a.Now()), Outcome: string(t.Outcome), Law: t.Law, Closed: moment(t.Closed), Contact: t.Contact, Thread: t.Thread, Version: t.Version}
}

func (a *API) theTicket(t *register.Ticket) *oneTicket {
	return &oneTicket{etag(t.Version), a.showTicket(t)}
}

// anybody counts the call of somebody who shows no token. Such a person has no
// name in the record of changes, and no address: it may be one who asks about
// the own data. Art. 39(2)
func (a *API) anybody(ctx context.Context, r *http.Request) (context.Context, error) {
	door := quota.HTTP
	if r.TLS != nil {
		door = quota.HTTPS
	}
	if _, over := a.Quotas.Call("", addressOf(r), door, a.Now()); over != nil {
		return nil, over
	}
	return access.WithCaller(ctx, access.Caller{Name: "anybody"}), nil
}

type fileIn struct {
	Body struct {
		Kind    string `json:"kind" enum:"error,omission,privacy,trade_secret,access,copy,transfer,rectify,erase"`
		Dataset string `json:"dataset,omitempty" doc:"mandatory for objections"`
		Region  string `json:"region,omitempty" doc:"division code of who is to answer, where no dataset is named"`
		Contact string `json:"contact,omitempty" doc:"how to reach you, if you wish; kept encrypted"`
		Text    string `json:"text" doc:"what it is about; kept encrypted"`
	}
}

// fileObjection takes an objection, or the request of a person, from anybody.
// Art. 27, Art. 38(2)
func (a *API) fileObjection(ctx context.Context, r *http.Request, in *fileIn) (*oneTicket, error) {
	ctx, err := a.anybody(ctx, r)
	if err != nil {
		return nil, err
	}
	b := in.Body
	t, secret, err := a.Catalog.File(ctx, register.Filing{Kind: register.TicketKind(b.Kind), Dataset: b.Dataset, Region: b.Region, Contact: b.Contact, Text: b.Text})
	if err != nil {
		return nil, err
	}
	out := a.theTicket(t)
	out.Body.Secret = secret
	return out, nil
}

type ticketSecretIn struct {
	ID   string `path:"id"`
	Body struct {
		Secret string `json:"secret" maxLength:"64" doc:"of the ticket"`
	}
}

func (a *API) objectionStatus(ctx context.Context, r *http.Request, in *ticketSecretIn) (*oneTicket, error) {
	ctx, err := a.anybody(ctx, r)
	if err != nil {
		return nil, err
	}
	t, err := a.Catalog.TicketOf(ctx, in.ID, in.Body.Secret)
	if err != nil {
		return nil, err
	}
	return a.followed(ctx, t, false)
}

type messageIn struct {
	ID   string `path:"id"`
	Body struct {
		Secret string `json:"secret" maxLength:"64" doc:"of the ticket"`
		Text   string `json:"text"`
	}
}

func (a *API) addToObjection(ctx context.Context, r *http.Request, in *messageIn) (*oneTicket, error) {
	ctx, err := a.anybody(ctx, r)
	if err != nil {
		return nil, err
	}
	t, err := a.Catalog.AddTo(ctx, in.ID, in.Body.Secret, in.Body.Text)
	if err != nil {
		return nil, err
	}
	return a.theTicket(t), nil
}

type ticketQuery struct {
	Paging
	Dataset string `query:"dataset"`
	Kind    string `query:"kind" enum:"error,omission,privacy,trade_secret,access,copy,transfer,rectify,erase"`
	State   string `query:"state" enum:"filed,answered,closed"`
	Overdue bool   `query:"overdue" doc:"only those that should have been answered"`
}

func (a *API) listObjections(ctx context.Context, in *ticketQuery) (*pageOut[ticketOut], error) {
	before, err := in.before()
	if err != nil {
		return nil, err
	}
	all, err := a.Catalog.Tickets(ctx, register.TicketQuery{Region: region(ctx), Dataset: in.Dataset, Kind: register.TicketKind(in.Kind), State: register.TicketState(in.State),
		Overdue: in.Overdue, Below: before, Limit: in.Limit})
	if err != nil {
		return nil, err
	}
	out := newPage[ticketOut](len(all))
	for _, t := range all {
		out.Body.Items = append(out.Body.Items, a.showTicket(t))
	}
	if n := len(all); n == in.Limit && all[n-1].Number > 1 {
		out.Body.Next = cursor(strconv.FormatInt(all[n-1].Number, 10))
	}
	return out, nil
}

// objection is a ticket that the caller may handle, and to which version of it
// a change is made.
func (a *API) objection(ctx context.Context, in *TicketID) (t *register.Ticket, version int64, err error) {
	if version, err = in.version(); err != nil {
		return nil, 0, err
	}
	if t, err = a.Catalog.Ticket(ctx, in.ID); err != nil {
		return nil, 0, err
	}
	return t, version, may(ctx, access.HandleObjections, t.Region)
}

func (a *API) getObjection(ctx context.Context, in *TicketID) (*oneTicket, error) {
	t, _, err := a.objection(ctx, in)
	if err != nil {
		return nil, err
	}
	return a.followed(ctx, t, true)
}

type answerIn struct {
	TicketID
	Body struct {
		Text string `json:"text" doc:"read by who filed it"`
	}
}

func (a *API) answerObjection(ctx context.Context, in *answerIn) (*oneTicket, error) {
	_, version, err := a.objection(ctx, &in.TicketID)
	if err != nil {
		return nil, err
	}
	t, err := a.Catalog.Answer(ctx, in.ID, version, in.Body.Text)
	if err != nil {
		return nil, err
	}
	return a.theTicket(t), nil
}

type closeIn struct {
	TicketID
	Body struct {
		Outcome string         `json:"outcome" enum:"corrected,explained,rejected"`
		Text    string         `json:"text" doc:"read by who filed it"`
		Law     []register.Law `json:"law,omitempty" doc:"mandatory for a rejection: title.zh and article"`
	}
}

func (a *API) closeObjection(ctx context.Context, in *closeIn) (*oneTicket, error) {
	_, version, err := a.objection(ctx, &in.TicketID)
	if err != nil {
		return nil, err
	}
	t, err := a.Catalog.Close(ctx, in.ID, version, register.Outcome(in.Body.Outcome), in.Body.Text, in.Body.Law)
	if err != nil {
		return nil, err
	}
	return a.theTicket(t), nil
}
