package command

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/edge/source"
)

func config(script string) Config {
	var c Config
	c.SetDefaults()
	c.Command = []string{"sh", "-c", script}
	return c
}

// collect runs the source until n samples came or it failed.
func collect(t *testing.T, cfg Config, n int) (out []string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	err = New(cfg, "d1", time.Now).Run(ctx, func(_ context.Context, r source.Record) error {
		for _, s := range r.Samples {
			out = append(out, fmt.Sprintf("%s %g", s.Metric, s.Value))
		}
		for _, f := range r.Faults {
			out = append(out, "fault: "+f.Error())
		}
		if len(out) >= n {
			cancel()
		}
		return nil
	})
	return out, err
}

func TestAProgramIsRunAndRead(t *testing.T) {
	cfg := config(`echo "door,side=$SIDE open=1,angle=30.5"`)
	cfg.Env = map[string]string{"SIDE": "north"}
	got, err := collect(t, cfg, 2)
	if d := cmp.Diff([]string{"door_open 1", "door_angle 30.5"}, got); err != nil || d != "" {
		t.Error(err, d)
	}
}

func TestAProgramThatFailsSaysWhy(t *testing.T) {
	for script, want := range map[string]string{
		"echo no sensor >&2; exit 3":    "exit status 3: no sensor",
		"exec sleep 60":                 "did not end within 100ms",
		"head -c 5000000 /dev/zero":     "printed more than",
		`echo '{"ts": 1, "a": '`:        "json",
		"exec a-program-that-is-absent": "not found",
	} {
		cfg := config(script)
		if strings.Contains(script, "sleep") {
			cfg.Timeout = 100 * time.Millisecond
		}
		if _, err := collect(t, cfg, 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", script, err, want)
		}
	}
}

func TestAStreamIsReadByLines(t *testing.T) {
	cfg := config(`echo '{"a": 1}'; echo 'm v=2'; echo '{'; echo '{"a": 3}'; exec sleep 60`)
	cfg.Stream = true
	got, _ := collect(t, cfg, 4)
	if len(got) != 4 {
		t.Fatal(got)
	}
	for _, want := range []string{"a 1", "m_v 2", "a 3"} {
		if !strings.Contains(strings.Join(got, "\n"), want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
}

func TestTheEndOfAStreamIsAFailure(t *testing.T) {
	cfg := config("echo 'm v=1'; echo broken pipe >&2; exit 1")
	cfg.Stream = true
	got, err := collect(t, cfg, 99)
	if err == nil || !strings.Contains(err.Error(), "broken pipe") || len(got) != 1 {
		t.Error(got, err)
	}
}

func TestNothingOfAProgramOutlivesItsSource(t *testing.T) {
	for _, streams := range []bool{false, true} {
		cfg := config("sleep 600 >/dev/null 2>&1 & echo m v=$!")
		cfg.Stream = streams
		got, _ := collect(t, cfg, 1)
		if len(got) != 1 {
			t.Fatal(got)
		}
		var pid float64
		if _, err := fmt.Sscanf(got[0], "m_v %g", &pid); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(2 * time.Minute); ; <-time.After(10 * time.Millisecond) {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%.0f/stat", pid))
			if err != nil || strings.Contains(string(stat), ") Z") { // nobody waits for it
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("process %.0f runs still", pid)
			}
		}
	}
}
