package engine

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/songhua-io/hub/internal/hubtest/freeport"
)

// What Influx lets in, and where to.
const (
	InfluxUser     = "songhua"
	InfluxPassword = "the-password-of-the-hub"
	InfluxToken    = InfluxUser + ":" + InfluxPassword // of the v2 API
	InfluxDatabase = "tele"
	InfluxBucket   = InfluxDatabase + "/autogen" // of the v2 API; kept without end
)

// Influx runs influxd with Flux, with a database and a user who may do all. The
// organisation of the v2 API is empty. BucketsAPI and DeleteAPI are not there.
func Influx(t testing.TB) *Server {
	t.Helper()
	s := start(t, built(t, "influxd"), "/ping", func(dir, address string) []string {
		path := filepath.Join(dir, "influxdb.conf")
		if err := os.WriteFile(path, influxConfig(t, dir, address), 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{"run", "-config", path}
	})
	for _, q := range []string{
		fmt.Sprintf("CREATE USER %s WITH PASSWORD '%s' WITH ALL PRIVILEGES", InfluxUser, InfluxPassword),
		"CREATE DATABASE " + InfluxDatabase,
	} {
		s.influxQL(q)
	}
	return s
}

func influxConfig(t testing.TB, dir, address string) []byte {
	return fmt.Appendf(nil, `reporting-disabled = true
bind-address = %[2]q

[meta]
  dir = "%[1]s/meta"

[data]
  dir = "%[1]s/data"
  wal-dir = "%[1]s/wal"
  max-series-per-database = 0
  max-values-per-tag = 0
  query-log-enabled = false

[coordinator]
  write-timeout = "60s"

[monitor]
  store-enabled = false

[http]
  enabled = true
  bind-address = %[3]q
  auth-enabled = true
  flux-enabled = true
  log-enabled = false

[subscriber]
  enabled = false
`, dir, freeport.Address(t), address)
}

func (s *Server) influxQL(q string) {
	s.t.Helper()
	resp, err := http.PostForm(s.URL+"/query?"+url.Values{"u": {InfluxUser}, "p": {InfluxPassword}}.Encode(), url.Values{"q": {q}})
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s %s", q, resp.Status, body)
	}
}
