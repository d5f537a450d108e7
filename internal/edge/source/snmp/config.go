package snmp

import (
	"fmt"
	"regexp"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/edge/source"
)

// Config is one SNMP agent.
type Config struct {
	source.Common
	source.Interval
	// Address is the host of the SNMP agent.
	Address string `yaml:"address"`
	// Port is its UDP port.
	Port uint16 `yaml:"port"`
	// Version is 2c or 3.
	Version string `yaml:"version"`
	// Community is the password of version 2c.
	Community string `yaml:"community"`
	// User is who asks, in version 3.
	User User `yaml:"user"`
	// Timeout is how long one answer may take.
	Timeout time.Duration `yaml:"timeout"`
	// Retries is how often a request is repeated.
	Retries int `yaml:"retries"`
	// Values are single objects.
	Values []Value `yaml:"values"`
	// Tables are walked; each row gives a sample of every column.
	Tables []Table `yaml:"tables"`
}

// User is a user of SNMP version 3 (RFC 3414). Without an auth_password
// nothing is authenticated, without a priv_password nothing is encrypted.
type User struct {
	// Name is the user's name.
	Name string `yaml:"name"`
	// Auth is md5, sha, sha256 or sha512.
	Auth string `yaml:"auth"`
	// AuthPassword proves who asks.
	AuthPassword string `yaml:"auth_password"`
	// Priv is des, aes or aes256.
	Priv string `yaml:"priv"`
	// PrivPassword encrypts.
	PrivPassword string `yaml:"priv_password"`
}

// Value is one object and the metric that it becomes.
type Value struct {
	// OID is the object, with its instance: 1.3.6.1.2.1.1.3.0.
	OID string `yaml:"oid"`
	// Name is the metric.
	Name string `yaml:"name"`
	// Unit is a SenML or UCUM symbol.
	Unit string `yaml:"unit"`
	// Scale is what the value is multiplied by.
	Scale float64 `yaml:"scale"`
}

// SetDefaults takes the value as it is.
func (v *Value) SetDefaults() { v.Scale = 1 }

// Table is a conceptual table.
type Table struct {
	// Index is the tag that holds the row's index; empty means none.
	Index string `yaml:"index"`
	// Labels are columns whose text becomes a tag of the row.
	Labels []Label `yaml:"labels"`
	// Columns are columns whose numbers become samples.
	Columns []Value `yaml:"columns"`
}

// SetDefaults tags rows by their index.
func (t *Table) SetDefaults() { t.Index = "index" }

// Label is a column and the tag that it becomes.
type Label struct {
	// OID is the column, without an instance: 1.3.6.1.2.1.31.1.1.1.1.
	OID string `yaml:"oid"`
	// Name is the tag.
	Name string `yaml:"name"`
}

// SetDefaults asks by version 2c every 30 s.
func (c *Config) SetDefaults() {
	c.Interval.Interval, c.Port, c.Version, c.Community = 30*time.Second, 161, "2c", "public"
	c.Timeout, c.Retries = 3*time.Second, 2
	c.User = User{Auth: "sha256", Priv: "aes"}
}

var oidPattern = regexp.MustCompile(`^\.?[0-9]+(\.[0-9]+)+$`)

// Check reports values that cannot be used.
func (c Config) Check(path string) []strict.Error {
	errs := append(c.CheckInterval(path), c.CheckTags(path)...)
	fault := func(key, format string, args ...any) {
		errs = append(errs, strict.Fault(path, key, format, args...))
	}
	if c.Address == "" {
		fault("address", "is empty; write the host of the SNMP agent")
	}
	if c.Version != "2c" && c.Version != "3" {
		fault("version", "%q is not 2c or 3", c.Version)
	}
	if c.Version == "3" && c.User.Name == "" {
		fault("user.name", "is empty; version 3 needs a user")
	}
	if c.Timeout <= 0 || c.Retries < 0 || c.Retries > 10 {
		fault("timeout", "%s with %d retries cannot be used; write 3s and 0 to 10 retries", c.Timeout, c.Retries)
	}
	if len(c.Values) == 0 && len(c.Tables) == 0 {
		fault("values", "and tables are empty; name what to read")
	}
	return errs
}

