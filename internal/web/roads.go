package web

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/traffic"
)

// UnitPlace is what is registered of a roadside unit.
type UnitPlace struct {
	State    string // of presence: online, late, offline or never
	Since    time.Time
	Site     string
	Lat, Lon *float64
}

// How many lines tables show.
const (
	unitsPerPage = 50
	shownLinks   = 40
	shownRoad    = 60 // events
)

// roadsView is what the page of roads is rendered from besides view.
type roadsView struct {
	At            time.Time
	Clock, Zone   string
	Units         []roadUnit // all of them, for the map and the counts
	Page          []roadUnit // those of the table
	Earlier, More string     // addresses; empty for none
	From, To      int
	States        map[string]int
	Troubled      int // units that checks find fault with
	Intersections []intersection
	Roads         []roadLink // the slowest first
	Rated         int        // links with numbers
	Vehicles      float64    // in the last minute, of all links
	Events        []roadEvent
	Active        int
	Map           mapView

	links []traffic.LinkView
}

// roadUnit is a unit with where it is.
type roadUnit struct {
	traffic.UnitView
	UnitPlace
	Place  road.Position
	Placed bool
}

// Title is what people call it.
func (u roadUnit) Title() string { return cmp.Or(u.Status.Name, u.Unit) }

// Href is the address of its page.
func (u roadUnit) Href() string { return "/roads/units/" + url.PathEscape(u.Unit) }

// Rate is how many messages of all kinds come in a second.
func (u roadUnit) Rate() (sum float64) {
	for _, r := range u.Rates {
		sum += r
	}
	return sum
}

type intersection struct {
	traffic.IntersectionView
	Place  road.Position
	Placed bool
	Href   string
	Name   string // of the node, and what it shows
}

type roadLink struct {
	traffic.LinkView
	Pace string
	Name string
}

type roadEvent struct {
	traffic.EventView
	Anchor string
	Name   string
	Placed bool
	Where  string
	// Derived says that the hub made it of what sensors see.
	Derived bool
}

// paceOf is how fast a link goes against its limit: free, slow, jammed, or unknown.
func paceOf(l *traffic.LinkView) string {
	switch share := l.MeanSpeed / l.Limit; {
	case l.At.IsZero() || math.IsNaN(share) || l.Limit <= 0:
		return "unknown"
	case share >= .75:
		return "free"
	case share >= .5:
		return "slow"
	}
	return "jammed"
}

// kmh is a speed as people say it; a dash where it is not known.
func kmh(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	return figure(math.Round(v * 3.6))
}

// taken is what share of a space is used; a dash where it is not known.
func taken(s road.Space) string {
	if !(s.Total > 0) || math.IsNaN(s.Used) {
		return "–"
	}
	return figure(math.Round(100*s.Used/s.Total)) + "%"
}

// maybe is a number, or a dash where it is not known.
func maybe(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	return figure(v)
}

func share(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	return figure(math.Round(100*v)) + "%"
}

// light is what people call a light.
func (l lang) light(shown road.Light) string {
	t := traffic.LightText(shown)
	return l.choose(t.ZH, t.EN)
}

func linkName(l *traffic.LinkView) string {
	ends := traffic.NodeName(l.From) + " → " + traffic.NodeName(l.To)
	if l.Name != "" {
		return l.Name + " (" + ends + ")"
	}
	return ends
}

func linkTitle(l *traffic.LinkView, t map[string]string) string {
	if l.At.IsZero() {
		return linkName(l) + " · " + t["no_minute"]
	}
	return fmt.Sprintf("%s · %s/%s · %s km/h / %s", linkName(l), figure(l.Flow), t["per_minute"], kmh(l.MeanSpeed), kmh(l.Limit))
}

func (p *pages) showRoads(w http.ResponseWriter, r *http.Request) {
	caller, may := p.admit(w, r, access.ReadRoads)
	if !may {
		return
	}
	l := p.language(w, r)
	t := l.table()
	v := p.roadsOf(p.Roads(caller), l)
	v.page(r.URL.Query())
	v.Map = mapOf(&v, r.URL.Query(), t)
	p.render(w, r, p.roads, http.StatusOK, view{Who: p.greet(caller), Page: v})
}

func (p *pages) roadsOf(views traffic.Views, l lang) roadsView {
	now := p.Now()
	v := roadsView{At: now, Clock: now.Local().Format(time.TimeOnly), Zone: zoneOf(now), States: map[string]int{}, links: views.Links()}
	for _, u := range views.Units() {
		one := p.placed(u)
		v.Units = append(v.Units, one)
		v.States[one.State]++
		if len(u.Faults) > 0 {
			v.Troubled++
		}
	}
	slices.SortStableFunc(v.Units, func(a, b roadUnit) int { // what asks for somebody comes first
		return cmp.Or(cmp.Compare(trouble(b), trouble(a)), cmp.Compare(a.Unit, b.Unit))
	})
	places := traffic.Places(v.links)
	for _, n := range views.Intersections() {
		v.Intersections = append(v.Intersections, intersectionOf(n, places, l))
	}
	slices.SortStableFunc(v.Intersections, func(a, b intersection) int { return cmp.Compare(len(b.Faults), len(a.Faults)) })
	v.addLinks()
	v.addEvents(views.Events(), l)
	return v
}

