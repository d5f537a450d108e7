//lint:file-ignore SA1019 go-coap takes pion's dtls.Config and nothing newer.

package whole

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	piondtls "github.com/pion/dtls/v3"

	"github.com/songhua-io/hub/internal/hubtest"
	"github.com/songhua-io/hub/internal/simulate/load"
)

// flood is what strangers do. They run in a process that takes idle time only: they stand
// for other machines, whose processors are not the hub's.
type flood struct {
	Door    string // mqtt, mqtts, http, coap, coaps
	Address string
	Many    bool // they come from as many addresses as they are
	Count   int
	Rate    int // a second
}

// floodVariable tells a test process to be the strangers.
const floodVariable = "HUB_FLOOD"

// outcome is what became of strangers.
type outcome struct {
	Answered, Closed int64
	Elapsed          time.Duration
	Last             string // answer, of the kind that their protocol has
}

func TestStrangers(t *testing.T) {
	text := os.Getenv(floodVariable)
	if text == "" {
		t.Skip("run by BenchmarkFlood")
	}
	var f flood
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		t.Fatal(err)
	}
	answer, err := json.Marshal(f.run())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("\n%s%s\n", floodVariable, answer)
}

func (f flood) run() (o outcome) {
	var all sync.WaitGroup
	var answered, closed atomic.Int64
	var last atomic.Value
	room := make(chan struct{}, 800)
	begin := time.Now()
	for i := range f.Count {
		if wait := time.Duration(i)*time.Second/time.Duration(f.Rate) - time.Since(begin); wait > 0 {
			<-time.After(wait)
		}
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			if answer := f.one(i); answer != "" {
				answered.Add(1)
				last.Store(answer)
			} else {
				closed.Add(1)
			}
		})
	}
	all.Wait()
	o = outcome{Answered: answered.Load(), Closed: closed.Load(), Elapsed: time.Since(begin)}
	o.Last, _ = last.Load().(string)
	return o
}

// one is a stranger; it returns what it was answered, or nothing.
func (f flood) one(i int) string {
	d := net.Dialer{Timeout: 30 * time.Second}
	from := net.IP{127, 0, 0, 9}
	if f.Many {
		from = net.IP{127, 1 + byte(i>>16), byte(i >> 8), byte(i)}
	}
	network := "tcp"
	d.LocalAddr = &net.TCPAddr{IP: from}
	if strings.HasPrefix(f.Door, "coap") {
		network, d.LocalAddr = "udp", &net.UDPAddr{IP: from}
	}
	c, err := d.Dial(network, f.Address)
	if err != nil {
		return ""
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	device := fmt.Sprintf("busy-%03d", i%100)
	buffer := make([]byte, 4096)
	switch f.Door {
	case "mqtts":
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
		fallthrough
	case "mqtt":
		p := []byte("\x10\x00\x00\x04MQTT\x05\xc2\x00\x00\x00\x00\x01x\x00\x08" + device + "\x00\x05wrong")
		p[1] = byte(len(p) - 2)
		if _, err := c.Write(p); err != nil {
			return ""
		}
		if n, _ := io.ReadAtLeast(c, buffer, 5); n >= 5 {
			return fmt.Sprintf("%#x", buffer[3+buffer[1]>>7]) // its length may take two bytes
		}
	case "http":
		_, _ = fmt.Fprintf(c, "GET /api/v1/devices HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic d3Jvbmc6d3Jvbmc=\r\n\r\n")
		if n, _ := io.ReadAtLeast(c, buffer, 12); n >= 12 {
			return string(buffer[9:12])
		}
	case "coap":
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = c.Write(append([]byte{0x40, 2, byte(i >> 8), byte(i)}, "\xb7devices\x08"+device+"\x09telemetry\x4btoken=wrong\xff{\"a\":1}"...))
		if n, _ := c.Read(buffer); n >= 4 {
			return fmt.Sprintf("%d.%02d", buffer[1]>>5, buffer[1]&31)
		}
	case "coaps":
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s, err := piondtls.Client(c.(net.PacketConn), c.RemoteAddr(), &piondtls.Config{
			PSK: func([]byte) ([]byte, error) { return []byte("wrong"), nil }, PSKIdentityHint: []byte(device),
			CipherSuites: []piondtls.CipherSuiteID{piondtls.TLS_PSK_WITH_AES_128_GCM_SHA256},
		})
		if err == nil {
			err = s.HandshakeContext(ctx)
		}
		if err == nil {
			return "in"
		}
	}
	return ""
}

// strangers runs a flood and returns what became of it.
func strangers(b *testing.B, f flood) outcome {
	b.Helper()
	text, err := json.Marshal(f)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("chrt", "--idle", "0", os.Args[0], "-test.run", "^TestStrangers$", "-test.v")
	cmd.Env = append(os.Environ(), floodVariable+"="+string(text))
	said, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%v\n%s", err, said)
	}
	b.Logf("the strangers' own processor time: %v user, %v system", cmd.ProcessState.UserTime(), cmd.ProcessState.SystemTime())
	_, after, _ := strings.Cut(string(said), "\n"+floodVariable)
	var o outcome
	if err := json.Unmarshal([]byte(strings.SplitN(after, "\n", 2)[0]), &o); err != nil {
		b.Fatalf("%v\n%s", err, said)
	}
	return o
}

