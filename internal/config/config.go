// Package config reads a hub's file into typed settings: every key has a
// default, an unknown key is an error, and every error names its key path, the
// value and the way out.
package config

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/audit"
	"github.com/songhua-io/hub/internal/authority"
	"github.com/songhua-io/hub/internal/catalog/ckan/push"
	"github.com/songhua-io/hub/internal/catalog/feed"
	"github.com/songhua-io/hub/internal/catalog/province/deliver"
	"github.com/songhua-io/hub/internal/catalog/publish"
	"github.com/songhua-io/hub/internal/catalog/quality"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/catalog/release"
	"github.com/songhua-io/hub/internal/catalog/sensorthings"
	"github.com/songhua-io/hub/internal/command"
	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/ingest/coap"
	"github.com/songhua-io/hub/internal/ingest/desk"
	"github.com/songhua-io/hub/internal/ingest/http"
	"github.com/songhua-io/hub/internal/ingest/mqtt"
	"github.com/songhua-io/hub/internal/login"
	"github.com/songhua-io/hub/internal/memory"
	"github.com/songhua-io/hub/internal/query"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/rules"
	"github.com/songhua-io/hub/internal/rules/notify"
	"github.com/songhua-io/hub/internal/schedule/loop"
	"github.com/songhua-io/hub/internal/schedule/signal/source"
	"github.com/songhua-io/hub/internal/store/influx"
	"github.com/songhua-io/hub/internal/store/local"
	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/store/remotewrite"
	"github.com/songhua-io/hub/internal/traffic"
	"github.com/songhua-io/hub/internal/traffic/intake"
)

//go:generate go run ./gen -root ../.. -o docs.go -package config -func docs internal/config internal/access internal/audit internal/login internal/authority internal/quota internal/ingest internal/ingest/mqtt internal/ingest/coap internal/ingest/http internal/ingest/desk internal/command internal/schedule/loop internal/schedule/ledger internal/schedule/signal/source internal/query internal/store/local internal/store/queue internal/store/influx internal/store/remotewrite internal/edge/trust internal/traffic internal/traffic/intake internal/catalog/quality internal/catalog/register internal/catalog/sensorthings internal/catalog/feed internal/catalog/ckan/push internal/catalog/province/deliver internal/catalog/release internal/catalog/publish internal/catalog/gate internal/rules internal/rules/notify internal/memory

// Config is everything that can be set of a hub.
type Config struct {
	// Data is the directory of everything the hub keeps; --data sets it too.
	Data string `yaml:"data"`
	// Log says what the hub tells of its work, on standard error.
	Log Log `yaml:"log"`
	// Memory is what the collector of the program works by.
	Memory memory.Config `yaml:"memory"`
	// Listen says where the doors are.
	Listen Listen `yaml:"listen"`
	// TLS is used by every door that is encrypted by certificate.
	TLS TLS `yaml:"tls"`
	// Authority issues the certificates of devices, and the hub's own where tls.certificate is empty.
	Authority authority.Config `yaml:"authority"`
	// Audit signs the record of changes, so that nobody alters it unseen.
	Audit audit.Config `yaml:"audit"`
	// Pages says how people reach the pages and how long they stay signed in.
	Pages access.PagesConfig `yaml:"pages"`
	// OIDC lets people sign in to the pages with an OpenID Connect issuer, besides access tokens.
	OIDC login.Config `yaml:"oidc"`
	// Quotas bound what one device, one token and one address may ask of the hub (docs/quotas.md).
	Quotas quota.Config `yaml:"quotas"`
	// Ingest bounds what devices may send.
	Ingest ingest.Config `yaml:"ingest"`
	// MQTT bounds the embedded MQTT server.
	MQTT mqtt.Config `yaml:"mqtt"`
	// Broker takes telemetry from an MQTT cluster besides the embedded server.
	Broker mqtt.ExternalConfig `yaml:"broker"`
	// CoAP bounds the CoAP doors.
	CoAP coap.Config `yaml:"coap"`
	// HTTP bounds the telemetry routes of the HTTP door.
	HTTP http.Config `yaml:"http"`
	// Traffic bounds what is watched of roadside units, signals and roads.
	Traffic intake.Config `yaml:"traffic"`
	// Desk bounds the rejects that are kept.
	Desk desk.Config `yaml:"desk"`
	// Commands bounds what devices are asked to do.
	Commands command.Config `yaml:"commands"`
	// Relief asks roadside units to send less while the hub is overloaded.
	Relief traffic.ReliefConfig `yaml:"relief"`
	// Schedule is how compute is promised over facilities.
	Schedule loop.Config `yaml:"schedule"`
	// Signals are forecasts of carbon, price, PUE and free capacity that the hub
	// fetches by itself, besides those that are sent to its API.
	Signals []source.Config `yaml:"signals"`
	// Models are what kinds of devices measure and can be asked for.
	Models Models `yaml:"models"`
	// Catalog bounds what people ask of the public catalogue, and says how long answers may take.
	Catalog register.Config `yaml:"catalog"`
	// Feed is the public catalogue as harvesters read it (docs/formats/catalogue.md).
	Feed feed.Config `yaml:"feed"`
	// CKAN are portals that the catalogue is pushed to (docs/catalogue-outlets.md).
	CKAN []push.Config `yaml:"ckan"`
	// Province are platforms that the catalogue is delivered to by the template of government resources (docs/catalogue-outlets.md).
	Province []deliver.Config `yaml:"province"`
	// Releases are the files of datasets (docs/formats/release.md): how they are kept, when they are made, and what roads have to meet before.
	Releases Releases `yaml:"releases"`
	// Store is where series are kept: the embedded store, in the folder series of the data directory, and an engine elsewhere.
	Store Store `yaml:"store"`
	// Query bounds the Prometheus API.
	Query query.Config `yaml:"query"`
	// Quality says when datasets are measured, and from where on something is a finding (docs/catalogue-quality.md).
	Quality quality.Config `yaml:"quality"`
	// Rules are what is recorded and what raises alerts, and who is told of them (docs/rules.md).
	Rules Rules `yaml:"rules"`
	// SensorThings bounds the OGC SensorThings API (docs/formats/sensorthings.md).
	SensorThings sensorthings.Config `yaml:"sensorthings"`
}

