package http

import (
	"bytes"
	nethttp "net/http"
	"time"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/telemetry"
)

// deviceTag is the tag by which a gateway names the device it speaks for. It
// leads the sample to that device and is not stored as a tag.
const deviceTag = "device"

// split is a gateway's message taken apart by device: the pipeline takes one
// device per message.
type split struct {
	batch   telemetry.Batch // of formats that are decoded before they are split
	now     int64           // given to samples of batch without a time
	parts   []part
	of      map[string]int // device → parts
	refused []telemetry.Reject
}

// part is what belongs to one device.
type part struct {
	device  string
	lines   []byte
	samples []int32 // of split.batch
	rejects bool    // the batch's rejects are told with this part
}

func (s *split) reset() {
	s.batch.Reset()
	s.batch.Trim()
	clear(s.of)
	clear(s.parts)
	s.parts, s.refused = s.parts[:0], s.refused[:0]
}

// part returns the part of a device, or nil when the peer may not speak for
// it. The reject of a stranger is noted once.
func (r *request) part(device []byte) (*part, *failure) {
	s := &r.split
	if len(device) == 0 {
		device = []byte(r.peer.Device.ID)
	}
	if i, ok := s.of[string(device)]; ok {
		if i < 0 {
			return nil, nil
		}
		return &s.parts[i], nil
	}
	if len(s.of) >= r.door.cfg.MaxDevices {
		return nil, refuse(nethttp.StatusRequestEntityTooLarge, telemetry.ReasonTooLarge, "the request speaks for more than %d devices; send smaller batches", r.door.cfg.MaxDevices)
	}
	if s.of == nil {
		s.of = map[string]int{}
	}
	id := string(device)
	if id != r.peer.Device.ID && !r.door.deps.Gate.MaySpeak(r.peer, id) {
		s.of[id] = -1
		s.refused = append(s.refused, telemetry.Reject{
			Index: -1, Stage: telemetry.StageIdentify, Reason: telemetry.ReasonNotPermitted,
			Detail: "gateway \"" + r.peer.Device.ID + "\" may not send telemetry of \"" + clip(id) + "\"",
		})
		return nil, nil
	}
	s.of[id] = len(s.parts)
	s.parts = append(s.parts, part{device: id})
	return &s.parts[len(s.parts)-1], nil
}

// splitLines sorts line protocol by the device tag of each line.
func (r *request) splitLines(payload []byte) *failure {
	for len(payload) > 0 {
		end := lineEnd(payload)
		line := payload[:end]
		payload = payload[min(end+1, len(payload)):]
		before, device, after := cutDevice(line)
		p, fault := r.part(device)
		if fault != nil {
			return fault
		}
		if p != nil {
			p.lines = append(append(append(p.lines, before...), after...), '\n')
		}
	}
	return nil
}

// lineEnd returns where the first line ends: at a line feed that does not
// stand in a quoted field value.
func lineEnd(b []byte) int {
	if b[0] == '#' {
		return indexOrEnd(b, '\n')
	}
	spaces, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '\\':
			i++
		case c == '"' && spaces == 1:
			quoted = !quoted
		case c == ' ' && !quoted && i > 0 && b[i-1] != ' ':
			spaces++
		case c == '\n' && !quoted:
			return i
		}
	}
	return len(b)
}

func indexOrEnd(b []byte, c byte) int {
	if i := bytes.IndexByte(b, c); i >= 0 {
		return i
	}
	return len(b)
}

// cutDevice takes the device tag out of a line. Escapes in its value are
// undone; a line without the tag has no device.
func cutDevice(line []byte) (before, device, after []byte) {
	if len(line) == 0 || line[0] == '#' {
		return line, nil, nil
	}
	begin := -1 // of ",device="
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\':
			i++
		case c == ',' && begin < 0 && bytes.HasPrefix(line[i+1:], []byte(deviceTag+"=")):
			begin = i
		case c == ',' || c == ' ':
			if begin >= 0 {
				return line[:begin], unescape(line[begin+len(deviceTag)+2 : i]), line[i:]
			}
			if c == ' ' {
				return line, nil, nil
			}
		}
	}
	return line, nil, nil
}

func unescape(v []byte) []byte {
	if bytes.IndexByte(v, '\\') < 0 {
		return v
	}
	out := make([]byte, 0, len(v))
	for i := 0; i < len(v); i++ {
		if v[i] == '\\' && i+1 < len(v) && bytes.IndexByte([]byte(", ="), v[i+1]) >= 0 {
			i++
		}
		out = append(out, v[i])
	}
	return out
}

// deliverSeries takes remote write and OTLP: a device's own, or a gateway's
// samples sorted by their device tag.
func (r *request) deliverSeries(f codec.Format, payload []byte) *failure {
	r.delivery.Reset()
	if !r.peer.Gateway {
		m := r.delivery.Add(r.peer.Device.ID, f, payload)
		m.Decode = func(b *telemetry.Batch, in codec.Input) error {
			in.MaxDecoded = r.door.cfg.MaxDecoded
			return codec.Decode(b, f, in)
		}
		return r.ingest()
	}
	s := &r.split
	s.now = time.Now().UnixMilli()
	in := r.door.deps.Pipeline.Input(payload, r.peer.Device.ID, s.now)
	in.MaxDecoded = r.door.cfg.MaxDecoded
	in.MaxTags++ // deviceTag is taken off
	if err := codec.Decode(&s.batch, f, in); err != nil {
		m := r.delivery.Add(r.peer.Device.ID, f, payload)
		m.Decode = func(*telemetry.Batch, codec.Input) error { return err }
		return r.ingest()
	}
	if fault := r.splitSamples(); fault != nil {
		return fault
	}
	for i := range s.parts {
		m := r.delivery.Add(s.parts[i].device, f, payload)
		m.Decode = s.decoder(i)
	}
	return r.ingest()
}

func (r *request) splitSamples() *failure {
	s := &r.split
	if len(s.batch.Rejects) > 0 {
		p, fault := r.part(nil)
		if fault != nil {
			return fault
		}
		p.rejects = true
	}
	for i := range s.batch.Samples {
		p, fault := r.part(deviceOf(&s.batch.Samples[i]))
		if fault != nil {
			return fault
		}
		if p != nil {
			p.samples = append(p.samples, int32(i))
		}
	}
	return nil
}

func deviceOf(s *telemetry.Sample) []byte {
	for _, t := range s.Tags {
		if string(t.Name) == deviceTag {
			return t.Value
		}
	}
	return nil
}

// decoder hands the samples of one part to the pipeline, without the tag that
// led them there.
func (s *split) decoder(i int) func(*telemetry.Batch, codec.Input) error {
	return func(b *telemetry.Batch, in codec.Input) error {
		p := &s.parts[i]
		for _, k := range p.samples {
			sample := s.batch.Samples[k]
			mark := b.Mark()
			for _, t := range sample.Tags {
				if string(t.Name) != deviceTag {
					b.AddTag(t.Name, t.Value)
				}
			}
			sample.Tags = b.EndTags(mark)
			if sample.Time == s.now {
				sample.Time = in.Now
			}
			b.Samples = append(b.Samples, sample)
		}
		if p.rejects {
			b.Rejects = append(b.Rejects, s.batch.Rejects...)
		}
		return nil
	}
}
