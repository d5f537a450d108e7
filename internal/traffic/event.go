package traffic

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// Bounds of events.
const (
	// eventSilence is how long nobody must tell of an event that is told again and
	// again for it to be over; or five times as long as from one time to the next.
	eventSilence = time.Minute
	// eventOnce is how long an event without an end lasts that is told once.
	eventOnce = time.Hour
	// eventGrace is how long after its end an event may still be told: ends are of
	// whole minutes.
	eventGrace = time.Minute
	// eventHistory is how long an event that is over is kept.
	eventHistory = 24 * time.Hour
	// eventTold is how often that an event is still told is noted in documents.
	eventTold = time.Minute

	maxText       = 256 // octets of a description
	maxTypes      = 32  // that a unit has series of at once
	maxEventPaths = 8
	maxPathPoints = 32
)

// event is one that the unit tells of, or told of.
type event struct {
	key         string // its id, and when it was first told
	e           road.Event
	place       road.Position // NaN: not known
	first, last time.Time     // told, by event time
	heard       time.Time     // told last, by that of arrival
	every       time.Duration // from one time to the next, about
	times       int
	noted       time.Time // last in a document
	pastEnd     bool
	over        bool
	derived     bool // by the hub, of places of vehicles
}

// events are those of a unit: at most Config.MaxEvents of each.
type events struct {
	going map[string]*event // by id
	past  []*event          // the oldest first
	types map[int]struct{}  // that have series: one of zeros, when there is none now
}

// toldAt is when a message tells of events. One that is told live is told now,
// whatever time the event has: JSON gives it that of its begin.
func (u *unit) toldAt(a *Arrival, at time.Time) time.Time {
	if !a.Live || a.Message.Kind != road.KindRSI {
		return at
	}
	now := u.own
	if now.IsZero() {
		now = a.Received.Add(-strange)
	}
	switch {
	case at.After(a.Received.Add(strange)):
		return a.Received
	case at.Before(now.Add(-strange)):
		return now
	}
	return at
}

// eventsOf takes the events of a message.
func (u *unit) eventsOf(b *Board, a *Arrival, at time.Time) {
	for i := range a.Message.Events {
		e := &a.Message.Events[i]
		id := clip(e.ID, maxName)
		x := u.events.going[id]
		if x != nil && x.derived {
			continue
		}
		if x != nil && (x.e.Type != e.Type || !x.going(a.Received)) {
			if at.Before(x.last) {
				continue
			}
			u.end(b, id, x)
			x = nil
		}
		if x == nil {
			if x = u.starts(b, a, e, id, at); x == nil {
				continue
			}
		}
		u.retold(b, a, e, id, x, at)
	}
}

// starts begins an event, unless it is one of the past that is told late, or one
// too many.
func (u *unit) starts(b *Board, a *Arrival, e *road.Event, id string, at time.Time) *event {
	known := slices.ContainsFunc(u.events.past, func(p *event) bool {
		return p.e.ID == id && p.e.Type == e.Type && !at.Before(p.first.Add(-eventGrace)) && (!at.After(p.last) || !a.Live && !at.After(p.last.Add(eventGrace)))
	})
	if known || e.Over {
		return nil
	}
	if len(u.events.going) >= b.cfg.MaxEvents {
		u.add(at, Cell{Series: EventsRefused}, 1)
		return nil
	}
	if u.events.going == nil {
		u.events.going = map[string]*event{}
	}
	id = strings.Clone(id)
	x := &event{key: id + "@" + strconv.FormatInt(at.Unix(), 10), e: road.Event{ID: id, Type: e.Type}, first: at, last: at, heard: a.Received}
	u.events.going[id] = x
	kind := u.events.typed(e.Type)
	u.add(at, Cell{Series: EventsStarted, A: kind}, 1)
	u.add(at, Cell{Series: EventActive, A: kind}, 1)
	return x
}

