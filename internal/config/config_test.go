package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestEveryFaultIsNamed holds testdata to what it says of itself: a line that
// is wrong ends in "#!" and the fault, and no other line has one.
func TestEveryFaultIsNamed(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 9 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for i, line := range strings.Split(string(text), "\n") {
				if _, fault, wrong := strings.Cut(line, " #! "); wrong {
					want = append(want, fmt.Sprintf("line %d: %s", i+1, fault))
				}
			}
			if d := cmp.Diff(want, faults(t, file)); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestNoNumberMayBeNegative covers every number and duration there is in the
// config, those of keys to come too.
func TestNoNumberMayBeNegative(t *testing.T) {
	tried := 0
	numbers(reflect.TypeFor[Config](), nil, func(path []string, negative string) {
		tried++
		file := filepath.Join(t.TempDir(), "hub.yaml")
		if err := os.WriteFile(file, []byte(nested(path, negative)), 0o600); err != nil {
			t.Fatal(err)
		}
		key := strings.Join(path, ".")
		for _, fault := range faults(t, file) {
			if strings.Contains(fault, key+": ") && strings.Contains(fault, negative) {
				return
			}
		}
		t.Errorf("%s: %s is taken", key, negative)
	})
	if tried < 40 {
		t.Errorf("only %d numbers found: the walk is wrong", tried)
	}
}

func TestTheDefaultsAreCorrect(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hub.yaml")
	if err := os.WriteFile(file, Annotated(), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Default(), c, cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
}

// faults returns every fault of a file, without its name.
func faults(t *testing.T, file string) (all []string) {
	t.Helper()
	_, err := Load(file)
	var invalid *Invalid
	if err != nil && !errors.As(err, &invalid) {
		t.Fatal(err)
	}
	if err != nil {
		for _, e := range invalid.Errors {
			all = append(all, e.Error())
		}
	}
	return all
}

// numbers calls visit for each number within a struct, with the path of its key
// and a negative value as it is written. A map has the key sensor, which names a
// kind of device.
func numbers(of reflect.Type, path []string, visit func(path []string, negative string)) {
	switch of.Kind() {
	case reflect.Struct:
		for i := range of.NumField() {
			f := of.Field(i)
			key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			switch {
			case f.Anonymous, strings.HasSuffix(f.Tag.Get("yaml"), ",inline"):
				numbers(f.Type, path, visit)
			case key != "-":
				numbers(f.Type, append(path[:len(path):len(path)], key), visit)
			}
		}
	case reflect.Map:
		numbers(of.Elem(), append(path[:len(path):len(path)], "sensor"), visit)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Float32, reflect.Float64:
		negative := "-1"
		if of == reflect.TypeFor[time.Duration]() {
			negative = "-1s"
		}
		visit(path, negative)
	}
}

// nested writes one key with all that is around it.
func nested(path []string, value string) string {
	var b strings.Builder
	for depth, key := range path {
		fmt.Fprintf(&b, "\n%s%s: ", strings.Repeat("  ", depth), key)
	}
	return b.String() + value + "\n"
}
