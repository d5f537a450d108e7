package register

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
)

// TicketKind is what somebody objects to or asks for.
type TicketKind string

// The kinds: objections to public data (Art. 27), and requests of a person about
// the own personal data (Art. 38).
const (
	WrongData  TicketKind = "error"
	Omission   TicketKind = "omission"
	Privacy    TicketKind = "privacy"      // personal information is violated
	Secrecy    TicketKind = "trade_secret" // a trade secret is
	SeeOwn     TicketKind = "access"
	CopyOwn    TicketKind = "copy"
	MoveOwn    TicketKind = "transfer"
	CorrectOwn TicketKind = "rectify"
	DeleteOwn  TicketKind = "erase"
)

// TicketKinds lists the kinds.
func TicketKinds() []TicketKind {
	return []TicketKind{WrongData, Omission, Privacy, Secrecy, SeeOwn, CopyOwn, MoveOwn, CorrectOwn, DeleteOwn}
}

// Subject reports whether it is of a person about the own data.
func (k TicketKind) Subject() bool {
	return slices.Index(TicketKinds(), k) >= slices.Index(TicketKinds(), SeeOwn)
}

// TicketState is who has to do something.
type TicketState string

// The states.
const (
	Filed    TicketState = "filed"    // the hub's stewards have
	Answered TicketState = "answered" // who filed it may
	Closed   TicketState = "closed"
)

// Outcome is what came of a ticket.
type Outcome string

// The outcomes.
const (
	Corrected Outcome = "corrected" // or supplemented, deleted, handed over: done
	Explained Outcome = "explained" // answered without a change
	Rejected  Outcome = "rejected"  // with its law
)

// Outcomes lists the outcomes.
func Outcomes() []Outcome { return []Outcome{Corrected, Explained, Rejected} }

// Message is one of a thread.
type Message struct {
	At time.Time `json:"at"`
	// By is the token's name of a steward; empty: who filed the ticket.
	By   string `json:"by,omitempty"`
	Text string `json:"text"`
}

// Ticket is an objection, or the request of a person about the own data, with
// all that was said about it in one thread. Art. 27, Art. 38(2)
type Ticket struct {
	Number  int64       `json:"number"`
	Kind    TicketKind  `json:"kind"`
	Dataset string      `json:"dataset,omitempty"`
	Region  string      `json:"region,omitempty"`
	State   TicketState `json:"state"`
	Filed   time.Time   `json:"filed"`
	// Due is until when it must be answered, at the end of a working day. Sure
	// says that the calendar is complete up to then.
	Due     time.Time `json:"due,omitzero"`
	Sure    bool      `json:"sure,omitempty"`
	Outcome Outcome   `json:"outcome,omitempty"`
	Law     []Law     `json:"law,omitempty"`
	Closed  time.Time `json:"closed,omitzero"`
	Version int64     `json:"version"`

	// Person is what may name a person: it is kept sealed, and is in no log and in
	// no record of changes. Art. 39(2)
	Person `json:"-"`
}

// Person is the part of a ticket that is of a person.
type Person struct {
	// Contact is how who filed it is reached.
	Contact string    `json:"contact,omitempty"`
	Thread  []Message `json:"thread"`
}

// ID is how people call it.
func (t *Ticket) ID() string { return "t-" + strconv.FormatInt(t.Number, 10) }

// Overdue reports whether somebody waits for an answer longer than allowed.
func (t *Ticket) Overdue(now time.Time) bool { return t.State == Filed && now.After(t.Due) }

const (
	maxThread  = 200
	maxContact = 500
)

func (r *Register) loadTicket(rows *sql.Rows) error {
	t := &Ticket{}
	if err := scanJSON(rows, t); err != nil {
		return err
	}
	r.open[t.Number] = t
	return nil
}

// binding is what a sealed part belongs to.
func (t *Ticket) binding() string { return "ticket " + t.ID() }

// Filing is a ticket to be.
type Filing struct {
	Kind    TicketKind
	Dataset string // may be empty for requests of persons
	Region  string // of who is to answer, where no dataset says it
	Contact string
	Text    string
}

// File takes a ticket from anybody, and returns the secret by which its thread
// is read and continued. It is shown this once.
func (r *Register) File(ctx context.Context, f Filing) (t *Ticket, secret string, err error) {
	r.change.Lock()
	defer r.change.Unlock()
	if err := r.filing(&f); err != nil {
		return nil, "", err
	}
	if len(r.openTickets()) >= r.cfg.MaxOpenTickets {
		return nil, "", fmt.Errorf("open tickets %w, %d (catalog.max_open_tickets)", ErrFull, r.cfg.MaxOpenTickets)
	}
	now := r.now()
	t = &Ticket{Kind: f.Kind, Dataset: f.Dataset, Region: f.Region, State: Filed, Filed: now,
		Person: Person{Contact: f.Contact, Thread: []Message{{At: now, Text: f.Text}}}}
	r.dueTicket(t)
	if t.Number, err = r.number(ctx, "ticket"); err != nil {
		return nil, "", err
	}
	secret = rand.Text()
	return t, secret, r.keepTicket(ctx, nil, t, secret)
}

