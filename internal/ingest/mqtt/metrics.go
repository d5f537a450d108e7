package mqtt

import (
	"fmt"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	connects    *prometheus.CounterVec
	messages    [3]prometheus.Counter // by QoS
	refused     *prometheus.CounterVec
	disconnects *prometheus.CounterVec
	bytes       prometheus.Counter
	slow        prometheus.Counter
	held        prometheus.Counter
	missed      prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, s *Server) *metrics {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		reg.MustRegister(v)
		return v
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	m := &metrics{
		connects:    vec("hub_mqtt_connects_total", "CONNECT packets, by protocol version and MQTT 5 reason code (0x00 is accepted; version 0 could not be read).", "version", "code"),
		refused:     vec("hub_mqtt_refused_total", "Connections, subscriptions and messages that the MQTT doors refused before ingest, by reason.", "reason"),
		disconnects: vec("hub_mqtt_disconnects_total", "Connections that ended, by how.", "how"),
		bytes:       counter("hub_mqtt_bytes_total", "Bytes read from MQTT connections."),
		slow:        counter("hub_mqtt_slow_readers_total", "Connections ended because the client did not read what it was sent."),
		held:        counter("hub_mqtt_held_total", "Times that a connection was held still because its device sent too fast or the store was busy."),
		missed:      counter("hub_mqtt_sparkplug_missed_total", "Sparkplug messages that are missing by the sequence numbers of those that came; a rebirth is asked for."),
	}
	messages := vec("hub_mqtt_messages_total", "PUBLISH packets from devices, by QoS.", "qos")
	for qos := range m.messages {
		m.messages[qos] = messages.WithLabelValues(strconv.Itoa(qos))
	}
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "hub_mqtt_connections", Help: "Open MQTT connections, over all transports.",
	}, func() float64 {
		s.mu.RLock()
		defer s.mu.RUnlock()
		return float64(len(s.conns))
	}))
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "hub_mqtt_read_ahead_bytes", Help: "Memory for what is read of connections that are held still; PINGREQs beyond its bound are not seen.",
	}, func() float64 { return float64(s.ahead.Load()) }))
	return m
}

func (m *metrics) connect(version, code byte) {
	m.connects.WithLabelValues(strconv.Itoa(int(version)), fmt.Sprintf("0x%02x", code)).Inc()
}
