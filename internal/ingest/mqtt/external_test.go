package mqtt_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/ingest/mqtt"
)

// broker is the other side of a session: what it does with each packet.
type broker struct {
	*hub
	connects, acked atomic.Int64
	asked           chan string // topics that the hub publishes to
	refuses         string      // filters that begin so are refused
	backlog         [][]byte    // sent between CONNACK and SUBACK
	settings        []setting   // of the hub
	filters         chan string // those that the hub subscribes to; nil: nobody looks
}

// behind runs a hub's session with a broker of raw bytes.
func behind(t *testing.T, m *memory, b *broker) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.hub, b.asked = start(t, m, b.settings...), make(chan string, 100)
	cfg := mqtt.DefaultExternalConfig()
	cfg.Brokers, cfg.Sessions = []string{"tcp://" + l.Addr().String()}, 1
	x, err := b.server.NewExternal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := x.Run(ctx); err != nil {
			t.Errorf("external: %v", err)
		}
	})
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { b.serve(conn) })
		}
	})
	t.Cleanup(func() { cancel(); l.Close(); running.Wait() })
}

func (b *broker) serve(conn net.Conn) {
	defer conn.Close()
	sent := make(chan struct{})
	for r := bufio.NewReader(conn); ; {
		head, body, err := readPacket(r)
		if err != nil {
			return
		}
		switch head >> 4 {
		case 1:
			b.connects.Add(1)
			conn.Write(packet(0x20, 1, 0))
			go func() {
				defer close(sent)
				for _, p := range b.backlog {
					if _, err := conn.Write(p); err != nil {
						return
					}
				}
			}()
		case 3:
			b.asked <- string(body[2 : 2+int(body[1])])
		case 4:
			b.acked.Add(1)
		case 8:
			answer := []any{body[0], body[1]}
			for p := body[2:]; len(p) > 0; {
				n := int(p[1])
				code := byte(1)
				if b.filters != nil {
					b.filters <- string(p[2 : 2+n])
				}
				if b.refuses != "" && strings.HasPrefix(string(p[2:2+n]), b.refuses) {
					code = 0x80
				}
				answer, p = append(answer, code), p[n+3:]
			}
			go func() {
				<-sent // a session's queue comes before the answer
				conn.Write(packet(0x90, answer...))
			}()
		case 12:
			conn.Write(packet(0xd0))
		case 14:
			return
		}
	}
}

func readPacket(r *bufio.Reader) (head byte, body []byte, err error) {
	if head, err = r.ReadByte(); err != nil {
		return 0, nil, err
	}
	n := 0
	for shift := 0; ; shift += 7 {
		c, err := r.ReadByte()
		if err != nil {
			return 0, nil, err
		}
		if n |= int(c&0x7f) << shift; c < 0x80 {
			break
		}
	}
	body = make([]byte, n)
	_, err = io.ReadFull(r, body)
	return head, body, err
}

func (b *broker) up(t *testing.T) {
	t.Helper()
	eventually(t, "the session is up", func() bool { return b.metric(t, "hub_mqtt_external_sessions") == 1 })
}

func TestABacklogOfAnySizeComesBeforeTheSubscription(t *testing.T) {
	const backlog = 5000
	now := time.Now().UnixMilli()
	b := &broker{}
	for i := range backlog {
		b.backlog = append(b.backlog, publish(4, 2, ownTopic, uint16(i+1), line("m", i, now-int64(i))))
	}
	m := newMemory("t1")
	behind(t, m, b)
	b.up(t)
	eventually(t, "all are acknowledged", func() bool { return b.acked.Load() == backlog })
	if m.count() != backlog || b.connects.Load() != 1 {
		t.Errorf("%d samples are stored over %d connections", m.count(), b.connects.Load())
	}
}

func TestCompressedMessagesComeThroughABroker(t *testing.T) {
	plain := []byte("m value=1\nm,room=a value=2")
	b := &broker{backlog: [][]byte{
		publish(4, 2, ownTopic+"/influx", 1, gzipped(plain)),
		publish(4, 2, ownTopic, 2, []byte("\x1f\x8b\x08\x00")),
		publish(4, 2, ownTopic, 3, gzipped([]byte(strings.Repeat("m value=1\n", 1<<20)))),
	}}
	m := newMemory("t1")
	behind(t, m, b)
	eventually(t, "all are acknowledged", func() bool { return b.acked.Load() == 3 })
	if m.count() != 2 {
		t.Errorf("%d samples are stored", m.count())
	}
	var kept []string
	for _, r := range m.rejects() {
		kept = append(kept, string(r.Reason))
	}
	if fmt.Sprint(kept) != "[malformed decompression_limit]" {
		t.Errorf("kept %v", kept)
	}
}

// sparkplug is a payload with one metric of type Int32: named and aliased in
// births, aliased only in data.
func sparkplug(seq int, name string, value byte) []byte {
	metric := []byte{0x10, 7}
	if name != "" {
		metric = append([]byte{0x0a, byte(len(name))}, name...)
		metric = append(metric, 0x10, 7, 0x20, 3)
	}
	metric = append(metric, 0x50, value)
	return append([]byte{0x18, byte(seq), 0x12, byte(len(metric))}, metric...)
}

func TestSparkplugThroughABroker(t *testing.T) {
	const at = "spBv1.0/plant/"
	b := &broker{backlog: [][]byte{publish(4, 0, at+"NDATA/t1", 0, sparkplug(5, "", 1)), publish(4, 0, at+"NDATA/t2", 0, sparkplug(5, "", 1))}}
	m := newMemory("t1")
	behind(t, m, b)
	if topic := <-b.asked; topic != at+"NCMD/t1" {
		t.Errorf("the hub publishes to %s", topic)
	}
	b.up(t)
	eventually(t, "both are rejects", func() bool { return len(m.rejects()) == 2 })
	if n := b.metric(t, "hub_mqtt_external_sparkplug_nodes"); n != 1 {
		t.Errorf("%v nodes are remembered", n)
	}

	again := &broker{backlog: [][]byte{publish(4, 0, at+"NBIRTH/t1", 0, sparkplug(0, "level", 1))}}
	for i := range 100 {
		again.backlog = append(again.backlog, publish(4, 0, at+"NDATA/t1", 0, sparkplug(i+1, "", byte(i))))
	}
	again.backlog = append(again.backlog, publish(4, 0, at+"NDEATH/t1", 0, nil))
	m = newMemory("t1")
	behind(t, m, again)
	again.up(t)
	eventually(t, "all are stored", func() bool { return m.count() == 101 })
	eventually(t, "the dead node is forgotten", func() bool { return again.metric(t, "hub_mqtt_external_sparkplug_nodes") == 0 })
	if len(m.rejects()) > 0 || len(again.asked) > 0 {
		t.Errorf("kept %v", m.rejects())
	}
}

func TestABrokerThatRefusesSparkplugIsUsedForTheRest(t *testing.T) {
	b := &broker{refuses: "spBv1.0/"}
	behind(t, newMemory("t1"), b)
	b.up(t)
	none := &broker{refuses: "$share/"}
	behind(t, newMemory("t1"), none)
	eventually(t, "the hub tries again", func() bool { return none.connects.Load() > 1 })
	if n := none.metric(t, "hub_mqtt_external_sessions"); n != 0 {
		t.Errorf("%v sessions are up without their subscription", n)
	}
}