func (p *pages) placed(u traffic.UnitView) roadUnit {
	one := roadUnit{UnitView: u, UnitPlace: p.UnitPlace(u.Unit), Place: u.Status.At}
	one.Placed = one.Place != (road.Position{}) && !math.IsNaN(one.Place.Lat) && !math.IsNaN(one.Place.Lon)
	if !one.Placed && one.Lat != nil && one.Lon != nil {
		one.Place, one.Placed = road.Position{Lat: *one.Lat, Lon: *one.Lon}, true
	}
	return one
}

// trouble is how much a unit asks for somebody.
func trouble(u roadUnit) int {
	n := len(u.Faults)
	if u.State == "offline" {
		n += 100
	}
	return n
}

func intersectionOf(n traffic.IntersectionView, places map[road.NodeID]road.Position, l lang) intersection {
	i := intersection{IntersectionView: n, Href: "/roads/intersections/" + traffic.NodeName(n.Node) + "?unit=" + url.QueryEscape(n.Unit)}
	i.Place, i.Placed = places[n.Node]
	name := []string{traffic.NodeName(n.Node)}
	for _, p := range n.Phases {
		name = append(name, strconv.Itoa(int(p.ID))+" "+l.light(p.Light))
	}
	i.Name = strings.Join(name, " · ")
	return i
}

func (v *roadsView) addLinks() {
	for i := range v.links {
		l := &v.links[i]
		if l.At.IsZero() {
			continue
		}
		v.Rated++
		v.Vehicles += l.Flow
		v.Roads = append(v.Roads, roadLink{*l, paceOf(l), linkName(l)})
	}
	slow := func(l *roadLink) float64 {
		if s := l.MeanSpeed / l.Limit; !math.IsNaN(s) {
			return s
		}
		return math.Inf(1)
	}
	slices.SortStableFunc(v.Roads, func(a, b roadLink) int { return cmp.Compare(slow(&a), slow(&b)) })
	v.Roads = v.Roads[:min(len(v.Roads), shownLinks)]
}

func (v *roadsView) addEvents(all []traffic.EventView, l lang) {
	slices.SortStableFunc(all, func(a, b traffic.EventView) int {
		if a.Active != b.Active {
			return map[bool]int{true: -1, false: 1}[a.Active]
		}
		return b.First.Compare(a.First)
	})
	for _, e := range all {
		if len(e.AlsoBy) > 0 && e.AlsoBy[0] < e.Unit {
			continue // that unit's word is shown
		}
		if e.Active {
			v.Active++
		}
		if len(v.Events) == shownRoad {
			continue
		}
		one := roadEvent{EventView: e, Anchor: "e-" + strconv.Itoa(len(v.Events)), Name: l.choose(e.Name.ZH, e.Name.EN), Derived: e.Event.Source == traffic.Derived}
		one.Placed = !math.IsNaN(e.Place.Lat) && !math.IsNaN(e.Place.Lon)
		var on []string
		for _, l := range e.Event.Links {
			on = append(on, traffic.NodeName(l.From)+" → "+traffic.NodeName(l.To))
		}
		if len(on) == 0 && one.Placed {
			on = append(on, fmt.Sprintf("%.5f, %.5f", e.Place.Lat, e.Place.Lon))
		}
		one.Where = strings.Join(on, ", ")
		v.Events = append(v.Events, one)
	}
}

// page chooses the lines of the table of units.
func (v *roadsView) page(q url.Values) {
	from, err := strconv.Atoi(q.Get("from"))
	if err != nil || from < 0 || from >= len(v.Units) {
		from = 0
	}
	v.From, v.To = from+1, min(from+unitsPerPage, len(v.Units))
	v.Page = v.Units[from:v.To]
	at := func(from int) string {
		next := url.Values{"from": {strconv.Itoa(from)}}
		for _, name := range []string{"z", "at"} {
			if s := q.Get(name); s != "" {
				next.Set(name, s)
			}
		}
		return address("/roads", next) + "#units"
	}
	if from > 0 {
		v.Earlier = at(max(0, from-unitsPerPage))
	}
	if v.To < len(v.Units) {
		v.More = at(v.To)
	}
}

// unitView is what the page of a unit is rendered from besides view.
type unitView struct {
	roadUnit
	ID       string
	At       time.Time
	Missing  bool
	Kinds    []kindRate
	Evidence string // address; empty for who may not, or where there is none
	Modules  []module
	Nodes    []string
}

type kindRate struct {
	Kind  string
	Rate  float64
	Limit string // a second; empty where none is configured
	Over  bool
}

type module struct {
	Name string
	Code int
}

