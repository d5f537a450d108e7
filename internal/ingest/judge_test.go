package ingest_test

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

// probeModel measures temperature in -40 to 60 Cel and moisture, and lists a
// battery of which it says nothing.
func probeModel(closed bool, grade telemetry.Grade) *telemetry.Model {
	return telemetry.NewModel("probe", telemetry.KindSensor, grade, closed, []telemetry.Metric{
		{Name: "temperature", Unit: "Cel", Min: -40, Max: 60},
		{Name: "moisture", Unit: "%", Min: 0, Max: math.Inf(1)},
		{Name: "battery", Min: math.Inf(-1), Max: math.Inf(1)},
	})
}

func modelledProbe(closed bool) *telemetry.Device {
	d := soilProbe()
	d.Model = probeModel(closed, telemetry.Ungraded)
	return d
}

// short returns the points of the shelf as "metric[ tags] time value", without
// the labels of the device, times in seconds after noon.
func (s *shelf) short() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for key, v := range s.points {
		var at int64
		name := strings.TrimPrefix(key, "[{__name__ ")
		name, rest, _ := strings.Cut(name, "}")
		labels, ms, _ := strings.Cut(rest, "]@")
		fmt.Sscan(ms, &at)
		for tag := range strings.SplitSeq(labels, "{") {
			if tag = strings.Trim(tag, " }"); strings.HasPrefix(tag, "unit ") || strings.HasPrefix(tag, "depth ") {
				name += " " + strings.ReplaceAll(tag, " ", "=")
			}
		}
		all = append(all, fmt.Sprintf("%s %d %v", name, (at-noon.UnixMilli())/1000, v))
	}
	slices.Sort(all)
	return all
}

// senml is one record at seconds after noon.
func senml(name, unit string, at int, v float64) string {
	if unit != "" {
		unit = fmt.Sprintf(`,"u":%q`, unit)
	}
	return fmt.Sprintf(`[{"n":%q%s,"t":%d,"v":%v}]`, name, unit, noon.Unix()+int64(at), v)
}

