package gate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Published is a table as everybody may read it.
type Published struct {
	Dataset    string               `json:"dataset"`
	Version    int64                `json:"version"`
	Dimensions []PublishedDimension `json:"dimensions"`
	Measures   []PublishedMeasure   `json:"measures"`
	Groupings  []PublishedGrouping  `json:"groupings"`
	// Noise is the grouping whose cells have noise, each one's own; those of the
	// others are sums of them. Absent without noise.
	Noise Grouping `json:"noise,omitempty"`
	// Absent are leaves and codes of which nothing is published.
	Absent []Absent `json:"absent,omitempty"`
	// Reasons are those that occur, for people.
	Reasons map[string]Text `json:"reasons"`
}

// PublishedDimension is a dimension without what the gate alone needs.
type PublishedDimension struct {
	Name   string           `json:"name"`
	Leaves []PublishedLeaf  `json:"leaves"`
	Levels []PublishedLevel `json:"levels,omitempty"`
}

// PublishedLeaf is a leaf; a bin of time has its bounds, in Unix seconds.
type PublishedLeaf struct {
	Code  string `json:"code"`
	Start int64  `json:"start,omitempty"`
	End   int64  `json:"end,omitempty"`
}

// PublishedLevel is a partition of the leaves.
type PublishedLevel struct {
	Name  string   `json:"name"`
	Codes []string `json:"codes"`
	Of    []int32  `json:"of"`
}

// PublishedMeasure says what a number is and how exact.
type PublishedMeasure struct {
	Name  string `json:"name"`
	Unit  string `json:"unit"`
	Kind  Kind   `json:"kind"`
	Of    string `json:"of,omitempty"`
	Mille int64  `json:"mille,omitempty"`
	Round int64  `json:"round"`
	// NoiseT and NoiseS are the scale of the noise, a rational; 0 for none.
	NoiseT int64 `json:"noise_t,omitempty"`
	NoiseS int64 `json:"noise_s,omitempty"`
}

// PublishedGrouping has the cells of a grouping, the last dimension counting
// fastest, and in each cell the measures in their order.
type PublishedGrouping struct {
	Levels Grouping `json:"levels"`
	Values []Number `json:"values"`
	// Held are the cells that are those of an earlier version, at least in part.
	Held []int `json:"held,omitempty"`
}

// Absent is a leaf or a code of which nothing is published, and why.
type Absent struct {
	Dimension string `json:"dimension"`
	Level     string `json:"level"`
	Code      string `json:"code"`
	Reason    string `json:"reason"`
}

// Number is an integer that may be hidden.
type Number struct {
	Value int64
	Shown bool
}

// MarshalJSON writes null for what is hidden.
func (n Number) MarshalJSON() ([]byte, error) {
	if !n.Shown {
		return []byte("null"), nil
	}
	return strconv.AppendInt(nil, n.Value, 10), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (n *Number) UnmarshalJSON(b []byte) (err error) {
	*n = Number{}
	if string(b) == "null" {
		return nil
	}
	n.Shown = true
	n.Value, err = strconv.ParseInt(string(b), 10, 64)
	return err
}

// Canonical is the JSON of a value as RFC 8785 has it: keys in order, no space,
// nothing escaped that need not be. It takes integers only.
func Canonical(v any) ([]byte, error) {
	raw, err := encode(v)
	if err != nil {
		return nil, err
	}
	in := json.NewDecoder(bytes.NewReader(raw))
	in.UseNumber()
	var tree any
	if err := in.Decode(&tree); err != nil {
		return nil, fmt.Errorf("canonical form: %w", err)
	}
	return encode(tree) // keys of maps are written in order
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	if err := out.Encode(v); err != nil {
		return nil, fmt.Errorf("canonical form: %w", err)
	}
	// The encoder escapes these two for the sake of JavaScript.
	text := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	text = unescape(text, `\u2028`, "\u2028")
	return unescape(text, `\u2029`, "\u2029"), nil
}

// unescape replaces an escape that is not itself behind a backslash.
func unescape(text []byte, from, to string) []byte {
	var out []byte
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			out = append(out, text[i])
			continue
		}
		if bytes.HasPrefix(text[i:], []byte(from)) {
			out = append(out, to...)
			i += len(from) - 1
			continue
		}
		out = append(out, text[i], text[i+1])
		i++
	}
	return out
}

