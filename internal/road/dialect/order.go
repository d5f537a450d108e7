package dialect

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Order names what a platform asks of a roadside unit on the way down.
type Order string

// The orders, by the names of T/ITS 0117-2020: CONFIG, MNG, MAP, RSI, INFOQuery
// and OTA.
const (
	OrderConfig Order = "config"
	OrderManage Order = "manage"
	OrderMap    Order = "map"
	OrderRSI    Order = "rsi"
	OrderQuery  Order = "query"
	OrderOTA    Order = "ota"
)

// Orders lists every order.
func Orders() []Order {
	return []Order{OrderConfig, OrderManage, OrderMap, OrderRSI, OrderQuery, OrderOTA}
}

// Unlimited and Off are rates and limits with a meaning of their own.
const (
	Unlimited = -1.0
	Off       = 0.0
)

// Bounds of what is sent down.
const (
	maxText    = 1024   // bytes of a text
	maxRate    = 10_000 // messages a second
	maxSeconds = 86_400
	maxFilters = 64
	maxPoints  = 1024 // of one path
)

// Config are the blocks of CONFIG.DOWN; what is absent stays as it is. Limits and
// rates are messages a second, 0 is off, -1 without bound.
type Config struct {
	Map  *MapConfig  `yaml:"mapConfig" json:"mapConfig,omitempty"`
	BSM  *BSMConfig  `yaml:"bsmConfig" json:"bsmConfig,omitempty"`
	RSI  *RSIConfig  `yaml:"rsiConfig" json:"rsiConfig,omitempty"`
	SPAT *SPATConfig `yaml:"spatConfig" json:"spatConfig,omitempty"`
	RSM  *RSMConfig  `yaml:"rsmConfig" json:"rsmConfig,omitempty"`
	// Was are the limits that held before, for the record: they are not sent.
	Was *Was `yaml:"was" json:"-"`
}

// Was are limits that held before.
type Was struct {
	BSM  *float64 `yaml:"bsm"`
	RSM  *float64 `yaml:"rsm"`
	SPAT *float64 `yaml:"spat"`
}

// MapConfig says which map a unit has.
type MapConfig struct {
	Slice   string   `yaml:"mapSlice" json:"mapSlice,omitempty"`
	ETag    string   `yaml:"eTag" json:"eTag,omitempty"`
	UpLimit *float64 `yaml:"upLimit" json:"upLimit,omitempty"`
}

// BSMConfig is what a unit sends of the messages of vehicles.
type BSMConfig struct {
	Mode    string   `yaml:"sampleMode" json:"sampleMode,omitempty"` // ByAll or ByID
	Rate    *float64 `yaml:"sampleRate" json:"sampleRate,omitempty"`
	UpLimit *float64 `yaml:"upLimit" json:"upLimit,omitempty"`
	Filters []Those  `yaml:"upFilters" json:"upFilters,omitempty"`
}

// RSIConfig is what a unit sends of events.
type RSIConfig struct {
	Filters []Events `yaml:"upFilters" json:"upFilters,omitempty"`
}

// SPATConfig is what a unit sends and takes of signals.
type SPATConfig struct {
	UpLimit   *float64        `yaml:"upLimit" json:"upLimit,omitempty"`
	DownLimit *float64        `yaml:"downLimit" json:"downLimit,omitempty"`
	Filters   []Intersections `yaml:"upFilters" json:"upFilters,omitempty"`
}

// RSMConfig is what a unit sends and takes of participants.
type RSMConfig struct {
	UpLimit   *float64 `yaml:"upLimit" json:"upLimit,omitempty"`
	DownLimit *float64 `yaml:"downLimit" json:"downLimit,omitempty"`
	Filters   []Those  `yaml:"upFilters" json:"upFilters,omitempty"`
}

// Those are participants that are sent. Of a list of filters one must let them
// through, of a filter all that it says.
type Those struct {
	Type   string `yaml:"ptcType" json:"ptcType,omitempty"`
	Source string `yaml:"source" json:"source,omitempty"`
}

// Events are those of a type.
type Events struct {
	Type string `yaml:"rsiType" json:"rsiType,omitempty"`
}

// Intersections are those that are sent.
type Intersections struct {
	ID string `yaml:"intersectionId" json:"intersectionId,omitempty"`
}

// Manage is MNG.DOWN; what is absent stays as it is.
type Manage struct {
	// Heartbeat and Running are seconds between two messages; 0 is off.
	Heartbeat *int           `yaml:"HBRate" json:"HBRate,omitempty"`
	Running   *int           `yaml:"RunningInfoRate" json:"RunningInfoRate,omitempty"`
	Address   *AddressChange `yaml:"addressChg" json:"addressChg,omitempty"`
	LogLevel  string         `yaml:"logLevel" json:"logLevel,omitempty"`
	Reboot    *int           `yaml:"reboot" json:"reboot,omitempty"` // 1: now
	Extended  string         `yaml:"extendConfig" json:"extendConfig,omitempty"`
}