// retold notes that an event is told once more.
func (u *unit) retold(b *Board, a *Arrival, e *road.Event, id string, x *event, at time.Time) {
	if at.Before(x.last) { // history
		return
	}
	if x.times++; x.times > 1 && a.Live {
		x.every = (3*x.every + a.Received.Sub(x.heard)) / 4
	}
	x.last = at
	if a.Live {
		x.heard = later(x.heard, a.Received)
	}
	changed := x.take(e)
	if changed {
		if place := u.placeOf(b, e); !math.IsNaN(place.Lat) {
			x.place = place
		}
		b.tellings.put(x.telling(u.id))
	}
	if late := at.Sub(x.e.End); !x.e.End.IsZero() && late >= eventGrace && !x.e.Over {
		changed = changed || !x.pastEnd
		x.pastEnd = true
		u.find(b, a, at, CheckPastEnd, 1, finding{kind: road.KindRSI, word: id, is: late.Minutes(), want: float64(x.e.Type)})
	} else {
		x.pastEnd = false
	}
	if x.e.Over {
		u.end(b, id, x)
		return
	}
	if changed || at.Sub(x.noted) >= eventTold {
		u.note(x, at)
	}
}

// take takes what a message says of an event, and reports whether that is new.
func (x *event) take(e *road.Event) bool {
	old := &x.e
	paths := e.Paths[:min(len(e.Paths), maxEventPaths)]
	same := x.times > 1 && old.Source == clip(e.Source, maxName) && samePlace(old.At, e.At) && same(old.Radius, e.Radius) &&
		old.Description == clip(e.Description, maxText) && old.Start.Equal(e.Start) && old.End.Equal(e.End) && old.Priority == e.Priority &&
		same(old.Confidence, e.Confidence) && old.Over == e.Over && slices.Equal(old.Links, within(e.Links)) &&
		slices.EqualFunc(old.Paths, paths, func(p, q []road.Position) bool { return slices.EqualFunc(p, within(q), samePlace) })
	if same {
		return false
	}
	x.e = road.Event{ID: old.ID, Type: old.Type, Source: strings.Clone(clip(e.Source, maxName)), At: e.At, Radius: e.Radius, Description: strings.Clone(clip(e.Description, maxText)),
		Start: e.Start, End: e.End, Priority: e.Priority, Confidence: e.Confidence, Over: e.Over, Links: slices.Clone(within(e.Links))}
	for _, p := range paths {
		x.e.Paths = append(x.e.Paths, slices.Clone(within(p)))
	}
	return true
}

// within are as many points, or links, as are kept.
func within[T any](all []T) []T { return all[:min(len(all), maxPathPoints)] }

func same(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }

func samePlace(a, b road.Position) bool { return same(a.Lat, b.Lat) && same(a.Lon, b.Lon) }

// going reports whether an event is still told of, at a time of arrival. What is
// told once lasts until its end.
func (x *event) going(now time.Time) bool {
	quiet := now.Sub(x.heard)
	switch {
	case x.over || x.e.Over:
		return false
	case x.derived:
		return quiet <= eventSilence
	case x.times >= 3:
		return quiet <= max(eventSilence, 5*x.every)
	case !x.e.End.IsZero():
		return !now.After(x.e.End) || quiet <= eventSilence
	}
	return quiet <= eventOnce
}

// end puts an event to those of the past.
func (u *unit) end(b *Board, id string, x *event) {
	delete(u.events.going, id)
	b.tellings.drop(u.id, x.key)
	x.over = true
	u.events.past = append(u.events.past, x)
	if len(u.events.past) > b.cfg.MaxEvents {
		u.forget(0)
	}
	u.note(x, x.last)
}

// forget drops an event of the past.
func (u *unit) forget(i int) {
	u.tell(documentEvent, u.events.past[i].key, nil)
	u.events.past = slices.Delete(u.events.past, i, i+1)
}

// placeOf is where an event is: its own place, the begin of its path, or where
// the unit stands that tells.
func (u *unit) placeOf(b *Board, e *road.Event) road.Position {
	known := func(p road.Position) bool { return !math.IsNaN(p.Lat) && !math.IsNaN(p.Lon) }
	if known(e.At) {
		return e.At
	}
	for _, path := range e.Paths {
		if len(path) > 0 && known(path[0]) {
			return path[0]
		}
	}
	if known(u.status.At) {
		return u.status.At
	}
	if at := u.expected(b).At; at != nil {
		return *at
	}
	return road.Position{Lat: math.NaN(), Lon: math.NaN()}
}