// Log says what is logged and how.
type Log struct {
	// Level is debug, info, warn or error.
	Level string `yaml:"level"`
	// Format is text or json.
	Format string `yaml:"format"`
}

// Listen holds address:port of each door; port 0 takes any free one, off closes
// the door.
type Listen struct {
	// HTTP serves the API, the pages, Grafana's queries, and MQTT over WebSocket at /mqtt.
	HTTP string `yaml:"http"`
	// HTTPS serves the same over TLS, with client certificates where devices show them. With tls.certificate set, http is encrypted too.
	HTTPS string `yaml:"https"`
	// MQTT is MQTT 3.1.1 and 5 over TCP, without encryption.
	MQTT string `yaml:"mqtt"`
	// MQTTS is MQTT over TLS, by secret or client certificate.
	MQTTS string `yaml:"mqtts"`
	// CoAP is CoAP over UDP, without encryption.
	CoAP string `yaml:"coap"`
	// CoAPS is CoAP over DTLS, by client certificate or pre-shared key: the device's id and secret.
	CoAPS string `yaml:"coaps"`
}

// TLS names the files of the hub's certificate. They are read again when they
// change.
type TLS struct {
	// Certificate is a PEM file with the hub's certificate and its chain, and encrypts listen.http; empty means one of the hub's own authority. These files are read again when they change.
	Certificate string `yaml:"certificate"`
	// Key is a PEM file with the certificate's private key.
	Key string `yaml:"key"`
	// ClientCA is a PEM file with authorities whose client certificates are taken besides those that the hub issues; their common name is the device id.
	ClientCA string `yaml:"client_ca"`
}

// Store says where series are kept and for how long.
type Store struct {
	local.Config `yaml:",inline"`
	// GradedDir is a second directory, for series of grade important and core. It must lie on an encrypted volume (dm-crypt such as LUKS, fscrypt, gocryptfs); without one such data are refused.
	GradedDir string `yaml:"graded_dir"`
	// Remote keeps series in an engine elsewhere.
	Remote Remote `yaml:"remote"`
}

// The engines that series may be kept in elsewhere.
const (
	Influx      = "influx"
	RemoteWrite = "remote_write"
)

