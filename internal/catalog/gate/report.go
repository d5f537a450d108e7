package gate

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Report is what is published about how a table came through the gate. It tells
// nothing of single cells, nor how many were withheld for which reason: that
// would help to tell them apart.
type Report struct {
	Format  string       `json:"format"`
	Dataset string       `json:"dataset"`
	Version int64        `json:"version"`
	At      string       `json:"at"` // RFC 3339, UTC
	Method  Text         `json:"method"`
	Policy  ReportPolicy `json:"policy"`
	// Bound is how often one contributor is counted in a day at most; 0: not bounded.
	Bound  int64        `json:"bound"`
	Cells  ReportCells  `json:"cells"`
	Noise  *ReportNoise `json:"noise,omitempty"`
	Checks struct {
		Earlier int64 `json:"earlier"` // tables that this one was checked against
		Proven  int64 `json:"proven"`  // proofs of uncertainty, of each withheld cell in each measure
	} `json:"checks"`
	Attacks []Finding `json:"attacks"`
	// Reviewer is who looked at it, by name.
	Reviewer string `json:"reviewer"`
	// Table is the SHA-256 of the canonical form of the published table.
	Table string `json:"table_sha256"`
	// SHA256 is of the canonical form of the report without this field.
	SHA256 string `json:"sha256,omitempty"`
}

// ReportFormat names the form of reports.
const ReportFormat = "songhua-privacy-report/1"

// ReportPolicy has the parameters, times in seconds.
type ReportPolicy struct {
	Name            string `json:"name"`
	K               int64  `json:"k"`
	MaxSharePercent int64  `json:"max_share_percent"`
	IntervalPercent int64  `json:"interval_percent"`
	MinBin          int64  `json:"min_bin_s"`
	Delay           int64  `json:"delay_s"`
	Beside          int64  `json:"beside"`
	ExtremeStep     int64  `json:"extreme_step"`
	Zones           int64  `json:"zones"`
}

// ReportCells counts cells over all groupings.
type ReportCells struct {
	Total    int64 `json:"total"`
	Shown    int64 `json:"shown"`
	Withheld int64 `json:"withheld"`
	// WithheldPermille is the suppressed share, in thousandths, rounded up.
	WithheldPermille int64 `json:"withheld_permille"`
	Held             int64 `json:"held"`
	// SmallestK are the contributors of the smallest cell that is shown.
	SmallestK int64 `json:"smallest_k"`
}

// ReportNoise says what noise was added.
type ReportNoise struct {
	Distribution string `json:"distribution"`
	// MicroEpsilon was spent for each of Days, in millionths of ε.
	MicroEpsilon int64 `json:"micro_epsilon"`
	Days         int64 `json:"days"`
	// Covers is how many contributions of one contributor to a day that hides; who
	// gives more is hidden by so much less, unless the report's bound forbids it.
	Covers int64 `json:"covers"`
	// Spent is what this and the versions before have spent of Budget, for the day of
	// which most is spent.
	Spent  int64 `json:"spent_micro_epsilon"`
	Budget int64 `json:"budget_micro_epsilon"`
}

// Finding is what came of an attack.
type Finding struct {
	Attack string `json:"attack"`
	// Tried is how much was attacked, Recovered how much of it was found out.
	Tried     int64 `json:"tried"`
	Recovered int64 `json:"recovered"`
	// Unfinished is how much was too large for this attack.
	Unfinished int64 `json:"unfinished"`
	Detail     Text  `json:"detail"`
}