// AddressChange sends a unit to another platform.
type AddressChange struct {
	URL  string `yaml:"cssUrl" json:"cssUrl"`
	Time *int64 `yaml:"time" json:"time,omitempty"` // when, as the product counts
}

// Map is MAP.DOWN: one piece of the map, and the mark that the unit reports when
// it has it.
type Map struct {
	Slice string `yaml:"mapSlice" json:"mapSlice"`
	// Map is the object with its nodes, in the form of the standard.
	Map  json.RawMessage `yaml:"map" json:"map"`
	ETag string          `yaml:"eTag" json:"eTag"`
}

// RSI is RSI.DOWN: an event that a unit is to tell vehicles of.
type RSI struct {
	SourceType string    `yaml:"rsiSourceType" json:"rsiSourceType,omitempty"`
	SourceID   string    `yaml:"rsiSourceId" json:"rsiSourceId,omitempty"`
	Event      *RSIEvent `yaml:"rsi" json:"rsi"`
}

// RSIEvent is an event in the units of the wire: 1e-7 degrees, 0.1 m, 0.5 %.
type RSIEvent struct {
	ID          string      `yaml:"alertID" json:"alertID"`
	Duration    *float64    `yaml:"duration" json:"duration,omitempty"` // seconds
	Going       *bool       `yaml:"eventStatus" json:"eventStatus,omitempty"`
	At          string      `yaml:"timeStamp" json:"timeStamp,omitempty"` // RFC 3339
	Class       string      `yaml:"eventClass" json:"eventClass,omitempty"`
	Type        *int        `yaml:"eventType" json:"eventType"` // GB/T 29100
	Source      string      `yaml:"eventSource" json:"eventSource,omitempty"`
	Confidence  *int        `yaml:"eventConfidence" json:"eventConfidence,omitempty"`
	Position    []Point     `yaml:"eventPosition" json:"eventPosition,omitempty"`
	Radius      *int        `yaml:"eventRadius" json:"eventRadius,omitempty"`
	Description string      `yaml:"eventDescription" json:"eventDescription,omitempty"`
	Priority    *int        `yaml:"eventPriority" json:"eventPriority,omitempty"`
	Paths       []Path      `yaml:"referencePaths" json:"referencePaths,omitempty"`
	Links       []Reference `yaml:"referenceLinks" json:"referenceLinks,omitempty"`
}

// Point is a place in 1e-7 degrees, its height in 0.1 m.
type Point struct {
	Lat *int `yaml:"lat" json:"lat"`
	Lon *int `yaml:"lon" json:"lon"`
	Ele *int `yaml:"ele" json:"ele,omitempty"`
}

// Path is a way that an event is on.
type Path struct {
	Points []Point `yaml:"active_path" json:"active_path"`
	Radius *int    `yaml:"path_radius" json:"path_radius,omitempty"`
}

// Reference is a link of the map that an event is on.
type Reference struct {
	From  *NodeRef `yaml:"upstreamNodeId" json:"upstreamNodeId"`
	To    *NodeRef `yaml:"downstreamNodeId" json:"downstreamNodeId"`
	Lanes string   `yaml:"referenceLanes" json:"referenceLanes,omitempty"`
}

// NodeRef names a node of the map.
type NodeRef struct {
	Region *int `yaml:"region" json:"region,omitempty"`
	ID     *int `yaml:"id" json:"id"`
}

// Query is INFOQuery: what a unit is asked to tell.
type Query struct {
	Info *int `yaml:"infoId" json:"infoId"`
	// Interval is seconds between two answers, 0 for one.
	Interval *int `yaml:"interval" json:"interval,omitempty"`
}

// OTA is OTA.DOWN: new software, where it lies and what it must be.
type OTA struct {
	Version string `yaml:"version" json:"version"`
	URL     string `yaml:"url" json:"url"`
	Size    *int64 `yaml:"size" json:"size,omitempty"` // bytes
	SHA256  string `yaml:"sha256" json:"sha256"`
}

// checks gathers what is wrong with one object.
type checks struct {
	path   string
	faults []strict.Error
}

func (c *checks) fault(key, format string, args ...any) {
	c.faults = append(c.faults, strict.Fault(c.path, key, format, args...))
}

// text checks a text that may be absent.
func (c *checks) text(key, s string, most int) {
	if len(s) > most {
		c.fault(key, "%.40q… has %d bytes; at most %d are sent", s, len(s), most)
	}
}

