package traffic

import (
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// hear notes that the unit lives. A live message that came before is a sign of
// life, too.
func (u *unit) hear(a *Arrival) {
	if a.Live {
		u.heard = later(u.heard, a.Received)
		u.rates.add(partOf(a.Message.Kind), a.Received)
	}
}

// watch gives a message that was counted to all who judge.
func (u *unit) watch(b *Board, a *Arrival, at time.Time) {
	u.sends |= 1 << partOf(a.Message.Kind)
	if a.Live {
		u.judgeRates(b, a, at)
		u.offset(b, a, at)
		u.progress(b, a, at)
	}
	switch m := a.Message; m.Kind {
	case road.KindSPAT:
		u.signalsOf(b, a, at)
	case road.KindMap:
		u.learn(b, m.Nodes, at)
	case road.KindRSI:
		u.eventsOf(b, a, at)
	case road.KindHeartbeat:
		if a.Live {
			u.beat(b, a, at)
		}
	}
	if a.Message.Status != nil {
		u.statusOf(b, a, at)
	}
}

// unresolved counts a message whose time cannot be resolved: no minute takes it.
func (u *unit) unresolved(a *Arrival) {
	if a.Live {
		u.deviates(a.Message.Kind, "time", "", "报文时间缺失，或与接收时间相差过大，无法确定", "its time is missing, or too far from that of arrival to be resolved", a.Received)
	}
}

// leave takes back what the board keeps of a unit that is removed.
func (u *unit) leave(b *Board) {
	for len(u.evidence.kept) > 0 {
		u.evidence.drop(b, 0)
	}
	for _, x := range u.events.going {
		b.tellings.drop(u.id, x.key)
	}
}
