package outbox

import (
	"net"
	"net/url"
	"regexp"

	"github.com/songhua-io/hub/internal/config/strict"
)

var name = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

// CheckName refuses what cannot name an outlet.
func CheckName(path, s string) []strict.Error {
	if name.MatchString(s) {
		return nil
	}
	return []strict.Error{strict.Fault(path, "name", "%.60q is no name of an outlet: it has 1 to 40 of a-z, 0-9 and hyphens, such as province-1", s)}
}

// CheckURL refuses what no request with a secret may be sent to.
func CheckURL(path, key, address string) []strict.Error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return []strict.Error{strict.Fault(path, key, "%.200q is not https://host[:port][/path]", address)}
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return []strict.Error{strict.Fault(path, key, "%.200q is not encrypted, and everybody on the way could read the secret; use https", address)}
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
