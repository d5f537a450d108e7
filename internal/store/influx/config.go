package influx

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/edge/trust"
)

// Config says where an InfluxDB is and what of it is the hub's.
type Config struct {
	// URL is the address of the server, such as https://influx.example:8086. It is
	// one of InfluxDB 2, or of 1.8 with flux-enabled = true.
	URL string `yaml:"url"`
	// Org is the organisation that the bucket belongs to; empty for InfluxDB 1.8.
	Org string `yaml:"org"`
	// Bucket is where series are kept. It is to be there, and to be the hub's
	// alone. InfluxDB 1.8 calls it database/retention-policy.
	Bucket string `yaml:"bucket"`
	// TokenFile holds a token that may read and write the bucket; user:password for
	// InfluxDB 1.8. It is read for every request. Empty for none.
	TokenFile string `yaml:"token_file"`
	// TLS is whom the hub believes there, and how it proves itself.
	TLS trust.TLS `yaml:"tls"`
	// Gzip has what goes to the server and comes back compressed. On the same
	// machine it costs more than it saves.
	Gzip bool `yaml:"gzip"`
	// Timeout is after how long a write without an answer is tried again.
	Timeout time.Duration `yaml:"timeout"`
	// MaxSamples bounds the samples that one selection of a query brings into memory,
	// 16 bytes each.
	MaxSamples int `yaml:"max_samples"`
}

// DefaultConfig is of no server yet.
func DefaultConfig() Config {
	return Config{Gzip: true, Timeout: 30 * time.Second, MaxSamples: 20_000_000}
}

// Check returns every fault of the configuration.
func (c Config) Check(path string) []strict.Error {
	var errs []strict.Error
	fault := func(key, format string, args ...any) { errs = append(errs, strict.Fault(path, key, format, args...)) }
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		fault("url", "%q is not http://host[:port][/path] or https://…; a token goes to token_file", hideUser(u, c.URL))
	case c.TokenFile != "" && u.Scheme == "http" && !loopback(u.Hostname()):
		fault("token_file", "would be sent to %q for everybody to read; use https", c.URL)
	}
	if c.Bucket == "" {
		fault("bucket", `is empty; name the bucket, such as "telemetry", or "database/autogen" of InfluxDB 1.8`)
	}
	return slices.Concat(errs, c.TLS.Check(path+".tls"),
		strict.Between(path, "timeout", c.Timeout, time.Second, time.Hour),
		strict.Between(path, "max_samples", c.MaxSamples, 1000, 1_000_000_000),
	)
}

// hideUser is an address without the secret that somebody wrote into it.
func hideUser(u *url.URL, text string) string {
	if u != nil && u.User != nil {
		return u.Redacted()
	}
	return text
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// connections is how many idle connections are kept: more than a queue has shards.
const connections = 64

// httpClient is what speaks to the server, with the token of the moment.
func (c Config) httpClient() (*http.Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost, t.DisableCompression = connections, !c.Gzip
	var err error
	if t.TLSClientConfig, err = c.TLS.Load(); err != nil {
		return nil, err
	}
	return &http.Client{
		Transport:     &authorised{to: t, file: c.TokenFile},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // nobody else is to see the token
	}, nil
}