// filing checks what is filed, and takes the region from its dataset.
func (r *Register) filing(f *Filing) error {
	var bad reading
	if !slices.Contains(TicketKinds(), f.Kind) {
		bad.add("kind", "%.30q 不是种类；可用：%v", "%.30q is no kind; there are %v", f.Kind, TicketKinds())
	}
	if strings.TrimSpace(f.Text) == "" || len(f.Text) > maxText {
		bad.add("text", "必须写明事由，至多 %d 字节", "must say what it is about, in at most %d bytes", maxText)
	}
	if len(f.Contact) > maxContact {
		bad.add("contact", "超过 %d 字节", "has more than %d bytes", maxContact)
	}
	rec, err := r.Get(f.Dataset)
	switch {
	case f.Dataset != "" && (err != nil || !rec.Public()):
		bad.add("dataset", "没有数据集 %.70q", "there is no dataset %.70q", f.Dataset)
	case f.Dataset != "":
		f.Region = rec.Region()
	case !f.Kind.Subject():
		bad.add("dataset", "异议须写明数据集", "must name the dataset that is objected to")
	}
	if !catalog.Division(f.Region) {
		bad.add("region", "%.20q 不是行政区划代码", "%.20q is no division code", f.Region)
	}
	if len(bad.faults) > 0 {
		return &Invalid{Of: "the ticket", Problems: bad.faults}
	}
	return nil
}

func (r *Register) dueTicket(t *Ticket) {
	days := r.cfg.ObjectionDays
	if t.Kind.Subject() {
		days = r.cfg.SubjectDays
	}
	t.Due, t.Sure = r.calendar.after(r.now(), days)
}

// Ticket returns one with its thread, or ErrUnknown.
func (r *Register) Ticket(ctx context.Context, id string) (*Ticket, error) {
	t, _, err := r.ticket(ctx, id)
	return t, err
}

// TicketOf is Ticket for who filed it. A wrong secret is as an unknown ticket.
func (r *Register) TicketOf(ctx context.Context, id, secret string) (*Ticket, error) {
	t, mark, err := r.ticket(ctx, id)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256([]byte(secret)); subtle.ConstantTimeCompare(sum[:], mark) != 1 {
		return nil, unknownTicket(id)
	}
	return t, nil
}

func unknownTicket(id string) error {
	return fmt.Errorf("ticket %.30q %w, or its secret is another one", id, ErrUnknown)
}

func (r *Register) ticket(ctx context.Context, id string) (t *Ticket, mark []byte, err error) {
	n, err := strconv.ParseInt(strings.TrimPrefix(id, "t-"), 10, 64)
	if err != nil || !strings.HasPrefix(id, "t-") {
		return nil, nil, unknownTicket(id)
	}
	err = r.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var text string
		var sealed []byte
		if err := rows.Scan(&text, &sealed, &mark); err != nil {
			return err
		}
		t = &Ticket{}
		if err := json.Unmarshal([]byte(text), t); err != nil {
			return err
		}
		plain, err := r.deps.Unseal(sealed, t.binding())
		if err != nil {
			return fmt.Errorf("what is personal of ticket %s was sealed with a key file that is gone: %w", id, err)
		}
		return json.Unmarshal(plain, &t.Person)
	}, "SELECT record, sealed, secret FROM tickets WHERE number = ?", n)
	if err == nil && t == nil {
		err = unknownTicket(id)
	}
	return t, mark, err
}

// TicketQuery narrows which tickets are meant; empty fields mean any.
type TicketQuery struct {
	Region, Dataset string
	Kind            TicketKind
	State           TicketState
	Overdue         bool
	Below           int64
	Limit           int
}

// Tickets lists tickets without what is personal, the newest first.
func (r *Register) Tickets(ctx context.Context, q TicketQuery) (all []*Ticket, err error) {
	below := q.Below
	if below <= 0 {
		below = 1<<63 - 1
	}
	if q.Overdue {
		now := r.now()
		for _, t := range r.openTickets() {
			if t.Overdue(now) && t.Number < below && strings.HasPrefix(t.Region, q.Region) && (q.Dataset == "" || q.Dataset == t.Dataset) && (q.Kind == "" || q.Kind == t.Kind) {
				all = append(all, t)
			}
		}
		slices.SortFunc(all, func(a, b *Ticket) int { return int(b.Number - a.Number) })
		return all[:min(len(all), q.Limit)], nil
	}
	err = r.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		t := &Ticket{}
		all = append(all, t)
		return scanJSON(rows, t)
	}, `SELECT record FROM tickets WHERE number < ? AND substr(region, 1, ?) = ? AND (? = '' OR dataset = ?) AND (? = '' OR kind = ?) AND (? = '' OR state = ?)
		ORDER BY number DESC LIMIT ?`, below, len(q.Region), q.Region, q.Dataset, q.Dataset, string(q.Kind), string(q.Kind), string(q.State), string(q.State), q.Limit)
	if err != nil {
		return nil, fmt.Errorf("read tickets: %w", err)
	}
	return all, nil
}