// Remote says in which engine series are kept besides the embedded store, or
// instead of it (docs/formats/engines.md).
type Remote struct {
	// Kind is influx or remote_write; empty keeps all series here. What was stored here before stays readable.
	Kind string `yaml:"kind"`
	// Local is how far back queries ask the store here, which then keeps what comes beside the engine, for as long as store.retention says; the engine is asked for what is older. 0s keeps nothing here.
	Local time.Duration `yaml:"local"`
	// Graded lets series of grade important and core leave for the engine too. Until they do, they wait in store.graded_dir.
	Graded bool `yaml:"graded"`
	// Queue holds what the engine does not have yet, in the folder queue of the data directory (docs/formats/queue.md).
	Queue queue.Config `yaml:"queue"`
	// Influx is an InfluxDB 2, or 1.8 with flux-enabled = true.
	Influx *influx.Config `yaml:"influx"`
	// RemoteWrite is a server of Prometheus remote write: VictoriaMetrics, Mimir, Thanos, Prometheus.
	RemoteWrite *remotewrite.Config `yaml:"remote_write"`
}

// Check implements strict.Checker.
func (r Remote) Check(path string) []strict.Error {
	missing := func(key string, is bool) []strict.Error {
		if is {
			return nil
		}
		return []strict.Error{strict.Fault(path, key, "is missing, and kind names it; say there where the engine is")}
	}
	if r.Local != 0 && r.Local < time.Hour {
		return []strict.Error{strict.Fault(path, "local", "%v is neither 0s nor at least 1h", r.Local)}
	}
	switch r.Kind {
	case "":
		return nil
	case Influx:
		return missing(Influx, r.Influx != nil)
	case RemoteWrite:
		return missing(RemoteWrite, r.RemoteWrite != nil)
	}
	return []strict.Error{strict.Fault(path, "kind", "%q is neither influx nor remote_write, nor empty", r.Kind)}
}

// Models names where device models come from besides the API.
type Models struct {
	// Dir is a directory of models, one a file: *.yaml, *.yml or *.json (docs/formats/models.md). The hub follows what changes there.
	Dir string `yaml:"dir"`
}

// Releases says how the files of datasets are kept, and when they are made.
type Releases struct {
	release.Config `yaml:",inline"`
	// Publish is of the same section.
	Publish publish.Config `yaml:",inline"`
}

// Check implements strict.Checker for both.
func (r Releases) Check(path string) []strict.Error {
	return slices.Concat(r.Config.Check(path), r.Publish.Check(path))
}

// Rules says which rules are evaluated, and who is told of alerts.
type Rules struct {
	rules.Config `yaml:",inline"`
	// Notify is of the same section.
	Notify notify.Config `yaml:",inline"`
}

// Check implements strict.Checker for both.
func (r Rules) Check(path string) []strict.Error {
	return slices.Concat(r.Config.Check(path), r.Notify.Check(path))
}

// Off closes a door.
const Off = "off"

// Default returns the settings of a hub without a config file: everything on
// loopback, in ./songhua-data.
func Default() Config {
	return Config{
		Data: "songhua-data",
		Log:  Log{Level: "info", Format: "text"},

		Memory: memory.DefaultConfig(),
		Listen: Listen{
			HTTP: "127.0.0.1:8080", HTTPS: "127.0.0.1:8443", MQTT: "127.0.0.1:1883", MQTTS: "127.0.0.1:8883",
			CoAP: "127.0.0.1:5683", CoAPS: "127.0.0.1:5684",
		},
		Authority: authority.DefaultConfig(),
		Audit:     audit.DefaultConfig(),
		Pages:     access.DefaultPagesConfig(),
		OIDC:      login.DefaultConfig(),
		Quotas:    quota.DefaultConfig(),
		Ingest:    ingest.DefaultConfig(),
		MQTT:      mqtt.DefaultConfig(),
		Broker:    mqtt.DefaultExternalConfig(),
		CoAP:      coap.DefaultConfig(),
		HTTP:      http.DefaultConfig(),
		Traffic:   intake.DefaultConfig(),
		Desk:      desk.DefaultConfig(),
		Commands:  command.DefaultConfig(),
		Relief:    traffic.DefaultReliefConfig(),
		Schedule:  loop.DefaultConfig(),
		Catalog:   register.DefaultConfig(),
		Feed:      feed.DefaultConfig(),
		Releases:  Releases{Config: release.DefaultConfig(), Publish: publish.DefaultConfig()},
		Store:     Store{Config: local.DefaultConfig(), Remote: Remote{Local: 72 * time.Hour, Queue: queue.DefaultConfig()}},
		Query:     query.DefaultConfig(),

		Quality:      quality.DefaultConfig(),
		Rules:        Rules{Config: rules.DefaultConfig()},
		SensorThings: sensorthings.DefaultConfig(),
	}
}