func TestSamplesOutOfRangeAreStoredAndFlagged(t *testing.T) {
	s := newShelf(modelledProbe(false))
	p, _ := start(t, ingest.DefaultConfig(), s)
	for _, c := range []struct {
		name, unit string
		at         int
		v          float64
		accepted   int
	}{
		{"temperature", "Cel", -90, 21.5, 1},
		{"temperature", "Cel", -80, 61, 1},
		{"temperature", "Cel", -80, 61, 1}, // it came again
		{"temperature", "Cel", -70, -41, 1},
		{"temperature", "Cel", -85, 22, 1}, // history within: the newest is still out
		{"temperature", "", -60, 60, 1},    // the bound belongs to the range
		{"temperature", "Cel", -50, 20, 1},
		{"temperature", "Cel", -55, 70, 1}, // history out of range: the newest is still within
		{"temperature", "Cel", -50, 99, 0}, // refused: another value is there
		{"moisture", "%", -40, -1, 1},
		{"battery", "V", -40, 1e9, 1},
		{"wind", "m/s", -40, 1e9, 1}, // not listed, and allowed
	} {
		if m := send(t, p, "t1", senml(c.name, c.unit, c.at, c.v)); m.Accepted != c.accepted {
			t.Errorf("%v: %v", c, m.Rejects)
		}
	}
	want := []string{
		"battery -40 1e+09", "moisture -40 -1", "moisture_out_of_range -40 1",
		"temperature -50 20", "temperature -55 70", "temperature -60 60", "temperature -70 -41", "temperature -80 61", "temperature -85 22", "temperature -90 21.5",
		"temperature_out_of_range -50 0", "temperature_out_of_range -55 1", "temperature_out_of_range -60 0", "temperature_out_of_range -70 1", "temperature_out_of_range -80 1",
		"wind -40 1e+09",
	}
	if diff := gocmp.Diff(want, s.short()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := gocmp.Diff(map[string]string{"battery": "V", "wind": "m/s"}, s.units); diff != "" {
		t.Errorf("units that senders named where no model does (-want +got):\n%s", diff)
	}
	if m := send(t, p, "t1", senml("temperature_out_of_range", "", -30, 0)); m.Accepted != 0 || m.Rejects[0].Reason != telemetry.ReasonMetricInvalid {
		t.Errorf("a forged flag: %+v", m.Rejects)
	}
	// An ending ends the flags too.
	if err := p.End(ingest.Ending{Device: "t1"}); err != nil {
		t.Fatal(err)
	}
	if n, names := s.ended(); n != 6 {
		t.Errorf("%d series ended, want 6: %s", n, names)
	}
}

func TestAFlagIsDurableBeforeItsSampleIsAcknowledged(t *testing.T) {
	s := newShelf(modelledProbe(false))
	p, _ := start(t, ingest.DefaultConfig(), s)
	send(t, p, "t1", senml("temperature", "", -20, 20))
	before := s.commits
	send(t, p, "t1", senml("temperature", "", -10, 70))
	if s.commits != before+2 {
		t.Errorf("%d commits of a sample and its flag, want 2", s.commits-before)
	}
	s.fail = fmt.Errorf("disk is gone")
	var d ingest.Delivery
	d.Add("t1", codec.Auto, []byte(senml("temperature", "", -5, 70)))
	if err := p.Ingest(&d); err == nil || d.Messages[0].Done {
		t.Errorf("acknowledged: %v", err)
	}
}

func TestAClosedModelTakesNothingElse(t *testing.T) {
	s := newShelf(modelledProbe(true))
	p, _ := start(t, ingest.DefaultConfig(), s)
	m := send(t, p, "t1", `{"ts": 1764000000000, "temperature": 1, "wind": 2, "battery": 3}`)
	if m.Accepted != 2 || len(m.Rejects) != 1 || m.Rejects[0].Reason != telemetry.ReasonMetricUnknown || !strings.Contains(m.Rejects[0].Detail, `"wind" is not in model probe`) {
		t.Errorf("accepted %d, %+v", m.Accepted, m.Rejects)
	}
	// A change of the model reaches the next sample, and cached series too.
	opened := soilProbe()
	opened.Model = probeModel(false, telemetry.Ungraded)
	s.register(opened)
	if m := send(t, p, "t1", `{"ts": 1764000001000, "temperature": 61, "wind": 2}`); m.Accepted != 2 {
		t.Errorf("%+v", m.Rejects)
	}
	narrow := soilProbe()
	narrow.Model = telemetry.NewModel("probe", "", 0, true, []telemetry.Metric{{Name: "wind", Min: 0, Max: 1}})
	s.register(narrow)
	if m := send(t, p, "t1", `{"ts": 1764000002000, "temperature": 1, "wind": 2}`); m.Accepted != 1 || m.Rejects[0].Reason != telemetry.ReasonMetricUnknown {
		t.Errorf("%+v", m.Rejects)
	}
	if flags := strings.Join(s.short(), "\n"); !strings.Contains(flags, "wind_out_of_range") {
		t.Error(flags)
	}
}

func TestAnotherUnitThanTheModelsIsToldAndNotConverted(t *testing.T) {
	s := newShelf(modelledProbe(false))
	reg := prometheus.NewRegistry()
	p := ingest.New(ingest.DefaultConfig(), ingest.Deps{
		Store: s, Directory: s, Notes: s, Desk: s, Quotas: allowed(), Log: slog.New(slog.DiscardHandler), Clock: func() time.Time { return noon }, Metrics: reg,
	})
	run(t, p)
	for _, c := range []struct {
		unit string
		v    float64
	}{
		{"degF", 70}, {"degF", 141}, {"degF", 140}, // 60 Cel are 140 degF
		{"degC", 61},      // the same unit under another code
		{"lx", 1e6},       // no temperature: it has no range
		{"Cel", 20.5},     // the model's
		{"", 20}, {"", 1}, // as the model has it
	} {
		at := -100 + len(s.points)
		if m := send(t, p, "t1", senml("temperature", c.unit, at, c.v)); m.Accepted != 1 {
			t.Errorf("%v: %v", c, m.Rejects)
		}
	}
	want := []string{
		"temperature -95 61", "temperature -92 20.5", "temperature -91 20", "temperature -90 1",
		"temperature unit=degF -100 70", "temperature unit=degF -99 141", "temperature unit=degF -97 140", "temperature unit=lx -93 1e+06",
		"temperature_out_of_range -95 1",
		"temperature_out_of_range unit=degF -97 0", "temperature_out_of_range unit=degF -99 1",
	}
	slices.Sort(want)
	if diff := gocmp.Diff(want, s.short()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if len(s.units) != 0 {
		t.Errorf("units %v were noted over the model's", s.units)
	}
	for convertible, want := range map[string]float64{"yes": 3, "no": 1} {
		if got := counted(t, reg, "hub_ingest_foreign_units_total", convertible); got != want {
			t.Errorf("%v samples in a foreign unit that can be converted: %s, want %v", got, convertible, want)
		}
	}
	// With tags of its own, and with one named unit, which stays.
	for _, body := range []string{
		fmt.Sprintf(`[{"n":"temperature","u":"K","t":%d,"v":300}]`, noon.Unix()),
		`temperature,depth=2cm value=21.5 1764000000000000000`,
		`temperature,unit=own value=21.5 1764000000000000000`,
	} {
		if m := send(t, p, "t1", body); m.Accepted != 1 {
			t.Errorf("%s: %v", body, m.Rejects)
		}
	}
}

// counted returns a counter by the value of its one label.
func counted(t *testing.T, reg *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no %s", name)
	return 0
}

func TestAFlagThatFindsNoRoomCostsNoSample(t *testing.T) {
	s := newShelf(modelledProbe(false))
	p, _ := start(t, ingest.DefaultConfig(), s, func(q *quota.Config) { q.Device.Series = 1 })
	if m := send(t, p, "t1", senml("temperature", "", -10, 70)); m.Accepted != 1 {
		t.Errorf("%v", m.Rejects)
	}
	if diff := gocmp.Diff([]string{"temperature -10 70"}, s.short()); diff != "" {
		t.Error(diff)
	}
}

// safe is a pipeline with a store for graded data, and that store.
func safe(t *testing.T, s *shelf) (*ingest.Pipeline, *shelf) {
	t.Helper()
	sealed := newShelf()
	p := ingest.New(ingest.DefaultConfig(), ingest.Deps{
		Store: s, Sealed: sealed, Directory: s, Notes: s, Desk: s, Quotas: allowed(),
		Log: slog.New(slog.DiscardHandler), Clock: func() time.Time { return noon }, Metrics: prometheus.NewRegistry(),
	})
	run(t, p)
	return p, sealed
}

func gradedProbe(device, model, metric telemetry.Grade) *telemetry.Device {
	d := soilProbe()
	d.Grade = device
	d.Model = telemetry.NewModel("probe", "", model, false, []telemetry.Metric{{Name: "track", Min: 0, Max: 10, Grade: metric}})
	return d
}

func TestTheHighestGradeDecidesWhereASeriesLies(t *testing.T) {
	const un, general, important, core = telemetry.Ungraded, telemetry.General, telemetry.Important, telemetry.Core
	for _, c := range []struct {
		device, model, metric telemetry.Grade
		track, wind           bool // sealed
	}{
		{un, un, un, false, false},
		{general, general, general, false, false},
		{un, un, important, true, false},
		{general, un, core, true, false},
		{un, important, general, true, true},
		{core, un, un, true, true},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			const body = `{"ts": 1764000000000, "track": 11, "wind": 3}`
			s := newShelf(gradedProbe(c.device, c.model, c.metric))
			p, sealed := safe(t, s)
			if m := send(t, p, "t1", body); m.Accepted != 2 {
				t.Fatalf("%v", m.Rejects)
			}
			for metric, want := range map[string]bool{"track": c.track, "track_out_of_range": c.track, "wind": c.wind} {
				if got, other := holds(sealed, metric), holds(s, metric); got != want || other == want {
					t.Errorf("%s: in the sealed store %v, in the plain one %v; want sealed %v", metric, got, other, want)
				}
			}

			// Without such a store the same data are refused, and only they.
			s = newShelf(gradedProbe(c.device, c.model, c.metric))
			p = ingest.New(ingest.DefaultConfig(), ingest.Deps{
				Store: s, Unsealed: "store.graded_dir is not set", Directory: s, Notes: s, Desk: s, Quotas: allowed(),
				Log: slog.New(slog.DiscardHandler), Clock: func() time.Time { return noon }, Metrics: prometheus.NewRegistry(),
			})
			run(t, p)
			m := send(t, p, "t1", body)
			if holds(s, "track") == c.track || holds(s, "track_out_of_range") == c.track || holds(s, "wind") == c.wind {
				t.Errorf("points %v", s.short())
			}
			for _, r := range m.Rejects {
				if r.Reason != telemetry.ReasonGradeUnsupported || !strings.Contains(r.Detail, "store.graded_dir is not set") {
					t.Errorf("%+v", r)
				}
			}
			if refused := c.track || c.wind; refused != (len(m.Rejects) == 1) {
				t.Errorf("rejects %v", m.Rejects)
			}
		})
	}
}

func holds(s *shelf, metric string) bool {
	return slices.ContainsFunc(s.short(), func(point string) bool { return strings.HasPrefix(point, metric+" ") })
}

func TestNothingOfSealedDataLiesOnThePlainDisk(t *testing.T) {
	s := newShelf(gradedProbe(0, 0, telemetry.Important))
	p, sealed := safe(t, s)
	m := send(t, p, "t1", `{"ts": 1764000000000, "track": 5, "plate": "吉A12345"}`)
	if m.Accepted != 1 || len(m.Rejects) != 1 || m.Rejects[0].Reason != telemetry.ReasonGradeUnsupported || len(s.states) != 0 {
		t.Errorf("%+v, states %v", m, s.states)
	}
	send(t, p, "t1", `{"ts": 1764000000000, "track": 6}`) // a conflict
	send(t, p, "t1", `{"track": 7777,`)                   // unreadable
	if len(s.kept) != 3 {
		t.Fatalf("%d rejects at the desk, want 3", len(s.kept))
	}
	for _, r := range s.kept {
		if strings.Contains(r.Detail, "6") || strings.Contains(r.Detail, "吉A12345") || strings.Contains(r.Detail, "7777") {
			t.Errorf("the desk keeps %+v", r)
		}
	}
	for i, payload := range s.payloads {
		if payload != "" {
			t.Errorf("the desk keeps %q of message %d", payload, i)
		}
	}
	// A device that is graded lower from now on goes on in the plain store.
	s.register(gradedProbe(0, 0, telemetry.General))
	send(t, p, "t1", `{"ts": 1764000001000, "track": 5}`)
	if !holds(s, "track") || len(sealed.points) != 1 {
		t.Errorf("plain %v, sealed %v", s.short(), sealed.short())
	}
	if err := p.End(ingest.Ending{Device: "t1"}); err != nil {
		t.Fatal(err)
	}
}

func TestAcknowledgedMeansDurableInBothStores(t *testing.T) {
	s := newShelf(gradedProbe(0, 0, telemetry.Important))
	p, sealed := safe(t, s)
	sealed.gate = make(chan struct{})
	free := sync.OnceFunc(func() { close(sealed.gate) })
	t.Cleanup(free)
	done := make(chan ingest.Message)
	go func() { done <- send(t, p, "t1", `{"ts": 1764000000000, "track": 5, "wind": 3}`) }()
	for deadline := time.Now().Add(2 * time.Minute); !holds(s, "wind"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the plain store got nothing")
		}
	}
	select {
	case m := <-done:
		t.Fatalf("answered before the sealed store was done: %+v", m)
	default:
	}
	free()
	if m := <-done; m.Accepted != 2 || !holds(sealed, "track") {
		t.Errorf("%+v", m)
	}

	sealed.mu.Lock()
	sealed.fail = fmt.Errorf("volume is gone")
	sealed.mu.Unlock()
	var d ingest.Delivery
	d.Add("t1", codec.JSON, []byte(`{"ts": 1764000001000, "track": 5, "wind": 3}`))
	if err := p.Ingest(&d); err == nil || d.Messages[0].Done {
		t.Errorf("acknowledged: %v", err)
	}
}

func BenchmarkIngestOfAModel(b *testing.B) {
	const n = 20
	metrics := make([]telemetry.Metric, n)
	body := []byte("[")
	for i := range n {
		metrics[i] = telemetry.Metric{Name: fmt.Sprintf("metric_%d", i), Unit: "Cel", Min: -40, Max: 60}
		body = fmt.Appendf(body, `{"n":"metric_%d","u":"Cel","v":21.5,"t":%d},`, i, time.Now().Unix())
	}
	body[len(body)-1] = ']'
	for _, c := range []struct {
		name  string
		model *telemetry.Model
	}{{"none", nil}, {"all", telemetry.NewModel("probe", "", 0, true, metrics)}} {
		b.Run("model="+c.name, func(b *testing.B) {
			device := soilProbe()
			device.Model = c.model
			s := newShelf(device)
			p := ingest.New(ingest.DefaultConfig(), ingest.Deps{
				Store: discard{}, Directory: s, Notes: s, Desk: s, Quotas: allowed(unbounded),
				Log: slog.Default(), Clock: time.Now, Metrics: prometheus.NewRegistry(),
			})
			go func() { _ = p.Run(b.Context()) }()
			var d ingest.Delivery
			b.ReportAllocs()
			for b.Loop() {
				d.Reset()
				for range 50 {
					d.Add("t1", codec.SenML, body)
				}
				if err := p.Ingest(&d); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*50*n), "ns/sample")
		})
	}
}
