package authority

import (
	"net"
	"regexp"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Config says what the authority issues.
type Config struct {
	// Names are host names and addresses by which devices reach this hub, besides those of its doors and of this machine: they stand in the hub's own certificate.
	Names []string `yaml:"names"`
	// DeviceLifetime is how long the certificate of a device is valid; agents renew theirs when two thirds of it have passed.
	DeviceLifetime time.Duration `yaml:"device_lifetime"`
}

// DefaultConfig returns what holds for a hub without a config file.
func DefaultConfig() Config { return Config{DeviceLifetime: 30 * 24 * time.Hour} }

// Bounds of a device's certificate: a shorter one is renewed more often than
// clocks agree, a longer one outlives the hardware.
const (
	minDeviceLifetime = 10 * time.Minute
	maxDeviceLifetime = 3 * 365 * 24 * time.Hour
)

// Check implements strict.Checker.
func (c Config) Check(path string) []strict.Error {
	var errs []strict.Error
	host := regexp.MustCompile(`^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}\.?)+$`)
	for _, name := range c.Names {
		if net.ParseIP(name) == nil && (len(name) > 253 || !host.MatchString(name)) {
			errs = append(errs, strict.Fault(path, "names", "%.70q is no host name or IP address; write it without scheme and port", name))
		}
	}
	if c.DeviceLifetime < minDeviceLifetime || c.DeviceLifetime > maxDeviceLifetime {
		errs = append(errs, strict.Fault(path, "device_lifetime", "%s is not from %s to %s", c.DeviceLifetime, minDeviceLifetime, maxDeviceLifetime))
	}
	return errs
}

// Files are what an outside authority gave; empty for none.
type Files struct {
	// Certificate and Key are the hub's own, in the place of one that the
	// authority issues.
	Certificate, Key string
	// ClientCA are authorities whose client certificates are taken besides those
	// of this one.
	ClientCA string
}