func (p *pages) showUnit(w http.ResponseWriter, r *http.Request) {
	caller, may := p.admit(w, r, access.ReadRoads)
	if !may {
		return
	}
	v, code := unitView{ID: r.PathValue("id"), At: p.Now()}, http.StatusOK
	u, ok := p.Roads(caller).Unit(v.ID)
	if !ok {
		v.Missing, code = true, http.StatusNotFound
	} else {
		v.roadUnit = p.placed(u)
		v.fill(access.May(caller.Role, access.ReadEvidence))
	}
	p.render(w, r, p.unit, code, view{Who: p.greet(caller), Page: v})
}

func (v *unitView) fill(mayEvidence bool) {
	for kind, rate := range v.Rates {
		one := kindRate{Kind: string(kind), Rate: rate}
		if most, ok := v.Status.Limits[string(kind)]; ok {
			one.Limit = "∞"
			if most >= 0 {
				one.Limit, one.Over = figure(most), rate > most*1.1
			}
		}
		v.Kinds = append(v.Kinds, one)
	}
	slices.SortFunc(v.Kinds, func(a, b kindRate) int { return cmp.Compare(a.Kind, b.Kind) })
	for name, c := range v.Status.Faults {
		v.Modules = append(v.Modules, module{name, c})
	}
	slices.SortFunc(v.Modules, func(a, b module) int { return cmp.Compare(a.Name, b.Name) })
	for _, n := range v.roadUnit.Nodes {
		v.Nodes = append(v.Nodes, traffic.NodeName(n))
	}
	if mayEvidence && slices.ContainsFunc(v.Faults, func(f traffic.Fault) bool { return f.Evidence }) {
		v.Evidence = "/api/v1/roads/units/" + url.PathEscape(v.Unit) + "/evidence"
	}
}

// shownPast is how far back the lights of an intersection are drawn.
const shownPast = 5 * time.Minute

// ahead is how far announced changes are drawn.
const ahead = time.Minute

// intersectionView is what the page of an intersection is rendered from besides
// view.
type intersectionView struct {
	intersection
	ID      string
	At      time.Time
	Missing bool
	Ticks   []tick
	Now     string
	Rows    []lightRow
	Status  []string // keys of texts
}

type lightRow struct {
	traffic.PhaseView
	Blocks []lightBlock
}

type lightBlock struct {
	X, Width, Class, Title string
}

func (p *pages) showIntersection(w http.ResponseWriter, r *http.Request) {
	caller, may := p.admit(w, r, access.ReadRoads)
	if !may {
		return
	}
	l := p.language(w, r)
	v, code := intersectionView{ID: r.PathValue("node"), At: p.Now(), Missing: true}, http.StatusNotFound
	views, unit := p.Roads(caller), r.URL.Query().Get("unit")
	for _, n := range views.Intersections() {
		if traffic.NodeName(n.Node) == v.ID && (unit == "" || unit == n.Unit) {
			v.intersection, v.Missing, code = intersectionOf(n, nil, l), false, http.StatusOK
			v.draw(views.Changes(n.Unit, n.Node), l)
			break
		}
	}
	p.render(w, r, p.intersection, code, view{Who: p.greet(caller), Page: v})
}

func (v *intersectionView) draw(changes []traffic.LightChange, in lang) {
	from, to := v.At.Add(-shownPast), v.At.Add(ahead)
	at := func(m time.Time) float64 { return 100 * float64(m.Sub(from)) / float64(to.Sub(from)) }
	v.Now = percent(at(v.At))
	for m := from.Truncate(time.Minute).Add(time.Minute); m.Before(to); m = m.Add(time.Minute) {
		one := tick{At: percent(at(m))}
		if x := at(m); x > 3 && x < 97 {
			one.Label = m.Local().Format("15:04")
		}
		v.Ticks = append(v.Ticks, one)
	}
	block := func(l road.Light, start, end time.Time, class string) lightBlock {
		x := max(at(start), 0)
		return lightBlock{percent(x), percent(at(end) - x), "l-" + l.String() + class, in.light(l) + " " + start.Local().Format(time.TimeOnly)}
	}
	for _, p := range v.Phases {
		row := lightRow{PhaseView: p}
		var own []traffic.LightChange
		for _, c := range changes {
			if c.Phase == p.ID && c.At.Before(v.At) {
				own = append(own, c)
			}
		}
		for i, c := range own {
			end := v.At
			if i+1 < len(own) {
				end = own[i+1].At
			}
			if end.After(from) {
				row.Blocks = append(row.Blocks, block(c.Light, c.At, end, ""))
			}
		}
		if p.End.After(v.At) {
			row.Blocks = append(row.Blocks, block(p.Light, v.At, minTime(p.End, to), " announced"))
		}
		v.Rows = append(v.Rows, row)
	}
	for i, name := range []string{"manual", "", "failure_flash", "preempted", "priority", "fixed_time", "traffic_dependent", "standby", "failure", "off"} {
		if name != "" && v.IntersectionView.Status&(1<<(15-i)) != 0 {
			v.Status = append(v.Status, "control_"+name)
		}
	}
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
