package api

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/traffic"
)

// roads is what the caller may see of roads: what units of its region tell, and
// of no grade above its own. Art. 15(2)
func (a *API) roads(ctx context.Context) traffic.Views {
	return traffic.Seen(a.Roads, SeesUnit(a.Registry, access.CallerOf(ctx)))
}

// SeesUnit says of which units a caller may see what they tell. It is of all
// kinds and metrics, so that the highest grade of them counts.
func SeesUnit(r *registry.Registry, c access.Caller) func(unit string) bool {
	return func(unit string) bool {
		d := r.Device(unit)
		return d != nil && c.Sees(d) && d.HighestGrade() <= c.Grade
	}
}

// tagged is an answer with an ETag of what it says.
type tagged[T any] struct {
	ETag string `header:"ETag"`
	Body T
}

// Unchanged is what answers with an ETag of their content take.
type Unchanged struct {
	IfNoneMatch string `header:"If-None-Match" doc:"ETag of what the caller has; 304 when it is still so"`
}

// tag returns an answer, or that nothing changed.
func tag[T any](in Unchanged, body T) (*tagged[T], error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	h := fnv.New64a()
	h.Write(text) //nolint:errcheck // a hash takes everything
	own := `"` + strconv.FormatUint(h.Sum64(), 36) + `"`
	if in.IfNoneMatch != "" && strings.Contains(in.IfNoneMatch, own) {
		return nil, huma.ErrorWithHeaders(huma.Status304NotModified(), http.Header{"ETag": {own}})
	}
	return &tagged[T]{own, body}, nil
}

