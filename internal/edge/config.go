package edge

import (
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/edge/source"
	"github.com/songhua-io/hub/internal/edge/spool"
	"github.com/songhua-io/hub/internal/edge/trust"
	"github.com/songhua-io/hub/internal/edge/uplink"
	"github.com/songhua-io/hub/internal/edge/uplink/coap"
	"github.com/songhua-io/hub/internal/edge/uplink/http"
	"github.com/songhua-io/hub/internal/edge/uplink/mqtt"
	"github.com/songhua-io/hub/internal/edge/work"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Config is everything that the agent is told.
type Config struct {
	// Version is that of the program; it is told to the hub.
	Version string `yaml:"-"`
	// Device is the id under which the hub knows this agent.
	Device string `yaml:"device"`
	// Data is the directory of the spool; it is made when absent. One agent uses
	// it. The default is the StateDirectory of the systemd unit.
	Data string `yaml:"data"`
	// Tags are added to every sample of every source.
	Tags map[string]string `yaml:"tags"`
	// StatusInterval is how often the agent reports itself: its sources, its spool, what it lost.
	StatusInterval time.Duration `yaml:"status_interval"`
	// Log says what is written to standard error.
	Log LogConfig `yaml:"log"`
	// Uplink is the way to the hub.
	Uplink UplinkConfig `yaml:"uplink"`
	// Spool keeps what was read until the hub has it.
	Spool SpoolConfig `yaml:"spool"`
	// Remote is what the hub may change of this.
	Remote RemoteConfig `yaml:"remote"`
	// Compute is what the hub may run here (docs/formats/agent-work.md): nothing by default.
	Compute work.Config `yaml:"compute"`
	// Sources are what the agent reads.
	Sources Sources `yaml:"sources"`
}

// RemoteConfig is what the hub may change: by the configuration that it wants
// of the agent (docs/formats/agent-remote.md) it gives sources, periods,
// filters and tags, and nothing else of this file.
type RemoteConfig struct {
	// Enabled makes the agent hear of wanted configurations and of commands.
	Enabled bool `yaml:"enabled"`
	// Allow names what else the hub may give sources: connect (addresses that
	// they read from), listen (ports that they open), exec (programs that they
	// run), files (files that they read), credentials (what they show to others).
	// Whoever has the hub has what stands here: with exec every machine.
	Allow []Right `yaml:"allow"`
}

// LogConfig says what is written to standard error.
type LogConfig struct {
	// Level is debug, info, warn or error.
	Level string `yaml:"level"`
	// Format is text or json.
	Format string `yaml:"format"`
}

// UplinkConfig is the way to the hub.
type UplinkConfig struct {
	// URL is mqtt://host:1883, mqtts://host:8883, ws://host:8080/mqtt, wss://…,
	// coaps://host:5684 or https://host:8443; coap and http on loopback only.
	URL string `yaml:"url"`
	// Secret is the device's secret, as `hub device add` printed it.
	Secret string `yaml:"secret"`
	// SecretFile is a file that holds the secret; better than the secret itself.
	// It is read for every connection: a new secret needs no restart.
	// Here and in the files of tls ${CREDENTIALS_DIRECTORY} stands for where
	// systemd puts what LoadCredential names: ${CREDENTIALS_DIRECTORY}/secret.
	SecretFile string `yaml:"secret_file"`
	// TLS is the trust of mqtts and wss, and the certificate that may stand for the secret.
	TLS trust.TLS `yaml:"tls"`
	// Renew is the address of the hub's API, https://host:8443, at which
	// tls.certificate is renewed when two thirds of its time have passed;
	// `edge-agent enroll` writes it. Empty: it is not renewed.
	Renew string `yaml:"renew"`
	// Window is how many messages may wait for the hub's acknowledgement.
	Window int `yaml:"window"`
	// MaxMessage bounds one message, from 512B to 512KiB. The hub ends the
	// connection of a packet larger than its mqtt.max_packet_bytes, so stay 256B
	// below that; what cannot be sent in parts is counted as lost.
	MaxMessage strict.Bytes `yaml:"max_message"`
	// Compress packs messages by zstd, on disk and where the transport carries it.
	Compress bool `yaml:"compress"`
	// BackfillRate bounds what is sent a second of the time that the hub could
	// not be reached, so that it does not crowd out the present; 0 means no bound.
	BackfillRate strict.Bytes `yaml:"backfill_rate"`
}

// SpoolConfig bounds the spool.
type SpoolConfig struct {
	// MaxSize is the disk space; when it is used up the oldest goes and is counted as lost.
	MaxSize strict.Bytes `yaml:"max_size"`
	// MaxAge is how long data may wait for the hub; 0 means as long as there is room.
	MaxAge time.Duration `yaml:"max_age"`
}

// DefaultConfig reads this machine and sends it to a hub on it.
func DefaultConfig() Config {
	return Config{
		Data:           "/var/lib/songhua-edge-agent",
		StatusInterval: time.Minute,
		Log:            LogConfig{Level: "info", Format: "text"},
		Uplink:         UplinkConfig{URL: "mqtt://127.0.0.1:1883", Window: 16, MaxMessage: 128 << 10, Compress: true, BackfillRate: 1 << 20},
		Spool:          SpoolConfig{MaxSize: 256 << 20, MaxAge: 30 * 24 * time.Hour},
		Remote:         RemoteConfig{Enabled: true, Allow: []Right{Connect}},
		Compute:        work.DefaultConfig(),
		Sources:        defaultSources(),
	}
}

// ParseConfig reads a config file over the defaults, and returns every fault.
func ParseConfig(data []byte) (Config, []strict.Error) {
	cfg := DefaultConfig()
	errs := strict.Decode(data, &cfg)
	return cfg, errs
}

// AnnotatedConfig is the default config as YAML with comments.
func AnnotatedConfig() []byte {
	cfg := DefaultConfig()
	return strict.Annotate(&cfg, configDocs())
}

// Check reports values that cannot be used.
func (c Config) Check(path string) (errs []strict.Error) {
	if err := telemetry.CheckDeviceID(c.Device); err != nil {
		errs = append(errs, strict.Fault(path, "device", "%v", err))
	}
	if c.Data == "" {
		errs = append(errs, strict.Fault(path, "data", "is empty; name a directory that the agent may write to"))
	}
	if c.StatusInterval < time.Second {
		errs = append(errs, strict.Fault(path, "status_interval", "%s is shorter than 1s; raise it", c.StatusInterval))
	}
	return append(errs, source.CheckTags(path, "tags", c.Tags)...)
}

// Check reports values that cannot be used.
func (c LogConfig) Check(path string) (errs []strict.Error) {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Level) {
		errs = append(errs, strict.Fault(path, "level", "%q is not debug, info, warn or error", c.Level))
	}
	if c.Format != "text" && c.Format != "json" {
		errs = append(errs, strict.Fault(path, "format", "%q is not text or json", c.Format))
	}
	return errs
}

