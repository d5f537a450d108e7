package register

import (
	"fmt"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
)

// StepKind is what was done about a ticket.
type StepKind string

// The kinds. The last two are of what is still to be done.
const (
	StepCorrected StepKind = "corrected" // samples were corrected
	StepReleased  StepKind = "released"  // a version was released because of it
	StepTold      StepKind = "told"      // a destination has that version
	StepWaiting   StepKind = "waiting"   // a destination is still to have it
	StepRefused   StepKind = "refused"   // a destination does not take the dataset as it is
)

// Step is something that was done about a ticket, besides what was said: it stands
// in the same thread. It names no person. Art. 27
type Step struct {
	At   time.Time // zero: not yet
	Kind StepKind
	// Correction is the number of StepCorrected, of samples between From and To.
	Correction int64
	From, To   time.Time
	// Dataset and Version are those of all other kinds; Replaces the version before, 0
	// for none.
	Dataset           string
	Version, Replaces int64
	// Rows is what the version changed; nil: not known.
	Rows        *StepRows
	Destination string
	// Reason is why, or what a destination that refuses says; empty: not told.
	Reason catalog.Text
}

// StepRows counts rows that a version added, removed and changed.
type StepRows struct{ Added, Removed, Changed int64 }

// Text says the step in words.
func (s *Step) Text() catalog.Text {
	t := s.what()
	if s.Reason.ZH != "" {
		t.ZH += "：" + s.Reason.ZH
	}
	if s.Reason.EN != "" {
		t.EN += ": " + s.Reason.EN
	}
	return t
}

func (s *Step) what() catalog.Text {
	zh, en := fmt.Sprintf("数据集 %s 第 %d 版", s.Dataset, s.Version), fmt.Sprintf("version %d of dataset %s", s.Version, s.Dataset)
	switch s.Kind {
	case StepCorrected:
		return catalog.Text{ZH: fmt.Sprintf("已更正样本（更正 %d）", s.Correction), EN: fmt.Sprintf("Samples were corrected (correction %d)", s.Correction)}
	case StepTold:
		return catalog.Text{ZH: s.Destination + " 已收到" + zh, EN: s.Destination + " has " + en}
	case StepWaiting:
		return catalog.Text{ZH: s.Destination + " 尚未收到" + zh, EN: s.Destination + " is still to have " + en}
	case StepRefused:
		return catalog.Text{ZH: s.Destination + " 未接收" + zh, EN: s.Destination + " does not take " + en}
	}
	t := catalog.Text{ZH: "已发布" + zh, EN: "Released: " + en}
	if s.Replaces > 0 {
		t.ZH, t.EN = t.ZH+fmt.Sprintf("，替代第 %d 版", s.Replaces), t.EN+fmt.Sprintf(", which replaces version %d", s.Replaces)
	}
	if r := s.Rows; r != nil {
		t.ZH, t.EN = t.ZH+fmt.Sprintf("，增 %d 行、删 %d 行、改 %d 行", r.Added, r.Removed, r.Changed), t.EN+fmt.Sprintf("; rows added %d, removed %d, changed %d", r.Added, r.Removed, r.Changed)
	}
	return t
}