// Check reports values that cannot be used.
func (v Value) Check(path string) []strict.Error {
	return append(checkOID(path, v.OID), checkName(path, v.Name)...)
}

// Check reports values that cannot be used.
func (l Label) Check(path string) []strict.Error {
	return append(checkOID(path, l.OID), source.CheckTags(path, "name", map[string]string{l.Name: ""})...)
}

// Check reports values that cannot be used.
func (t Table) Check(path string) []strict.Error {
	if len(t.Columns) == 0 {
		return []strict.Error{strict.Fault(path, "columns", "is empty; name the columns to read")}
	}
	if t.Index != "" {
		return source.CheckTags(path, "index", map[string]string{t.Index: ""})
	}
	return nil
}

// Check reports values that cannot be used.
func (u User) Check(path string) (errs []strict.Error) {
	if _, ok := authProtocols()[u.Auth]; !ok {
		errs = append(errs, strict.Fault(path, "auth", "%q is not md5, sha, sha256 or sha512", u.Auth))
	}
	if _, ok := privProtocols()[u.Priv]; !ok {
		errs = append(errs, strict.Fault(path, "priv", "%q is not des, aes or aes256", u.Priv))
	}
	if u.PrivPassword != "" && u.AuthPassword == "" {
		errs = append(errs, strict.Fault(path, "auth_password", "is empty; SNMP encrypts only for those it authenticates"))
	}
	return errs
}

func checkOID(path, oid string) []strict.Error {
	if oidPattern.MatchString(oid) {
		return nil
	}
	return []strict.Error{strict.Fault(path, "oid", "%q is no object identifier in numbers, such as 1.3.6.1.2.1.1.3.0", oid)}
}

func checkName(path, name string) []strict.Error {
	if name != "" {
		return nil
	}
	return []strict.Error{strict.Fault(path, "name", "is empty; name the metric")}
}

func authProtocols() map[string]gosnmp.SnmpV3AuthProtocol {
	return map[string]gosnmp.SnmpV3AuthProtocol{"md5": gosnmp.MD5, "sha": gosnmp.SHA, "sha256": gosnmp.SHA256, "sha512": gosnmp.SHA512}
}

func privProtocols() map[string]gosnmp.SnmpV3PrivProtocol {
	return map[string]gosnmp.SnmpV3PrivProtocol{"des": gosnmp.DES, "aes": gosnmp.AES, "aes256": gosnmp.AES256}
}

// client makes the library's client.
func (c Config) client() *gosnmp.GoSNMP {
	g := &gosnmp.GoSNMP{
		Target: c.Address, Port: c.Port, Timeout: c.Timeout, Retries: c.Retries, Community: c.Community,
		Version: gosnmp.Version2c, MaxOids: gosnmp.MaxOids, MaxRepetitions: maxRepetitions,
	}
	if c.Version == "3" {
		c.User.apply(g)
	}
	return g
}

func (u User) apply(g *gosnmp.GoSNMP) {
	g.Version, g.SecurityModel, g.MsgFlags = gosnmp.Version3, gosnmp.UserSecurityModel, gosnmp.NoAuthNoPriv
	p := &gosnmp.UsmSecurityParameters{UserName: u.Name, AuthenticationProtocol: gosnmp.NoAuth, PrivacyProtocol: gosnmp.NoPriv}
	if u.AuthPassword != "" {
		g.MsgFlags = gosnmp.AuthNoPriv
		p.AuthenticationProtocol, p.AuthenticationPassphrase = authProtocols()[u.Auth], u.AuthPassword
	}
	if u.PrivPassword != "" {
		g.MsgFlags = gosnmp.AuthPriv
		p.PrivacyProtocol, p.PrivacyPassphrase = privProtocols()[u.Priv], u.PrivPassword
	}
	g.SecurityParameters = p
}

func (c Config) target() string { return fmt.Sprintf("%s:%d", c.Address, c.Port) }