// BenchmarkFlood has 20,000 strangers with wrong credentials come to one door,
// 1,000 a second, while a hundred devices report by MQTT, and compares how long the devices'
// acknowledgements take with the same without strangers, just before. Run it
// with -benchtime 1x.
func BenchmarkFlood(b *testing.B) {
	for _, door := range []string{"mqtt", "mqtts", "http", "coap", "coaps"} {
		for _, many := range []bool{false, true} {
			name := door + "/one address"
			if many {
				name = door + "/20000 addresses"
			}
			b.Run(name, func(b *testing.B) { benchFlood(b, door, many) })
		}
	}
}

// processor is the time that the hub has spent on a processor.
func processor(b *testing.B, h *hubtest.Hub) time.Duration {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.PID()))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	var user, system int
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		b.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond // of USER_HZ, 100 on Linux
}

func benchFlood(b *testing.B, door string, many bool) {
	const devices = 100
	h := hubtest.Start(b, hubtest.Build(b, ""), b.TempDir())
	secrets := map[string]string{}
	for i := range devices + 1 {
		id := fmt.Sprintf("busy-%03d", i)
		secrets[id] = h.AddDevice(b, id, "sensor")
	}
	login := func(i int) (string, string) { id := fmt.Sprintf("busy-%03d", i); return id, secrets[id] }
	at := map[string]string{"mqtt": h.MQTT, "mqtts": h.MQTTS, "http": strings.TrimPrefix(h.HTTP, "http://"), "coap": h.CoAP, "coaps": h.CoAPS}[door]
	for range b.N {
		sent := 0
		work := func(ctx context.Context) *load.Result {
			r, err := load.MQTT(ctx, load.Config{Address: h.MQTT, Connections: devices, Window: 10, Rate: 5_000, Login: login, First: sent, Start: time.Now().Add(-time.Hour)})
			if err != nil || r.Refused > 0 || r.Broken > 0 {
				b.Fatalf("the devices: %v, %v", r, err)
			}
			sent += r.Acknowledged
			return r
		}
		during := func(d time.Duration) *load.Result {
			ctx, cancel := context.WithTimeout(context.Background(), d)
			defer cancel()
			return work(ctx)
		}
		during(2 * time.Second)
		idle := processor(b, h)
		calm := during(10 * time.Second)
		quiet := processor(b, h) - idle
		before := resident(b, h)
		ctx, cancel := context.WithCancel(context.Background())
		var o outcome
		var peak int
		var logins load.Histogram
		var refused int
		var all sync.WaitGroup
		all.Go(func() {
			defer cancel()
			o = strangers(b, flood{door, at, many, 20_000, 1_000})
		})
		all.Go(func() { // one more device comes and goes
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				begin := time.Now()
				one, end := context.WithTimeout(ctx, 10*time.Second)
				_, err := load.MQTT(one, load.Config{Address: h.MQTT, Connections: 1, Messages: 1, Start: begin.Add(-time.Minute), Login: func(int) (string, string) { return login(devices) }})
				end()
				if err != nil {
					refused++
				}
				logins.Observe(time.Since(begin), 1)
				peak = max(peak, resident(b, h))
				select {
				case <-ctx.Done():
				case <-tick.C:
				}
			}
		})
		flooded := work(ctx)
		all.Wait()
		each := (processor(b, h) - idle - quiet - time.Duration(float64(quiet)*flooded.Elapsed.Seconds()/calm.Elapsed.Seconds())) / 20_000
		b.ReportMetric(float64(each.Microseconds()), "µs/stranger")
		b.Logf("hub processor: %v in %v calm, %v in %v flooded", quiet, calm.Elapsed, processor(b, h)-idle-quiet, flooded.Elapsed)
		b.Logf("calm: %v", calm)
		b.Logf("flooded: %v", flooded)
		b.Logf("strangers: %+v; a device that comes meanwhile: p50 %s, p99 %s, %d refused; memory %d MB, at most %d MB", o, logins.Quantile(0.5), logins.Quantile(0.99), refused, before>>20, peak>>20)
		for _, q := range []struct {
			name string
			q    float64
		}{{"p50", 0.5}, {"p99", 0.99}} {
			b.ReportMetric(float64(flooded.Latencies.Quantile(q.q))/float64(calm.Latencies.Quantile(q.q)), q.name+"-ratio")
			b.ReportMetric(float64(flooded.Latencies.Quantile(q.q))/1e6, q.name+"-ms")
		}
		b.ReportMetric(float64(peak-before)/(1<<20), "MB-more")
		b.ReportMetric(0, "ns/op")
	}
}
