package register

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Edition is a dataset as a person wrote it, and how far it has come.
type Edition struct {
	Document Document      `json:"document"`
	State    catalog.State `json:"state"`
	// Signed is the named person who signed the grade, and SignedAt when; empty:
	// nobody yet. Art. 74(3)
	Signed   string    `json:"signed,omitempty"`
	SignedAt time.Time `json:"signed_at,omitzero"`
}

// Record is what the register has of a dataset. It never changes: the next
// version is another one.
type Record struct {
	ID string `json:"id"`
	// Code is 信息资源代码, given when it is first published.
	Code string `json:"code,omitempty"`
	// Edition is what stands: what the public sees once it is published.
	Edition
	// Change is what it is to become when that is published; nil for nothing.
	Change *Edition `json:"change,omitempty"`
	// Reason is why it was given back, suspended or withdrawn.
	Reason    string    `json:"reason,omitempty"`
	Created   time.Time `json:"created"`
	Published time.Time `json:"published,omitzero"` // first
	Modified  time.Time `json:"modified"`
	// Edited is when what stands became so: a change that is written beside it is
	// no edit of what the public sees.
	Edited  time.Time `json:"edited,omitzero"`
	Version int64     `json:"version"`

	dataset *catalog.Dataset
}

// Dataset is what stands as the catalogue knows it. It is not to be changed.
func (r *Record) Dataset() *catalog.Dataset { return r.dataset }

// Public reports whether the public has ever seen it.
func (r *Record) Public() bool { return !r.Published.IsZero() }

// Region is where its data come from.
func (r *Record) Region() string { return r.Document.Region }

// complete makes the dataset of what stands. One whose grade was raised may not
// be what the law allows for that grade: it is suspended.
func (r *Record) complete() error {
	d, faults := r.Document.read()
	if len(faults) > 0 {
		return fmt.Errorf("dataset %s, as it was kept, is not taken by this version of the hub: %w", r.ID, faults[0])
	}
	d.Code, d.State, d.Signed, d.Version = r.Code, r.State, r.Signed, r.Version
	d.Created, d.Published, d.Modified = r.Created, r.Published, r.Edited
	if d.Modified.IsZero() {
		d.Modified = r.Modified
	}
	r.dataset = d
	return nil
}

// draft is the edition that people work on: the change of one that was
// published, else what stands.
func (r *Record) draft() *Edition {
	if r.Change != nil {
		return r.Change
	}
	return &r.Edition
}

// next is a copy to make the next version of.
func (r *Record) next() *Record {
	n := *r
	n.dataset = nil
	if r.Change != nil {
		change := *r.Change
		n.Change = &change
	}
	return &n
}

// edits reports whether what stands is another than it was.
func (r *Record) edits(old *Record) bool {
	return old == nil || r.Code != old.Code || r.State != old.State || r.Signed != old.Signed || !r.Document.same(&old.Document)
}

// wrong is ErrState with what the thing is in, and the way out.
func wrong(what, state, wayOut string) error {
	return fmt.Errorf("%s %w: it is %s; %s", what, ErrState, state, wayOut)
}

func (r *Record) wrong(wayOut string) error {
	state := string(r.State)
	if r.Change != nil {
		state += ", with a change that is " + string(r.Change.State)
	}
	return wrong("dataset "+r.ID, state, wayOut)
}

// put takes a new text. What changes nothing returns false.
func (r *Record) put(d Document) (bool, error) {
	switch {
	case r.State == catalog.Withdrawn:
		return false, r.wrong("its id is never given again; choose another one")
	case r.draft().Document.same(&d):
		return false, nil
	case r.Code != "" && !slices.Equal(r.Document.Path, d.Path):
		return false, fmt.Errorf("dataset %s %w: its code %s is of the class %s, and no code is ever changed; withdraw it and make another", r.ID, ErrState, r.Code, strings.Join(r.Document.Path, "-"))
	}
	if r.State == catalog.Published && raises(&r.Document, &d) {
		r.State, r.Reason = catalog.Suspended, raised
	}
	e := Edition{Document: d, State: catalog.Draft}
	if old := r.draft(); old.Document.graded(&d) {
		e.Signed, e.SignedAt = old.Signed, old.SignedAt
	}
	if r.Published.IsZero() {
		r.Edition = e
	} else {
		r.Change = &e
	}
	return true, nil
}

// raised is the reason of what a raised grade suspends.
const raised = "定级提高 · its grade was raised"

// raises reports whether something that stands gets a higher grade. An item that
// is new raises nothing of what was given out.
func raises(old, now *Document) bool {
	was, _ := old.read()
	is, _ := now.read()
	before := map[string]telemetry.Grade{}
	for _, it := range was.Items {
		before[it.Name] = it.Grade
	}
	newest := was.Grade
	for _, it := range is.Items {
		g, stood := before[it.Name]
		if stood && it.Grade > g {
			return true
		}
		if !stood {
			newest = max(newest, it.Grade)
		}
	}
	return is.Grade > newest
}

