package strict

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

var (
	durationType = reflect.TypeFor[time.Duration]()
	bytesType    = reflect.TypeFor[Bytes]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// isScalar reports whether values of the type are written as one word.
func isScalar(t reflect.Type) bool {
	if t == durationType || reflect.PointerTo(t).Implements(textType) {
		return true
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	}
	return false
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.ScalarNode {
		d.fail(n, path, "%s stands where one value is wanted, %s", describe(n), wanted(v.Type()))
		return
	}
	if err := setScalar(v, n.Value); err != nil {
		d.fail(n, path, "%v", err)
	}
}

func setScalar(v reflect.Value, s string) error {
	if v.Type() == durationType {
		return setDuration(v, s)
	}
	if t, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return t.UnmarshalText([]byte(s))
	}
	bits := 0
	if v.Kind() != reflect.String && v.Kind() != reflect.Bool {
		bits = v.Type().Bits()
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
		return nil
	case reflect.Bool:
		if s != "true" && s != "false" {
			return wrong(v, s)
		}
		v.SetBool(s == "true")
		return nil
	case reflect.Float32, reflect.Float64:
		f, err := strconv.ParseFloat(s, bits)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return wrong(v, s)
		}
		v.SetFloat(f)
		return nil
	}
	return setInteger(v, s, bits)
}

func setInteger(v reflect.Value, s string, bits int) error {
	if v.CanUint() {
		u, err := strconv.ParseUint(s, 0, bits)
		if err != nil {
			return wrong(v, s)
		}
		v.SetUint(u)
		return nil
	}
	i, err := strconv.ParseInt(s, 0, bits)
	if err != nil {
		return wrong(v, s)
	}
	v.SetInt(i)
	return nil
}

func setDuration(v reflect.Value, s string) error {
	if d, err := time.ParseDuration(s); err == nil {
		v.SetInt(int64(d))
		return nil
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return fmt.Errorf("%q has no unit; write %ss, %sms or the like", s, s, s)
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return fmt.Errorf("%q is in days, which have no fixed length here; write %dh", s, n*24)
		}
	}
	return wrong(v, s)
}

func wrong(v reflect.Value, s string) error {
	return fmt.Errorf("%.60q is not %s", s, wanted(v.Type()))
}

// wanted says what a value of the type looks like.
func wanted(t reflect.Type) string {
	switch {
	case t == durationType:
		return "a duration such as 10s, 1m30s or 720h"
	case t == bytesType:
		return "a size such as 64MiB"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64:
		return "a number"
	case t.Kind() == reflect.String || reflect.PointerTo(t).Implements(textType):
		return "a text"
	case t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64:
		return fmt.Sprintf("a whole number from 0 to %d", uint64(math.MaxUint64)>>(64-t.Bits()))
	}
	limit := int64(math.MaxInt64) >> (64 - t.Bits())
	return fmt.Sprintf("a whole number from %d to %d", -limit-1, limit)
}

// Bytes is a size in bytes, written with a unit: 512KiB, 64MiB, 1.5GiB, 10MB.
type Bytes int64

var byteUnits = []struct {
	name string
	size float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// UnmarshalText reads a number with a unit; a bare 0 is allowed.
func (b *Bytes) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	if s == "0" {
		*b = 0
		return nil
	}
	for _, u := range byteUnits {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		if err != nil || f < 0 || f*u.size > math.MaxInt64/2 {
			break
		}
		*b = Bytes(f * u.size)
		return nil
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return fmt.Errorf("%q has no unit; write %sMiB, %sKiB or %sB", s, s, s, s)
	}
	return fmt.Errorf("%.60q is not a size such as 64MiB (B, KiB, MiB, GiB, TiB, KB, MB, GB, TB)", s)
}

// MarshalText writes the size in the largest unit that divides it.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

func (b Bytes) String() string {
	if b == 0 {
		return "0"
	}
	for i := 3; i >= 0; i-- {
		if size := Bytes(byteUnits[i].size); b%size == 0 {
			return fmt.Sprintf("%d%s", b/size, byteUnits[i].name)
		}
	}
	return fmt.Sprintf("%dB", int64(b))
}
