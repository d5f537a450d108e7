package traffic

import (
	"math"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// numbers are those of a link in the last minute that has closed.
type numbers struct {
	at                         time.Time // its end; zero: none yet
	source                     string
	flow, nonMotor, mean, p85  float64
	occupancy, queue, standing float64
	participants               [4]float64 // by type
	hazards                    float64
}

func noNumbers() numbers {
	no := math.NaN()
	return numbers{mean: no, p85: no, occupancy: no, queue: no, standing: no}
}

// keepNumbers keeps what links show of a minute that closes.
func (u *unit) keepNumbers(w *window) {
	if u.net == nil {
		return
	}
	end := time.Unix((w.minute+1)*60, 0).UTC()
	for i := range u.net.links {
		l := &u.net.links[i]
		if end.After(l.kept.numbers.at) {
			l.numbersOf(w, end)
		}
	}
}

func (l *link) numbersOf(w *window, end time.Time) {
	mean := func(s Series) float64 { return w.cells.get(l.cell(s, 0)) / w.cells.get(l.cell(s, 1)) } // NaN of nothing
	s, name := bySensor, sensors
	if !w.cells.has(l.cell(Occupancy, 1)) {
		if s, name = byVehicle, vehicles; w.cells.get(l.cell(vehiclesBy[s], 0)) == 0 {
			return
		}
	}
	l.kept.numbers = numbers{at: end, source: name, flow: w.cells.get(l.cell(vehiclesBy[s], 0)), nonMotor: w.cells.get(l.cell(vehiclesBy[s], 1)),
		mean: mean(speedMeanBy[s]), p85: l.quantile(w, speedBy[s], 0.85),
		occupancy: mean(Occupancy), queue: math.NaN(), standing: mean(QueueMean)}
	if s == bySensor {
		l.kept.numbers.queue = w.cells.get(l.cell(QueueMax, 0))
	}
	for t := range l.kept.numbers.participants {
		l.kept.numbers.participants[t] = w.cells.get(l.cell(participantsBy[s], uint8(t)))
	}
	for h := range hazardKinds {
		l.kept.numbers.hazards += w.cells.get(l.cell(Hazards, uint8(h)))
	}
}

func (l *link) quantile(w *window, s Series, q float64) float64 {
	var parts []Cell
	total := 0.0
	for part := range 256 {
		if c := l.cell(s, uint8(part)); w.cells.has(c) {
			parts = append(parts, c)
			total += w.cells.get(c)
		}
	}
	if total <= 0 {
		return math.NaN()
	}
	return definition(s).Scale(w.quantile(parts, total*q))
}

// Links are all roads of the maps of all units, with the numbers of the last
// minute that has closed. Nothing in them is of one vehicle.
func (b *Board) Links() (all []LinkView) {
	for _, u := range b.all() {
		u.mu.Lock()
		all = u.links(all)
		u.mu.Unlock()
	}
	return all
}

func (u *unit) links(all []LinkView) []LinkView {
	if u.net == nil {
		return all
	}
	for i := range u.net.links {
		l := &u.net.links[i]
		n := &l.kept.numbers
		v := LinkView{From: nodeOf(l.from), To: nodeOf(l.to), Name: l.name, Unit: u.id, Points: slices.Clone(l.line), Length: l.length, Lanes: l.lanes, Limit: l.limit,
			At: n.at, Source: n.source, Flow: n.flow, NonMotor: n.nonMotor, MeanSpeed: n.mean, P85: n.p85,
			Occupancy: n.occupancy, Queue: n.queue, QueueMean: n.standing, Hazards: n.hazards, Participants: map[road.ParticipantType]float64{}}
		for t, count := range n.participants {
			if count > 0 {
				v.Participants[road.ParticipantType(t)] = count
			}
		}
		all = append(all, v)
	}
	return all
}
