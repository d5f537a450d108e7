package quota

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Whose a quota is.
const (
	Device  = "device"
	Token   = "token"
	Address = "address"
	// Grant is of a grant of the catalogue, whose scope bounds it.
	Grant = "grant"
)

// Door is where somebody comes in.
type Door int

// The doors.
const (
	NoDoor Door = iota // the hub itself: what it replays
	MQTT
	MQTTS
	WebSocket
	CoAP
	CoAPS
	HTTP
	HTTPS
	Broker
	doors
)

// String is the door as presence and metrics name it.
func (d Door) String() string {
	return [doors]string{"none", "mqtt", "mqtts", "mqtt-websocket", "coap", "coaps", "http", "https", "broker"}[d]
}

// DoorOf returns the door of a name.
func DoorOf(name string) Door {
	for d := range doors {
		if d.String() == name {
			return d
		}
	}
	return NoDoor
}

// Policy is one quota.
type Policy struct {
	Of, What string
	Key      string // in the section of the configuration; empty for a fixed quota
	Rate     Rate   // without a time where it is counted at once

	flow    flow
	refused [doors]prometheus.Counter
}

// Name is the policy in RateLimit fields and problem details.
func (p *Policy) Name() string { return p.Of + "-" + p.What }

// refuse counts and returns a refusal; nil when there is nothing to wait for.
func (p *Policy) refuse(door Door, name string, after time.Duration) *Exceeded {
	if after <= 0 {
		return nil
	}
	p.refused[door].Inc()
	return &Exceeded{Policy: p, Name: name, After: after}
}

// Exceeded says which quota is used up, and when to come again.
type Exceeded struct {
	Policy *Policy
	Name   string // whose it is
	After  time.Duration
}

// Error implements error, for the one who is refused.
func (e *Exceeded) Error() string {
	return fmt.Sprintf("%s %s has used up its quota of %s%s; try again in %s", e.Policy.Of, e.Name, e.Policy.noun(), e.Policy.key(" (", ")"), e.wait())
}

// ZH is Error in Chinese.
func (e *Exceeded) ZH() string {
	of := map[string]string{Device: "设备", Token: "令牌", Address: "地址", Grant: "授权"}[e.Policy.Of]
	return fmt.Sprintf("%s %s 已用尽配额%s；请在 %s 后重试。", of, e.Name, e.Policy.key("（", "）"), e.wait())
}

// key is where the quota is set, between two texts; empty for a fixed one.
func (p *Policy) key(before, after string) string {
	if p.Key == "" {
		return ""
	}
	return before + "quotas." + p.Of + "." + p.Key + after
}

func (e *Exceeded) wait() time.Duration {
	return max(e.After.Round(time.Millisecond), time.Millisecond)
}

// noun is what a person calls what is counted.
func (p *Policy) noun() string {
	switch p.What {
	case "arrivals":
		return "new connections"
	case "failures":
		return "attempts with wrong credentials"
	}
	return p.What
}

// Arriving reports whether the quota is one of how often to connect, as opposed
// to how much.
func (e *Exceeded) Arriving() bool { return e.Policy.What == "arrivals" || e.Policy.What == "failures" }

// Seconds is After in whole seconds, rounded up: what protocols tell.
func (e *Exceeded) Seconds() int { return int(math.Ceil(e.After.Seconds())) }

// ProblemType is the type of RFC 9457 problem details about quotas, whose member
// violated-policies names them (draft-ietf-httpapi-ratelimit-headers).
const ProblemType = "https://iana.org/assignments/http-problem-types#quota-exceeded"

// Standing is what is left of a quota. The zero value is of a quota without a
// bound.
type Standing struct {
	Policy *Policy
	Left   int
	Full   time.Duration // until nothing is used any more
}

// less reports whether s is nearer to its end than o.
func (s Standing) less(o Standing) bool {
	return o.Policy == nil || s.Policy != nil && s.Left*o.Policy.Rate.N < o.Left*s.Policy.Rate.N
}

// Standing is what is left where somebody was refused: nothing, until After.
func (e *Exceeded) Standing() Standing { return Standing{e.Policy, 0, e.After} }

// Set writes the header fields of what is left; nothing without a bound.
func (s Standing) Set(header map[string][]string) {
	if policy, limit := s.Fields(); policy != "" {
		header["Ratelimit-Policy"], header["Ratelimit"] = []string{policy}, []string{limit}
	}
}

// Set writes the header fields of an answer that refuses: Retry-After and those
// of what is left name the same moment.
func (e *Exceeded) Set(header map[string][]string) {
	header["Retry-After"] = []string{strconv.Itoa(e.Seconds())}
	e.Standing().Set(header)
}

// Fields are the values of the header fields RateLimit-Policy and RateLimit
// (draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4); empty without a
// bound.
func (s Standing) Fields() (policy, limit string) {
	if s.Policy == nil {
		return "", ""
	}
	p := append(make([]byte, 0, 64), '"')
	p = append(append(append(append(p, s.Policy.Of...), '-'), s.Policy.What...), '"')
	name := len(p)
	p = strconv.AppendInt(append(p, ";q="...), int64(s.Policy.Rate.N), 10)
	if s.Policy.Rate.Per > 0 {
		p = strconv.AppendInt(append(p, ";w="...), int64(s.Policy.Rate.Per/time.Second), 10)
	}
	switch s.Policy.What {
	case "bytes":
		p = append(p, `;qu="content-bytes"`...)
	case "connections":
		p = append(p, `;qu="concurrent-requests"`...)
	case "samples":
		p = append(p, `;qu="samples"`...)
	}
	policy = string(p)
	l := append(p[:0:0], p[:name]...)
	l = strconv.AppendInt(append(l, ";r="...), int64(s.Left), 10)
	l = strconv.AppendInt(append(l, ";t="...), int64(math.Ceil(s.Full.Seconds())), 10)
	return policy, string(l)
}
