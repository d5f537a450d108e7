package series

import (
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/songhua-io/hub/internal/telemetry"
)

// The table against a map: whatever is asked for and forgotten in whatever
// order, a label set has one id, and an id stands for its label set until it
// is recycled.
func TestTableIsAMapOfLabelSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := NewTable(0)
		ids := map[string]telemetry.SeriesID{}
		gone := map[telemetry.SeriesID]int{} // commits since it was forgotten
		device := rapid.Custom(func(t *rapid.T) string { return strconv.Itoa(rapid.IntRange(0, 3000).Draw(t, "device")) })
		t.Repeat(map[string]func(*rapid.T){
			"ask": func(t *rapid.T) {
				from := rapid.IntRange(0, 3000).Draw(t, "from")
				for i := from; i < from+rapid.IntRange(1, 400).Draw(t, "n"); i++ {
					name := strconv.Itoa(i)
					id := table.ID(named(name))
					if known, ok := ids[name]; ok && known != id {
						t.Fatalf("%s has the ids %#x and %#x", name, known, id)
					}
					if _, old := gone[id]; old {
						t.Fatalf("%#x was given out twice", id)
					}
					ids[name] = id
				}
			},
			"forget": func(t *rapid.T) {
				for _, name := range rapid.SliceOfN(device, 0, 200).Draw(t, "names") {
					if id, ok := ids[name]; ok {
						table.Forget([]telemetry.SeriesID{id, id})
						delete(ids, name)
						gone[id] = 0
					}
				}
			},
			"commit": func(*rapid.T) {
				table.Begin()
				for id := range gone {
					if s := table.Get(id); gone[id] == 0 && s == nil {
						t.Fatalf("%#x is gone before the commit after it was forgotten", id)
					}
				}
				table.End()
				for id := range gone {
					gone[id]++
				}
			},
			"": func(t *rapid.T) {
				if got := table.Count(); got != len(ids) {
					t.Fatalf("%d series count, want %d", got, len(ids))
				}
				for name, id := range ids {
					if s := table.Get(id); s == nil || s.Labels.Get("device") != name {
						t.Fatalf("%#x does not stand for %s", id, name)
					}
				}
				for id, commits := range gone {
					if commits > 0 && table.Get(id) != nil {
						t.Fatalf("%#x still stands for something", id)
					}
				}
			},
		})
	})
}

func TestUnknownIDsStandForNothing(t *testing.T) {
	table := NewTable(0)
	id := table.ID(named("probe"))
	for _, unknown := range []telemetry.SeriesID{0, 1, id + 1, id + 1<<32, id + 1<<20, ^telemetry.SeriesID(0)} {
		if table.Get(unknown) != nil {
			t.Errorf("%#x stands for a series", unknown)
		}
	}
}

func BenchmarkSeries(b *testing.B) {
	table := NewTable(0)
	labels := []telemetry.Label{{Name: "__name__", Value: "soil_moisture"}, {Name: "device", Value: "probe-000001"}, {Name: "kind", Value: "sensor"}, {Name: "region", Value: "220100"}}
	b.ReportAllocs()
	for b.Loop() {
		table.ID(labels)
	}
}

func named(device string) []telemetry.Label {
	return []telemetry.Label{{Name: "__name__", Value: "temperature"}, {Name: "device", Value: device}}
}