// Signing is a grade with the person who answers for it.
type Signing struct {
	By string
	// Grade and Items are what the grades are; empty: as they are written.
	Grade string
	Items map[string]string
}

// sign takes a signature. A grade that it raises counts at once for what stands;
// one that it lowers only for a draft.
func (r *Record) sign(s Signing, now time.Time) error {
	switch {
	case strings.TrimSpace(s.By) == "":
		return fmt.Errorf("dataset %s %w: a named person signs a grade; say who", r.ID, ErrReason)
	case r.State == catalog.Withdrawn:
		return r.wrong("nothing of it is given out any more")
	}
	doc, err := s.on(r.draft().Document)
	if err != nil {
		return err
	}
	higher := raises(&r.Document, &doc)
	if r.Change == nil && !r.Published.IsZero() && !higher && !r.Document.graded(&doc) {
		return r.wrong("a grade of what was published is lowered by a change: `hub dataset apply`, `submit`, `sign`, `publish`")
	}
	for _, e := range []*Edition{r.Change, &r.Edition} {
		if e == nil || e == &r.Edition && r.Change != nil && !higher {
			continue
		}
		if e == &r.Edition && r.Change != nil { // what stands has its own text
			if doc, err = s.on(e.Document); err != nil {
				continue // an item that only the change has
			}
		}
		e.Document, e.Signed, e.SignedAt = doc, s.By, now
	}
	if higher && r.State == catalog.Published {
		r.State, r.Reason = catalog.Suspended, raised
	}
	return nil
}

// on returns a document with the grades of the signing.
func (s Signing) on(d Document) (Document, error) {
	bad := &Invalid{Of: "the grade of dataset " + d.ID}
	d.Items = slices.Clone(d.Items)
	d.Grade = orElse(s.Grade, d.Grade)
	for name, g := range s.Items {
		i := slices.IndexFunc(d.Items, func(it Item) bool { return it.Name == name })
		if i < 0 {
			bad.Problems = append(bad.Problems, catalog.Problem{Path: "items." + name, ZH: "没有这个字段", EN: "is no item of the dataset"})
			continue
		}
		d.Items[i].Grade = g
	}
	is, faults := d.read()
	if bad.Problems = append(bad.Problems, faults...); len(bad.Problems) > 0 {
		return d, bad
	}
	for _, it := range is.Items {
		if it.Grade > is.Grade {
			is.Grade, d.Grade = it.Grade, it.Grade.String() // the highest item wins
		}
	}
	if g, why := catalog.GradeOf(is.Harm); g > is.Grade {
		bad.Problems = append(bad.Problems, catalog.Problem{Path: "grade",
			ZH: fmt.Sprintf("依所填影响应为 %s（%s），不得低于此", g, why.ZH), EN: fmt.Sprintf("must be %s at least, as its harm says (%s)", g, why.EN)})
		return d, bad
	}
	return d, nil
}

// submit hands the draft in.
func (r *Record) submit() error {
	if d := r.draft(); d.State != catalog.Draft {
		return r.wrong("only a draft can be submitted; change it with `hub dataset apply FILE`")
	}
	r.draft().State, r.Reason = catalog.Submitted, ""
	return nil
}

// giveBack makes a submitted one a draft again.
func (r *Record) giveBack(reason string) error {
	if r.draft().State != catalog.Submitted {
		return r.wrong("only what was submitted can be given back")
	}
	r.draft().State, r.Reason = catalog.Draft, reason
	return nil
}

// publish makes what was submitted stand, or opens what was suspended.
func (r *Record) publish(now time.Time) error {
	switch {
	case r.Change != nil && r.Change.State == catalog.Submitted && r.State.May(catalog.Draft):
		r.Edition, r.Change = *r.Change, nil
	case r.Change == nil && (r.State == catalog.Submitted || r.State == catalog.Suspended):
	default:
		return r.wrong("submit it first: `hub dataset submit " + r.ID + "`")
	}
	if r.Signed == "" {
		return fmt.Errorf("dataset %s %w: nobody has signed its grade; do so with `hub dataset sign %s --by NAME`", r.ID, ErrState, r.ID)
	}
	r.State, r.Reason = catalog.Published, ""
	if r.Published.IsZero() {
		r.Published = now
	}
	return nil
}

// suspend takes it out of everybody's reach.
func (r *Record) suspend(reason string) error {
	if !r.State.May(catalog.Suspended) {
		return r.wrong("only what is published can be suspended")
	}
	r.State, r.Reason = catalog.Suspended, reason
	return nil
}

// withdraw makes it a tombstone.
func (r *Record) withdraw(reason string) error {
	if !r.State.May(catalog.Withdrawn) {
		return r.wrong("it stays as it is")
	}
	r.State, r.Change, r.Reason = catalog.Withdrawn, nil, reason
	return nil
}
