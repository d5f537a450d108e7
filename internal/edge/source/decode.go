package source

import (
	"bytes"
	"fmt"
	"time"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Format is the format of what a source is given, as it stands in a config:
// auto, senml, senml-cbor, json or influx.
type Format struct{ codec.Format }

// UnmarshalText reads the name of a format.
func (f *Format) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		f.Format = codec.Auto
		return nil
	}
	var ok bool
	if f.Format, ok = codec.FromSuffix(text); !ok {
		return fmt.Errorf("%.40q is no format; write auto, senml, senml-cbor, json or influx", text)
	}
	return nil
}

// MarshalText writes the name of the format.
func (f Format) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// Decoder makes records of payloads. Its records are valid until its next
// Decode, so each goroutine of a source has its own.
type Decoder struct {
	Format codec.Format
	// Device is the agent's own device: SenML names may begin with it.
	Device string
	Now    func() time.Time

	batch telemetry.Batch
}

// Decode reads one payload. Records in it that cannot be read are faults.
func (d *Decoder) Decode(payload []byte) (Record, error) {
	d.Begin()
	err := d.Add(payload)
	return d.Record(), err
}

// Begin starts a record to which several payloads are added.
func (d *Decoder) Begin() {
	d.batch.Reset()
	d.batch.Trim()
}

// Add reads one more payload into the record. The payload must not change
// before the record was put.
func (d *Decoder) Add(payload []byte) error {
	in := codec.Input{Payload: payload, Device: d.Device, Now: d.Now().UnixMilli()}
	return codec.Decode(&d.batch, d.Format, in)
}

// Lines reads a text in which every line is a payload of its own. Lines that
// cannot be read are faults.
func (d *Decoder) Lines(text []byte) Record {
	d.Begin()
	var faults []error
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if err := d.Add(line); err != nil {
			faults = append(faults, err)
		}
	}
	r := d.Record()
	r.Faults = append(r.Faults, faults...)
	return r
}

// Record returns what was read since Begin.
func (d *Decoder) Record() Record {
	r := Record{Samples: d.batch.Samples, States: d.batch.States}
	for _, reject := range d.batch.Rejects {
		r.Faults = append(r.Faults, fmt.Errorf("record %d: %s: %s", reject.Index, reject.Reason, reject.Detail))
	}
	return r
}