// publish makes what everybody may read.
func (g *gate) publish() *Published {
	t := g.table
	out := &Published{Dataset: t.Dataset, Version: t.Version, Absent: g.absent, Reasons: map[string]Text{}}
	for i := range t.Dimensions {
		d := &t.Dimensions[i]
		p := PublishedDimension{Name: d.Name}
		for _, l := range d.Leaves {
			p.Leaves = append(p.Leaves, PublishedLeaf{Code: l.Code, Start: l.Start, End: l.End})
		}
		for _, l := range d.Levels {
			p.Levels = append(p.Levels, PublishedLevel{Name: l.Name, Codes: l.Codes, Of: l.Of})
		}
		out.Dimensions = append(out.Dimensions, p)
	}
	for m := range t.Measures {
		x := &t.Measures[m]
		out.Measures = append(out.Measures, PublishedMeasure{Name: x.Name, Unit: x.Unit, Kind: x.Kind, Of: x.Of, Mille: x.Mille, Round: g.step(x), NoiseT: g.noise.scale[m].T, NoiseS: g.noise.scale[m].S})
	}
	if g.noise.base != nil {
		out.Noise = t.Groupings[g.noise.base.group]
	}
	for _, l := range g.u.layers {
		if !l.own {
			continue
		}
		out.Groupings = append(out.Groupings, g.publishLayer(l, out))
	}
	for _, a := range g.absent {
		for r := Shown; r < reasons; r++ {
			if r.Code() == a.Reason {
				out.Reasons[a.Reason] = r.Text()
			}
		}
	}
	return out
}

func (g *gate) publishLayer(l *layer, out *Published) PublishedGrouping {
	t := g.table
	n := len(t.Measures)
	p := PublishedGrouping{Levels: t.Groupings[l.group], Values: make([]Number, l.size*n)}
	raw := make([]int64, n)
	for i, state := range l.state {
		if state != Shown {
			if state.forPeople() {
				out.Reasons[Withheld.Code()] = Withheld.Text()
			}
			continue
		}
		if g.heldIn[l][i] {
			p.Held = append(p.Held, i)
			out.Reasons[Held.Code()] = Unrevised.Text()
			if g.former {
				out.Reasons[Held.Code()] = Held.Text()
			}
		}
		g.numbers(l, i, raw)
		for m := range t.Measures {
			x := &t.Measures[m]
			shown := x.Kind.additive() || g.single[l][m][i] == Shown
			value := raw[m]
			if x.Kind == Mean {
				count := raw[t.measure(x.Of)]
				if shown = shown && count > 0; shown {
					value = (2*value + count) / (2 * count)
				}
			}
			if !shown {
				if x.Kind != Mean {
					out.Reasons[Withheld.Code()] = Withheld.Text()
				}
				continue
			}
			p.Values[i*n+m] = Number{Value: round(value, g.step(x), x.Kind == Max), Shown: true}
		}
	}
	return p
}

// step is what a measure is rounded to.
func (g *gate) step(m *Measure) int64 {
	if m.Kind == Max {
		return max(1, m.Round, g.policy.ExtremeStep)
	}
	return max(1, m.Round)
}

// round is to the next multiple of step, half up, or always up.
func round(v, step int64, up bool) int64 {
	below := v % step
	if below < 0 {
		below += step
	}
	v -= below
	if up && below > 0 || !up && 2*below >= step && below > 0 {
		v += step
	}
	return v
}

// day is the day of the data, since 1970, in which a time lies.
func (t *Table) day(unix int64) int64 {
	const seconds = int64(24 * time.Hour / time.Second)
	unix += t.Zone
	if unix < 0 {
		unix -= seconds - 1
	}
	return unix / seconds
}