// must checks a text that must be there.
func (c *checks) must(key, s string, most int) {
	if s == "" {
		c.fault(key, "is missing; give it")
	}
	c.text(key, s, most)
}

// there checks a value that must be there.
func there[T any](c *checks, key string, v *T) {
	if v == nil {
		c.fault(key, "is missing; give it")
	}
}

// between checks a value that may be absent.
func between[T int | int64 | float64](c *checks, key string, v *T, low, high T) {
	if v != nil {
		c.faults = append(c.faults, strict.Between(c.path, key, *v, low, high)...)
	}
}

// rate checks a limit: off, without bound, or so many a second.
func (c *checks) rate(key string, v *float64) {
	if v != nil && (*v < 0 && *v != Unlimited || *v > maxRate) {
		c.fault(key, "%v is no rate; use 0 to %d messages a second, 0 for off, or -1 for no bound", *v, maxRate)
	}
}

func (c *checks) few(key string, n, most int) {
	if n > most {
		c.fault(key, "%d are too many; at most %d are sent", n, most)
	}
}

// oneOf checks a word that may be absent.
func (c *checks) oneOf(key, s string, words ...string) {
	if s == "" {
		return
	}
	for _, w := range words {
		if s == w {
			return
		}
	}
	c.fault(key, "%.40q is not one of %s", s, strings.Join(words, ", "))
}

const maxID = 64

// Check implements strict.Checker.
func (x Config) Check(path string) []strict.Error {
	if x == (Config{Was: x.Was}) {
		return []strict.Error{strict.Fault(path, "", "says nothing; give one of mapConfig, bsmConfig, rsiConfig, spatConfig, rsmConfig")}
	}
	return nil
}

// Check implements strict.Checker.
func (x MapConfig) Check(path string) []strict.Error {
	c := &checks{path: path}
	c.text("mapSlice", x.Slice, maxID)
	c.text("eTag", x.ETag, maxID)
	c.rate("upLimit", x.UpLimit)
	return c.faults
}

// Check implements strict.Checker.
func (x BSMConfig) Check(path string) []strict.Error {
	c := &checks{path: path}
	c.oneOf("sampleMode", x.Mode, "ByAll", "ByID")
	c.rate("sampleRate", x.Rate)
	c.rate("upLimit", x.UpLimit)
	c.few("upFilters", len(x.Filters), maxFilters)
	return c.faults
}

// Check implements strict.Checker.
func (x RSIConfig) Check(path string) []strict.Error {
	c := &checks{path: path}
	c.few("upFilters", len(x.Filters), maxFilters)
	return c.faults
}

// Check implements strict.Checker.
func (x SPATConfig) Check(path string) []strict.Error {
	c := &checks{path: path}
	c.rate("upLimit", x.UpLimit)
	c.rate("downLimit", x.DownLimit)
	c.few("upFilters", len(x.Filters), maxFilters)
	return c.faults
}

// Check implements strict.Checker.
func (x RSMConfig) Check(path string) []strict.Error {
	c := &checks{path: path}
	c.rate("upLimit", x.UpLimit)
	c.rate("downLimit", x.DownLimit)
	c.few("upFilters", len(x.Filters), maxFilters)
	return c.faults
}

// Check implements strict.Checker.
func (x Those) Check(path string) []strict.Error {
	c := &checks{path: path}
	if x == (Those{}) {
		c.fault("", "lets everybody through; give ptcType or source, or leave the filter out")
	}
	c.text("ptcType", x.Type, maxID)
	c.text("source", x.Source, maxID)
	return c.faults
}

// Check implements strict.Checker.
func (x Events) Check(path string) []strict.Error {
	c := &checks{path: path}
	c.must("rsiType", x.Type, maxID)
	return c.faults
}

// Check implements strict.Checker.
func (x Intersections) Check(path string) []strict.Error {
	c := &checks{path: path}
	c.must("intersectionId", x.ID, maxID)
	return c.faults
}

// Check implements strict.Checker.
func (x Manage) Check(path string) []strict.Error {
	c := &checks{path: path}
	if x == (Manage{}) {
		c.fault("", "says nothing; give one of HBRate, RunningInfoRate, addressChg, logLevel, reboot, extendConfig")
	}
	between(c, "HBRate", x.Heartbeat, 0, maxSeconds)
	between(c, "RunningInfoRate", x.Running, 0, maxSeconds)
	c.oneOf("logLevel", x.LogLevel, "DEBUG", "INFO", "WARN", "ERROR", "NOLog")
	between(c, "reboot", x.Reboot, 0, 1)
	c.text("extendConfig", x.Extended, maxText)
	return c.faults
}

// Check implements strict.Checker.
func (x AddressChange) Check(path string) []strict.Error {
	c := &checks{path: path}
	c.must("cssUrl", x.URL, maxText)
	between(c, "time", x.Time, 0, 1<<43)
	return c.faults
}

