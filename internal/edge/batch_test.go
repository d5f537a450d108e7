package edge

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/edge/source"
	"github.com/songhua-io/hub/internal/edge/spool"
	"github.com/songhua-io/hub/internal/telemetry"
)

const maxPayload = 128 << 10

func TestNoMessageIsLargerThanTheHubReads(t *testing.T) {
	s, err := spool.Open(spool.Config{Dir: t.TempDir(), MaxBytes: spool.MinBytes}, testLog(t), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	enc, err := newEncoder(maxPayload, false)
	if err != nil {
		t.Fatal(err)
	}
	b := newBatcher(s, enc)
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
	// As it is put, by the supervisor of a source that goes on afterwards.
	sup := source.Supervise("any", source.Func(func(ctx context.Context, put source.Put) error {
		if err := put(ctx, r); err != nil {
			t.Error(err)
		}
		return errEnded
	}), maxPayload, testLog(t), time.Now)
	if err := sup.Run(t.Context(), b.put, func(err error) bool { return errors.Is(err, errEnded) }); !errors.Is(err, errEnded) {
		t.Fatal(err)
	}
	if st := sup.Status(); st.Dropped != 2 || st.Err == nil || !strings.Contains(st.Err.Error(), "uplink.max_message") || len(r.States) != 2 {
		t.Errorf("%+v", st)
	}
	close(b.done)
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
		m, err := message(block)
		if err != nil || len(m.Payload) > maxPayload {
			t.Errorf("%d B: %v", len(m.Payload), err)
		}
		if kept += block.Samples; block.Samples == 0 {
			others++
		}
	}
	if kept != samples || others != 2 {
		t.Errorf("%d samples and %d others kept", kept, others)
	}
}

func TestWhatComesAfterTheEndIsNotKept(t *testing.T) {
	b := newBatcher(nil, nil)
	close(b.done)
	b.run()
	if err := b.put(context.WithoutCancel(t.Context()), source.Record{}); !errors.Is(err, errEnded) {
		t.Error(err)
	}
}
