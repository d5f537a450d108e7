package traffic

import "fmt"

// idFaults are the defects of the last minutes, as faults.
func (u *unit) idFaults() (all []Fault) {
	for d, f := range &u.defects {
		if f.count == 0 || u.event.Sub(f.last) > fixedAfter {
			continue
		}
		out := Fault{Since: f.since, Last: f.last, Count: f.count}
		switch idDefect(d) {
		case fixedID:
			out.Check = CheckFixedID
			out.ZH = fmt.Sprintf("%d 个车辆临时标识超过 %.0f 分钟未更换，可被跟踪", f.count, fixedAfter.Minutes())
			out.EN = fmt.Sprintf("%d temporary ids of vehicles did not change for %.0f minutes: they can be followed", f.count, fixedAfter.Minutes())
		case zeroID:
			out.Check = CheckZeroID
			out.ZH = fmt.Sprintf("%d 条车辆消息的临时标识全为零", f.count)
			out.EN = fmt.Sprintf("%d messages of vehicles have an id that is all zero", f.count)
		case sharedID:
			out.Check = CheckSharedID
			out.ZH = fmt.Sprintf("%d 个车辆临时标识在 %.0f 秒内同时出现在 %d 个以上路侧单元", f.count, togetherFor.Seconds(), fewUnits)
			out.EN = fmt.Sprintf("%d temporary ids of vehicles were at more than %d units within %.0f seconds", f.count, fewUnits, togetherFor.Seconds())
		}
		all = append(all, out)
	}
	return all
}
