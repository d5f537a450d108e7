package engine

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestServersRunAndComeBack(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	for name, run := range map[string]func(testing.TB) *Server{
		"influxd":          Influx,
		"victoria-metrics": func(t testing.TB) *Server { return Victoria(t) },
		"prometheus":       func(t testing.TB) *Server { return Prometheus(t) },
	} {
		t.Run(name, func(t *testing.T) {
			s := run(t)
			s.Stop()
			if s.ready() {
				t.Error("a stopped server answers")
			}
			s.Cont()
			for deadline := time.Now().Add(readyWithin); !s.ready(); {
				if time.Now().After(deadline) {
					t.Fatalf("no answer after it went on\n%s", s.Output())
				}
			}
			s.Kill()
			if s.ready() {
				t.Error("a killed server answers")
			}
			s.Restart() // fails where it does not answer
		})
	}
}

func TestVersionsAreThoseOfTheScript(t *testing.T) {
	script, err := os.ReadFile("../../../scripts/install-engines")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"influx=" + influxVersion, "victoria=" + victoriaVersion} {
		if !strings.Contains(string(script), "\n"+line) {
			t.Errorf("scripts/install-engines has no line %s", line)
		}
	}
}