// Check reports values that cannot be used.
func (c SpoolConfig) Check(path string) (errs []strict.Error) {
	if c.MaxSize < spool.MinBytes {
		errs = append(errs, strict.Fault(path, "max_size", "%s is less than %s; raise it", c.MaxSize, strict.Bytes(spool.MinBytes)))
	}
	if c.MaxAge < 0 {
		errs = append(errs, strict.Fault(path, "max_age", "%s is negative; write 0 for no bound", c.MaxAge))
	}
	return errs
}

// Check reports values that cannot be used.
func (c UplinkConfig) Check(path string) (errs []strict.Error) {
	fault := func(key, format string, args ...any) {
		errs = append(errs, strict.Fault(path, key, format, args...))
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || !slices.Contains(schemes(), u.Scheme) || u.Hostname() == "":
		fault("url", "%q is no address of a hub; write %s followed by ://host:port", c.URL, strings.Join(schemes(), ", "))
	case coap.CheckURL(u) != nil:
		fault("url", "%v", coap.CheckURL(u))
	case http.CheckURL(u) != nil:
		fault("url", "%v", http.CheckURL(u))
	case slices.Contains(http.Schemes(), u.Scheme) && c.Secret == "" && c.SecretFile == "":
		fault("secret_file", "is empty; over %s the hub knows the device by its secret, `hub device rotate` prints a new one", u.Scheme)
	case u.User != nil:
		fault("url", "holds a user name; the device id and the secret stand in keys of their own")
	}
	if c.Secret != "" && c.SecretFile != "" {
		fault("secret", "stands beside secret_file; remove one of them")
	}
	if c.Secret == "" && c.SecretFile == "" && c.TLS.Certificate == "" {
		fault("secret_file", "is empty; name the file that holds the device's secret (`hub device add` prints it), or a tls.certificate")
	}
	if err := c.checkRenew(); err != nil {
		fault("renew", "%v", err)
	}
	if c.Window < 1 || c.Window > 1000 {
		fault("window", "%d is not from 1 to 1000", c.Window)
	}
	if c.MaxMessage < minMessage || c.MaxMessage > maxMessage {
		fault("max_message", "%s is not from %s to %s", c.MaxMessage, strict.Bytes(minMessage), strict.Bytes(maxMessage))
	}
	return errs
}

const (
	// minMessage leaves room for the topic in the smallest packet that a hub can
	// be told to read, 1 KiB.
	minMessage = 512
	maxMessage = 512 << 10
)

func schemes() []string { return slices.Concat(mqtt.Schemes(), coap.Schemes(), http.Schemes()) }

// identity finds the files, and reports a secret that cannot be read.
func (c Config) identity() (uplink.Identity, error) {
	id := uplink.Identity{Device: c.Device, Secret: uplink.Secret{Value: c.Uplink.Secret, File: c.Uplink.SecretFile}, TLS: c.Uplink.TLS}
	for key, path := range map[string]*string{"secret_file": &id.Secret.File, "tls.ca": &id.TLS.CA, "tls.certificate": &id.TLS.Certificate, "tls.key": &id.TLS.Key} {
		var err error
		if *path, err = withCredentials(*path); err != nil {
			return id, fmt.Errorf("uplink.%s: %w", key, err)
		}
	}
	_, err := id.Secret.Read()
	return id, err
}

// withCredentials fills in where systemd put the credentials of the service.
func withCredentials(path string) (string, error) {
	const name = "CREDENTIALS_DIRECTORY"
	before, after, found := strings.Cut(path, "${"+name+"}")
	if !found {
		return path, nil
	}
	dir, set := os.LookupEnv(name)
	if !set {
		return "", fmt.Errorf("%s: %s is not set; run the agent as a systemd service with LoadCredential, or write the whole path", path, name)
	}
	return before + dir + after, nil
}
