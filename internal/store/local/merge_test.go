package local

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/songhua-io/hub/internal/telemetry"
)

// A device that comes back at once goes on right behind its newest sample,
// where the hub has told readers that its series ended.
func TestAValueTakesThePlaceOfAMarker(t *testing.T) {
	const ms = time.Millisecond
	end := telemetry.StaleMarker()
	s := newSite(t)
	s.take("probe", value{0, 1}, value{ms, end})
	s.take("probe", value{ms, 2}) // the newest of its series
	s.holds("probe", value{0, 1}, value{ms, 2})
	s.take("probe", value{2 * ms, 3}, value{3 * ms, end}, value{4 * ms, 5})
	s.take("probe", value{3 * ms, 4}) // behind it
	want := []value{{0, 1}, {ms, 2}, {2 * ms, 3}, {3 * ms, 4}, {4 * ms, 5}}
	s.holds("probe", want...)
	s.take("probe", want...) // once in the store
	s.take("probe", value{ms, end})
	s.holds("probe", want...)
	s.kill()
	s.take("probe", want...)
	s.holds("probe", want...)

	for _, w := range []*telemetry.Write{s.write("probe", value{ms, 7}), s.write("other", value{ms, 1}, value{ms, 2})} {
		if err := s.Commit([]*telemetry.Write{w}); err != nil {
			t.Fatal(err)
		}
		if len(w.Refused) != 1 || w.Refused[0].Reason != telemetry.ReasonConflict {
			t.Errorf("%v is refused as %v", w.Points, w.Refused)
		}
	}
	s.holds("probe", want...)
	w := s.write("probe", value{5 * ms, end})
	for _, v := range []value{{5 * ms, 6}, {5 * ms, 6}, {5 * ms, 8}} {
		w.Points = append(w.Points, s.write("probe", v).Points...)
	}
	if err := s.Commit([]*telemetry.Write{w}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]telemetry.Refusal{{Index: 3, Reason: telemetry.ReasonConflict}}, w.Refused); diff != "" {
		t.Errorf("refused of one commit (-want +got):\n%s", diff)
	}
	want = append(want, value{5 * ms, 6})
	s.holds("probe", want...)

	s.take("probe", value{6 * ms, end})
	s.kill() // the store that opens knows nothing of the newest value
	s.take("probe", value{6 * ms, 7})
	s.holds("probe", append(want, value{6 * ms, 7})...)
}

func TestSeekOverParts(t *testing.T) {
	const ms = time.Millisecond
	s := newSite(t)
	s.take("probe", value{0, 1}, value{ms, telemetry.StaleMarker()}, value{2 * ms, 3})
	s.take("probe", value{ms, 2})
	q, err := s.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	set := q.Select(context.Background(), false, nil, labels.MustNewMatcher(labels.MatchEqual, "device", "probe"))
	if !set.Next() {
		t.Fatal("no series")
	}
	at := s.now.UnixMilli()
	for _, c := range []struct{ to, stands int64 }{{-5, 0}, {1, 1}, {0, 1}, {2, 2}, {3, -1}, {0, -1}} {
		it := set.At().Iterator(nil)
		if c.to == 0 && c.stands == 1 {
			it.Seek(at + 1) // going back has no effect
		}
		if c.stands == -1 && c.to == 0 {
			it.Seek(at + 3)
		}
		kind := it.Seek(at + c.to)
		if c.stands == -1 {
			if kind != chunkenc.ValNone || it.Next() != chunkenc.ValNone {
				t.Errorf("seek %d: %v", c.to, kind)
			}
			continue
		}
		if got, v := it.At(); got != at+c.stands || v != float64(c.stands+1) {
			t.Errorf("seek %d stands at %d with %v", c.to, got-at, v)
		}
	}
}
