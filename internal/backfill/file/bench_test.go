package file

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/codec"
)

// BenchmarkRead reads files of each form into parts and writes these as a hub takes
// them; the figure is CPU time per sample.
func BenchmarkRead(b *testing.B) {
	const rows, metrics = 20_000, 10
	texts := map[string]func(*strings.Builder){
		CSV: func(t *strings.Builder) {
			t.WriteString("time,device," + strings.Join(columns(metrics), ",") + "\n")
			for r := range rows {
				fmt.Fprintf(t, "2026-01-%02dT%02d:%02d:%02dZ,sensor-%d", 1+r/3600/24, r/3600%24, r/60%60, r%60, r%10)
				for m := range metrics {
					fmt.Fprintf(t, ",%d.%d", 20+r%7, m)
				}
				t.WriteByte('\n')
			}
		},
		Influx: func(t *strings.Builder) {
			for r := range rows {
				fmt.Fprintf(t, "air,device=sensor-%d,room=a m0=%d.5", r%10, r%7)
				for m := range metrics - 1 {
					fmt.Fprintf(t, ",m%d=%d.%d", m+1, 20+r%7, m)
				}
				fmt.Fprintf(t, " %d\n", 1_700_000_000+r)
			}
		},
		OpenMetrics: func(t *strings.Builder) {
			for r := range rows * metrics {
				fmt.Fprintf(t, "m%d{device=\"sensor-%d\",room=\"a\"} %d.5 %d\n", r%metrics, r%100/10, r%7, 1_700_000_000+r)
			}
			t.WriteString("# EOF\n")
		},
	}
	for _, format := range []string{CSV, Influx, OpenMetrics} {
		var text strings.Builder
		texts[format](&text)
		path := filepath.Join(b.TempDir(), "f")
		if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
			b.Fatal(err)
		}
		b.Run(format, func(b *testing.B) { readAll(b, path, plain(format), rows*metrics) })
	}
	b.Run(Blocks, func(b *testing.B) { readAll(b, newBlock(b, 100, 2000), Options{Format: Blocks, Device: "x"}, 200_000) })
}

func readAll(b *testing.B, path string, o Options, want int) {
	var e codec.RemoteWriteEncoder
	p := &Part{}
	b.ReportAllocs()
	begun := processor(b)
	for b.Loop() {
		r, err := Open(path, o, Mark{})
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for p.Last = false; !p.Last; {
			if err := r.Next(p); err != nil {
				b.Fatal(err)
			}
			n += p.Samples
			if p.Encode(&e, nil); len(p.Faults) > 0 {
				b.Fatal(p.Faults[0])
			}
		}
		if r.Close(); n != want {
			b.Fatalf("%d samples", n)
		}
	}
	b.ReportMetric(float64((processor(b)-begun).Nanoseconds())/float64(b.N*want), "cpu-ns/sample")
}

// processor is the CPU time of the process: what a machine that others use, too,
// changes least.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
