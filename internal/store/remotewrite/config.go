package remotewrite

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/edge/trust"
)

// Reader is how series are read back from a server.
type Reader string

// Readers. Auto finds the first of the others that the server answers, in this order.
const (
	Auto       Reader = "auto"
	RemoteRead Reader = "remote_read" // Prometheus, Mimir: every bit of a value
	Export     Reader = "export"      // VictoriaMetrics
	Query      Reader = "query"       // any Prometheus API, as of Thanos: without stale markers
)

// Config names a server that takes Prometheus remote write, and where it is read.
type Config struct {
	// WriteURL takes remote write, such as http://127.0.0.1:8428/api/v1/write (VictoriaMetrics, Prometheus), http://mimir:9009/api/v1/push or http://thanos-receive:19291/api/v1/receive.
	WriteURL string `yaml:"write_url"`
	// QueryURL is the base of the Prometheus API that reads what is written there, to which /api/v1/… is appended, such as http://127.0.0.1:8428 or http://mimir:9009/prometheus.
	QueryURL string `yaml:"query_url"`
	// Reader is how series are read: remote_read, export (VictoriaMetrics), query, or auto for the first that the server knows.
	Reader Reader `yaml:"reader"`
	// TokenFile holds a bearer token; it is read for every request.
	TokenFile string `yaml:"token_file"`
	// User and PasswordFile are for basic authentication; the file is read for every request.
	User         string `yaml:"user"`
	PasswordFile string `yaml:"password_file"`
	// Headers go with every request, such as X-Scope-OrgID for a tenant of Mimir. Secrets belong into the files.
	Headers map[string]string `yaml:"headers"`
	// TLS is whom the hub believes there, and how it proves itself.
	TLS trust.TLS `yaml:"tls"`
	// Timeout bounds a request that writes, and the wait for the beginning of an answer to one that reads.
	Timeout time.Duration `yaml:"timeout"`
	// Unflushed is how long the server may lose what it has acknowledged when it is killed: VictoriaMetrics keeps samples in memory for up to -inmemoryDataFlushInterval and two seconds. So long they stay in the queue on disk, and are sent again when the server has been restarted, also when the hub was killed meanwhile. 0s when it is durable as soon as it answers.
	Unflushed time.Duration `yaml:"unflushed"`
	// MaxSamples bounds what one selection of a query may read from the server.
	MaxSamples int `yaml:"max_samples"`
}

// DefaultConfig returns the settings of a server nearby, whose URLs are left to
// the caller.
func DefaultConfig() Config {
	return Config{Reader: Auto, Timeout: 30 * time.Second, Unflushed: 10 * time.Second, MaxSamples: 20_000_000}
}

// Check returns every fault of the configuration.
func (c Config) Check(path string) []strict.Error {
	errs := slices.Concat(checkURL(path, "write_url", c.WriteURL), checkURL(path, "query_url", c.QueryURL), c.TLS.Check(path+".tls"),
		strict.Between(path, "timeout", c.Timeout, time.Second, 10*time.Minute),
		strict.Between(path, "unflushed", c.Unflushed, 0, time.Hour),
		strict.Between(path, "max_samples", c.MaxSamples, 1000, 1_000_000_000))
	if !slices.Contains([]Reader{Auto, RemoteRead, Export, Query}, c.Reader) {
		errs = append(errs, strict.Fault(path, "reader", "%q is not one of auto, remote_read, export, query", c.Reader))
	}
	if (c.User == "") != (c.PasswordFile == "") {
		errs = append(errs, strict.Fault(path, "user", "and password_file go together; give both or none"))
	}
	if c.TokenFile != "" && c.User != "" {
		errs = append(errs, strict.Fault(path, "token_file", "and user are two ways to prove who one is; give one"))
	}
	for name, value := range c.Headers {
		switch http.CanonicalHeaderKey(name) {
		case "Authorization":
			errs = append(errs, strict.Fault(path, "headers", "Authorization does not belong into the configuration; use token_file, or user and password_file"))
		case "Content-Type", "Content-Encoding", "Content-Length", "Host", "X-Prometheus-Remote-Write-Version", "X-Prometheus-Remote-Read-Version":
			errs = append(errs, strict.Fault(path, "headers", "%s is set by the protocol; leave it out", name))
		}
		if name == "" || strings.ContainsAny(name, " \t\r\n:") || strings.ContainsAny(value, "\r\n") {
			errs = append(errs, strict.Fault(path, "headers", "%q is no header; give a name without spaces and a value of one line", name))
		}
	}
	return errs
}

func checkURL(path, key, text string) []strict.Error {
	if text == "" {
		return []strict.Error{strict.Fault(path, key, "is missing; docs/formats/engines.md has those of each server")}
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return []strict.Error{strict.Fault(path, key, "is no URL of http or https with a host, such as http://127.0.0.1:8428/api/v1/write")}
	case u.User != nil:
		return []strict.Error{strict.Fault(path, key, "holds a user; use user and password_file, so that no secret stands in the configuration")}
	case u.RawQuery != "" || u.Fragment != "":
		return []strict.Error{strict.Fault(path, key, "has a query or a fragment; leave them out")}
	}
	return nil
}