// Check implements strict.Checker.
func (x Map) Check(path string) []strict.Error {
	c := &checks{path: path}
	c.must("mapSlice", x.Slice, maxID)
	c.must("eTag", x.ETag, maxID)
	if len(x.Map) == 0 || x.Map[0] != '{' {
		c.fault("map", "is no map; give the object with its nodes")
	}
	return c.faults
}

// Check implements strict.Checker.
func (x RSI) Check(path string) []strict.Error {
	c := &checks{path: path}
	c.text("rsiSourceType", x.SourceType, maxID)
	c.text("rsiSourceId", x.SourceID, maxID)
	there(c, "rsi", x.Event)
	return c.faults
}

// Check implements strict.Checker.
func (x RSIEvent) Check(path string) []strict.Error {
	c := &checks{path: path}
	c.must("alertID", x.ID, maxID)
	there(c, "eventType", x.Type)
	between(c, "eventType", x.Type, 0, 65535)
	between(c, "duration", x.Duration, 0, 366*maxSeconds)
	if _, err := time.Parse(time.RFC3339Nano, x.At); x.At != "" && err != nil {
		c.fault("timeStamp", "%.40q is no time; write it like 2026-11-26T12:00:00Z", x.At)
	}
	c.text("eventClass", x.Class, maxID)
	c.text("eventSource", x.Source, maxID)
	c.text("eventDescription", x.Description, maxText)
	between(c, "eventConfidence", x.Confidence, 0, 200)
	between(c, "eventRadius", x.Radius, 0, 65535)
	between(c, "eventPriority", x.Priority, 0, 7)
	c.few("eventPosition", len(x.Position), 1)
	c.few("referencePaths", len(x.Paths), 8)
	c.few("referenceLinks", len(x.Links), 16)
	return c.faults
}

// Check implements strict.Checker.
func (x Point) Check(path string) []strict.Error {
	c := &checks{path: path}
	there(c, "lat", x.Lat)
	there(c, "lon", x.Lon)
	between(c, "lat", x.Lat, -900_000_000, 900_000_000)
	between(c, "lon", x.Lon, -1_800_000_000, 1_800_000_000)
	between(c, "ele", x.Ele, -4096, 61439)
	return c.faults
}

// Check implements strict.Checker.
func (x Path) Check(path string) []strict.Error {
	c := &checks{path: path}
	if len(x.Points) == 0 {
		c.fault("active_path", "has no point; give its points")
	}
	c.few("active_path", len(x.Points), maxPoints)
	between(c, "path_radius", x.Radius, 0, 65535)
	return c.faults
}

// Check implements strict.Checker.
func (x Reference) Check(path string) []strict.Error {
	c := &checks{path: path}
	there(c, "upstreamNodeId", x.From)
	there(c, "downstreamNodeId", x.To)
	c.text("referenceLanes", x.Lanes, maxID)
	return c.faults
}

// Check implements strict.Checker.
func (x NodeRef) Check(path string) []strict.Error {
	c := &checks{path: path}
	there(c, "id", x.ID)
	between(c, "region", x.Region, 0, 65535)
	between(c, "id", x.ID, 0, 65535)
	return c.faults
}

// Check implements strict.Checker.
func (x Query) Check(path string) []strict.Error {
	c := &checks{path: path}
	there(c, "infoId", x.Info)
	between(c, "infoId", x.Info, 0, 255)
	between(c, "interval", x.Interval, 0, maxSeconds)
	return c.faults
}

// Check implements strict.Checker.
func (x OTA) Check(path string) []strict.Error {
	c := &checks{path: path}
	c.must("version", x.Version, maxID)
	c.must("url", x.URL, maxText)
	if scheme, _, ok := strings.Cut(x.URL, "://"); x.URL != "" && (!ok || scheme != "https" && scheme != "http") {
		c.fault("url", "%.60q is none that a unit can fetch; use https:// or http://", x.URL)
	}
	between(c, "size", x.Size, 1, 1<<40)
	if len(x.SHA256) != 64 || strings.Trim(strings.ToLower(x.SHA256), "0123456789abcdef") != "" {
		c.fault("sha256", "%.70q is no SHA-256; give its 64 hexadecimal digits", x.SHA256)
	}
	return c.faults
}

// OrderError says what is wrong with what a unit is to be told.
type OrderError struct {
	// Of is the key that the paths of the faults are beneath.
	Of     string
	Faults []strict.Error
}

// Error implements error.
func (e *OrderError) Error() string {
	all := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		f.Line, f.Path = 0, strings.TrimSuffix(e.Of+"."+f.Path, ".")
		all[i] = f.Error()
	}
	return strings.Join(all, "; ")
}
