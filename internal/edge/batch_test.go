package edge

import (
	"bytes"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/edge/source"
	"github.com/songhua-io/hub/internal/edge/spool"
	"github.com/songhua-io/hub/internal/telemetry"
)

func TestNoMessageIsLargerThanTheHubReads(t *testing.T) {
	s, err := spool.Open(spool.Config{Dir: t.TempDir(), MaxBytes: spool.MinBytes}, testLog(t), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	enc, err := newEncoder(false)
	if err != nil {
		t.Fatal(err)
	}
	b := newBatcher(s, enc, testLog(t))
	ended := make(chan struct{})
	go func() { defer close(ended); b.run() }()
	long := func(n int) []byte { return bytes.Repeat([]byte("x"), n) }
	r := source.Record{
		States: []telemetry.State{{Name: []byte("alarm"), Value: long(500_000), Time: 1}, {Name: []byte("firmware"), Value: []byte("1.2"), Time: 1}},
		Raws:   []source.Raw{{Suffix: "v2x/uper", Payload: long(200_000)}, {Suffix: "v2x/uper", Payload: long(60_000)}},
	}
	const samples = 999
	for i := range samples {
		r.Samples = append(r.Samples, telemetry.Sample{Metric: []byte("m"), Tags: []telemetry.Tag{{Name: []byte("t"), Value: long(1000)}}, Time: int64(i + 1), Value: 1})
	}
	if err := b.put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	close(b.in)
	<-ended
	kept, others := uint32(0), 0
	for {
		block, ok, err := s.Take(spool.Live)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		m, err := message(block.Data)
		if err != nil || len(m.Payload) > maxPayload {
			t.Errorf("%d B: %v", len(m.Payload), err)
		}
		if kept += block.Samples; block.Samples == 0 {
			others++
		}
	}
	if kept != samples || others != 2 || b.refused.Load() != 2 {
		t.Errorf("%d samples and %d others kept, %d refused", kept, others, b.refused.Load())
	}
}