func (r *Register) openTickets() (all []*Ticket) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, t := range r.open {
		all = append(all, t)
	}
	return all
}

// Answer adds what a steward says.
func (r *Register) Answer(ctx context.Context, id string, version int64, text string) (*Ticket, error) {
	return r.tell(ctx, id, version, func(t *Ticket) error {
		if t.State == Closed {
			return wrong("ticket "+t.ID(), string(t.State), "its thread has ended")
		}
		t.State, t.Due, t.Sure = Answered, time.Time{}, false
		return t.say(Message{r.now(), actor(ctx), text})
	})
}

// Done notes that what a ticket is about was put right: whoever filed it waits for
// nothing more. One that nobody waits for stays as it is.
func (r *Register) Done(ctx context.Context, id string) error {
	t, err := r.Ticket(ctx, id)
	if err != nil || t.State != Filed {
		return err
	}
	_, err = r.tell(ctx, id, 0, func(t *Ticket) error {
		if t.State == Filed {
			t.State, t.Due, t.Sure = Answered, time.Time{}, false
		}
		return nil
	})
	return err
}

// AddTo adds what who filed the ticket says; stewards have to answer again.
func (r *Register) AddTo(ctx context.Context, id, secret, text string) (*Ticket, error) {
	if _, err := r.TicketOf(ctx, id, secret); err != nil {
		return nil, err
	}
	return r.tell(ctx, id, 0, func(t *Ticket) error {
		if t.State == Closed {
			return wrong("ticket "+t.ID(), string(t.State), "file another one, and name this")
		}
		if t.State == Answered {
			t.State = Filed
			r.dueTicket(t)
		}
		return t.say(Message{At: r.now(), Text: text})
	})
}

// Close ends a ticket with what came of it. A rejection names its law.
func (r *Register) Close(ctx context.Context, id string, version int64, outcome Outcome, text string, law []Law) (*Ticket, error) {
	return r.tell(ctx, id, version, func(t *Ticket) error {
		switch {
		case t.State == Closed:
			return wrong("ticket "+t.ID(), string(t.State), "its thread has ended")
		case !slices.Contains(Outcomes(), outcome):
			return &Invalid{Of: "closing ticket " + id, Problems: []catalog.Problem{{Path: "outcome",
				ZH: fmt.Sprintf("%.30q 不是结果；可用：%v", outcome, Outcomes()), EN: fmt.Sprintf("%.30q is no outcome; there are %v", outcome, Outcomes())}}}
		case outcome == Rejected && !cited(law):
			return fmt.Errorf("rejecting ticket %s %w in the law: name it with its article", id, ErrReason)
		}
		t.State, t.Due, t.Sure, t.Outcome, t.Law, t.Closed = Closed, time.Time{}, false, outcome, law, r.now()
		return t.say(Message{r.now(), actor(ctx), text})
	})
}

// say adds a message to the thread.
func (t *Ticket) say(m Message) error {
	switch {
	case strings.TrimSpace(m.Text) == "" || len(m.Text) > maxText:
		return fmt.Errorf("the message on ticket %s %w; write it, in at most %d bytes", t.ID(), ErrReason, maxText)
	case len(t.Thread) >= maxThread:
		return fmt.Errorf("messages on ticket %s %w, %d", t.ID(), ErrFull, maxThread)
	}
	t.Thread = append(slices.Clone(t.Thread), m)
	return nil
}

// tell makes the next version of a ticket.
func (r *Register) tell(ctx context.Context, id string, version int64, f func(*Ticket) error) (*Ticket, error) {
	r.change.Lock()
	defer r.change.Unlock()
	old, err := r.Ticket(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := fresh("ticket", id, old.Version, version); err != nil {
		return nil, err
	}
	t := *old
	if err := f(&t); err != nil {
		return nil, err
	}
	return &t, r.keepTicket(ctx, old, &t, "")
}

// keepTicket writes a ticket, with its secret the first time.
func (r *Register) keepTicket(ctx context.Context, old, t *Ticket, secret string) error {
	t.Version++
	var before any
	if old != nil {
		before = old
	}
	ctx = r.deps.Noted(ctx, access.HandleObjections, "ticket "+t.ID(), t.Region, before, t)
	sealed, mark := r.deps.Seal(asJSON(t.Person), t.binding()), sha256.Sum256([]byte(secret))
	err := r.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO tickets (number, dataset, region, kind, state, version, record, sealed, secret) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (number) DO UPDATE SET state = excluded.state, version = excluded.version, record = excluded.record, sealed = excluded.sealed`,
			t.Number, t.Dataset, t.Region, string(t.Kind), string(t.State), t.Version, string(asJSON(t)), sealed, mark[:])
		return err
	})
	if err != nil {
		return fmt.Errorf("keep ticket %s: %w", t.ID(), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.State == Closed {
		delete(r.open, t.Number)
		return nil
	}
	kept := *t
	kept.Person = Person{} // lists do not show it
	r.open[t.Number] = &kept
	return nil
}
