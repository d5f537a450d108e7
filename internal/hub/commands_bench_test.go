package hub

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"golang.org/x/sys/unix"

	"github.com/songhua-io/hub/internal/command"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
)

// obey connects a device by MQTT 5 that answers every command it hears, until the
// connection ends.
func (h *hub) obey(b *testing.B, device string) {
	secret := h.register(b, registry.Spec{ID: device})
	conn, err := net.Dial("tcp", h.at.MQTT)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	write := func(kind byte, fill func(packets.Packet)) error {
		p := packets.NewControlPacket(kind)
		fill(p.Content)
		_, err := p.WriteTo(conn)
		return err
	}
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	must(write(packets.CONNECT, func(p packets.Packet) {
		c := p.(*packets.Connect)
		c.ProtocolName, c.ProtocolVersion, c.CleanStart, c.ClientID, c.KeepAlive = "MQTT", 5, true, device, 0
		c.UsernameFlag, c.Username, c.PasswordFlag, c.Password = true, device, true, []byte(secret)
	}))
	_, err = packets.ReadPacket(conn)
	must(err)
	must(write(packets.SUBSCRIBE, func(p packets.Packet) {
		s := p.(*packets.Subscribe)
		s.PacketID, s.Subscriptions = 1, []packets.SubOptions{{Topic: "devices/" + device + "/commands", QoS: 1}}
	}))
	_, err = packets.ReadPacket(conn)
	must(err)
	go func() {
		for id := uint16(1); ; id++ {
			p, err := packets.ReadPacket(conn)
			if err != nil {
				return
			}
			m, ok := p.Content.(*packets.Publish)
			if !ok {
				continue
			}
			_, name, _ := strings.Cut(string(m.Payload), `"id":`)
			name, _, _ = strings.Cut(strings.TrimLeft(name, ` "`), `"`)
			if write(packets.PUBACK, func(p packets.Packet) { p.(*packets.Puback).PacketID = m.PacketID }) != nil || write(packets.PUBLISH, func(p packets.Packet) {
				r := p.(*packets.Publish)
				r.QoS, r.PacketID, r.Topic, r.Payload = 1, max(id, 1), "devices/"+device+"/commands/"+name+"/reply", []byte(`{}`)
			}) != nil {
				return
			}
		}
	}()
}

// processorTime is what this process used: the hub, and the devices in it.
func processorTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCommandsByMQTT asks 1,000 connected devices, 1,000 times a second, and
// measures from the request to the answer on disk.
func BenchmarkCommandsByMQTT(b *testing.B) {
	const devices, rate = 1000, 1000
	h := everyDoor(b, b.TempDir(), func(*config.Config) {})
	for i := range devices {
		h.obey(b, fmt.Sprintf("d%d", i))
	}
	took := make([]time.Duration, b.N)
	var all sync.WaitGroup
	b.ResetTimer()
	begin, used := time.Now(), processorTime(b)
	for i := range b.N {
		if wait := time.Duration(i)*time.Second/rate - time.Since(begin); wait > 0 {
			<-time.After(wait)
		}
		all.Go(func() {
			asked := time.Now()
			c, err := h.commands.Issue(b.Context(), fmt.Sprintf("d%d", i%devices), command.Request{Name: "sync"})
			if err == nil {
				ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
				defer cancel()
				c, err = h.commands.Wait(ctx, c.ID)
			}
			if err != nil || c.State != command.Done {
				b.Errorf("%+v, %v", c, err)
			}
			took[i] = time.Since(asked)
		})
	}
	all.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64((processorTime(b)-used).Microseconds())/float64(b.N), "cpu-us/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
	b.ReportMetric(took[b.N/2].Seconds()*1000, "ms-p50")
	b.ReportMetric(took[b.N*99/100].Seconds()*1000, "ms-p99")
}
