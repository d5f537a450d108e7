// Package http is the door for telemetry over HTTP: it answers 2xx only when
// what it acknowledges is durable, and reads nothing larger than its bounds.
package http

import (
	"log/slog"
	nethttp "net/http"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
)

// Config bounds what a request may cost.
type Config struct {
	// MaxBody is the largest body in bytes, as sent.
	MaxBody int `yaml:"max_body"`
	// MaxDecoded is the largest body in bytes after gzip, zstd or snappy.
	MaxDecoded int `yaml:"max_decoded"`
	// MaxRatio is how many times larger than sent a body may unfold. The first 64 KiB are free.
	MaxRatio int `yaml:"max_ratio"`
	// MaxMemory is how many bytes the bodies of all requests together may take.
	MaxMemory int64 `yaml:"max_memory"`
	// MaxDevices is how many devices a gateway may speak for in one request.
	MaxDevices int `yaml:"max_devices"`
	// MaxConnections is how many connections of any kind the HTTP door may have open at once, MQTT over WebSocket among them.
	MaxConnections int `yaml:"max_connections"`
}

// DefaultConfig returns the bounds of a hub without a config file.
func DefaultConfig() Config {
	return Config{
		MaxBody: 8 << 20, MaxDecoded: 32 << 20, MaxRatio: 100, MaxMemory: 256 << 20, MaxDevices: 1000,
		MaxConnections: 10_000,
	}
}

// Deps are what the door works with. All but Units are required.
type Deps struct {
	Pipeline *ingest.Pipeline
	Gate     ingest.Gate
	Mail     ingest.Mail
	// Units names the kinds of V2X messages; nil: they are refused.
	Units   ingest.Units
	Quotas  *quota.Quotas
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Door takes telemetry from devices and gateways over HTTP. Timeouts of slow
// senders belong to the server in which its routes are mounted.
type Door struct {
	cfg     Config
	deps    Deps
	metrics *metrics
	pool    sync.Pool // of *request
	memory  atomic.Int64
	closing chan struct{} // closed when requests may wait no longer
	hurry   sync.Once
}

// New returns a door whose routes can be mounted. Art. 14(2)
func New(cfg Config, deps Deps) *Door {
	d := &Door{cfg: cfg, deps: deps, closing: make(chan struct{})}
	d.metrics = newMetrics(deps.Metrics, d)
	d.pool.New = func() any { return &request{door: d} }
	return d
}

// Hurry ends the waiting of requests that wait for news: the server is about to
// stop.
func (d *Door) Hurry() { d.hurry.Do(func() { close(d.closing) }) }

// Route is one path that devices send to. Pattern is as [nethttp.ServeMux]
// takes it; ZH and EN say what it is for.
type Route struct {
	Pattern string
	ZH, EN  string
	Handler nethttp.Handler
}

// Routes lists every path of the door.
func (d *Door) Routes() []Route {
	device := func(pattern, zh, en string, serve func(*request)) Route {
		return Route{pattern, zh, en, d.handler(pattern, problems{}, serve)}
	}
	telemetry := func(f codec.Format) func(*request) { return func(r *request) { r.telemetry(f) } }
	return append(d.mailRoutes(), []Route{
		device("POST /api/v1/devices/{id}/telemetry", "设备遥测；格式由 Content-Type 或首字节判定。", "Telemetry of a device; the Content-Type or the first byte names the format.", telemetry(codec.Auto)),
		device("POST /api/v1/devices/{id}/telemetry/senml", "SenML JSON 格式的遥测（RFC 8428）。", "Telemetry as SenML JSON (RFC 8428).", telemetry(codec.SenML)),
		device("POST /api/v1/devices/{id}/telemetry/senml-cbor", "SenML CBOR 格式的遥测（RFC 8428）。", "Telemetry as SenML CBOR (RFC 8428).", telemetry(codec.SenMLCBOR)),
		device("POST /api/v1/devices/{id}/telemetry/json", "扁平 JSON 格式的遥测。", "Telemetry as flat JSON.", telemetry(codec.JSON)),
		device("POST /api/v1/devices/{id}/telemetry/influx", "InfluxDB 行协议格式的遥测。", "Telemetry as InfluxDB line protocol.", telemetry(codec.Influx)),
		device("POST /api/v1/devices/{id}/telemetry/{format}", "对不支持的格式返回 415。", "Answers 415 for formats that the hub does not read.", (*request).unknownFormat),
		device("POST /api/v1/devices/{id}/v2x", "路侧单元的 V2X 消息：UPER 帧或成帧上行，或 T/ITS 0117 的 JSON（?kind= 指明种类）。", "V2X messages of a roadside unit: frames in UPER or a framed uplink, or JSON of T/ITS 0117 (?kind= names what it is).", (*request).v2x),
		{"POST /api/v2/write", "InfluxDB v2 写入接口；令牌即设备，网关以标签 device 指明子设备。", "InfluxDB v2 write API; the token names the device, a gateway's tag \"device\" its child.", d.handler("POST /api/v2/write", influxErrors{}, (*request).influx)},
		{"GET /ping", "InfluxDB 的存活应答。", "InfluxDB's sign of life.", d.handler("GET /ping", influxErrors{}, (*request).ping)},
		{"GET /health", "InfluxDB 的健康应答。", "InfluxDB's health answer.", d.handler("GET /health", influxErrors{}, (*request).health)},
		{"POST /prometheus/api/v1/write", "Prometheus 远程写入 1 与 2。", "Prometheus remote write 1 and 2.", d.handler("POST /prometheus/api/v1/write", plainErrors{}, (*request).remoteWrite)},
		{"POST /prometheus/api/v1/otlp/v1/metrics", "OpenTelemetry 指标（HTTP 上的 OTLP，protobuf 或 JSON）。", "OpenTelemetry metrics (OTLP over HTTP, protobuf or JSON).", d.handler("POST /prometheus/api/v1/otlp/v1/metrics", otlpErrors{}, (*request).otlp)},
	}...)
}
