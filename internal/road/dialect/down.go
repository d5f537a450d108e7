package dialect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/road"
)

// Down is how a family of products is spoken to.
type Down struct {
	// Topics are those of each order; {esn} stands for the unit.
	Topics map[Order][]string `yaml:"topics"`
	// Aliases are other spellings of fields, by order and path.
	Aliases map[Order]map[string]string `yaml:"aliases"`
}

// check refuses orders that nobody can give.
func (d Down) check() error {
	for o, topics := range d.Topics {
		if blank(o) == nil {
			return fmt.Errorf("down: there is no order %s", o)
		}
		for _, t := range topics {
			if strings.Count(t, "{") > 1 || strings.Contains(t, "{") && !strings.Contains(t, esnLevel) {
				return fmt.Errorf("down: topic %s of %s has another name than %s", t, o, esnLevel)
			}
		}
	}
	for o := range d.Aliases {
		if len(d.Topics[o]) == 0 {
			return fmt.Errorf("down: aliases of %s, which has no topic", o)
		}
	}
	return nil
}

// blank returns an order with nothing in it; nil when there is no such order.
func blank(o Order) any {
	switch o {
	case OrderConfig:
		return &Config{}
	case OrderManage:
		return &Manage{}
	case OrderMap:
		return &Map{}
	case OrderRSI:
		return &RSI{}
	case OrderQuery:
		return &Query{}
	case OrderOTA:
		return &OTA{}
	}
	return nil
}

// ReadOrder reads the parameters of an order, which are the fields of its message
// in the spelling of the standard: a *Config for OrderConfig, and so on. Errors
// are an *OrderError or a *PersonalError.
func ReadOrder(o Order, params json.RawMessage) (any, error) {
	x := blank(o)
	if x == nil {
		names := make([]string, 0, len(Orders()))
		for _, known := range Orders() {
			names = append(names, string(known))
		}
		return nil, &OrderError{string(o), []strict.Error{{Msg: "there is no such order; known are " + strings.Join(names, ", ")}}}
	}
	if err := readParams(params, x); err != nil {
		if faults, ok := err.(faulty); ok {
			return nil, &OrderError{"params", faults}
		}
		return nil, err
	}
	return x, nil
}

// faulty are the faults of parameters.
type faulty []strict.Error

func (f faulty) Error() string { return f[0].Error() }

// readParams reads JSON strictly. People's numbers are refused as on the way up.
func readParams(params json.RawMessage, into any) error {
	if len(params) == 0 {
		params = json.RawMessage("{}")
	}
	d := json.NewDecoder(bytes.NewReader(params))
	d.UseNumber()
	var x any
	if err := d.Decode(&x); err != nil {
		return faulty{{Msg: fmt.Sprintf("%.40q is no JSON: %v", params, err)}}
	}
	if _, ok := x.(map[string]any); !ok {
		return faulty{{Msg: fmt.Sprintf("%.40q is no JSON object", params)}}
	}
	if err := refuse(x); err != nil {
		return err
	}
	plain, err := json.Marshal(x) // without escapes that YAML has not
	if err != nil {
		return err
	}
	if faults := strict.Decode(plain, into); len(faults) > 0 {
		return faulty(faults)
	}
	return nil
}

// Head is what a message down says besides its order.
type Head struct {
	ESN string
	// Seq names the message in the unit's acknowledgement.
	Seq string
	At  time.Time
}

// protocolVersion is that of the standard.
const protocolVersion = "V1.0"

// Write makes the message of an order for a product: what ReadOrder returned, in
// its spelling.
func (p *Profile) Write(o Order, what any, h Head) ([]byte, error) {
	text, err := json.Marshal(what)
	if err != nil {
		return nil, fmt.Errorf("order %s: %w", o, err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("order %s: %w", o, err)
	}
	switch o {
	case OrderManage, OrderQuery, OrderOTA:
		m["rsuEsn"], m["timestamp"], m["protocolVersion"] = h.ESN, h.At.UnixMilli(), protocolVersion
	}
	m["seqNum"], m["ack"] = h.Seq, true
	for at, as := range p.Down.Aliases[o] {
		rename(m, strings.Split(at, "."), as)
	}
	return json.Marshal(m)
}

// rename gives the field at a path another name, in every element of lists.
func rename(x any, path []string, as string) {
	if list, ok := x.([]any); ok {
		for _, e := range list {
			rename(e, path, as)
		}
		return
	}
	m, ok := x.(map[string]any)
	v, there := m[path[0]]
	switch {
	case !ok || !there:
	case len(path) > 1:
		rename(v, path[1:], as)
	default:
		delete(m, path[0])
		m[as] = v
	}
}

const esnLevel = "{esn}"

// Way is how an order reaches a unit.
type Way struct {
	Profile *Profile
	Order   Order
	Topic   string
}

// Ways says which unit a topic filter hears for, and on which topics orders reach
// that unit in the dialects that the filter is of. The ESN is empty where the
// topics name no unit: then whoever listens is meant. ok is false for a filter
// that is of no dialect, or that would hear for more than one unit.
func (s *Set) Ways(filter string) (esn string, ways []Way, ok bool) {
	for _, p := range s.Profiles {
		for o, topics := range p.Down.Topics {
			if slices.Contains(topics, filter) && !strings.Contains(filter, esnLevel) {
				return "", []Way{{p, o, filter}}, true
			}
		}
	}
	by := string(separator(filter))
	for _, p := range s.Profiles {
		for _, o := range Orders() {
			for _, pattern := range p.Down.Topics[o] {
				root, rest, named := strings.Cut(pattern, esnLevel)
				if !named || string(separator(pattern)) != by || !strings.HasPrefix(filter, root) {
					continue
				}
				level, deeper, more := strings.Cut(filter[len(root):], by)
				if !more || deeper == "" || level == "" || strings.ContainsAny(level, "+#{}") {
					return "", nil, false
				}
				esn, ok = level, true
				ways = append(ways, Way{p, o, root + level + rest})
			}
		}
	}
	return esn, ways, ok
}

// Outcome is what a unit's acknowledgement means for what it was asked.
type Outcome struct {
	Seq  string
	Done bool
	// Code is that of the unit: 0 done, 1 a parameter is wrong, 2 the unit failed.
	Code   int
	ZH, EN string
}

// maxDescription bounds what a unit says of a failure, in bytes.
const maxDescription = 256

// OutcomeOf reads an acknowledgement.
func OutcomeOf(a *road.Ack) Outcome {
	o := Outcome{Seq: a.Seq, Done: a.Code == 0, Code: a.Code}
	switch a.Code {
	case 0:
		o.ZH, o.EN = "已完成", "done"
	case 1:
		o.ZH, o.EN = "参数错误", "a parameter is wrong"
	case 2:
		o.ZH, o.EN = "路侧单元系统错误", "the roadside unit has failed"
	default:
		o.ZH, o.EN = fmt.Sprintf("未知错误码 %d", a.Code), fmt.Sprintf("error code %d, which the standard does not have", a.Code)
	}
	if said := a.Description; said != "" && a.Code != 0 {
		said = strings.ToValidUTF8(said[:min(len(said), maxDescription)], "")
		o.ZH, o.EN = o.ZH+"："+said, o.EN+": "+said
	}
	return o
}