// eventMinute writes what events come to in a minute that begins.
func (u *unit) eventMinute(b *Board, at time.Time) {
	now := b.now()
	for id, x := range u.events.going {
		if !x.going(now) {
			u.end(b, id, x)
		}
	}
	for i := len(u.events.past) - 1; i >= 0; i-- {
		if now.Sub(u.events.past[i].last) > eventHistory {
			u.forget(i)
		}
	}
	for kind := range u.events.types {
		n := u.going(b, kind, at)
		cell := Cell{A: uint32(kind)}
		for _, one := range []struct {
			s Series
			v float64
		}{{EventActive, min(1, n.active)}, {EventCount, n.active}, {EventAge, n.age}, {EventPastEnd, n.pastEnd}, {EventShared, n.shared}, {EventsStarted, 0}} {
			cell.Series = one.s
			u.add(at, cell, one.v)
		}
		if n.active == 0 && !slices.ContainsFunc(u.events.past, func(x *event) bool { return x.e.Type == kind }) {
			delete(u.events.types, kind)
		}
	}
}

// goingNumbers are those of the events of a type.
type goingNumbers struct{ active, age, pastEnd, shared float64 }

func (u *unit) going(b *Board, kind int, at time.Time) (n goingNumbers) {
	for _, x := range u.events.going {
		if x.e.Type != kind {
			continue
		}
		n.active++
		n.age = max(n.age, at.Sub(x.first).Seconds())
		if x.pastEnd {
			n.pastEnd++
		}
		if len(b.tellings.near(x.telling(u.id))) > 0 {
			n.shared++
		}
	}
	return n
}

func (x *event) telling(unit string) telling {
	return telling{unit: unit, key: x.key, kind: x.e.Type, at: x.place, radius: known0(x.e.Radius)}
}

// typed is the type as the subject of series, and remembers that it has some; 0
// stands for those beyond the bound.
func (e *events) typed(kind int) uint32 {
	kind = max(0, min(kind, math.MaxUint16))
	if _, there := e.types[kind]; there {
		return uint32(kind)
	}
	if len(e.types) >= maxTypes {
		return 0
	}
	if e.types == nil {
		e.types = map[int]struct{}{}
	}
	e.types[kind] = struct{}{}
	return uint32(kind)
}

// Events are the events of all units that are active or were within a day, the
// newest first.
func (b *Board) Events() (all []EventView) {
	now := b.now()
	active := map[teller]bool{}
	var tellings []telling
	for _, u := range b.all() {
		u.mu.Lock()
		for _, x := range u.events.going {
			v := x.view(u.id, now)
			active[teller{u.id, x.key}] = v.Active
			all, tellings = append(all, v), append(tellings, x.telling(u.id))
		}
		for _, x := range u.events.past {
			all, tellings = append(all, x.view(u.id, now)), append(tellings, telling{})
		}
		u.mu.Unlock()
	}
	for i := range all {
		if !all[i].Active {
			continue
		}
		for _, other := range b.tellings.near(tellings[i]) {
			if active[teller{other.unit, other.key}] && !slices.Contains(all[i].AlsoBy, other.unit) {
				all[i].AlsoBy = append(all[i].AlsoBy, other.unit)
			}
		}
		slices.Sort(all[i].AlsoBy)
	}
	slices.SortFunc(all, func(x, y EventView) int {
		return cmp.Or(y.First.Compare(x.First), cmp.Compare(x.Key, y.Key))
	})
	return all
}

func (x *event) view(unit string, now time.Time) EventView {
	v := EventView{Key: unit + ":" + x.key, Event: x.e, Unit: unit, Place: x.place, First: x.first, Last: x.last, Active: x.going(now), Name: EventText(x.e.Type)}
	v.PastEnd = v.Active && x.pastEnd
	if x.derived && !v.Active {
		v.Event.End = x.last
	}
	return v
}

