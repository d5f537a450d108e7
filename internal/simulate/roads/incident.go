package roads

import "time"

// Of incidents.
const (
	stopped, wrongWay = 903, 904 // GB/T 29100
	// firstIncident is when the first one may begin, and betweenIncidents how long
	// after the end of one the next.
	firstIncident    = time.Minute
	betweenIncidents = 5 * time.Minute
	// breakdownFrom and breakdownTo bound how far before the stop line one breaks
	// down, in metres.
	breakdownFrom, breakdownTo = 70, 200
)

// incident is one on a link to the node of a unit.
type incident struct {
	truth  *Incident // nil: the vehicle has not come to stand yet
	on     *link
	broken *vehicle
	wrong  *vehicle // it drives from the stop line to the begin of the link
	until  time.Time
}

// incidents moves the incident of the unit on, or begins one.
func (u *unit) incidents(w *World) {
	if u.fault != BrokenDown && u.fault != WrongWay {
		return
	}
	if u.incidentAt.IsZero() {
		u.incidentAt = w.now.Add(firstIncident)
	}
	switch i := u.incident; {
	case i != nil && i.broken != nil:
		u.breaksDown(w, i)
	case i != nil:
		i.wrong.s -= i.wrong.v * Tick.Seconds()
		if i.on.length-i.wrong.s > seen || i.wrong.s < 0 {
			u.over(w)
		}
	case w.now.Before(u.incidentAt):
	case u.fault == BrokenDown:
		u.breakdown()
	case len(u.ways()) > 0:
		u.strays(w)
	}
}

// ways are the links to the node, beginning with one or another.
func (u *unit) ways() (all []*link) {
	first := u.rng.IntN(len(u.node.in))
	for k := range u.node.in {
		if l := u.node.in[(first+k)%len(u.node.in)]; l != nil {
			all = append(all, l)
		}
	}
	return all
}

// breakdown begins with a vehicle that drives, where there is one.
func (u *unit) breakdown() {
	for _, l := range u.ways() {
		for _, c := range l.cars {
			if left := l.length - c.s; left > breakdownFrom+30 && left < breakdownTo+30 && c.v > 5 {
				c.broken = true
				u.incident = &incident{on: l, broken: c}
				return
			}
		}
	}
}

func (u *unit) breaksDown(w *World, i *incident) {
	c := i.broken
	switch {
	case i.truth == nil && c.v == 0:
		i.until = w.now.Add(time.Duration(240+u.rng.IntN(240)) * time.Second)
		u.happens(w, i, stopped, c)
	case i.truth != nil && !w.now.Before(i.until):
		c.broken = false
		u.over(w)
	}
}

// strays begins with one who drives into a link at its stop line. Those who come
// towards it make room.
func (u *unit) strays(w *World) {
	l := u.ways()[0]
	i := &incident{on: l, wrong: &vehicle{length: 4.5, s: l.length, v: 7 + 5*u.rng.Float64(), track: u.track()}}
	u.incident = i
	u.happens(w, i, wrongWay, i.wrong)
}

func (u *unit) happens(w *World, i *incident, kind int, c *vehicle) {
	lat, lon := i.on.place(c.s)
	i.truth = &Incident{Unit: u.name, Type: kind, From: i.on.from.id, To: i.on.to.id, Start: w.now, Lat: lat, Lon: lon}
	w.truth.Incidents = append(w.truth.Incidents, i.truth)
}

func (u *unit) over(w *World) {
	u.incident.truth.End = w.now
	u.incident, u.incidentAt = nil, w.now.Add(betweenIncidents)
}