// Invalid lists every error of a config file.
type Invalid struct {
	File   string
	Errors []strict.Error
}

func (e *Invalid) Error() string {
	lines := make([]string, 0, len(e.Errors))
	for _, f := range e.Errors {
		lines = append(lines, fmt.Sprintf("%s: %v", e.File, f))
	}
	return strings.Join(lines, "\n")
}

// Load reads a file over the defaults; an empty name means the defaults alone.
// The error is *Invalid when the file can be read and is wrong.
func Load(file string) (Config, error) {
	c := Default()
	if file == "" {
		return c, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return c, fmt.Errorf("read config: %w", err)
	}
	if errs := strict.Decode(data, &c); len(errs) > 0 {
		return c, &Invalid{File: file, Errors: errs}
	}
	return c, nil
}

// Annotated returns the default settings as a config file with the comment of
// every key.
func Annotated() []byte {
	c := Default()
	return bytes.TrimLeft(strict.Annotate(&c, docs()), "\n")
}

// Check implements strict.Checker; what the packages' own settings must be is
// said by their own Check methods, which strict.Decode asks too.
func (c Config) Check(path string) []strict.Error {
	if c.Data == "" {
		return []strict.Error{strict.Fault(path, "data", "is empty; name a directory that the hub may write to")}
	}
	var errs []strict.Error
	seen := map[string]bool{}
	for i, s := range c.Signals {
		if seen[s.Kind+" "+s.Zone] {
			errs = append(errs, strict.Fault(path, fmt.Sprintf("signals[%d]", i), "%s of %q comes from somewhere else already", s.Kind, s.Zone))
		}
		seen[s.Kind+" "+s.Zone] = true
	}
	return append(errs, c.outlets(path)...)
}

// outlets are known by their names, and are not more than can be looked after.
func (c Config) outlets(path string) (errs []strict.Error) {
	const most = 16
	seen := map[string]bool{}
	check := func(key, name string) {
		if seen[name] {
			errs = append(errs, strict.Fault(path, key+".name", "%q is the name of another outlet already", name))
		}
		seen[name] = true
	}
	for i, o := range c.CKAN {
		check(fmt.Sprintf("ckan[%d]", i), o.Name)
	}
	for i, o := range c.Province {
		check(fmt.Sprintf("province[%d]", i), o.Name)
	}
	if n := len(c.CKAN) + len(c.Province); n > most {
		errs = append(errs, strict.Fault(path, "province", "with those of ckan there are %d outlets, and %d are the most", n, most))
	}
	return errs
}

// Check implements strict.Checker.
func (l Log) Check(path string) []strict.Error {
	var errs []strict.Error
	if l.Level != "debug" && l.Level != "info" && l.Level != "warn" && l.Level != "error" {
		errs = append(errs, strict.Fault(path, "level", "%q is not one of debug, info, warn, error", l.Level))
	}
	if l.Format != "text" && l.Format != "json" {
		errs = append(errs, strict.Fault(path, "format", "%q is neither text nor json", l.Format))
	}
	return errs
}

// Check implements strict.Checker.
func (l Listen) Check(path string) []strict.Error {
	var errs []strict.Error
	for _, door := range []struct{ key, address string }{
		{"http", l.HTTP}, {"https", l.HTTPS}, {"mqtt", l.MQTT}, {"mqtts", l.MQTTS}, {"coap", l.CoAP}, {"coaps", l.CoAPS},
	} {
		if err := CheckAddress(door.address); err != nil {
			errs = append(errs, strict.Fault(path, door.key, "%v", err))
		}
	}
	if l.HTTP == Off {
		errs = append(errs, strict.Fault(path, "http", "cannot be off: without it nobody can ask the hub anything"))
	}
	return errs
}

// CheckAddress reports why s is no place for a door.
func CheckAddress(s string) error {
	if s == Off {
		return nil
	}
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%q is not address:port (127.0.0.1:1883, :1883 for every address, port 0 for any free one) or off", s)
	}
	return nil
}

// Check implements strict.Checker.
func (t TLS) Check(path string) []strict.Error {
	var errs []strict.Error
	if (t.Certificate == "") != (t.Key == "") {
		errs = append(errs, strict.Fault(path, "", "certificate and key belong together; one of them is missing"))
	}
	return errs
}
