package telemetry

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Reserved are the labels that come from the registry. A sender cannot set them.
var reserved = [...]string{"device", "kind", "region", "site"}

// OwnJob is the label job of the series that the hub itself writes: no sender can
// give a series of its own that job.
const OwnJob = "hub"

// IsReserved reports whether a label name belongs to the registry.
func IsReserved(name []byte) bool {
	for _, r := range reserved {
		if string(name) == r {
			return true
		}
	}
	return false
}

// Kind is what a device is.
type Kind string

// The kinds of devices.
const (
	KindSensor  Kind = "sensor"
	KindRSU     Kind = "rsu" // Art. 15(2)
	KindNode    Kind = "node"
	KindGateway Kind = "gateway"
	KindMeter   Kind = "meter"
)

// Kinds lists every kind, in the order in which people are shown them.
func Kinds() []Kind { return []Kind{KindSensor, KindRSU, KindNode, KindGateway, KindMeter} }

// ParseKind returns the kind that s names.
func ParseKind(s string) (Kind, error) {
	if k := Kind(s); slices.Contains(Kinds(), k) {
		return k, nil
	}
	return "", fmt.Errorf("kind %q is not one of sensor, rsu, node, gateway, meter", s)
}

// Device is what the registry knows of a device when telemetry arrives: an
// immutable snapshot. A change makes a new one, so two equal pointers are the
// same state.
type Device struct {
	ID     string
	Kind   Kind
	Site   string
	Region string // six-digit division code (GB/T 2260) or empty
	// Tags are the registry's labels of the device: part of what is known of
	// it, not of its series.
	Tags map[string]string
	// Period is the declared reporting period; 0 when none was declared.
	Period time.Duration
	Grade  Grade
	// Model is what the kind of device measures; nil when that is not known.
	Model    *Model
	Disabled bool
	// Created is when the device was added. One that was removed and added again
	// is another device of the same id.
	Created time.Time
}

// Labels returns the labels that every series of the device carries besides
// its metric and its own tags. Empty ones are left out.
func (d *Device) Labels() []Label {
	all := []Label{{"device", d.ID}, {"kind", string(d.Kind)}, {"region", d.Region}, {"site", d.Site}}
	return slices.DeleteFunc(all, func(l Label) bool { return l.Value == "" })
}

// EffectiveGrade is the grade of what the device reports, where the metric has
// no higher one: the highest of the device's and of its model's. Art. 74(3)
func (d *Device) EffectiveGrade() Grade {
	if d.Model == nil {
		return d.Grade
	}
	return max(d.Grade, d.Model.Grade)
}

// HighestGrade is the highest grade that anything the device reports can have.
func (d *Device) HighestGrade() Grade {
	return max(d.Grade, d.Model.Highest())
}

// Sealed reports whether data of the grade are kept on encrypted volumes only.
func (g Grade) Sealed() bool { return g > General }

// Grade is the grade of data by GB/T 43697-2024.
type Grade uint8

// The grades, rising. Ungraded data may be stored and used inside, never published.
const (
	Ungraded Grade = iota
	General
	Important
	Core
)

var gradeNames = [...]string{"ungraded", "general", "important", "core"}

func (g Grade) String() string { return gradeNames[g] }

// ParseGrade returns the grade that s names.
func ParseGrade(s string) (Grade, error) {
	if i := slices.Index(gradeNames[:], s); i >= 0 {
		return Grade(i), nil
	}
	return 0, fmt.Errorf("grade %q is not one of ungraded, general, important, core", s)
}

// MaxDeviceID is the longest device id in bytes.
const MaxDeviceID = 64

// CheckDeviceID reports why s is no device id; nil when it is one
// ([A-Za-z0-9][A-Za-z0-9._:-]{0,63}).
func CheckDeviceID(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("device id is empty; it has 1 to %d of A-Z a-z 0-9 . _ : -", MaxDeviceID)
	case len(s) > MaxDeviceID:
		return fmt.Errorf("device id %.20q… has %d bytes; at most %d are allowed", s, len(s), MaxDeviceID)
	}
	for i := range len(s) {
		c := s[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && (i == 0 || strings.IndexByte("._:-", c) < 0) {
			return fmt.Errorf("device id %q: byte %d (%q) is not allowed; it starts with a letter or digit and goes on with A-Z a-z 0-9 . _ : -", s, i, c)
		}
	}
	return nil
}

// CheckRegion reports why s is no region; nil for a six-digit division code
// (GB/T 2260) and for the empty string, which means none.
func CheckRegion(s string) error {
	if s == "" {
		return nil
	}
	if len(s) != 6 || strings.Trim(s, "0123456789") != "" {
		return fmt.Errorf("region %q is no six-digit division code of GB/T 2260 (220100 is Changchun)", s)
	}
	return nil
}
