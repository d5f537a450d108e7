package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/command"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/road/dialect"
	"github.com/songhua-io/hub/internal/telemetry"
)

// orderPrefix begins the names of commands that are orders of a dialect.
const orderPrefix = "v2x."

// orders is the way down to roadside units: commands of the ledger in the dialect
// of whoever listens, and what units say of them.
type orders struct {
	dialects *dialect.Set
	commands *command.Ledger
	registry *registry.Registry
	maySpeak func(p *ingest.Peer, device string) bool
	clock    func() time.Time
	log      *slog.Logger
	// failed is told of an order that a unit could not do.
	failed func(ctx context.Context, c command.Command)
}

// orderOf returns the order that the name of a command is of.
func orderOf(name string) (dialect.Order, bool) {
	o, ok := strings.CutPrefix(name, orderPrefix)
	return dialect.Order(o), ok
}

// order reports why a device may not be given an order.
func (c checks) order(device *telemetry.Device, o dialect.Order, params json.RawMessage) error {
	if device.Kind != telemetry.KindRSU {
		return fmt.Errorf("command %s%.40s for device %q %w: it is of kind %s, and orders of this kind are for roadside units (rsu)", orderPrefix, o, device.ID, command.ErrInvalid, device.Kind)
	}
	if _, err := dialect.ReadOrder(o, params); err != nil {
		return fmt.Errorf("command %s%.40s %w: %w", orderPrefix, o, command.ErrInvalid, err)
	}
	return nil
}

// esnOf is the serial number by which a unit calls itself.
func esnOf(d *telemetry.Device) string {
	if esn := d.Tags["esn"]; esn != "" {
		return esn
	}
	return d.ID
}

// unit returns the roadside unit with a serial number that a peer may speak for:
// itself when the number is empty. Nil: there is none.
func (o *orders) unit(p *ingest.Peer, esn string) *telemetry.Device {
	id := p.Device.ID
	if esn != "" {
		id = o.registry.Unit(esn)
	}
	d := o.registry.Device(id)
	if d == nil || d.Kind != telemetry.KindRSU || !o.maySpeak(p, id) {
		return nil
	}
	return d
}

// Hears implements ingest.Orders.
func (o *orders) Hears(p *ingest.Peer, filter string) (topics []ingest.OrderTopic, ok bool) {
	esn, ways, ok := o.dialects.Ways(filter)
	if !ok {
		return nil, false
	}
	d := o.unit(p, esn)
	if d == nil {
		return nil, false
	}
	for _, w := range ways {
		topics = append(topics, ingest.OrderTopic{Topic: w.Topic, Listen: func(deliver func(ingest.Command) bool) func() {
			return o.commands.ListenFor(d.ID, orderPrefix+string(w.Order), func(l command.Letter) bool {
				// Who may listen may have changed since the subscription.
				now := o.unit(p, esn)
				if now == nil || now.ID != d.ID {
					return false
				}
				message, err := o.letter(w, esnOf(now), l)
				if err != nil { // it was checked when it was issued, perhaps by an older hub
					o.log.Error("order_not_written", "command", l.ID, "dialect", w.Profile.ID, "error", err)
					return false
				}
				return deliver(ingest.Command{ID: l.ID, Message: message, Received: l.Received})
			})
		}})
	}
	return topics, true
}

// letter is a command in a dialect. It is the same at every delivery.
func (o *orders) letter(w dialect.Way, esn string, l command.Letter) ([]byte, error) {
	what, err := dialect.ReadOrder(w.Order, l.Params)
	if err != nil {
		return nil, err
	}
	return w.Profile.Write(w.Order, what, dialect.Head{ESN: esn, Seq: strconv.FormatInt(l.Seq, 10), At: time.UnixMilli(l.Seq)})
}

// Answered implements ingest.Orders.
func (o *orders) Answered(ctx context.Context, p *ingest.Peer, topic string, payload []byte) (handled bool, err error) {
	r, ok := o.dialects.Route(topic)
	if !ok || r.Kind != road.KindAck && r.Kind != road.KindAnswer {
		return false, nil
	}
	d := o.unit(p, r.ESN)
	switch {
	case d != nil:
		return true, o.answer(ctx, d.ID, r, payload)
	case r.ESN == "":
		return true, fmt.Errorf("a message that names no roadside unit %w; a gateway names it in the topic", ingest.ErrNotYours)
	}
	return true, fmt.Errorf("roadside unit %.64q %w; make this serial number the device's id or its tag esn, its kind rsu, or the sender its gateway", r.ESN, ingest.ErrNotYours)
}

// answer takes what a unit says about an order: an acknowledgement, or what it was
// asked to tell.
func (o *orders) answer(ctx context.Context, device string, r dialect.Route, payload []byte) error {
	m, _, err := o.dialects.ReadJSON(r, payload, o.clock())
	if err != nil {
		return fmt.Errorf("answer %w: it %v", ingest.ErrRefusedMail, err)
	}
	if m.Ack == nil {
		return fmt.Errorf("answer %w: it has no seqNum", ingest.ErrRefusedMail)
	}
	seq, err := strconv.ParseInt(m.Ack.Seq, 10, 64)
	if err != nil {
		return fmt.Errorf("seqNum %.40q %w", m.Ack.Seq, ingest.ErrNoCommand)
	}
	c, err := o.commands.Numbered(ctx, device, seq)
	if _, isOrder := orderOf(c.Name); errors.Is(err, command.ErrUnknown) || err == nil && !isOrder {
		return fmt.Errorf("seqNum %d %w", seq, ingest.ErrNoCommand)
	}
	if err != nil {
		return err
	}
	if r.Kind == road.KindAnswer {
		return o.told(ctx, c, m.Status)
	}
	return o.acknowledged(ctx, c, dialect.OutcomeOf(m.Ack))
}

// acknowledged ends a command by a unit's acknowledgement.
func (o *orders) acknowledged(ctx context.Context, c command.Command, out dialect.Outcome) error {
	state := command.Done
	if !out.Done {
		state = command.Failed
	}
	if err := o.reply(ctx, c, state, map[string]any{"errorCode": out.Code, "text": map[string]string{"zh": out.ZH, "en": out.EN}}); err != nil {
		return err
	}
	if state == command.Failed {
		o.failed(ctx, c)
	}
	return nil
}

// told ends a query by what a unit tells. Of several answers to one query the
// first stays.
func (o *orders) told(ctx context.Context, c command.Command, s *road.Status) error {
	if c.State == command.Done {
		return nil
	}
	return o.reply(ctx, c, command.Done, map[string]any{"counts": s.Counts})
}

func (o *orders) reply(ctx context.Context, c command.Command, state command.State, result any) error {
	text, err := json.Marshal(map[string]any{"state": state, "result": result})
	if err != nil {
		return err
	}
	return mail{commands: o.commands}.Reply(ctx, c.Device, c.ID, text)
}

// openOrders opens the way down to roadside units.
func (h *hub) openOrders() error {
	dialects, err := dialect.Load()
	if err != nil {
		return fmt.Errorf("dialects of roadside units: %w", err)
	}
	h.orders = &orders{
		dialects: dialects, commands: h.commands, registry: h.registry, maySpeak: gate{registry: h.registry}.MaySpeak,
		clock: h.clock, log: h.log,
	}
	h.steward = newStewardship(h)
	h.orders.failed = h.steward.failed
	h.relief = newRelief(h, h.board.Units)
	h.steward.limits = h.relief.limits
	h.stack.start("relief", h.relief.run)
	h.stack.start("stewardship of units", h.steward.run)
	return nil
}
