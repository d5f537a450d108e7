package api

import (
	"bytes"
	"unicode/utf8"

	"github.com/songhua-io/hub/internal/schedule"
)

// scan reads the part of JSON that workloads are written in as a rule: no
// escapes, no fractions, no null, no key twice, and the keys that most have.
// What is not of it leaves bad set; the caller reads that another way. What it
// takes, encoding/json and the schema of the API take too, and as the same.
type scan struct {
	b   []byte
	at  int
	bad bool
}

func (s *scan) space() {
	for s.at < len(s.b) && (s.b[s.at] == ' ' || s.b[s.at] == '\n' || s.b[s.at] == '\t' || s.b[s.at] == '\r') {
		s.at++
	}
}

// is passes over a byte, if it comes next.
func (s *scan) is(c byte) bool {
	s.space()
	if s.at < len(s.b) && s.b[s.at] == c {
		s.at++
		return true
	}
	return false
}

func (s *scan) want(c byte) {
	if !s.is(c) {
		s.bad = true
	}
}

// ended reports whether all was read, and was plain.
func (s *scan) ended() bool {
	s.space()
	return !s.bad && s.at == len(s.b)
}

func (s *scan) raw() []byte {
	s.want('"')
	begin := s.at
	for ; s.at < len(s.b) && s.b[s.at] != '"'; s.at++ {
		if c := s.b[s.at]; c < ' ' || c == '\\' || c == '<' || c == '>' || c == '&' {
			s.bad = true
		}
	}
	text := s.b[begin:s.at]
	s.want('"')
	return text
}

func (s *scan) text() string {
	text := s.raw()
	if !utf8.Valid(text) || bytes.Contains(text, []byte("\u2028")) || bytes.Contains(text, []byte("\u2029")) {
		s.bad = true
	}
	return string(text)
}

// number reads a whole number of at most 15 digits.
func (s *scan) number() (n int64) {
	s.space()
	begin := s.at
	for ; s.at < len(s.b) && s.b[s.at] >= '0' && s.b[s.at] <= '9'; s.at++ {
		n = n*10 + int64(s.b[s.at]-'0')
	}
	if digits := s.at - begin; digits == 0 || digits > 15 || digits > 1 && s.b[begin] == '0' {
		s.bad = true
	}
	return n
}

func (s *scan) yes() bool {
	s.space()
	for _, word := range []string{"true", "false"} {
		if bytes.HasPrefix(s.b[s.at:], []byte(word)) {
			s.at += len(word)
			return word == "true"
		}
	}
	s.bad = true
	return false
}

// object calls value for every key, each of which may be there once; it
// returns the key's bit, 0 for one that it does not know.
func (s *scan) object(value func(key string) (bit uint32)) {
	s.want('{')
	if s.bad || s.is('}') {
		return
	}
	for seen := uint32(0); ; {
		key := s.raw()
		s.want(':')
		if s.bad {
			return
		}
		bit := value(string(key))
		if bit == 0 || seen&bit != 0 {
			s.bad = true
		}
		seen |= bit
		if s.bad || !s.is(',') {
			break
		}
		s.space()
	}
	s.want('}')
}

// list calls element for each; there must be one to most.
func (s *scan) list(most int, element func()) {
	s.want('[')
	for n := 1; !s.bad; n++ {
		if element(); n > most {
			s.bad = true
		}
		if !s.is(',') {
			break
		}
	}
	s.want(']')
}

func (s *scan) workloads() (all []WorkloadIn) {
	s.object(func(key string) uint32 {
		if key != "workloads" {
			return 0
		}
		s.list(1000, func() { all = append(all, s.workload()) })
		return 1
	})
	if len(all) == 0 {
		s.bad = true
	}
	return all
}

func (s *scan) workload() (w WorkloadIn) {
	s.object(func(key string) uint32 {
		switch key {
		case "tenant":
			w.Tenant = s.text()
			return 1
		case "name":
			w.Name = s.text()
			return 2
		case "priority":
			w.Priority = int(s.number())
			return 4
		case "objective":
			w.Objective.name = s.text()
			s.bad = s.bad || w.Objective.name == ""
			return 8
		case "gang":
			w.Gang = s.text()
			return 16
		case "shape":
			w.Shape = s.text()
			return 32
		case "tasks":
			s.list(1000, func() { w.Tasks = append(w.Tasks, s.task()) })
			return 64
		}
		return 0
	})
	known := w.Objective.name == ""
	for _, o := range schedule.Objectives {
		known = known || o.Name == w.Objective.name
	}
	if w.Name == "" || len(w.Tasks) == 0 || !known {
		s.bad = true
	}
	return w
}

func (s *scan) task() (t taskIn) {
	s.object(func(key string) uint32 {
		switch key {
		case "name":
			t.Name = s.text()
			return 1
		case "count":
			t.Count = int(s.number())
			return 2
		case "min_count":
			t.MinCount = int(s.number())
			return 4
		case "cpu_milli":
			t.CPUMilli = s.number()
			return 8
		case "memory_mib":
			t.MemoryMiB = s.number()
			return 16
		case "disk_gib":
			t.DiskGiB = s.number()
			return 32
		case "power_w":
			t.PowerW = s.number()
			return 64
		case "duration":
			t.Duration = s.text()
			return 128
		case "duration_p95":
			t.DurationP95 = s.text()
			return 256
		case "interruptible":
			t.Interruptible = s.yes()
			return 512
		case "checkpoint":
			t.Checkpoint = s.text()
			return 1024
		case "accelerators":
			t.Accelerators = s.accelerators()
			return 2048
		}
		return 0
	})
	if t.Name == "" || t.Duration == "" {
		s.bad = true
	}
	return t
}

func (s *scan) accelerators() *acceleratorsIn {
	a := &acceleratorsIn{}
	s.object(func(key string) uint32 {
		switch key {
		case "count":
			a.Count = int(s.number())
			return 1
		case "milli":
			a.Milli = s.number()
			return 2
		case "models":
			s.list(1000, func() { a.Models = append(a.Models, s.text()) })
			return 4
		case "memory_mib":
			a.MemoryMiB = s.number()
			return 8
		}
		return 0
	})
	return a
}