// methods are how it is done now, and how it was with Input.Former.
var (
	method = Text{
		ZH: "按贡献者数门限和最大占比隐藏单元格；再补充隐藏，使被隐藏的单元格无法由合计、历次版本和相关数据集推出（附可验证的证明）；迟到数据若变动涉及的贡献者过少，或与已公布的内容合起来会泄露隐藏的单元格，则该单元格沿用此前版本并标明；所需时加入整数双侧几何噪声。",
		EN: "Cells below the threshold of contributors, or dominated by one, are withheld, and others with them, so that none follows from totals, earlier versions or overlapping datasets; each has a proof that was checked. A cell that too few late contributors changed, or whose new value would tell of withheld ones beside what is out already, stays as it was and is marked. Where noise is declared it is two-sided geometric, in integers.",
	}
	formerMethod = Text{
		ZH: "按贡献者数门限和最大占比隐藏单元格；再补充隐藏，使被隐藏的单元格无法由合计、历次版本和相关数据集推出（附可验证的证明）；所需时加入整数双侧几何噪声。",
		EN: "Cells below the threshold of contributors, or dominated by one, are withheld, and others with them, so that none follows from totals, earlier versions or overlapping datasets; each has a proof that was checked. Where noise is declared it is two-sided geometric, in integers.",
	}
)

// Report makes the report, with the findings of attacks that were run on this
// result.
func (r *Result) Report(at time.Time, reviewer string, attacks []Finding) (*Report, error) {
	if reviewer == "" {
		return nil, fmt.Errorf("report of dataset %s: no reviewer; a named person has to look at it", r.Published.Dataset)
	}
	for _, f := range attacks {
		if f.Recovered > 0 {
			return nil, fmt.Errorf("report of dataset %s: the attack %q found out %d of %d; the table must not be published", r.Published.Dataset, f.Attack, f.Recovered, f.Tried)
		}
	}
	p, f := &r.policy, &r.Figures
	out := &Report{
		Format: ReportFormat, Dataset: r.Published.Dataset, Version: r.Published.Version, At: at.UTC().Format(time.RFC3339), Method: method,
		Policy: ReportPolicy{Name: p.Name, K: p.K, MaxSharePercent: p.MaxSharePercent, IntervalPercent: p.IntervalPercent, MinBin: int64(p.MinBin / time.Second),
			Delay: int64(p.Delay / time.Second), Beside: p.Beside, ExtremeStep: p.ExtremeStep, Zones: int64(len(p.Zones))},
		Bound:   r.Past.Table.Bound,
		Cells:   ReportCells{Total: f.Cells, Shown: f.Shown, Withheld: f.Withheld, WithheldPermille: (f.Withheld*1000 + max(1, f.Cells) - 1) / max(1, f.Cells), Held: f.Held, SmallestK: f.SmallestK},
		Attacks: attacks, Reviewer: reviewer,
	}
	if r.u.former {
		out.Method = formerMethod
	}
	out.Checks.Earlier, out.Checks.Proven = f.EarlierChecked, f.Proven
	if f.MicroEpsilon > 0 {
		out.Noise = &ReportNoise{Distribution: "two_sided_geometric", MicroEpsilon: f.MicroEpsilon, Days: f.Days, Covers: cmp.Or(r.Past.Table.Bound, p.NoiseBound), Spent: r.paid.MicroEpsilon, Budget: r.paid.Budget}
	}
	var err error
	if out.Table, err = Hash(r.Published); err != nil {
		return nil, err
	}
	if out.SHA256, err = Hash(out); err != nil {
		return nil, err
	}
	return out, nil
}

// Hash is the SHA-256 of the canonical form, in hexadecimal.
func Hash(v any) (string, error) {
	text, err := Canonical(v)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// VerifyReport checks that a report is as it was made, and, with a table, that it
// is of that table. It reads the report as it was stored.
func VerifyReport(stored []byte, table *Published) error {
	var r Report
	in := json.NewDecoder(bytes.NewReader(stored))
	in.DisallowUnknownFields()
	if err := in.Decode(&r); err != nil {
		return fmt.Errorf("privacy report: %w", err)
	}
	said := r.SHA256
	r.SHA256 = ""
	if sum, err := Hash(&r); err != nil || sum != said {
		return fmt.Errorf("privacy report of dataset %s: it says that its hash is %.12s…, and it is %.12s…; it was changed", r.Dataset, said, sum)
	}
	if table == nil {
		return nil
	}
	if sum, err := Hash(table); err != nil || sum != r.Table {
		return fmt.Errorf("privacy report of dataset %s: it is of a table with the hash %.12s…, and this one has %.12s…", r.Dataset, r.Table, sum)
	}
	return nil
}
