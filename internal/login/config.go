package login

import (
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/config/strict"
)

// Config says which OpenID Connect issuer people sign in with, and which of
// them may do what.
type Config struct {
	// Issuer is the URL of the OpenID Connect issuer, exactly as it calls itself; empty for none. docs/login.md has an example.
	Issuer string `yaml:"issuer"`
	// Label is what the button on the login page calls the issuer; empty for its host.
	Label string `yaml:"label"`
	// ClientID is what the issuer calls this hub. Register PUBLIC-URL/signin/callback there as redirect URI, and PUBLIC-URL/signin as post-logout redirect URI (pages.public_url).
	ClientID string `yaml:"client_id"`
	// ClientSecretFile holds the client's secret; it is read again at every sign-in. A public client has none.
	ClientSecretFile string `yaml:"client_secret_file"`
	// ClientSecretEnv names an environment variable that holds the secret, instead of a file.
	ClientSecretEnv string `yaml:"client_secret_env"`
	// CAFile is a PEM file with authorities that sign the issuer's certificate, besides those that the system trusts.
	CAFile string `yaml:"ca_file"`
	// Scopes are asked of the issuer.
	Scopes []string `yaml:"scopes"`
	// Grants say who may do what; the first that fits counts. Whom none fits, and who has no role by role_claim, may nothing.
	Grants []Grant `yaml:"grants"`
	// RoleClaim is a claim whose value, or one of whose values, is a role of the hub as it is; of several the first in the order admin, operator, scheduler, steward, reader counts. Empty for none.
	RoleClaim string `yaml:"role_claim"`
	// RegionClaim is a claim that narrows who has a role by role_claim to a prefix of division codes; who lacks it may nothing. Empty leaves them all regions.
	RegionClaim string `yaml:"region_claim"`
}

// Grant gives a role to whoever has a value of a claim.
type Grant struct {
	// Claim is the name of a claim, such as groups, email, or realm_access.roles for one inside another. email counts only when the issuer has verified it.
	Claim string `yaml:"claim"`
	// Value is what the claim is, or what is one of its values.
	Value string `yaml:"value"`
	// Role is admin, operator, scheduler, steward or reader.
	Role access.Role `yaml:"role"`
	// Region is a prefix of division codes that the role is narrowed to; empty for all.
	Region string `yaml:"region"`
}

// DefaultConfig returns what holds for a hub without a config file: no issuer.
func DefaultConfig() Config { return Config{Scopes: []string{"openid", "profile", "email"}} }

// roles are those of people, in the order in which they count.
var roles = [...]access.Role{access.Admin, access.Operator, access.Scheduler, access.Steward, access.Reader}

var regionPrefix = regexp.MustCompile(`^([0-9]{2}){0,3}$`)

// Check implements strict.Checker.
func (g Grant) Check(path string) []strict.Error {
	var errs []strict.Error
	if g.Claim == "" {
		errs = append(errs, strict.Fault(path, "claim", "is missing; name one that the issuer sends, such as groups or email"))
	}
	if g.Value == "" {
		errs = append(errs, strict.Fault(path, "value", "is missing; say which value of the claim gives the role"))
	}
	if !slices.Contains(roles[:], g.Role) {
		errs = append(errs, strict.Fault(path, "role", "%q is not one of admin, operator, scheduler, steward, reader", g.Role))
	}
	if !regionPrefix.MatchString(g.Region) {
		errs = append(errs, strict.Fault(path, "region", "%q is no beginning of a division code; use two, four or six digits (22 is Jilin), or leave it empty", g.Region))
	}
	return errs
}

// Check implements strict.Checker.
func (c Config) Check(path string) []strict.Error {
	if c.Issuer == "" {
		if c.ClientID != "" || len(c.Grants) > 0 {
			return []strict.Error{strict.Fault(path, "issuer", "is missing; without it the rest of %s does nothing", path)}
		}
		return nil
	}
	var errs []strict.Error
	if why := faultOfIssuer(c.Issuer); why != "" {
		errs = append(errs, strict.Fault(path, "issuer", "%q %s", c.Issuer, why))
	}
	if c.ClientID == "" {
		errs = append(errs, strict.Fault(path, "client_id", "is missing; it is what the issuer calls this hub"))
	}
	if c.ClientSecretFile != "" && c.ClientSecretEnv != "" {
		errs = append(errs, strict.Fault(path, "client_secret_env", "stands beside client_secret_file; keep one of them"))
	}
	if c.ClientSecretEnv != "" && os.Getenv(c.ClientSecretEnv) == "" {
		errs = append(errs, strict.Fault(path, "client_secret_env", "%q is not set in the environment of the hub, or empty", c.ClientSecretEnv))
	}
	if !slices.Contains(c.Scopes, "openid") {
		errs = append(errs, strict.Fault(path, "scopes", "%q lacks openid, without which an issuer does not say who somebody is", c.Scopes))
	}
	if len(c.Grants) == 0 && c.RoleClaim == "" {
		errs = append(errs, strict.Fault(path, "grants", "is empty and there is no role_claim, so nobody who signs in may do anything; add a grant"))
	}
	if c.RegionClaim != "" && c.RoleClaim == "" {
		errs = append(errs, strict.Fault(path, "region_claim", "needs role_claim; a grant names its region itself"))
	}
	return errs
}

// faultOfIssuer says why a URL is no issuer: by clear text anybody on the way
// could become anyone, except on this machine.
func faultOfIssuer(issuer string) string {
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return "is no URL of an issuer; write it as https://login.example/realms/road, as the issuer's discovery document has it"
	case strings.HasSuffix(u.Path, "/.well-known/openid-configuration"):
		return "is the address of the discovery document; leave out /.well-known/openid-configuration"
	case u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()):
		return ""
	}
	return "is not https; clear text is taken only from this machine"
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// label is what people know the issuer by.
func (c Config) label() string {
	if c.Label != "" {
		return c.Label
	}
	return hostOf(c.Issuer)
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	if h, _, err := net.SplitHostPort(u.Host); err == nil {
		return h
	}
	return u.Host
}