// known is a number for JSON: null for what is not known.
func known(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// seconds is a duration for JSON: null for zero.
func seconds(d time.Duration) *float64 {
	if d == 0 {
		return nil
	}
	return known(d.Seconds())
}

type roadUnitOut struct {
	ID       string      `json:"id" doc:"of the device"`
	Name     string      `json:"name,omitempty" doc:"as it calls itself"`
	Site     string      `json:"site,omitempty"`
	Region   string      `json:"region,omitempty"`
	Presence presenceOut `json:"presence"`
	Heard    *time.Time  `json:"heard" doc:"when it last said something live; null: never"`
	Beat     *float64    `json:"heartbeat_seconds" doc:"period of its heartbeat as measured"`
	Offset   float64     `json:"clock_offset_seconds" doc:"time of its payloads minus that of their arrival, the median of the last ones"`
	Lat      *float64    `json:"lat"`
	Lon      *float64    `json:"lon"`
	OffBy    *float64    `json:"position_error" doc:"metres from where it was registered to where it says that it is"`
	// Rates by kind of message.
	Rates      map[string]float64 `json:"rates" doc:"messages a second in the last 10 s, by kind"`
	Nodes      []string           `json:"nodes" doc:"of its map"`
	Faults     []roadFaultOut     `json:"faults" doc:"checks that find fault now"`
	Deviations int                `json:"deviations" doc:"ways in which its messages are not as the standard has them; see conformance"`
	Status     *roadStatusOut     `json:"status" doc:"what it says of itself; of single units only"`
}

type roadFaultOut struct {
	Check    string     `json:"check"`
	Name     text       `json:"name"`
	Node     string     `json:"node,omitempty" doc:"that it is about; absent: the unit as a whole"`
	Text     text       `json:"text" doc:"what is wrong, with the numbers"`
	Fix      text       `json:"fix" doc:"how it is put right"`
	Since    *time.Time `json:"since"`
	Last     *time.Time `json:"last"`
	Count    int64      `json:"count"`
	Evidence bool       `json:"evidence" doc:"raw messages are kept for minutes"`
}

type roadStatusOut struct {
	Version  string              `json:"version,omitempty"`
	Hardware string              `json:"hardware,omitempty"`
	Firmware string              `json:"firmware,omitempty"`
	State    string              `json:"state,omitempty"`
	ESN      string              `json:"esn,omitempty"`
	Load     *float64            `json:"load"`
	Cores    []*float64          `json:"cores_percent,omitempty"`
	Memory   spaceOut            `json:"memory" doc:"in the unit of the sender"`
	Disk     spaceOut            `json:"disk" doc:"in the unit of the sender"`
	Received *float64            `json:"received_bytes_per_second"`
	Sent     *float64            `json:"sent_bytes_per_second"`
	Faults   map[string]int      `json:"faults,omitempty" doc:"codes of its modules, such as ltev or gps"`
	Limits   map[string]*float64 `json:"limits,omitempty" doc:"messages a second that it is configured to send; -1 without bound"`
	Devices  []roadDeviceOut     `json:"devices,omitempty" doc:"behind it, with the codes that it sends"`
}

type spaceOut struct {
	Total *float64 `json:"total"`
	Used  *float64 `json:"used"`
}

type roadDeviceOut struct {
	ID      string `json:"id"`
	Type    string `json:"type,omitempty"`
	Powered int    `json:"power_status,omitempty"`
	Runs    int    `json:"run_status,omitempty"`
	Network int    `json:"network_status,omitempty"`
}

func (a *API) showUnit(u *traffic.UnitView) roadUnitOut {
	s := a.Presence.Of(u.Unit)
	out := roadUnitOut{
		ID: u.Unit, Name: u.Status.Name, Heard: moment(u.Heard), Beat: seconds(u.Beat), Offset: u.Offset.Seconds(), OffBy: known(u.OffBy),
		Presence: presenceOut{State: string(s.State), Since: moment(s.Since), Reason: string(s.Reason)},
		Rates:    map[string]float64{}, Nodes: []string{}, Faults: showFaults(u.Faults), Deviations: len(u.Deviations),
	}
	if d := a.Registry.Device(u.Unit); d != nil {
		out.Site, out.Region = d.Site, d.Region
	}
	out.Lat, out.Lon = a.placeOf(u)
	for kind, rate := range u.Rates {
		out.Rates[string(kind)] = rate
	}
	for _, n := range u.Nodes {
		out.Nodes = append(out.Nodes, traffic.NodeName(n))
	}
	return out
}

// placeOf is where a unit says that it is, or where it was registered.
func (a *API) placeOf(u *traffic.UnitView) (lat, lon *float64) {
	if p := u.Status.At; p != (road.Position{}) && known(p.Lat) != nil && known(p.Lon) != nil {
		return &p.Lat, &p.Lon
	}
	if d, err := a.Registry.Get(u.Unit); err == nil {
		s := d.Spec()
		return s.Lat, s.Lon
	}
	return nil, nil
}

func showFaults(all []traffic.Fault) []roadFaultOut {
	out := make([]roadFaultOut, 0, len(all))
	for _, f := range all {
		name, fix := f.Check.Name(), f.Check.Fix()
		one := roadFaultOut{Check: string(f.Check), Name: text(name), Text: text{f.ZH, f.EN}, Fix: text(fix), Since: moment(f.Since), Last: moment(f.Last), Count: f.Count, Evidence: f.Evidence}
		if f.Node != (road.NodeID{}) {
			one.Node = traffic.NodeName(f.Node)
		}
		out = append(out, one)
	}
	return out
}

func showStatus(s *road.Status) *roadStatusOut {
	out := &roadStatusOut{Version: s.Version, Hardware: s.Hardware, Firmware: s.Firmware, State: s.State, ESN: s.ESN, Load: known(s.Load),
		Memory: spaceOut{known(s.Memory.Total), known(s.Memory.Used)}, Disk: spaceOut{known(s.Disk.Total), known(s.Disk.Used)},
		Received: known(s.Received), Sent: known(s.Sent), Faults: s.Faults}
	for _, c := range s.Cores {
		out.Cores = append(out.Cores, known(c))
	}
	for kind, most := range s.Limits {
		if out.Limits == nil {
			out.Limits = map[string]*float64{}
		}
		out.Limits[kind] = known(most)
	}
	for _, d := range s.Devices {
		out.Devices = append(out.Devices, roadDeviceOut{d.ID, d.Type, d.Powered, d.Runs, d.Network})
	}
	return out
}

func (a *API) listRoadUnits(ctx context.Context, in *Paging) (*pageOut[roadUnitOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	part, next := cut(a.roads(ctx).Units(), func(u traffic.UnitView) string { return u.Unit }, after, in.Limit)
	out := newPage[roadUnitOut](len(part))
	for i := range part {
		out.Body.Items = append(out.Body.Items, a.showUnit(&part[i]))
	}
	out.Body.Next = next
	return out, nil
}

// roadUnitID is a request about one unit.
type roadUnitID struct {
	ID string `path:"id"`
	Unchanged
}

func (a *API) roadUnit(ctx context.Context, id string) (traffic.UnitView, error) {
	u, ok := a.roads(ctx).Unit(id)
	if !ok {
		return u, newProblem(http.StatusNotFound, fmt.Sprintf("no roadside unit %q has sent messages of the road; `hub rsu list` lists those that have", id))
	}
	return u, nil
}

func (a *API) getRoadUnit(ctx context.Context, in *roadUnitID) (*tagged[roadUnitOut], error) {
	u, err := a.roadUnit(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out := a.showUnit(&u)
	out.Status = showStatus(&u.Status)
	return tag(in.Unchanged, out)
}

type deviationOut struct {
	Kind  string     `json:"kind" doc:"of the message"`
	Code  string     `json:"code"`
	Path  string     `json:"path" doc:"the field"`
	Text  text       `json:"text"`
	First *time.Time `json:"first"`
	Last  *time.Time `json:"last"`
	Count int64      `json:"count"`
}

type conformanceOut struct {
	Unit       string         `json:"unit"`
	Conforms   bool           `json:"conforms" doc:"nothing deviates from the standard"`
	Deviations []deviationOut `json:"deviations"`
}

func (a *API) getConformance(ctx context.Context, in *roadUnitID) (*tagged[conformanceOut], error) {
	u, err := a.roadUnit(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out := conformanceOut{Unit: u.Unit, Conforms: len(u.Deviations) == 0, Deviations: []deviationOut{}}
	for _, d := range u.Deviations {
		out.Deviations = append(out.Deviations, deviationOut{string(d.Kind), d.Code, d.Path, text{d.ZH, d.EN}, moment(d.First), moment(d.Last), d.Count})
	}
	return tag(in.Unchanged, out)
}

type evidenceOut struct {
	Check string    `json:"check"`
	At    time.Time `json:"at"`
	Kind  string    `json:"kind"`
	Hex   string    `json:"hex" doc:"the message as it came; temporary ids of vehicles are in it"`
}

type evidenceQuery struct {
	ID    string `path:"id"`
	Check string `query:"check" doc:"only of this check"`
}

// getEvidence shows what may name vehicles for as long as it is kept; who looked
// is on record.
func (a *API) getEvidence(ctx context.Context, in *evidenceQuery) (*pageOut[evidenceOut], error) {
	u, err := a.roadUnit(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	var found []traffic.Evidence
	for _, c := range traffic.Checks {
		if in.Check == "" || in.Check == string(c) {
			found = append(found, a.roads(ctx).Evidence(u.Unit, c)...)
		}
	}
	where := ""
	if d := a.Registry.Device(u.Unit); d != nil {
		where = d.Region
	}
	if err := a.Audit.Add(ctx, a.entry(ctx, access.ReadEvidence, "evidence of "+u.Unit, where, nil, map[string]int{"messages": len(found)})); err != nil {
		return nil, err
	}
	out := newPage[evidenceOut](len(found))
	for _, e := range found {
		out.Body.Items = append(out.Body.Items, evidenceOut{string(e.Check), e.At.UTC(), string(e.Kind), hex.EncodeToString(e.Raw)})
	}
	return out, nil
}

type intersectionOut struct {
	Node   string         `json:"node" doc:"region.id, or id where the unit says no region"`
	Unit   string         `json:"unit"`
	At     *time.Time     `json:"at" doc:"of the newest state"`
	Lat    *float64       `json:"lat"`
	Lon    *float64       `json:"lon"`
	Status []string       `json:"status" doc:"of the controller: manual, failure_flash, preempted, priority, fixed_time, traffic_dependent, standby, failure, off"`
	Phases []phaseOut     `json:"phases"`
	Faults []roadFaultOut `json:"faults"`
}

type phaseOut struct {
	ID     uint8      `json:"id"`
	Light  string     `json:"light"`
	Since  *time.Time `json:"since" doc:"null: it was not seen to change"`
	End    *time.Time `json:"end" doc:"when it is announced to change; null: not said"`
	Cycle  *float64   `json:"cycle_seconds" doc:"from green to green, the last one"`
	Greens *float64   `json:"green_share" doc:"of the last cycle"`
}

// statusNames are the bits of IntersectionStatusObject that we know.
var statusNames = [...]struct {
	bit  uint16
	name string
}{
	{road.StatusManual, "manual"}, {road.StatusFailureFlash, "failure_flash"}, {road.StatusPreempted, "preempted"}, {road.StatusPriority, "priority"},
	{road.StatusFixedTime, "fixed_time"}, {road.StatusDependent, "traffic_dependent"}, {road.StatusStandby, "standby"}, {road.StatusFailureMode, "failure"}, {road.StatusOff, "off"},
}

func showIntersection(v *traffic.IntersectionView, places map[road.NodeID]road.Position) intersectionOut {
	out := intersectionOut{Node: traffic.NodeName(v.Node), Unit: v.Unit, At: moment(v.At), Status: []string{}, Phases: []phaseOut{}, Faults: showFaults(v.Faults)}
	if p, ok := places[v.Node]; ok {
		out.Lat, out.Lon = known(p.Lat), known(p.Lon)
	}
	for _, s := range statusNames {
		if v.Status&s.bit != 0 {
			out.Status = append(out.Status, s.name)
		}
	}
	for _, p := range v.Phases {
		out.Phases = append(out.Phases, phaseOut{p.ID, p.Light.String(), moment(p.Since), moment(p.End), seconds(p.Cycle), known(p.Greens)})
	}
	return out
}

// roadKey orders what a node may be told of by several units.
func roadKey(v traffic.IntersectionView) string {
	return fmt.Sprintf("%05d.%05d/%s", v.Node.Region, v.Node.ID, v.Unit)
}

func (a *API) intersections(ctx context.Context) ([]traffic.IntersectionView, map[road.NodeID]road.Position) {
	views := a.roads(ctx)
	all := views.Intersections()
	slices.SortFunc(all, func(x, y traffic.IntersectionView) int { return strings.Compare(roadKey(x), roadKey(y)) })
	return all, traffic.Places(views.Links())
}

func (a *API) listIntersections(ctx context.Context, in *Paging) (*pageOut[intersectionOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	all, places := a.intersections(ctx)
	part, next := cut(all, roadKey, after, in.Limit)
	out := newPage[intersectionOut](len(part))
	for i := range part {
		out.Body.Items = append(out.Body.Items, showIntersection(&part[i], places))
	}
	out.Body.Next = next
	return out, nil
}

type intersectionID struct {
	Node string `path:"node" doc:"as in lists: region.id, or id"`
	Unit string `query:"unit" doc:"which unit's word counts, where several tell of the node; the first one's when absent"`
	Unchanged
}

type oneIntersection struct {
	intersectionOut
	Changes []lightChangeOut `json:"changes" doc:"lights of the last minutes, as phases began to show them"`
}

type lightChangeOut struct {
	Phase uint8     `json:"phase"`
	Light string    `json:"light"`
	At    time.Time `json:"at"`
}

func (a *API) getIntersection(ctx context.Context, in *intersectionID) (*tagged[oneIntersection], error) {
	all, places := a.intersections(ctx)
	i := slices.IndexFunc(all, func(v traffic.IntersectionView) bool {
		return traffic.NodeName(v.Node) == in.Node && (in.Unit == "" || in.Unit == v.Unit)
	})
	if i < 0 {
		return nil, newProblem(http.StatusNotFound, fmt.Sprintf("no unit has told the signals of node %q; `hub roads intersections` lists those that are told", in.Node))
	}
	out := oneIntersection{showIntersection(&all[i], places), []lightChangeOut{}}
	for _, c := range a.roads(ctx).Changes(all[i].Unit, all[i].Node) {
		out.Changes = append(out.Changes, lightChangeOut{c.Phase, c.Light.String(), c.At.UTC()})
	}
	return tag(in.Unchanged, out)
}

type roadLinkOut struct {
	From      string             `json:"from"`
	To        string             `json:"to"`
	Name      string             `json:"name,omitempty"`
	Unit      string             `json:"unit" doc:"who reports it"`
	At        *time.Time         `json:"at" doc:"the end of the minute that the numbers are of; null: none yet"`
	Source    string             `json:"source,omitempty" doc:"who counted: sensor or vehicle"`
	Flow      *float64           `json:"flow" doc:"motor vehicles that passed the detector in the minute"`
	NonMotor  *float64           `json:"non_motor" doc:"bicycles and the like that did"`
	MeanSpeed *float64           `json:"mean_speed" doc:"m/s"`
	P85       *float64           `json:"p85_speed" doc:"m/s"`
	Limit     *float64           `json:"speed_limit" doc:"m/s"`
	Length    *float64           `json:"length" doc:"metres"`
	Lanes     int                `json:"lanes"`
	Occupancy *float64           `json:"occupancy" doc:"0 to 1"`
	Queue     *float64           `json:"queue" doc:"the longest, in metres"`
	QueueMean *float64           `json:"queue_mean" doc:"metres"`
	Types     map[string]float64 `json:"participants" doc:"seen on the link, by type"`
	Hazards   *float64           `json:"hazards" doc:"vehicles that told of one, such as hard braking, for each kind"`
}

func showLink(l *traffic.LinkView) roadLinkOut {
	out := roadLinkOut{
		From: traffic.NodeName(l.From), To: traffic.NodeName(l.To), Name: l.Name, Unit: l.Unit, At: moment(l.At), Source: l.Source,
		Limit: known(l.Limit), Length: known(l.Length), Lanes: l.Lanes, Types: map[string]float64{},
	}
	if !l.At.IsZero() {
		out.Flow, out.MeanSpeed, out.P85, out.Occupancy, out.Queue = known(l.Flow), known(l.MeanSpeed), known(l.P85), known(l.Occupancy), known(l.Queue)
		out.NonMotor, out.QueueMean, out.Hazards = known(l.NonMotor), known(l.QueueMean), known(l.Hazards)
	}
	for t, n := range l.Participants {
		out.Types[t.String()] = n
	}
	return out
}

func linkKey(l traffic.LinkView) string {
	return fmt.Sprintf("%05d.%05d-%05d.%05d/%s", l.From.Region, l.From.ID, l.To.Region, l.To.ID, l.Unit)
}

type linkQuery struct {
	Paging
	Format string `query:"format" enum:"json,geojson" doc:"geojson (RFC 7946), as for Accept: application/geo+json; then places are told too"`
	Accept string `header:"Accept"`
}

// linksBody is a page of links, or the same as GeoJSON.
type linksBody struct {
	page[roadLinkOut]
	features *featureCollection
}

// ContentType implements [huma.ContentTypeFilter].
func (b linksBody) ContentType(usual string) string {
	if b.features != nil {
		return geoJSON
	}
	return usual
}

// MarshalJSON implements [json.Marshaler].
func (b linksBody) MarshalJSON() ([]byte, error) {
	if b.features != nil {
		return json.Marshal(b.features)
	}
	return json.Marshal(b.page)
}

const geoJSON = "application/geo+json"

type featureCollection struct {
	Type     string    `json:"type"`
	Features []feature `json:"features"`
	Next     string    `json:"next_cursor,omitempty"`
}

type feature struct {
	Type       string      `json:"type"`
	ID         string      `json:"id"`
	Geometry   lineString  `json:"geometry"`
	Properties roadLinkOut `json:"properties"`
}

type lineString struct {
	Type        string       `json:"type"`
	Coordinates [][2]float64 `json:"coordinates"`
}

func (a *API) listLinks(ctx context.Context, in *linkQuery) (*struct{ Body linksBody }, error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	all := a.roads(ctx).Links()
	slices.SortFunc(all, func(x, y traffic.LinkView) int { return strings.Compare(linkKey(x), linkKey(y)) })
	part, next := cut(all, linkKey, after, in.Limit)
	out := &struct{ Body linksBody }{}
	if in.Format == "geojson" || in.Format == "" && strings.Contains(in.Accept, geoJSON) {
		out.Body.features = &featureCollection{Type: "FeatureCollection", Features: make([]feature, 0, len(part)), Next: next}
		for i := range part {
			l := &part[i]
			line := lineString{Type: "LineString", Coordinates: make([][2]float64, 0, len(l.Points))}
			for _, p := range l.Points {
				line.Coordinates = append(line.Coordinates, [2]float64{p.Lon, p.Lat})
			}
			out.Body.features.Features = append(out.Body.features.Features, feature{"Feature", linkKey(*l), line, showLink(l)})
		}
		return out, nil
	}
	out.Body.Items, out.Body.Next = make([]roadLinkOut, 0, len(part)), next
	for i := range part {
		out.Body.Items = append(out.Body.Items, showLink(&part[i]))
	}
	return out, nil
}

type roadEventOut struct {
	Key         string     `json:"key" doc:"names the event"`
	Unit        string     `json:"unit"`
	AlsoBy      []string   `json:"also_by" doc:"other units that tell the same"`
	Type        int        `json:"type" doc:"GB/T 29100"`
	Name        text       `json:"name" doc:"of its type"`
	Source      string     `json:"source,omitempty" doc:"as the unit says; derived: the hub made it of what the unit's sensors see (RSM)"`
	Description string     `json:"description,omitempty"`
	Lat         *float64   `json:"lat" doc:"its own place, or that of the unit"`
	Lon         *float64   `json:"lon"`
	Radius      *float64   `json:"radius" doc:"metres"`
	Priority    *int       `json:"priority" doc:"0 to 7"`
	Confidence  *float64   `json:"confidence" doc:"0 to 1"`
	Links       []string   `json:"links" doc:"from-to"`
	Start       *time.Time `json:"start" doc:"null: not said"`
	End         *time.Time `json:"end" doc:"null: not said"`
	First       *time.Time `json:"first" doc:"when it was first told"`
	Last        *time.Time `json:"last" doc:"when it was last told"`
	Active      bool       `json:"active"`
	PastEnd     bool       `json:"past_end" doc:"it is told although its end has passed"`
}

func showRoadEvent(v *traffic.EventView) roadEventOut {
	e := &v.Event
	out := roadEventOut{
		Key: v.Key, Unit: v.Unit, AlsoBy: append([]string{}, v.AlsoBy...), Type: e.Type, Name: text(v.Name), Source: e.Source, Description: e.Description,
		Lat: known(v.Place.Lat), Lon: known(v.Place.Lon), Confidence: known(e.Confidence), Links: []string{},
		Start: moment(e.Start), End: moment(e.End), First: moment(v.First), Last: moment(v.Last), Active: v.Active, PastEnd: v.PastEnd,
	}
	if e.Radius > 0 {
		out.Radius = known(e.Radius)
	}
	if e.Priority >= 0 {
		out.Priority = &e.Priority
	}
	for _, l := range e.Links {
		out.Links = append(out.Links, traffic.NodeName(l.From)+"-"+traffic.NodeName(l.To))
	}
	return out
}

type roadEventQuery struct {
	Paging
	Active string `query:"active" enum:"true,false" doc:"only those that are active, or that are not any more"`
}

// eventKey orders events, the newest first.
func eventKey(e traffic.EventView) string {
	return fmt.Sprintf("%019d/%s", math.MaxInt64-e.First.UnixMilli(), e.Key)
}

func (a *API) listRoadEvents(ctx context.Context, in *roadEventQuery) (*pageOut[roadEventOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(a.roads(ctx).Events(), func(e traffic.EventView) bool {
		return in.Active != "" && strconv.FormatBool(e.Active) != in.Active
	})
	slices.SortFunc(all, func(x, y traffic.EventView) int { return cmp.Compare(eventKey(x), eventKey(y)) })
	part, next := cut(all, eventKey, after, in.Limit)
	out := newPage[roadEventOut](len(part))
	for i := range part {
		out.Body.Items = append(out.Body.Items, showRoadEvent(&part[i]))
	}
	out.Body.Next = next
	return out, nil
}
