package gpu

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/edge/source"
)

// nvidiaSmi writes a script that stands in for nvidia-smi.
func nvidiaSmi(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nvidia-smi")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// collect runs the source until n records came, and lists their samples.
func collect(t *testing.T, cfg Config, n int) (out []string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	err = New(cfg, time.Now).Run(ctx, func(_ context.Context, r source.Record) error {
		for _, s := range r.Samples {
			l := string(s.Metric)
			for _, tag := range s.Tags {
				l += fmt.Sprintf(" %s=%s", tag.Name, tag.Value)
			}
			out = append(out, fmt.Sprintf("%s %g", l, s.Value))
		}
		for _, f := range r.Faults {
			out = append(out, f.Error())
		}
		if n--; n == 0 {
			cancel()
		}
		return nil
	})
	return out, err
}

func TestNvidiaSmiIsReadInItsLoop(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Command = nvidiaSmi(t, `case "$*" in *--loop-ms=10000*) ;; *) echo "wrong arguments $*" >&2; exit 1;; esac
echo "0, NVIDIA A100, 87, 40, 20480, 40960, 61, 250.50, 400.00, 1410, [N/A]"
echo "1, NVIDIA A100, 0, 0, 3, 40960, 33, [Not Supported], 400.00, 210, [N/A]"
exec sleep 60
`)
	got, err := collect(t, cfg, 2)
	if err == nil {
		t.Error("the end of the program is no failure")
	}
	want := strings.Split(`gpu_utilization_percent gpu=0 model=NVIDIA A100 87
gpu_memory_utilization_percent gpu=0 model=NVIDIA A100 40
gpu_memory_used_bytes gpu=0 model=NVIDIA A100 2.147483648e+10
gpu_memory_total_bytes gpu=0 model=NVIDIA A100 4.294967296e+10
gpu_temperature_celsius gpu=0 model=NVIDIA A100 61
gpu_power_watts gpu=0 model=NVIDIA A100 250.5
gpu_power_limit_watts gpu=0 model=NVIDIA A100 400
gpu_clock_hertz gpu=0 model=NVIDIA A100 1.41e+09
gpu_utilization_percent gpu=1 model=NVIDIA A100 0
gpu_memory_utilization_percent gpu=1 model=NVIDIA A100 0
gpu_memory_used_bytes gpu=1 model=NVIDIA A100 3.145728e+06
gpu_memory_total_bytes gpu=1 model=NVIDIA A100 4.294967296e+10
gpu_temperature_celsius gpu=1 model=NVIDIA A100 33
gpu_power_limit_watts gpu=1 model=NVIDIA A100 400
gpu_clock_hertz gpu=1 model=NVIDIA A100 2.1e+08`, "\n")
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestAMachineWithoutAcceleratorsIsSilent(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Command = "a-program-that-nobody-has"
	if got, err := collect(t, cfg, 1); err != nil || len(got) > 0 {
		t.Error(got, err)
	}
}

func TestAcceleratorsThatCannotBeUsedAreNoneUntilTheyCan(t *testing.T) {
	for _, why := range []string{"echo No devices were found; exit 6", "echo NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver; exit 9"} {
		synctest.Test(t, func(t *testing.T) {
			cfg := DefaultConfig()
			ready := filepath.Join(t.TempDir(), "ready")
			cfg.Command = nvidiaSmi(t, "[ -e "+ready+" ] || { "+why+"; }\necho 0, NVIDIA A100, 87\n")
			began, records := time.Now(), 0
			err := New(cfg, time.Now).Run(t.Context(), func(_ context.Context, r source.Record) error {
				if len(r.Faults) > 0 {
					t.Error(r.Faults)
				}
				if records++; records == 3 {
					return os.WriteFile(ready, nil, 0o600)
				}
				if len(r.Samples) > 0 && time.Since(began) < 3*time.Hour {
					t.Errorf("looked again after %s", time.Since(began)/3)
				}
				return nil
			})
			if err == nil || records != 4 {
				t.Errorf("%d records: %v", records, err)
			}
		})
	}
}

func TestAcceleratorsThatAreGoneAreAFailure(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Command = nvidiaSmi(t, "echo 0, NVIDIA A100, 87; echo no driver any more; exit 9\n")
	got, err := collect(t, cfg, 9)
	if err == nil || len(got) != 2 || !strings.Contains(got[1], "no driver any more") {
		t.Error(got, err)
	}
}

func FuzzLine(f *testing.F) {
	f.Add("0, NVIDIA A100, 87, 40, 20480, 40960, 61, 250.50, 400.00, 1410, [N/A]")
	f.Add("No devices were found")
	f.Fuzz(func(t *testing.T, line string) {
		r := source.At(time.Now())
		if err := addLine(r, line); err != nil && len(r.Samples) > 0 {
			t.Error("values of a line that is none")
		}
	})
}

func TestAProgramThatFailsSaysWhy(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Command = nvidiaSmi(t, "echo 'NVIDIA-SMI has failed because it could not allocate' >&2; exit 15\n")
	_, err := collect(t, cfg, 1)
	if err == nil || !strings.Contains(err.Error(), "could not allocate") {
		t.Error(err)
	}
}

func TestDcgmExporterIsRead(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `DCGM_FI_DEV_GPU_UTIL{gpu="2",UUID="GPU-x",modelName="NVIDIA A30",GPU_I_ID="1"} 55
DCGM_FI_DEV_FB_USED{gpu="2",modelName="NVIDIA A30"} 100
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="2",modelName="NVIDIA A30"} 5000
DCGM_FI_DEV_XID_ERRORS{gpu="2"} 0
`)
	}))
	defer server.Close()
	cfg := DefaultConfig()
	cfg.DCGM = server.URL
	got, err := collect(t, cfg, 1)
	want := []string{"gpu_utilization_percent gpu=2 model=NVIDIA A30 mig=1 55", "gpu_memory_used_bytes gpu=2 model=NVIDIA A30 1.048576e+08", "gpu_energy_joules_total gpu=2 model=NVIDIA A30 5"}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Error(err, d)
	}
}
