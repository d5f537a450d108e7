package modbus

import (
	"net"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/edge/source"
)

// Config is one Modbus TCP server or gateway.
type Config struct {
	source.Common
	source.Interval
	// Address is the server's host and port.
	Address string `yaml:"address"`
	// Timeout is how long one answer may take.
	Timeout time.Duration `yaml:"timeout"`
	// Units are the devices behind the server.
	Units []Unit `yaml:"units"`
}

// Unit is one device of the bus.
type Unit struct {
	// ID is the unit identifier, 0 to 255.
	ID uint8 `yaml:"id"`
	// Tags are added to the samples of the unit.
	Tags map[string]string `yaml:"tags"`
	// Registers are what to read.
	Registers []Register `yaml:"registers"`
}

// Register is one value and the metric that it becomes.
type Register struct {
	// Name is the metric.
	Name string `yaml:"name"`
	// Table is coil, discrete, holding or input: the function codes 1 to 4.
	Table string `yaml:"table"`
	// Address is the register's address as it is sent, counted from 0.
	Address uint16 `yaml:"address"`
	// Type is int16, uint16, int32, uint32, float32 or float64; coils and
	// discrete inputs are 0 or 1 and need none.
	Type string `yaml:"type"`
	// Order is the order of the bytes on the wire, A the most significant:
	// ABCD, CDAB (words swapped), BADC (bytes swapped) or DCBA (both).
	Order string `yaml:"order"`
	// Scale is what the raw value is multiplied by.
	Scale float64 `yaml:"scale"`
	// Offset is added after that.
	Offset float64 `yaml:"offset"`
	// Unit is a SenML or UCUM symbol.
	Unit string `yaml:"unit"`
}

// SetDefaults reads every 10 s.
func (c *Config) SetDefaults() { c.Interval.Interval, c.Timeout = 10*time.Second, 2*time.Second }

// SetDefaults reads an unsigned holding register as it is.
func (r *Register) SetDefaults() {
	r.Table, r.Type, r.Order, r.Scale = "holding", "uint16", "ABCD", 1
}

// Check reports values that cannot be used.
func (c Config) Check(path string) []strict.Error {
	errs := append(c.CheckInterval(path), c.CheckTags(path)...)
	if _, port, err := net.SplitHostPort(c.Address); err != nil || port == "" {
		errs = append(errs, strict.Fault(path, "address", "%q is no host and port; write host:502", c.Address))
	}
	if c.Timeout <= 0 {
		errs = append(errs, strict.Fault(path, "timeout", "%s is no time to answer in; raise it", c.Timeout))
	}
	if len(c.Units) == 0 {
		errs = append(errs, strict.Fault(path, "units", "is empty; name the units to read"))
	}
	return errs
}

// Check reports values that cannot be used.
func (u Unit) Check(path string) []strict.Error {
	errs := source.CheckTags(path, "tags", u.Tags)
	if len(u.Registers) == 0 {
		errs = append(errs, strict.Fault(path, "registers", "is empty; name the registers to read"))
	}
	return errs
}

// Check reports values that cannot be used.
func (r Register) Check(path string) (errs []strict.Error) {
	oneOf := func(key, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			errs = append(errs, strict.Fault(path, key, "%q is not one of %s", value, strings.Join(allowed, ", ")))
		}
	}
	if r.Name == "" {
		errs = append(errs, strict.Fault(path, "name", "is empty; name the metric"))
	}
	oneOf("table", r.Table, "coil", "discrete", "holding", "input")
	oneOf("type", r.Type, "int16", "uint16", "int32", "uint32", "float32", "float64")
	oneOf("order", r.Order, "ABCD", "CDAB", "BADC", "DCBA")
	if len(errs) == 0 && int(r.Address)+r.words() > 1<<16 {
		errs = append(errs, strict.Fault(path, "address", "%d: a %s does not fit before the end at 65535", r.Address, r.Type))
	}
	return errs
}
