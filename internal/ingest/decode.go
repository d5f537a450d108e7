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
	if m.Format.Road() {
		m.last, m.statesEnd, m.Rejects, m.live = m.first, m.states, m.Rejects[:0], false
		d.road = true
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
// use, and charges what it sent to its quota.
func (p *Pipeline) identify(d *Delivery) {
	for _, i := range d.open {
		m := &d.Messages[i]
		switch {
		case m.source == nil:
			m.refuse(telemetry.StageIdentify, telemetry.ReasonUnknownDevice, fmt.Sprintf("device %q is not registered", m.Device))
		case m.Derived, m.History: // of what was acknowledged, or was measured before
		case m.source.device.Load().Disabled:
			m.refuse(telemetry.StageIdentify, telemetry.ReasonDeviceDisabled, fmt.Sprintf("device %q is disabled", m.Device))
		default:
			p.deps.Quotas.Samples(&m.source.meter, m.last-m.first+m.statesEnd-m.states+len(m.Rejects), d.now)
		}
	}
}

// grade refuses data that this hub may not hold: important and core data need
// a store on an encrypted volume. Where there is one, validate has sent them
// there. Art. 74(3)
func (p *Pipeline) grade(d *Delivery) {
	if p.deps.Sealed != nil {
		return
	}
	for _, i := range d.open {
		m := &d.Messages[i]
		if m.source == nil || m.refused { // its door said why
			continue
		}
		if g := m.source.device.Load().EffectiveGrade(); g.Sealed() {
			d.drop(m)
			m.refuse(telemetry.StageGrade, telemetry.ReasonGradeUnsupported, fmt.Sprintf("device %q reports data of grade %s, and %s", m.Device, g, p.deps.Unsealed))
		}
	}
	if len(d.samples[sealedStore]) > 0 {
		p.refuseSealed(d)
	}
}

// refuseSealed refuses the samples of metrics whose own grade asks for the
// store that is not there.
func (p *Pipeline) refuseSealed(d *Delivery) {
	point := 0
	for _, i := range d.open {
		m := &d.Messages[i]
		for ; point < len(d.samples[sealedStore]) && int(d.samples[sealedStore][point]) < m.last; point++ {
			s := &d.batch.Samples[d.samples[sealedStore][point]]
			m.Rejects = append(m.Rejects, telemetry.Reject{Index: int(s.Index), Stage: telemetry.StageGrade, Reason: telemetry.ReasonGradeUnsupported,
				Detail: fmt.Sprintf("metric %q has a grade above general, and %s", clip(s.Metric), p.deps.Unsealed)})
		}
	}
	d.write[sealedStore].Reset()
	d.samples[sealedStore] = d.samples[sealedStore][:0]
}

// drop takes the points and states of a message out of the delivery.
func (d *Delivery) drop(m *Message) {
	m.Accepted = 0
	d.changes = slices.DeleteFunc(d.changes, func(c change) bool { return &d.Messages[c.message] == m })
	for s := range stores {
		from, to := 0, 0
		for i, k := range d.samples[s] {
			if int(k) < m.first {
				from = i + 1
			}
			if int(k) < m.last {
				to = i + 1
			}
		}
		d.samples[s] = slices.Delete(d.samples[s], from, to)
		d.write[s].Points = slices.Delete(d.write[s].Points, from, to)
	}
}
