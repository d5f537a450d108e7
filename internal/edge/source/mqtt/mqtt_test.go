package mqtt

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/songhua-io/hub/internal/edge/source"
)

// message is one that came from a broker.
type message struct {
	paho.Message
	topic, payload string
}

func (m message) Topic() string   { return m.topic }
func (m message) Payload() []byte { return []byte(m.payload) }

func TestMessagesBecomeOneRecordWithTagsOfTheirTopics(t *testing.T) {
	s := &session{cfg: Config{TopicTag: "topic", Levels: map[string]int{"room": 2, "deep": 9}}, decoder: source.Decoder{Device: "d1", Now: time.Now}}
	r := s.record([]paho.Message{
		message{topic: "sensors/hall", payload: `{"a": 1, "b": 2}`},
		message{topic: "sensors/cellar", payload: `{"a": `},
		message{topic: "sensors/attic", payload: "m,room=own v=3"},
	})
	var got []string
	for _, sample := range r.Samples {
		l := fmt.Sprintf("%s %g", sample.Metric, sample.Value)
		for _, tag := range sample.Tags {
			l += fmt.Sprintf(" %s=%s", tag.Name, tag.Value)
		}
		got = append(got, l)
	}
	want := []string{"a 1 topic=sensors/hall room=hall", "b 2 topic=sensors/hall room=hall", "m_v 3 room=own topic=sensors/attic"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if len(r.Faults) != 1 || !strings.Contains(r.Faults[0].Error(), "sensors/cellar") {
		t.Errorf("%v: the message that cannot be read is to be named", r.Faults)
	}
}

func TestABrokerIsTrustedByItsAuthority(t *testing.T) {
	authority := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate
	defer authority.Close()
	server, err := tls.Listen("tcp", "127.0.0.1:0", authority.TLS)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() { // hangs up behind the handshake
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake()
			_ = conn.Close()
		}
	}()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, strange := range map[string]bool{"": true, ca: false} {
		var cfg Config
		cfg.SetDefaults()
		cfg.URL, cfg.Topics, cfg.TLS.CA = "mqtts://"+server.Addr().String(), []string{"#"}, file
		err := New(cfg, "d1", time.Now).Run(t.Context(), func(context.Context, source.Record) error { return nil })
		if err == nil || strings.Contains(err.Error(), "x509") != strange {
			t.Errorf("authority %q: %v", file, err)
		}
	}
	cfg := Config{URL: "mqtts://127.0.0.1:1", Topics: []string{"#"}}
	cfg.TLS.CA = "/absent"
	if err := New(cfg, "d1", time.Now).Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "tls.ca") {
		t.Error(err)
	}
}

func TestFaultsOfTheConfig(t *testing.T) {
	c := Config{URL: "http://x", Topics: []string{"a/#/b"}, Levels: map[string]int{"room": 0}}
	var got []string
	for _, e := range c.Check("mqtt") {
		got = append(got, e.Path)
	}
	if fmt.Sprint(got) != "[mqtt.url mqtt.topics mqtt.levels]" {
		t.Error(got)
	}
}
