package ingest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/telemetry"
)

// decode reads every message into the delivery's batch.
func (p *Pipeline) decode(d *Delivery) {
	for _, i := range d.open {
		p.decodeMessage(d, &d.Messages[i])
	}
}

func (p *Pipeline) decodeMessage(d *Delivery, m *Message) {
	now := d.now.UnixMilli()
	if m.source != nil {
		m.source.mu.Lock()
		now = m.source.stamp(now)
		m.source.mu.Unlock()
	}
	in := p.Input(m.Payload, m.Device, now)
	m.first, m.states, m.Accepted = len(d.batch.Samples), len(d.batch.States), 0
	if m.refused {
		m.last, m.statesEnd = m.first, m.states
		return
	}
	if m.Format == codec.Auto {
		m.Format = codec.Detect(m.Payload)
	}
	rejects := len(d.batch.Rejects)
	err := p.decodeBytes(d, m, in)
	m.last, m.statesEnd = len(d.batch.Samples), len(d.batch.States)
	m.Rejects = append(m.Rejects[:0], d.batch.Rejects[rejects:]...)
	if err != nil {
		m.refuse(telemetry.StageDecode, reasonOf(err), err.Error())
		return
	}
	if m.source != nil && m.last > m.first && d.batch.Samples[m.first].Time == now {
		m.source.mu.Lock()
		m.source.stamped = max(m.source.stamped, now)
		m.source.mu.Unlock()
	}
}

// Input is what a payload of a device is read against: the bounds that
// validate holds too, before memory is spent.
func (p *Pipeline) Input(payload []byte, device string, now int64) codec.Input {
	return codec.Input{
		Payload: payload, Device: device, Now: now, MaxSamples: p.cfg.MaxMessageSamples,
		MaxName: p.cfg.MaxNameBytes, MaxTags: p.cfg.MaxTags, MaxValue: p.cfg.MaxValueBytes,
	}
}

func (p *Pipeline) decodeBytes(d *Delivery, m *Message, in codec.Input) error {
	if m.Decode != nil {
		return m.Decode(&d.batch, in)
	}
	return codec.Decode(&d.batch, m.Format, in)
}

func reasonOf(err error) telemetry.Reason {
	if e := (*codec.Error)(nil); errors.As(err, &e) && e.Reason != "" {
		return e.Reason
	}
	return telemetry.ReasonMalformed
}

// identify makes sure that the device of every message is registered and in
// use, and charges what it sent to its rate.
func (p *Pipeline) identify(d *Delivery) {
	for _, i := range d.open {
		m := &d.Messages[i]
		switch {
		case m.source == nil:
			m.refuse(telemetry.StageIdentify, telemetry.ReasonUnknownDevice, fmt.Sprintf("device %q is not registered", m.Device))
		case m.source.device.Load().Disabled:
			m.refuse(telemetry.StageIdentify, telemetry.ReasonDeviceDisabled, fmt.Sprintf("device %q is disabled", m.Device))
		default:
			m.source.tokens.Add(-int64(m.last - m.first + m.statesEnd - m.states + len(m.Rejects)))
		}
	}
}

// grade refuses data that this hub may not hold: important and core data need
// a store on an encrypted volume. Art. 74(3)
func (p *Pipeline) grade(d *Delivery) {
	for _, i := range d.open {
		m := &d.Messages[i]
		if m.source == nil {
			continue
		}
		if g := m.source.device.Load().Grade; g > telemetry.General {
			d.drop(m)
			m.refuse(telemetry.StageGrade, telemetry.ReasonGradeUnsupported, fmt.Sprintf("device %q reports data of grade %s", m.Device, g))
		}
	}
}

// drop takes the points and states of a message out of the delivery.
func (d *Delivery) drop(m *Message) {
	m.Accepted = 0
	d.changes = slices.DeleteFunc(d.changes, func(c change) bool { return &d.Messages[c.message] == m })
	from, to := 0, 0
	for i, s := range d.samples {
		if int(s) < m.first {
			from = i + 1
		}
		if int(s) < m.last {
			to = i + 1
		}
	}
	d.samples = slices.Delete(d.samples, from, to)
	d.write.Points = slices.Delete(d.write.Points, from, to)
}
