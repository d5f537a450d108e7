package mqtt

import (
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/telemetry"
)

const (
	sparkplugRoot = "spBv1.0/"
	// maxNodes bounds the edge nodes whose births are remembered. The birth that
	// makes way for another one is asked for again.
	maxNodes = 10_000
	// rebirthEvery is how long an edge node may take to be born again before it
	// is asked once more.
	rebirthEvery = 10 * time.Second
)

// sparkplugFilters are the topics that edge nodes report on. They are not
// shared: what a message means depends on the messages of its edge node before
// it, so one session must see them all, in their order. Of several hubs each
// takes all of them.
func sparkplugFilters() []string {
	return []string{
		sparkplugRoot + "+/NBIRTH/+", sparkplugRoot + "+/NDATA/+", sparkplugRoot + "+/NDEATH/+",
		sparkplugRoot + "+/DBIRTH/+/+", sparkplugRoot + "+/DDATA/+/+", sparkplugRoot + "+/DDEATH/+/+",
	}
}

// nodes is what is remembered of Sparkplug edge nodes behind a broker. It
// outlives connections: edge nodes do not see them.
type nodes struct {
	known map[nodeName]*node
	count prometheus.Gauge
}

type nodeName struct{ group, node string }

type node struct {
	codec.Session
	unclear bool      // its birth is missing
	asked   time.Time // when it was last asked for it
}

func (n *nodes) of(t codec.SparkplugTopic) *node {
	name := nodeName{t.Group, t.Node}
	if at := n.known[name]; at != nil {
		return at
	}
	if len(n.known) >= maxNodes {
		for other := range n.known {
			delete(n.known, other)
			break
		}
	}
	at := &node{}
	n.known[name] = at
	return at
}

// addSparkplug adds a message of an edge node: the node is the device.
func (c *connection) addSparkplug(p *parcel, m paho.Message) {
	t, err := codec.ParseSparkplugTopic(m.Topic())
	if err != nil {
		c.foreign(p, t.Node, m, reasonOf(err), err.Error())
		return
	}
	if err := telemetry.CheckDeviceID(t.Node); err != nil {
		c.foreign(p, t.Node, m, telemetry.ReasonUnknownDevice, err.Error())
		return
	}
	p.Add(t.Node, codec.Sparkplug, m.Payload()).Decode = func(b *telemetry.Batch, in codec.Input) error {
		at := c.x.nodes.of(t)
		note, err := at.Decode(b, t, in)
		at.unclear = note.Rebirth || at.unclear && t.Type != codec.NBirth
		return err
	}
}

// settle looks at what became of the Sparkplug messages of a parcel: nothing
// is remembered of nodes that are not registered, and births that are missing
// are asked for.
func (n *nodes) settle(p *parcel, group []paho.Message, rebirth func(codec.SparkplugTopic, *node)) {
	for i := range p.Messages {
		m := &p.Messages[i]
		if m.Decode == nil {
			continue
		}
		t, err := codec.ParseSparkplugTopic(group[i].Topic())
		if err != nil {
			continue
		}
		name := nodeName{t.Group, t.Node}
		at := n.known[name]
		switch {
		case at == nil:
		case len(m.Rejects) > 0 && m.Rejects[0].Stage == telemetry.StageIdentify, at.Metrics() == 0 && t.Type == codec.NDeath:
			delete(n.known, name)
		case at.unclear:
			rebirth(t, at)
		}
	}
	n.count.Set(float64(len(n.known)))
}

// rebirth asks an edge node to announce its metrics again.
func (c *connection) rebirth(t codec.SparkplugTopic, at *node) {
	now := c.x.server.deps.Clock()
	if now.Sub(at.asked) < rebirthEvery {
		return
	}
	at.asked = now
	c.client.Publish(sparkplugRoot+t.Group+"/NCMD/"+t.Node, 0, false, rebirth(now.UnixMilli()))
}
