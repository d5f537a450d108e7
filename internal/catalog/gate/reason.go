package gate

// Reason says why a cell, a value or a leaf is not as it was measured. Those
// that tell why a cell is withheld are for the eyes of who answers for the
// dataset: publishing them would tell small cells from those that are withheld
// for the sake of others. The public reads Public.
type Reason uint8

// The reasons.
const (
	Shown         Reason = iota
	BelowK               // fewer contributors than the policy wants
	Dominated            // one contributor gave too large a share
	Special              // a contributor who may not be seen is in it
	Complementary        // a small cell would follow from it
	Before               // an earlier version withheld it
	Incomplete           // some of its time has not passed, or lies outside of the table
	NotAdditive          // maximum, quantile or distinct count of what meets a withheld cell
	Extreme              // a value of a single contributor
	FewBeside            // too few contributors beyond the quantile
	Held                 // the value of the version before, since too few changed it
	TooRecent            // a bin of time that the delay keeps back
	Excluded             // it lies in an exclusion zone
	Withheld             // what the public reads for every cell that is hidden for people's sake
	Unrevised            // as Held, or since the new value would tell of hidden cells beside what is out
	reasons
)

// Text is a text in both languages.
type Text struct {
	ZH string `json:"zh"`
	EN string `json:"en"`
}

var reasonTexts = [reasons]struct {
	code string
	text Text
}{
	Shown:         {"shown", Text{"已发布", "published"}},
	BelowK:        {"below_k", Text{"贡献者数低于门限", "fewer contributors than the threshold"}},
	Dominated:     {"dominated", Text{"单一贡献者占比过高", "one contributor gave too large a share"}},
	Special:       {"special", Text{"含特种车辆等不得公开的贡献者", "a contributor who may not be seen, such as a police vehicle, is in it"}},
	Complementary: {"complementary", Text{"补充隐藏：否则可由合计推出其他单元格", "withheld so that no small cell follows from totals"}},
	Before:        {"before", Text{"此前版本或相关数据集已隐藏", "withheld by an earlier version"}},
	Incomplete:    {"incomplete", Text{"时段尚未完整", "its time is not complete"}},
	NotAdditive:   {"not_additive", Text{"与隐藏单元格重叠的最大值、分位数或去重计数", "a maximum, quantile or distinct count that overlaps a withheld cell"}},
	Extreme:       {"extreme", Text{"极值来自单一贡献者", "an extreme is the value of a single contributor"}},
	FewBeside:     {"few_beside", Text{"分位点一侧的贡献者过少", "too few contributors lie beyond the quantile"}},
	Held:          {"held", Text{"沿用上一版本：变动涉及的贡献者过少", "the value of the version before, since too few contributors changed it"}},
	TooRecent:     {"too_recent", Text{"未到发布时延", "not yet published: the delay has not passed"}},
	Excluded:      {"excluded", Text{"不在发布范围内", "outside of what is published"}},
	Unrevised:     {"held", Text{"沿用此前版本：变动涉及的贡献者过少，或新数值与已公布的内容合起来会泄露隐藏的单元格", "the value of an earlier version, since too few contributors changed it, or since the new one would tell of withheld cells beside what is out already"}},
	Withheld:      {"withheld", Text{"为保护个人和单位而隐藏", "withheld to protect persons and organisations"}},
}

// Code names a reason in reports and logs.
func (r Reason) Code() string { return reasonTexts[r].code }

// Text tells people a reason.
func (r Reason) Text() Text { return reasonTexts[r].text }

// Public is what the public may read of a reason.
func (r Reason) Public() Reason {
	switch r {
	case Shown, Incomplete, Held, Unrevised, TooRecent, Excluded:
		return r
	}
	return Withheld
}
