package codec

import (
	"strconv"

	"github.com/songhua-io/hub/internal/telemetry"
)

// flatDepth bounds how deep the values of flat JSON may nest.
const flatDepth = 16

// flatJSON reads one object of measurements: each number and boolean is a
// sample, each text a state, and what nests is flattened with "_".
type flatJSON struct {
	jsonScanner
	in   Input
	mark mark
	time int64
	tags []telemetry.Tag

	// Why no sample may carry the tags; empty when they may.
	tagFault  string
	tagReason telemetry.Reason
	tagsAt    int
}

// decodeJSON reads flat JSON. Time and tags may stand before or behind the
// values they belong to.
func decodeJSON(b *telemetry.Batch, in *Input) error {
	var d flatJSON
	d.p, d.b, d.format, d.in, d.mark, d.time = in.Payload, b, JSON, *in, markOf(b), in.Now
	err := d.document()
	if err != nil {
		d.mark.undo(b)
		return err
	}
	if d.tagFault != "" {
		b.Samples = b.Samples[:d.mark.samples]
		rejectAt(b, 0, d.tagsAt, d.tagReason, d.tagFault)
	}
	for i := d.mark.samples; i < len(b.Samples); i++ {
		b.Samples[i].Time, b.Samples[i].Tags = d.time, d.tags
	}
	for i := d.mark.states; i < len(b.States); i++ {
		b.States[i].Time = d.time
	}
	return nil
}

func (d *flatJSON) document() error {
	if d.peek() != '{' {
		return d.expected("'{', the start of an object")
	}
	for more := !d.open('}'); more; {
		key, err := d.key()
		if err == nil {
			err = d.field(key)
		}
		if err == nil {
			more, err = d.more('}', "',' or '}' after a field")
		}
		if err != nil {
			return err
		}
	}
	return d.end()
}

// field reads a value of the outermost object.
func (d *flatJSON) field(key []byte) error {
	switch string(key) {
	case "ts":
		return d.timestamp()
	case "tags":
		d.peek()
		at, mark := d.i, d.b.Mark()
		fault, err := d.jsonScanner.tags()
		if err == nil && fault != "" {
			err = &Error{JSON, at, telemetry.ReasonLabelInvalid, fault}
		}
		d.tags, d.tagsAt = d.b.EndTags(mark), at
		d.tagReason, d.tagFault = d.in.tagFault(d.tags)
		return err
	}
	return d.value(key, 1)
}

func (d *flatJSON) timestamp() error {
	switch c := d.peek(); {
	case c == '"':
		at := d.i
		text, err := d.text()
		if err != nil {
			return err
		}
		ms, ok := parseRFC3339(text)
		if !ok {
			return d.fail(at, "ts %q is no time of RFC 3339, such as 2025-11-24T16:00:00+08:00", clip(text))
		}
		d.time = ms
		return nil
	case c == '-' || c-'0' <= 9:
		at := d.i
		n, err := d.number()
		if err != nil {
			return err
		}
		ms, ok := roundMillis(n.value)
		if !ok || n.overflow {
			return d.fail(at, "ts %q is out of range; it counts milliseconds since 1970", clip(d.p[at:d.i]))
		}
		d.time = ms
		return nil
	}
	return d.fail(d.i, "ts is neither milliseconds since 1970 nor a time of RFC 3339 in quotes")
}

// under reads a value whose flattened name is name_key.
func (d *flatJSON) under(name, key []byte, depth int) error {
	if n := len(name) + 1 + len(key); n > d.in.MaxName {
		return d.tooLong(name, n, depth)
	}
	return d.value(joinName(d.b, name, key), depth+1)
}

// tooLong refuses a value, and all beneath it, whose name is too long.
func (d *flatJSON) tooLong(name []byte, n, depth int) error {
	d.peek()
	rejectAt(d.b, 0, d.i, telemetry.ReasonMetricInvalid, d.in.longName(name, n))
	if err := d.skip(depth); err != nil {
		return err
	}
	return d.mark.checkCount(d.b, JSON, d.in.MaxSamples, d.i)
}

// value reads a value whose flattened name is name.
func (d *flatJSON) value(name []byte, depth int) error {
	if len(name) > d.in.MaxName {
		return d.tooLong(name, len(name), depth)
	}
	var err error
	switch d.peek() {
	case '{':
		return d.object(name, depth)
	case '[':
		return d.array(name, depth)
	case '"':
		var text []byte
		if text, err = d.text(); err == nil {
			d.b.States = append(d.b.States, telemetry.State{Name: name, Value: text})
		}
	case 't':
		err = d.word("true")
		d.sample(name, 1)
	case 'f':
		err = d.word("false")
		d.sample(name, 0)
	case 'n':
		err = d.word("null")
	default:
		err = d.numeric(name)
	}
	if err != nil {
		return err
	}
	return d.mark.checkCount(d.b, JSON, d.in.MaxSamples, d.i)
}

func (d *flatJSON) numeric(name []byte) error {
	at := d.i
	n := scanNumber(d.p, at, true)
	if !n.valid {
		_, err := d.number()
		return err
	}
	d.i = n.end
	if n.overflow {
		rejectAt(d.b, 0, at, telemetry.ReasonNotFinite, "field "+strconv.Quote(string(clip(name)))+" is beyond what a 64-bit float can hold")
	} else {
		d.sample(name, n.value)
	}
	return nil
}

func (d *flatJSON) sample(name []byte, v float64) {
	d.b.Samples = append(d.b.Samples, telemetry.Sample{Metric: name, Value: v})
}

func (d *flatJSON) tooDeep(depth int) error {
	if depth < flatDepth {
		return nil
	}
	return d.fail(d.i, "values nest deeper than %d levels", flatDepth)
}

func (d *flatJSON) object(name []byte, depth int) error {
	if err := d.tooDeep(depth); err != nil {
		return err
	}
	for more := !d.open('}'); more; {
		key, err := d.key()
		if err == nil {
			err = d.under(name, key, depth)
		}
		if err == nil {
			more, err = d.more('}', "',' or '}' after a field")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *flatJSON) array(name []byte, depth int) error {
	if err := d.tooDeep(depth); err != nil {
		return err
	}
	var digits [20]byte
	i := 0
	for more := !d.open(']'); more; i++ {
		err := d.under(name, strconv.AppendInt(digits[:0], int64(i), 10), depth)
		if err == nil {
			more, err = d.more(']', "',' or ']' after an element")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// joinName returns name_key.
func joinName(b *telemetry.Batch, name, key []byte) []byte {
	joined := b.Bytes(len(name) + 1 + len(key))
	n := copy(joined, name)
	joined[n] = '_'
	copy(joined[n+1:], key)
	return joined
}
