package traffic

import (
	"math"

	"github.com/songhua-io/hub/internal/road"
)

// The wire structs are a node of a map as its document has it. What is not known
// is left out.
type (
	wireNode struct {
		Region uint16     `json:"region,omitempty"`
		ID     uint16     `json:"id"`
		Name   string     `json:"name,omitempty"`
		At     *wirePoint `json:"at,omitempty"`
		Links  []wireLink `json:"links,omitempty"`
	}
	wireLink struct {
		Region    uint16         `json:"region,omitempty"` // where it comes from
		From      uint16         `json:"from"`
		Name      string         `json:"name,omitempty"`
		Width     *float64       `json:"width,omitempty"`
		Limit     *float64       `json:"limit,omitempty"`
		Points    []wirePoint    `json:"points,omitempty"`
		Movements []wireMovement `json:"movements,omitempty"`
		Lanes     []wireLane     `json:"lanes,omitempty"`
	}
	wireLane struct {
		ID        uint8          `json:"id"`
		Width     *float64       `json:"width,omitempty"`
		Limit     *float64       `json:"limit,omitempty"`
		Points    []wirePoint    `json:"points,omitempty"`
		To        []wireMovement `json:"to,omitempty"`
		Maneuvers uint16         `json:"maneuvers,omitempty"`
		NoMotor   bool           `json:"no_motor,omitempty"`
	}
	wireMovement struct {
		Region uint16 `json:"region,omitempty"` // where it leads to
		To     uint16 `json:"to"`
		Phase  *uint8 `json:"phase,omitempty"`
	}
	wirePoint [2]float64 // latitude, longitude
)

func known(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

func valueOf(p *float64) float64 {
	if p == nil {
		return math.NaN()
	}
	return *p
}

// toWire leaves out points that have no place, and those beyond maxPoints.
func toWire(n *road.Node) *wireNode {
	out := &wireNode{Region: n.ID.Region, ID: n.ID.ID, Name: n.Name}
	if at := toPoints([]road.Position{n.At}); len(at) > 0 {
		out.At = &at[0]
	}
	for i := range n.Links {
		l := &n.Links[i]
		w := wireLink{Region: l.From.Region, From: l.From.ID, Name: l.Name, Width: known(l.Width), Limit: known(l.Limit),
			Points: toPoints(l.Points), Movements: toMovements(l.Movements)}
		for j := range l.Lanes {
			m := &l.Lanes[j]
			w.Lanes = append(w.Lanes, wireLane{ID: m.ID, Width: known(m.Width), Limit: known(m.Limit), Points: toPoints(m.Points), To: toMovements(m.To), Maneuvers: m.Maneuvers, NoMotor: m.NoMotor})
		}
		out.Links = append(out.Links, w)
	}
	return out
}

func toPoints(all []road.Position) (out []wirePoint) {
	for _, p := range all {
		if known(p.Lat) != nil && known(p.Lon) != nil && len(out) < maxPoints {
			out = append(out, wirePoint{p.Lat, p.Lon})
		}
	}
	return out
}

func toMovements(all []road.Movement) (out []wireMovement) {
	for _, m := range all {
		w := wireMovement{Region: m.To.Region, To: m.To.ID}
		if m.HasPhase {
			w.Phase = &m.Phase
		}
		out = append(out, w)
	}
	return out
}

func (w *wireNode) node() road.Node {
	n := road.Node{ID: road.NodeID{Region: w.Region, ID: w.ID}, Name: w.Name, At: road.Position{Lat: math.NaN(), Lon: math.NaN()}}
	if w.At != nil {
		n.At = road.Position{Lat: w.At[0], Lon: w.At[1]}
	}
	for i := range w.Links {
		l := &w.Links[i]
		out := road.Link{Name: l.Name, From: road.NodeID{Region: l.Region, ID: l.From}, Width: valueOf(l.Width), Limit: valueOf(l.Limit),
			Points: fromPoints(l.Points), Movements: fromMovements(l.Movements)}
		for j := range l.Lanes {
			m := &l.Lanes[j]
			out.Lanes = append(out.Lanes, road.Lane{ID: m.ID, Width: valueOf(m.Width), Limit: valueOf(m.Limit), Points: fromPoints(m.Points), To: fromMovements(m.To), Maneuvers: m.Maneuvers, NoMotor: m.NoMotor})
		}
		n.Links = append(n.Links, out)
	}
	return n
}

func fromPoints(all []wirePoint) (out []road.Position) {
	for _, p := range all {
		out = append(out, road.Position{Lat: p[0], Lon: p[1]})
	}
	return out
}

func fromMovements(all []wireMovement) (out []road.Movement) {
	for _, m := range all {
		x := road.Movement{To: road.NodeID{Region: m.Region, ID: m.To}}
		if m.Phase != nil {
			x.Phase, x.HasPhase = *m.Phase, true
		}
		out = append(out, x)
	}
	return out
}