// wireEvent is an event as it stands in documents.
type wireEvent struct {
	ID          string            `json:"id"`
	Type        int               `json:"type"`
	Source      string            `json:"source,omitempty"`
	At          *wirePosition     `json:"at,omitempty"`
	Place       *wirePosition     `json:"place,omitempty"`
	Radius      *float64          `json:"radius,omitempty"`
	Description string            `json:"description,omitempty"`
	Start       time.Time         `json:"start,omitzero"`
	End         time.Time         `json:"end,omitzero"`
	Priority    int               `json:"priority"`
	Confidence  *float64          `json:"confidence,omitempty"`
	Paths       [][]*wirePosition `json:"paths,omitempty"`
	Links       []wireEventLink   `json:"links,omitempty"`
	Cancelled   bool              `json:"cancelled,omitempty"`
	First       time.Time         `json:"first"`
	Last        time.Time         `json:"last"`
	Every       time.Duration     `json:"every_ns,omitempty"`
	Times       int               `json:"times"`
	PastEnd     bool              `json:"past_end,omitempty"`
	Over        bool              `json:"over,omitempty"`
	Derived     bool              `json:"derived,omitempty"`
}

type wireEventLink struct {
	From  uint32 `json:"from"`
	To    uint32 `json:"to"`
	Lanes uint16 `json:"lanes,omitempty"`
}

// documentEvent is the kind of documents that hold events.
const documentEvent = 'e'

// note keeps an event as a document.
func (u *unit) note(x *event, at time.Time) {
	x.noted = at
	e := &x.e
	w := wireEvent{ID: e.ID, Type: e.Type, Source: e.Source, At: wirePlace(e.At), Place: wirePlace(x.place), Radius: wireNumber(e.Radius), Description: e.Description,
		Start: e.Start, End: e.End, Priority: e.Priority, Confidence: wireNumber(e.Confidence), Cancelled: e.Over,
		First: x.first, Last: x.last, Every: x.every, Times: min(x.times, 3), PastEnd: x.pastEnd, Over: x.over, Derived: x.derived}
	for _, path := range e.Paths {
		var points []*wirePosition
		for _, p := range path {
			points = append(points, wirePlace(p))
		}
		w.Paths = append(w.Paths, points)
	}
	for _, l := range e.Links {
		w.Links = append(w.Links, wireEventLink{nodeCell(l.From), nodeCell(l.To), l.Lanes})
	}
	text, err := json.Marshal(w)
	if err != nil { // a year that JSON has not
		return
	}
	u.tell(documentEvent, x.key, text)
}

func readEvent(b *Board, u *unit, key string, text []byte) error {
	u.unknow(b, key)
	if len(text) == 0 {
		return nil
	}
	var w wireEvent
	if err := json.Unmarshal(text, &w); err != nil {
		return err
	}
	x := &event{key: key, place: w.Place.place(), first: w.First, last: w.Last, heard: w.Last, noted: w.Last, every: w.Every, times: w.Times, pastEnd: w.PastEnd, over: w.Over, derived: w.Derived,
		e: road.Event{ID: w.ID, Type: w.Type, Source: w.Source, At: w.At.place(), Radius: number(w.Radius), Description: w.Description, Start: w.Start, End: w.End,
			Priority: w.Priority, Confidence: number(w.Confidence), Over: w.Cancelled}}
	for _, path := range w.Paths {
		var points []road.Position
		for _, p := range path {
			points = append(points, p.place())
		}
		x.e.Paths = append(x.e.Paths, points)
	}
	for _, l := range w.Links {
		x.e.Links = append(x.e.Links, road.EventLink{From: nodeOf(l.From), To: nodeOf(l.To), Lanes: l.Lanes})
	}
	u.events.typed(x.e.Type)
	if x.over {
		u.events.past = append(u.events.past, x)
		slices.SortStableFunc(u.events.past, func(p, q *event) int { return p.last.Compare(q.last) })
		return nil
	}
	if u.events.going == nil {
		u.events.going = map[string]*event{}
	}
	u.events.going[x.e.ID] = x
	b.tellings.put(x.telling(u.id))
	return nil
}

// unknow forgets an event whose document is replaced.
func (u *unit) unknow(b *Board, key string) {
	for id, x := range u.events.going {
		if x.key == key {
			delete(u.events.going, id)
			b.tellings.drop(u.id, key)
		}
	}
	u.events.past = slices.DeleteFunc(u.events.past, func(x *event) bool { return x.key == key })
}

// resume gives the events that are going on the time since to be told again:
// while the hub was down nobody could.
func (e *events) resume(now time.Time) {
	for _, x := range e.going {
		x.heard = later(x.heard, now)
	}
}
