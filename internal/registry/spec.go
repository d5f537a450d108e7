package registry

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/songhua-io/hub/internal/telemetry"
)

// Spec is a device as people describe it.
type Spec struct {
	ID     string
	Kind   string // sensor when empty
	Site   string
	Region string
	Tags   map[string]string
	// Period is how often it reports; 0 when that is not known.
	Period time.Duration
	// Lat and Lon are WGS 84 degrees, both or neither.
	Lat, Lon *float64
	// Gateway is the id of a device that may speak for this one.
	Gateway string
	Grade   string // ungraded when empty
	// Model is the id of what its kind of device measures; empty for unknown.
	Model string
	// Secret is made by the registry when empty; else 16 to 128 visible ASCII
	// characters.
	Secret string
	// Awaited devices get no secret but when they enrol.
	Awaited bool
}

// Bounds of a device's description.
const (
	maxTags      = 32
	maxTagName   = 64
	maxTagValue  = 256
	maxSite      = 64
	minPeriod    = 100 * time.Millisecond
	maxPeriod    = 31 * 24 * time.Hour
	minSecret    = 16
	maxSecret    = 128
	secretAdvice = "has %d characters; 16 to 128 are allowed, or leave it out and the hub makes one"
)

// Fault is one thing wrong with a description.
type Fault struct {
	Field   string
	Value   any
	Problem string // names the value and the way out
}

// Invalid lists everything that is wrong with a description.
type Invalid struct{ Faults []Fault }

func (e *Invalid) Error() string {
	all := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		all[i] = f.Problem
	}
	return strings.Join(all, "; ")
}

type faults []Fault

func (f *faults) add(field string, value any, problem error) {
	if problem != nil {
		*f = append(*f, Fault{field, value, problem.Error()})
	}
}

func (f faults) err() error {
	if len(f) == 0 {
		return nil
	}
	return &Invalid{f}
}

// parse turns a description into what the registry keeps, or returns an
// *Invalid with every fault of it.
func (s Spec) parse() (*Device, error) {
	var f faults
	f.add("id", s.ID, telemetry.CheckDeviceID(s.ID))
	kind, err := telemetry.ParseKind(orElse(s.Kind, string(telemetry.KindSensor)))
	f.add("kind", s.Kind, err)
	grade, err := telemetry.ParseGrade(orElse(s.Grade, telemetry.Ungraded.String()))
	f.add("grade", s.Grade, err)
	f.add("site", s.Site, checkSite(s.Site))
	f.add("region", s.Region, telemetry.CheckRegion(s.Region))
	f.add("tags", s.Tags, checkTags(s.Tags))
	f.add("period", s.Period.String(), checkPeriod(s.Period))
	f.add("lat", s.Lat, checkPlace(s.Lat, s.Lon))
	f.add("gateway", s.Gateway, checkGateway(s.Gateway, s.ID))
	f.add("secret", "…", s.checkSecret())
	if err := f.err(); err != nil {
		return nil, err
	}
	return &Device{
		Device: &telemetry.Device{
			ID: s.ID, Kind: kind, Site: s.Site, Region: s.Region, Tags: maps.Clone(s.Tags), Period: s.Period, Grade: grade,
		},
		Lat: s.Lat, Lon: s.Lon, Gateway: s.Gateway, Awaited: s.Awaited,
	}, nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func checkSite(s string) error {
	if s == "" || len(s) <= maxSite && telemetry.CheckDeviceID(s) == nil {
		return nil
	}
	return fmt.Errorf("site %.70q is no site id; it has 1 to %d of A-Z a-z 0-9 . _ : - and starts with a letter or digit", s, maxSite)
}

func checkTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return fmt.Errorf("tags: %d of them; at most %d are allowed", len(tags), maxTags)
	}
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		if err := checkTag(name, tags[name]); err != nil {
			return err
		}
	}
	return nil
}

func checkTag(name, value string) error {
	switch {
	case name == "" || len(name) > maxTagName || strings.IndexFunc(name, notTagRune) >= 0:
		return fmt.Errorf("tag name %.70q: it has 1 to %d of A-Z a-z 0-9 . _ -", name, maxTagName)
	case telemetry.IsReserved([]byte(name)):
		return fmt.Errorf("tag name %q is reserved; set the field of that name instead", name)
	case len(value) > maxTagValue || !utf8.ValidString(value) || strings.IndexFunc(value, unicode.IsControl) >= 0:
		return fmt.Errorf("tag %s=%.40q: a value has at most %d bytes of UTF-8 without control characters", name, value, maxTagValue)
	}
	return nil
}

func notTagRune(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-' || r == '.')
}

func checkPeriod(p time.Duration) error {
	if p == 0 || minPeriod <= p && p <= maxPeriod {
		return nil
	}
	return fmt.Errorf("period %s is out of range; it is between %s and %s, such as 60s", p, minPeriod, maxPeriod)
}

func checkPlace(lat, lon *float64) error {
	switch {
	case lat == nil && lon == nil:
		return nil
	case lat == nil || lon == nil:
		return errors.New("lat and lon: give both or neither")
	case math.IsNaN(*lat) || math.IsNaN(*lon) || math.Abs(*lat) > 90 || math.Abs(*lon) > 180:
		return fmt.Errorf("lat %v, lon %v is no place; lat lies within ±90 and lon within ±180 degrees", *lat, *lon)
	}
	return nil
}

func checkGateway(gateway, id string) error {
	switch {
	case gateway == "":
		return nil
	case gateway == id:
		return fmt.Errorf("gateway %q is the device itself; leave it out", gateway)
	}
	return telemetry.CheckDeviceID(gateway)
}

func (spec Spec) checkSecret() error {
	s := spec.Secret
	switch {
	case s == "":
		return nil
	case spec.Awaited:
		return errors.New("secret stands beside awaited; leave one of them out: an awaited device gets its secret when it enrols")
	case len(s) < minSecret || len(s) > maxSecret:
		return fmt.Errorf("secret "+secretAdvice, len(s))
	case strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0:
		return errors.New("secret has a character that is no visible ASCII one and cannot stand in an HTTP header; use A-Z a-z 0-9 and punctuation")
	}
	return nil
}
