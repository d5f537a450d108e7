// Package schedule holds the nouns of scheduling compute over facilities: what
// there is (facilities and their pools), what is wanted (workloads), what was
// decided, and what is promised (leases). It decides nothing and keeps nothing.
// Art. 13
//
//	plan      state, queue and time in; decisions with their reasons out (pure)
//	ledger    capacity, leases, workloads and events, with one writer, on disk
//	drive     engines of facilities run what is promised, and say how far it is
package schedule

import "fmt"

// Text says something to people in both languages.
type Text struct {
	ZH string
	EN string
}

// The dimensions of a Vector.
const (
	CPUMilli         = iota // thousandths of a CPU
	MemoryMiB               //
	AcceleratorMilli        // thousandths of a device
	DiskGiB                 //
	PowerW                  // watts
	Dimensions
)

// DimensionNames are the names of the dimensions in API, logs and reasons.
var DimensionNames = [Dimensions]string{"cpu_milli", "memory_mib", "accelerator_milli", "disk_gib", "power_w"}

// Vector is an amount of each resource. Capacity is an integer, so that a sum
// means the same in any order.
type Vector [Dimensions]int64

// Add returns v + w.
func (v Vector) Add(w Vector) Vector {
	for i := range v {
		v[i] += w[i]
	}
	return v
}

// Sub returns v - w.
func (v Vector) Sub(w Vector) Vector {
	for i := range v {
		v[i] -= w[i]
	}
	return v
}

// Times returns n times v.
func (v Vector) Times(n int64) Vector {
	for i := range v {
		v[i] *= n
	}
	return v
}

// Max returns the larger of both in every dimension.
func (v Vector) Max(w Vector) Vector {
	for i := range v {
		v[i] = max(v[i], w[i])
	}
	return v
}

// Within reports whether v is at most w in every dimension.
func (v Vector) Within(w Vector) bool {
	for i := range v {
		if v[i] > w[i] {
			return false
		}
	}
	return true
}

// Negative returns the first dimension that is below zero, or Dimensions.
func (v Vector) Negative() int {
	for i := range v {
		if v[i] < 0 {
			return i
		}
	}
	return Dimensions
}

// IsZero reports whether there is nothing.
func (v Vector) IsZero() bool { return v == Vector{} }

// String names what is not zero.
func (v Vector) String() string {
	s := ""
	for i, n := range v {
		if n != 0 {
			s += fmt.Sprintf(" %s=%d", DimensionNames[i], n)
		}
	}
	if s == "" {
		return "nothing"
	}
	return s[1:]
}

// DeviceMilli is one whole accelerator.
const DeviceMilli = 1000

// MaxDevices is how many accelerators a node may have.
const MaxDevices = 64

// element is the key path of one element of a list.
func element(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }
