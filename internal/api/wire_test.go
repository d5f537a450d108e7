package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/signal"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Random nouns of compute that are valid, as those who describe them may.

func ids() *rapid.Generator[string] { return rapid.StringMatching(`[a-z0-9][a-z0-9._-]{0,20}`) }

func names() *rapid.Generator[string] { return rapid.StringMatching(`[a-zA-Z0-9 长春智算]{1,20}`) }

func some[T any](t *rapid.T, of *rapid.Generator[T], what string) []T {
	all := rapid.SliceOfN(of, 0, 3).Draw(t, what)
	if len(all) == 0 {
		return nil
	}
	return all
}

func maybe[T any](t *rapid.T, what string, draw func() T) *T {
	if !rapid.Bool().Draw(t, what) {
		return nil
	}
	v := draw()
	return &v
}

func between(t *rapid.T, what string, low, high float64) float64 {
	return rapid.Float64Range(low, high).Draw(t, what)
}

func moments() *rapid.Generator[time.Time] {
	return rapid.Map(rapid.Int64Range(1_700_000_000, 1_900_000_000), func(s int64) time.Time { return time.Unix(s, 123_000_000).UTC() })
}

func regions() *rapid.Generator[string] { return rapid.StringMatching(`[1-9][0-9]{5}`) }

func labels(t *rapid.T) map[string]string {
	m := rapid.MapOfN(names(), names(), 0, 3).Draw(t, "labels")
	if len(m) == 0 {
		return nil
	}
	return m
}

func grades() *rapid.Generator[telemetry.Grade] {
	return rapid.Map(rapid.IntRange(int(telemetry.Ungraded), int(telemetry.Core)), func(n int) telemetry.Grade { return telemetry.Grade(n) })
}

func amounts() *rapid.Generator[int64] { return rapid.Int64Range(0, 1<<40) }

func lengths() *rapid.Generator[time.Duration] {
	return rapid.Map(rapid.Int64Range(1, int64(100*24*time.Hour)), func(n int64) time.Duration { return time.Duration(n) })
}

func drawTask(t *rapid.T, n int) schedule.Task {
	task := schedule.Task{
		Name: fmt.Sprintf("t%d-%s", n, ids().Draw(t, "task")), Min: rapid.IntRange(1, 5).Draw(t, "min"), P50: lengths().Draw(t, "p50"),
		Use:           schedule.Vector{schedule.CPUMilli: 1 + amounts().Draw(t, "cpu")/2, schedule.MemoryMiB: amounts().Draw(t, "memory"), schedule.DiskGiB: amounts().Draw(t, "disk"), schedule.PowerW: amounts().Draw(t, "power")},
		Interruptible: rapid.Bool().Draw(t, "interruptible"),
	}
	task.Max = task.Min + rapid.IntRange(0, 5).Draw(t, "more")
	task.P95 = task.P50 + lengths().Draw(t, "p95")
	if rapid.Bool().Draw(t, "has limits") {
		task.Checkpoint, task.Limit = lengths().Draw(t, "checkpoint"), lengths().Draw(t, "limit")
	}
	task.Accelerators = maybe(t, "accelerators", func() schedule.Accelerators {
		a := schedule.Accelerators{Count: rapid.IntRange(1, schedule.MaxDevices).Draw(t, "devices"), Milli: schedule.DeviceMilli, Models: some(t, names(), "models"), MemoryMiB: amounts().Draw(t, "device memory")}
		if a.Count == 1 {
			a.Milli = rapid.Int64Range(1, schedule.DeviceMilli).Draw(t, "milli")
		}
		for _, m := range a.Models {
			if a.Speed == nil {
				a.Speed = map[string]float64{}
			}
			a.Speed[m] = between(t, "speed", .1, 100)
		}
		return a
	})
	return task
}

func drawWorkload(t *rapid.T) *schedule.Workload {
	w := &schedule.Workload{
		Tenant: ids().Draw(t, "tenant"), Name: names().Draw(t, "name"), Priority: rapid.IntRange(0, 1000).Draw(t, "priority"),
		Gang:      rapid.SampledFrom([]schedule.Gang{schedule.GangNone, schedule.GangAll, schedule.GangMinimum}).Draw(t, "gang"),
		Shape:     rapid.SampledFrom([]schedule.Shape{schedule.AnyShape, schedule.OneFacility, schedule.OnePerFacility, schedule.Spread}).Draw(t, "shape"),
		Objective: rapid.SampledFrom(append([]schedule.Objective{{Name: "weights", CarbonPrice: between(t, "carbon price", 0, 9), HourPrice: between(t, "hour price", 0, 9)}}, schedule.Objectives...)).Draw(t, "objective"),
		Security:  schedule.Security{MinGrade: rapid.IntRange(0, 4).Draw(t, "grade"), DataGrade: grades().Draw(t, "data grade")},
		Budget:    schedule.Budget{Money: between(t, "money", 0, 1e6), CarbonKg: between(t, "carbon", 0, 1e6)},
		Affinity: schedule.Affinity{Facilities: some(t, ids(), "facilities"), NotFacilities: some(t, ids(), "not facilities"), Pools: some(t, ids(), "pools"),
			Regions: some(t, rapid.StringMatching(`[1-9][0-9]{1,5}`), "regions"), Archs: some(t, ids(), "archs"), Labels: labels(t)},
	}
	for i := range rapid.IntRange(1, 4).Draw(t, "tasks") {
		w.Tasks = append(w.Tasks, drawTask(t, i))
	}
	if rapid.Bool().Draw(t, "window") {
		w.Window.Earliest, w.Window.Deferrable = moments().Draw(t, "earliest"), rapid.Bool().Draw(t, "deferrable")
		w.Window.Deadline = w.Window.Earliest.Add(time.Hour)
	}
	w.Latency = maybe(t, "latency", func() schedule.Latency {
		return schedule.Latency{FromRegion: regions().Draw(t, "from"), MaxMillis: between(t, "ms", 1, 1000)}
	})
	for range rapid.IntRange(0, 3).Draw(t, "data") {
		w.Data = append(w.Data, schedule.Dataset{ID: ids().Draw(t, "dataset"), At: some(t, ids(), "at"), ReadGiB: between(t, "gib", 0, 1e6), Copy: rapid.Bool().Draw(t, "copy")})
	}
	if rapid.Bool().Draw(t, "payload") {
		w.Payload = json.RawMessage(fmt.Sprintf(`{"script":%q,"n":[1,2.5,null]}`, names().Draw(t, "script")))
	}
	return w
}

func drawFacility(t *rapid.T) schedule.Facility {
	degrees := func(what string, most float64) *float64 {
		return maybe(t, what, func() float64 { return between(t, what, -most, most) })
	}
	curve := func(what string) (all []schedule.Point) {
		for i := range rapid.IntRange(0, 3).Draw(t, what) {
			all = append(all, schedule.Point{X: float64(i), Y: between(t, what, 1, 3)})
		}
		return all
	}
	return schedule.Facility{
		ID: ids().Draw(t, "id"), Names: schedule.Text{ZH: names().Draw(t, "zh"), EN: names().Draw(t, "en")}, Operator: names().Draw(t, "operator"), Region: regions().Draw(t, "region"),
		Lat: degrees("lat", 90), Lon: degrees("lon", 180), SecurityGrade: rapid.IntRange(1, 4).Draw(t, "security"), MaxDataGrade: grades().Draw(t, "grade"), GridZone: names().Draw(t, "zone"),
		PUE:        schedule.PUE{Constant: between(t, "pue", 1, 3), Load: curve("load"), Temperature: curve("temperature"), Live: rapid.SampledFrom([]string{"", "CN-JL"}).Draw(t, "live")},
		GreenShare: between(t, "green", 0, 1), PowerCapW: amounts().Draw(t, "cap"), State: rapid.SampledFrom(schedule.FacilityStates).Draw(t, "state"),
	}
}

func drawPool(t *rapid.T) schedule.Pool {
	p := schedule.Pool{
		ID: ids().Draw(t, "id"), Facility: ids().Draw(t, "facility"), Arch: ids().Draw(t, "arch"), Engine: rapid.SampledFrom(schedule.Engines).Draw(t, "engine"), Labels: labels(t),
		Power: schedule.Power{IdleW: between(t, "idle", 0, 1e4), CPUWatt: between(t, "cpu watt", 0, 100), AcceleratorWatt: between(t, "device watt", 0, 1e3)},
		Rate:  schedule.Rate{CPU: between(t, "cpu rate", 0, 10), Accelerator: between(t, "device rate", 0, 100)},
	}
	p.Accelerator = maybe(t, "accelerator", func() schedule.Accelerator {
		return schedule.Accelerator{Vendor: names().Draw(t, "vendor"), Model: names().Draw(t, "model"), MemoryMiB: amounts().Draw(t, "memory"), Shareable: rapid.Bool().Draw(t, "shareable")}
	})
	node := func(id string) schedule.Node {
		n := schedule.Node{ID: id, CPUMilli: amounts().Draw(t, "cpu"), MemoryMiB: amounts().Draw(t, "memory"), DiskGiB: amounts().Draw(t, "disk"), PowerW: amounts().Draw(t, "power")}
		if p.Accelerator != nil {
			n.Accelerators = rapid.IntRange(0, schedule.MaxDevices).Draw(t, "devices")
		}
		return n
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "nodes") {
		if rapid.Bool().Draw(t, "by name") && len(p.Classes) == 0 {
			p.Nodes = append(p.Nodes, node(fmt.Sprint("n", i)))
		} else if len(p.Nodes) == 0 {
			p.Classes = append(p.Classes, schedule.Class{Count: rapid.IntRange(1, 100).Draw(t, "count"), Node: node("")})
		}
	}
	return p
}

func drawSignal(t *rapid.T) *signal.Series {
	s := &signal.Series{Kind: rapid.SampledFrom([]signal.Kind{signal.Carbon, signal.Price, signal.PUE}).Draw(t, "kind"), Zone: "CN-JL", Issued: moments().Draw(t, "issued")}
	at := s.Issued
	for range rapid.IntRange(1, 4).Draw(t, "steps") {
		next := at.Add(time.Hour)
		v := between(t, "value", 1, 5)
		s.Steps = append(s.Steps, signal.Step{Start: at, End: next, Value: v, Low: v - rapid.SampledFrom([]float64{0, .5}).Draw(t, "low"), High: v + rapid.SampledFrom([]float64{0, .5}).Draw(t, "high")})
		at = next
	}
	return s
}

func drawQueue(t *rapid.T) schedule.Queue {
	q := schedule.Queue{ID: ids().Draw(t, "id"), Tenants: some(t, ids(), "tenants"), Weight: rapid.Int64Range(1, 1_000_000).Draw(t, "weight")}
	for i := range q.Nominal {
		q.Nominal[i], q.Borrow[i] = amounts().Draw(t, "nominal"), rapid.Int64Range(-1, 1<<40).Draw(t, "borrow")
	}
	return q
}

// roundTrip says a noun in JSON, reads that, and says it again.
func roundTrip[Noun, Wire any](t *rapid.T, was Noun, describe func(Noun) Wire, read func(Wire) (Noun, error)) {
	t.Helper()
	said, err := json.Marshal(describe(was))
	if err != nil {
		t.Fatal(err)
	}
	var in Wire
	d := json.NewDecoder(strings.NewReader(string(said)))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	got, err := read(in)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if diff := cmp.Diff(was, got, cmpopts.EquateComparable()); diff != "" {
		t.Fatalf("it comes back another (-was +is):\n%s\n%s", diff, said)
	}
	again, err := json.Marshal(describe(got))
	if err != nil || string(again) != string(said) {
		t.Fatalf("%v: said again it is\n%s\nand was\n%s", err, again, said)
	}
}

// TestWhatIsSaidInJSONIsUnderstoodAsItWasMeant: described, written, read and
// checked, every noun of compute is what it was.
func TestWhatIsSaidInJSONIsUnderstoodAsItWasMeant(t *testing.T) {
	for name, check := range map[string]func(*rapid.T){
		"workload": func(t *rapid.T) {
			roundTrip(t, drawWorkload(t), describeWorkload, func(in WorkloadIn) (*schedule.Workload, error) { return in.workload("") })
		},
		"facility": func(t *rapid.T) {
			f := drawFacility(t)
			roundTrip(t, f, describeFacility, func(in FacilityIn) (schedule.Facility, error) { return in.facility(f.ID) })
		},
		"pool": func(t *rapid.T) {
			p := drawPool(t)
			roundTrip(t, p, describePool, func(in PoolIn) (schedule.Pool, error) { return in.pool(p.ID) })
		},
		"signal": func(t *rapid.T) {
			s := drawSignal(t)
			roundTrip(t, s, (*signal.Series).Forecast, func(in signal.Forecast) (*signal.Series, error) {
				out, faults := in.Series(s.Kind, s.Zone)
				return out, faulty(faults)
			})
		},
		"queue": func(t *rapid.T) {
			q := drawQueue(t)
			roundTrip(t, q, func(q schedule.Queue) QueueIn { return showQueue(q).QueueIn }, func(in QueueIn) (schedule.Queue, error) { return in.queue(q.ID) })
		},
	} {
		t.Run(name, func(t *testing.T) { rapid.Check(t, check) })
	}
}

// TestClosedListsRefuseWhatIsNotInThem: a word that the hub does not know is a
// fault that names its place, and never taken for another.
func TestClosedListsRefuseWhatIsNotInThem(t *testing.T) {
	h := centre(t)
	workload := func(key, value string) string {
		return fmt.Sprintf(`{"name": "w", "tasks": [{"name": "main", "cpu_milli": 1000, "duration": "1h"}], %q: %s}`, key, value)
	}
	for _, c := range []struct{ method, path, body, at string }{
		{"POST", "workloads", workload("gang", `"some"`), "gang"},
		{"POST", "workloads", workload("shape", `"heap"`), "shape"},
		{"POST", "workloads", workload("objective", `"nicest"`), "objective"},
		{"POST", "workloads", workload("objective", `{"joy": 3}`), "objective"},
		{"POST", "workloads", workload("security", `{"data_grade": "secret"}`), "security.data_grade"},
		{"POST", "workloads", workload("colour", `"red"`), "colour"},
		{"PUT", "facilities/x", `{"names": {"zh": "甲", "en": "A"}, "region": "220100", "state": "asleep"}`, "state"},
		{"PUT", "facilities/x", `{"names": {"zh": "甲", "en": "A"}, "region": "220100", "max_data_grade": "secret"}`, "max_data_grade"},
		{"PUT", "facilities/x", `{"names": {"zh": "甲", "en": "A"}, "region": "220100", "pue": {"wind": 1}}`, "pue"},
		{"PUT", "pools/x", `{"facility": "changchun-1", "engine": "steam", "nodes": []}`, "engine"},
		{"PUT", "signals/joy/CN-JL", `{"issued_at": "2026-11-26T00:00:00Z", "unit": "1", "points": []}`, "kind"},
		{"PUT", "signals/carbon/CN-JL", `{"issued_at": "2026-11-26T00:00:00Z", "unit": "lb/kWh", "points": []}`, "unit"},
		{"PUT", "queues/x", `{"nominal": {"luck": 3}}`, "nominal"},
	} {
		if r := h.want(422, h.do(c.method, "/api/v1/"+c.path, c.body)); !strings.Contains(r.text, c.at) {
			t.Errorf("%s does not name %s: %s", c.path, c.at, r.text)
		}
	}
}
