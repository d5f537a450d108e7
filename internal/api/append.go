package api

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// What encoding/json makes of the structs of workloads, byte by byte, as the API
// writes them; a test compares.

// appendJSON appends any value as the API writes it.
func appendJSON(b []byte, v any) []byte {
	buf := bytes.NewBuffer(b)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // wire structs always have a JSON form
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

func appendText(b []byte, s string) []byte {
	ascii := true
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c == '"' || c == '\\' {
			return appendJSON(b, s)
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	if !ascii && (!utf8.ValidString(s) || strings.ContainsAny(s, "\u2028\u2029")) {
		return appendJSON(b, s)
	}
	return append(append(append(b, '"'), s...), '"')
}

func appendFloat(b []byte, f float64) []byte {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return appendJSON(b, f) // as it fails there
	}
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		b = strconv.AppendFloat(b, f, 'e', -1, 64)
		if n := len(b); n >= 4 && b[n-4] == 'e' && b[n-3] == '-' && b[n-2] == '0' { // e-09 is e-9
			b[n-2] = b[n-1]
			b = b[:n-1]
		}
		return b
	}
	return strconv.AppendFloat(b, f, 'f', -1, 64)
}

func appendTime(b []byte, t time.Time) []byte {
	return append(t.AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}

// members writes the members of an object.
type members struct {
	b     []byte
	first bool
}

func object(b []byte) members { return members{append(b, '{'), true} }

func (m *members) key(name string) {
	if !m.first {
		m.b = append(m.b, ',')
	}
	m.first = false
	m.b = append(append(append(m.b, '"'), name...), '"', ':')
}

func (m *members) text(name, v string)           { m.key(name); m.b = appendText(m.b, v) }
func (m *members) float(name string, v float64)  { m.key(name); m.b = appendFloat(m.b, v) }
func (m *members) number(name string, v int64)   { m.key(name); m.b = strconv.AppendInt(m.b, v, 10) }
func (m *members) time(name string, v time.Time) { m.key(name); m.b = appendTime(m.b, v) }

// The same without what is zero.
func (m *members) someText(name, v string) {
	if v != "" {
		m.text(name, v)
	}
}

func (m *members) someFloat(name string, v float64) {
	if v != 0 {
		m.float(name, v)
	}
}

func (m *members) someNumber(name string, v int64) {
	if v != 0 {
		m.number(name, v)
	}
}

func (m *members) someTime(name string, v *time.Time) {
	if v != nil {
		m.time(name, *v)
	}
}

func (m *members) yes(name string, v bool) {
	if v {
		m.key(name)
		m.b = append(m.b, "true"...)
	}
}

func (m *members) any(name string, v any) { m.key(name); m.b = appendJSON(m.b, v) }

func (m *members) end() []byte { return append(m.b, '}') }

// list writes a list that is not empty.
func list[T any](m *members, name string, all []T, one func([]byte, *T) []byte) {
	if len(all) == 0 {
		return
	}
	m.key(name)
	for i := range all {
		m.b = one(append(m.b, "[,"[min(i, 1)]), &all[i])
	}
	m.b = append(m.b, ']')
}

func appendWorkload(b []byte, w *WorkloadOut) []byte {
	m := object(b)
	m.someText("id", w.ID)
	m.text("state", w.State)
	m.someTime("since", w.Since)
	if w.Workload != nil {
		m.any("workload", w.Workload)
	}
	m.someText("by", w.By)
	m.someTime("submitted", w.Created)
	list(&m, "reasons", w.Reasons, appendReason)
	if w.Decision != nil {
		m.key("decision")
		m.b = appendDecision(m.b, w.Decision)
	}
	if w.Lease != nil {
		m.key("lease")
		m.b = appendLease(m.b, w.Lease)
	}
	list(&m, "leases", w.Leases, appendLease)
	if w.Queue != nil {
		m.any("queue", w.Queue)
	}
	m.someNumber("version", w.Version)
	m.yes("repeated", w.Repeated)
	return m.end()
}

func appendReason(b []byte, r *reasonOut) []byte {
	m := object(b)
	m.text("code", r.Code)
	list(&m, "args", r.Args, func(b []byte, s *string) []byte { return appendText(b, *s) })
	m.key("text")
	t := object(m.b)
	t.text("zh", r.Text.ZH)
	t.text("en", r.Text.EN)
	m.b = t.end()
	return m.end()
}

func appendDecision(b []byte, d *decisionOut) []byte {
	m := object(b)
	m.time("at", d.At)
	list(&m, "assignments", d.Assignments, appendAssignment)
	m.someTime("until", d.Until)
	list(&m, "planned", d.Planned, appendAssignment)
	list(&m, "reasons", d.Reasons, appendReason)
	m.float("energy_kwh", d.EnergyKWh)
	m.float("carbon_kg", d.CarbonKg)
	m.float("cost", d.Cost)
	m.someFloat("transfer_gib", d.TransferGiB)
	m.someText("expected_wait", d.Wait)
	list(&m, "scores", d.Scores, appendScore)
	list(&m, "runners_up", d.RunnersUp, func(b []byte, r *runnerUpOut) []byte {
		m := object(b)
		m.text("facility", r.Facility)
		m.text("pool", r.Pool)
		m.float("cost", r.Cost)
		m.key("worse")
		m.b = appendScore(m.b, &r.Worse)
		return m.end()
	})
	if len(d.Preempts) > 0 {
		m.any("preempts", d.Preempts)
	}
	if len(d.Refused) > 0 {
		m.any("refused", d.Refused)
	}
	m.someText("data_age", d.DataAge)
	m.someFloat("bound", d.Bound)
	m.someFloat("gap", d.Gap)
	return m.end()
}

func appendScore(b []byte, s *scoreOut) []byte {
	m := object(b)
	m.text("scorer", s.Scorer)
	m.float("value", s.Value)
	m.text("unit", s.Unit)
	m.float("cost", s.Cost)
	return m.end()
}

func appendAssignment(b []byte, a *assignmentOut) []byte {
	m := object(b)
	m.text("task", a.Task)
	m.number("index", int64(a.Index))
	m.text("facility", a.Facility)
	m.text("pool", a.Pool)
	m.someText("node", a.Node)
	list(&m, "devices", a.Devices, func(b []byte, n *int) []byte { return strconv.AppendInt(b, int64(*n), 10) })
	m.key("use")
	use := object(m.b)
	var room [8]string
	names := room[:0]
	for name := range a.Use {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		use.number(name, a.Use[name])
	}
	m.b = use.end()
	m.time("start", a.Start)
	m.time("end", a.End)
	return m.end()
}

func appendLease(b []byte, l *leaseOut) []byte {
	m := object(b)
	m.text("id", l.ID)
	m.text("facility", l.Facility)
	m.key("token")
	m.b = strconv.AppendUint(m.b, l.Token, 10)
	m.text("state", l.State)
	m.someText("workload", l.Workload)
	m.text("tenant", l.Tenant)
	list(&m, "parts", l.Parts, appendAssignment)
	m.time("created", l.Created)
	if l.ExpiresAt != nil {
		m.time("expires_at", *l.ExpiresAt)
	} else {
		m.key("expires_at")
		m.b = append(m.b, "null"...)
	}
	m.someText("output", l.Output)
	return m.end()
}

// appendWanted is json.Marshal of what a scan reads.
func appendWanted(b []byte, w *WorkloadIn) []byte {
	m := object(b)
	m.someText("tenant", w.Tenant)
	m.text("name", w.Name)
	m.someNumber("priority", int64(w.Priority))
	m.someText("objective", w.Objective.name)
	m.someText("gang", w.Gang)
	m.someText("shape", w.Shape)
	list(&m, "tasks", w.Tasks, func(b []byte, t *taskIn) []byte {
		m := object(b)
		m.text("name", t.Name)
		m.someNumber("count", int64(t.Count))
		m.someNumber("min_count", int64(t.MinCount))
		m.someNumber("cpu_milli", t.CPUMilli)
		m.someNumber("memory_mib", t.MemoryMiB)
		m.someNumber("disk_gib", t.DiskGiB)
		m.someNumber("power_w", t.PowerW)
		if a := t.Accelerators; a != nil {
			m.key("accelerators")
			n := object(m.b)
			n.someNumber("count", int64(a.Count))
			n.someNumber("milli", a.Milli)
			list(&n, "models", a.Models, func(b []byte, s *string) []byte { return appendText(b, *s) })
			n.someNumber("memory_mib", a.MemoryMiB)
			m.b = n.end()
		}
		m.text("duration", t.Duration)
		m.someText("duration_p95", t.DurationP95)
		m.yes("interruptible", t.Interruptible)
		m.someText("checkpoint", t.Checkpoint)
		return m.end()
	})
	return m.end()
}
