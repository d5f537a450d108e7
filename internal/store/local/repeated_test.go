package local_test

import (
	"slices"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/telemetry"
)

// TestWhatIsRepeatedIsTold: points that are stored already, wherever they lie and
// in the same write too, and none of those that are new or refused.
func TestWhatIsRepeatedIsTold(t *testing.T) {
	db := openAt(t, t.TempDir())
	id := db.Series([]telemetry.Label{{Name: "__name__", Value: "level"}, {Name: "device", Value: "d1"}})
	now := time.Now().Truncate(time.Second).UnixMilli()
	write := func(points ...telemetry.Point) *telemetry.Write {
		t.Helper()
		w := &telemetry.Write{Points: points}
		if err := db.Commit([]*telemetry.Write{w}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(w.Repeated)
		return w
	}
	at := func(ago int64, v float64) telemetry.Point {
		return telemetry.Point{Series: id, Time: now - ago, Value: v}
	}
	if w := write(at(5000, 1), at(4000, 2), at(4000, 2), at(3000, 3)); !slices.Equal(w.Repeated, []int{2}) || len(w.Refused) != 0 {
		t.Errorf("%+v", w)
	}
	if w := write(at(3000, 3), at(5000, 1), at(4000, 7), at(2000, 4), at(4500, 5)); !slices.Equal(w.Repeated, []int{0, 1}) || len(w.Refused) != 1 || w.Refused[0].Index != 2 {
		t.Errorf("%+v", w)
	}
	if w := write(at(4500, 5), at(1000, 1)); !slices.Equal(w.Repeated, []int{0}) {
		t.Errorf("%+v", w)
	}
}
