package mqtt_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/ingest/mqtt"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/simulate/load"
	"github.com/songhua-io/hub/internal/store/local"
	"github.com/songhua-io/hub/internal/telemetry"
)

// serverEnv makes the test binary a hub in a process of its own, so that its
// CPU time and memory are told apart from the load generator's. Its value is
// the store: discard or local.
const serverEnv = "HUB_MQTT_BENCH_STORE"

func TestMain(m *testing.M) {
	if kind := os.Getenv(serverEnv); kind != "" {
		if err := serveForBench(kind); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// discard is a store that keeps nothing.
type discard struct{ memory *memory }

func (d discard) Series(l []telemetry.Label) telemetry.SeriesID { return d.memory.Series(l) }
func (discard) Forget([]telemetry.SeriesID)                     {}
func (discard) Commit([]*telemetry.Write) error                 { return nil }
func (discard) Oldest(now time.Time) time.Time                  { return now.Add(-400 * 24 * time.Hour) }

// crowd is a directory and gate of any number of devices; the devices are the
// same pointers for ever, as the registry's are.
type crowd struct {
	*memory
	all map[string]*telemetry.Device
}

func newCrowd(n int) crowd {
	c := crowd{newMemory(), map[string]*telemetry.Device{}}
	for i := range n {
		id, _ := login(i)
		c.all[id] = &telemetry.Device{ID: id, Kind: telemetry.KindSensor, Site: "bench", Region: "220100"}
	}
	return c
}

func login(i int) (device, secret string) {
	return fmt.Sprintf("load-%05d", i), fmt.Sprintf("secret-of-%05d", i)
}

func (c crowd) Device(id string) *telemetry.Device { return c.all[id] }

func (c crowd) Authenticate(_ context.Context, cred ingest.Credentials) (*ingest.Peer, error) {
	d := c.all[cred.ID]
	if d == nil || string(cred.Secret) != "secret-of-"+strings.TrimPrefix(cred.ID, "load-") {
		return nil, ingest.ErrUnauthorized
	}
	return &ingest.Peer{Device: d, Done: make(chan struct{})}, nil
}

func (crowd) Connected(string, string)            {}
func (crowd) Left(string, string, ingest.Leaving) {}

// serveForBench runs until its standard input closes, then prints what it
// used.
func serveForBench(kind string) error {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	reg := prometheus.NewRegistry()
	c := newCrowd(10_000)
	var store ingest.Store = discard{c.memory}
	if kind == "local" {
		dir, err := os.MkdirTemp(os.Getenv("HUB_MQTT_BENCH_DIR"), "hub-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		cfg := local.DefaultConfig()
		cfg.Dir = dir
		db, err := local.Open(context.Background(), cfg, log, reg)
		if err != nil {
			return err
		}
		defer db.Close()
		store = db
	}
	quotas := allowed(func(q *quota.Config) { q.Device.SamplesPerSecond, q.Device.MessagesPerSecond = 10_000_000, 10_000_000 })
	p := ingest.New(ingest.DefaultConfig(), ingest.Deps{Store: store, Directory: c, Notes: c, Desk: c, Quotas: quotas, Log: log, Clock: time.Now, Metrics: reg})
	s, err := mqtt.New(mqtt.DefaultConfig(), mqtt.Deps{Ingest: p.Ingest, Refuse: p.Refuse, Gate: c, Presence: c, Quotas: quotas, Log: log, Clock: time.Now, Metrics: reg})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if f, err := os.Create(os.Getenv("HUB_MQTT_BENCH_PROFILE")); err == nil {
		pprof.StartCPUProfile(f)
		defer pprof.StopCPUProfile()
	}
	ctx, cancel := context.WithCancel(context.Background())
	pipe, end := context.WithCancel(context.Background())
	var doors, rest sync.WaitGroup
	doors.Go(func() { s.Serve(ctx, l) })
	doors.Go(func() { s.Run(ctx) })
	rest.Go(func() { p.Run(pipe) })
	fmt.Println(l.Addr())
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var u syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		fmt.Println(time.Duration(u.Utime.Nano()+u.Stime.Nano()).Nanoseconds(), residentKiB())
	}
	cancel()
	doors.Wait()
	end()
	rest.Wait()
	return nil
}

func residentKiB() (kib int) {
	status, _ := os.ReadFile("/proc/self/status")
	for l := range strings.Lines(string(status)) {
		if n, _ := fmt.Sscanf(l, "VmRSS: %d kB", &kib); n == 1 {
			return kib
		}
	}
	return 0
}

// process is a hub in a process of its own.
type process struct {
	address string
	in      io.WriteCloser
	out     *bufio.Reader
}

func startProcess(t testing.TB, store string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverEnv+"="+store, "HUB_MQTT_BENCH_DIR="+t.TempDir())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	if p.address, err = p.out.ReadString('\n'); err != nil {
		t.Fatalf("the hub process did not start: %v", err)
	}
	p.address = strings.TrimSpace(p.address)
	return p
}

// used returns the CPU time and resident memory of the process.
func (p *process) used(t testing.TB) (cpu time.Duration, kib int) {
	t.Helper()
	fmt.Fprintln(p.in)
	var ns int64
	if _, err := fmt.Fscanln(p.out, &ns, &kib); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ns), kib
}

// BenchmarkQoS1 measures acknowledged messages and samples a second, and the
// CPU seconds that the hub's process spends on a million samples. Run it with
// -benchtime 1x: each round sends for three seconds.
func BenchmarkQoS1(b *testing.B) {
	shapes := []struct{ connections, window, samples int }{{50, 50, 1}, {50, 50, 20}, {500, 1, 1}}
	for _, store := range []string{"discard", "local"} {
		for _, s := range shapes {
			b.Run(fmt.Sprintf("%s/%dx%dx%d", store, s.connections, s.window, s.samples), func(b *testing.B) {
				benchQoS1(b, store, load.Config{Connections: s.connections, Window: s.window, Samples: s.samples, Login: login})
			})
		}
	}
}

// BenchmarkPaced measures the latency of acknowledgements at 300,000 messages
// a second.
func BenchmarkPaced(b *testing.B) {
	benchQoS1(b, "local", load.Config{Connections: 50, Window: 500, Rate: 300_000, Login: login})
}

func benchQoS1(b *testing.B, store string, cfg load.Config) {
	p := startProcess(b, store)
	cfg.Address = p.address
	run := func(d time.Duration) *load.Result {
		ctx, cancel := context.WithTimeout(context.Background(), d)
		defer cancel()
		r, err := load.MQTT(ctx, cfg)
		if err != nil {
			b.Fatal(err)
		}
		for _, l := range r.Lines {
			cfg.First = max(cfg.First, l.Ledger.Next()+cfg.Window)
		}
		return r
	}
	cfg.Start = time.Now().Add(-time.Minute)
	run(500 * time.Millisecond)
	for b.Loop() {
		before, _ := p.used(b)
		r := run(3 * time.Second)
		after, kib := p.used(b)
		b.ReportMetric(r.MessagesPerSecond(), "msg/s")
		b.ReportMetric(r.SamplesPerSecond(), "samples/s")
		b.ReportMetric((after-before).Seconds()*1e6/float64(r.Samples), "cpu-s/Msample")
		b.ReportMetric(float64(r.Latencies.Quantile(0.5).Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(r.Latencies.Quantile(0.99).Microseconds())/1000, "p99-ms")
		b.ReportMetric(float64(kib)/1024, "MiB")
		if r.Refused > 0 {
			b.Errorf("%d messages were refused", r.Refused)
		}
	}
}
