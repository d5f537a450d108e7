package intake

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/codec/v2x"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/road/dialect"
	"github.com/songhua-io/hub/internal/simulate/roads"
	"github.com/songhua-io/hub/internal/telemetry"
	"github.com/songhua-io/hub/internal/traffic"
)

var noon = time.Date(2026, 7, 1, 4, 0, 30, 0, time.UTC)

// bench is an intake with a clock of its own, whose samples are kept.
type bench struct {
	*Intake
	t       testing.TB
	dir     string
	now     time.Time
	samples map[string]float64 // by unit, metric, tags and time
	busy    bool
	gone    map[string]bool
	knocks  []string
	reports chan string
}

func open(t testing.TB, dir string, now time.Time) *bench {
	t.Helper()
	b := &bench{t: t, dir: dir, now: now, samples: map[string]float64{}, gone: map[string]bool{}, reports: make(chan string, 10)}
	var err error
	b.Intake, err = Open(b.with(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func (b *bench) with(dir string) Deps {
	return Deps{
		Board: traffic.New(DefaultConfig().Board()), Dirs: []string{dir}, Ingest: b.ingest,
		Registered: func(id string) bool { return !b.gone[id] },
		Unit:       func(esn string) string { return map[string]string{"R1": "rsu-1"}[esn] },
		IsUnit:     func(device, esn string) bool { return device == esn },
		Reported:   func(_ context.Context, device string, s *road.Status) { b.reports <- device + " " + s.Name },
		Knock: func(esn, gateway, door string, _ netip.Addr, s *road.Status) {
			b.knocks = append(b.knocks, fmt.Sprint(esn, " ", gateway, " ", door, " ", s != nil))
		},
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Clock: func() time.Time { return b.now }, Metrics: prometheus.NewRegistry(),
	}
}

// ingest keeps samples as the pipeline would.
func (b *bench) ingest(d *ingest.Delivery) error {
	if b.busy {
		return ingest.ErrBusy
	}
	for i := range d.Messages {
		m := &d.Messages[i]
		var batch telemetry.Batch
		if err := m.Decode(&batch, codec.Input{}); err != nil || !m.Derived {
			b.t.Errorf("derived %v: %v", m.Derived, err)
		}
		for _, s := range batch.Samples {
			key := fmt.Sprintf("%s %s %s %d", m.Device, s.Metric, s.Tags, s.Time)
			if old, there := b.samples[key]; there && old != s.Value {
				b.t.Errorf("%s is %v and then %v", key, old, s.Value)
			}
			b.samples[key] = s.Value
		}
	}
	return nil
}

// sum adds the messages of all minutes that were written.
func (b *bench) sum() (n int) {
	for key, v := range b.samples {
		if strings.Contains(key, " rsu_messages ") {
			n += int(v)
		}
	}
	return n
}

// observe sends a payload and returns what became of it.
func (b *bench) observe(device string, f codec.Format, topic string, payload []byte) ingest.RoadMessage {
	o := ingest.RoadMessage{
		Device: device, Format: f, Topic: topic, Payload: payload, Received: b.now, First: b.now,
		Oldest: b.now.Add(-30 * 24 * time.Hour), Newest: b.now.Add(10 * time.Minute), LiveFor: time.Minute,
	}
	b.Observe(&o)
	return o
}

func (b *bench) sync() {
	b.t.Helper()
	if err := b.Sync(); err != nil {
		b.t.Fatal(err)
	}
}

// finish lets all minutes end, and writes them.
func (b *bench) finish() {
	b.t.Helper()
	b.now = b.now.Add(10 * time.Minute)
	if err := b.closeMinutes(); err != nil {
		b.t.Fatal(err)
	}
}

// sent is a message of the stream of a test.
type sent struct {
	at            time.Time
	device, topic string
	payload       []byte
}

// stream plays some units.
func stream(t testing.TB, units int, d time.Duration, faulty map[int]roads.Fault) (all []sent) {
	t.Helper()
	w := roads.New(roads.Config{Seed: 3, Units: units, Vehicles: 6, Connected: 0.5, Start: noon, Faulty: faulty})
	for end := w.Now().Add(d); w.Now().Before(end); {
		w.Step(func(u roads.Uplink) {
			all = append(all, sent{w.Now(), u.Unit, "V2X/RSU/" + u.Unit + "/" + u.Message + "/UP", slices.Clone(u.Payload)})
		})
	}
	return all
}

func (b *bench) send(m sent) {
	b.t.Helper()
	b.now = m.at
	if o := b.observe(m.device, codec.V2X, m.topic, m.payload); len(o.Rejects) > 0 || o.Taken != 1 || !o.Live {
		b.t.Fatalf("%s of %s at %s: %+v", m.topic, m.device, m.at, o)
	}
}

// distinct counts the messages that differ within their minute.
func distinct(all []sent) int {
	seen := map[string]bool{}
	for _, m := range all {
		seen[m.device+string(m.payload)] = true
	}
	return len(seen)
}

// TestWhatIsAcknowledgedIsCountedOnce kills an intake at any moment: what was
// synced is there, and all is sent again.
func TestWhatIsAcknowledgedIsCountedOnce(t *testing.T) {
	all := stream(t, 2, 40*time.Second, map[int]roads.Fault{1: roads.StaleEvent})
	whole := open(t, t.TempDir(), noon)
	for _, m := range all {
		whole.send(m)
	}
	whole.finish()
	if n := whole.sum(); n != distinct(all) {
		t.Fatalf("%d messages are counted of %d", n, distinct(all))
	}
	dir := t.TempDir()
	b := open(t, dir, noon)
	for i, m := range all {
		b.send(m)
		switch i % 50 {
		case 20:
			b.sync()
		case 49: // it is killed here: what is not synced is lost
			must(t, b.journal.file.Close())
			from := max(0, i-40)
			b = open(t, dir, m.at)
			for _, again := range all[from : i+1] {
				b.send(again)
			}
			b.sync()
		case 35:
			must(t, b.rotate())
		}
	}
	b.finish()
	if diff := cmp.Diff(alone(t, whole.samples), alone(t, b.samples)); diff != "" {
		t.Errorf("after kills it says something else:\n%s", diff)
	}
}

// TestWhatHasNoTimeOfItsOwnIsCountedOnce sends a map as it is, again and again, and
// delivers it again, before and after a kill.
func TestWhatHasNoTimeOfItsOwnIsCountedOnce(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, noon)
	lanes := framesOf(t, "MAP", 1)[0]
	deliver := func(packet uint16, again bool) {
		b.now = b.now.Add(10 * time.Millisecond)
		o := ingest.RoadMessage{Device: "rsu-1", Format: codec.V2XFrame, Payload: lanes, Received: b.now, First: b.now, Packet: packet, Again: again,
			Oldest: b.now.Add(-time.Hour), Newest: b.now.Add(time.Hour), LiveFor: time.Minute}
		if b.Observe(&o); o.Taken != 1 {
			t.Fatalf("%+v", o)
		}
	}
	deliver(1, false)
	deliver(2, false)
	deliver(2, true)  // the hub had not answered
	deliver(3, true)  // the first one did not come through
	deliver(1, false) // the identifier is free again
	deliver(0, false) // by another door
	b.sync()
	must(t, b.journal.file.Close())
	b = open(t, dir, b.now)
	deliver(2, true)
	deliver(4, true)
	deliver(4, true)
	must(t, b.rotate())
	must(t, b.journal.file.Close())
	b = open(t, dir, b.now)
	deliver(4, true)
	b.finish()
	if n := b.sum(); n != 6 {
		t.Errorf("%d maps are counted, 6 were sent", n)
	}
}

// fromMessages are the metrics that are computed of messages alone, and of what is
// in the journal. What is known of participants, queues, counters and clocks, and
// what lights were before, is in memory only, and is gone with the process.
var fromMessages = []string{"rsu_messages", "rsu_bytes", "road_unmatched", "rsu_load", "rsu_cpu_used_ratio", "rsu_memory_used_ratio", "rsu_disk_used_ratio",
	"rsu_network_received_bytes_per_second", "rsu_network_sent_bytes_per_second", "rsu_devices", "road_events_started", "road_event_active"}

// alone are the samples that are computed of messages alone.
func alone(t *testing.T, all map[string]float64) map[string]float64 {
	t.Helper()
	some, seen := map[string]float64{}, map[string]bool{}
	for name, v := range all {
		if metric := strings.Fields(name)[1]; slices.Contains(fromMessages, metric) {
			some[name], seen[metric] = v, true
		}
	}
	if len(seen) != len(fromMessages) {
		t.Errorf("only %v are there", slices.Sorted(maps.Keys(seen)))
	}
	return some
}

// TestRotationLosesNothing sends while the journal is begun anew all the time.
func TestRotationLosesNothing(t *testing.T) {
	all := stream(t, 4, 5*time.Second, nil)
	dir := t.TempDir()
	b := open(t, dir, noon)
	b.now = noon.Add(5 * time.Second)
	stop := make(chan struct{})
	var sending, rotating sync.WaitGroup
	rotating.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				must(t, b.rotate())
			}
		}
	})
	for part := range 4 {
		sending.Go(func() {
			for i := part; i < len(all); i += 4 {
				b.observe(all[i].device, codec.V2X, all[i].topic, all[i].payload)
				if i%20 < 4 {
					must(t, b.Sync())
				}
			}
			must(t, b.Sync())
		})
	}
	sending.Wait()
	close(stop)
	rotating.Wait()
	after := open(t, dir, b.now)
	after.finish()
	if n := after.sum(); n != distinct(all) {
		t.Errorf("%d messages are counted after a restart, %d were sent", n, distinct(all))
	}
	if left, err := parts(dir); err != nil || len(left) != 2 {
		t.Errorf("the journal has the files %v, %v", left, err)
	}
}

// TestFaultsOfTheJournal cuts a journal at every octet of its last group, and
// damages it.
func TestFaultsOfTheJournal(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, noon)
	all := stream(t, 1, 3*time.Second, nil)
	half := len(all) / 2
	for _, m := range all[:half] {
		b.send(m)
	}
	b.sync()
	log := filepath.Join(dir, fmt.Sprintf(logName, b.journal.number))
	first := size(t, log)
	for _, m := range all[half:] {
		b.send(m)
	}
	b.sync()
	whole, err := os.ReadFile(log)
	must(t, err)
	snapshot, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf(snapshotName, b.journal.number)))
	must(t, err)
	again := func(log, snapshot []byte) (*bench, error) {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf(logName, 7)), log, 0o600))
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf(snapshotName, 7)), snapshot, 0o600))
		after := &bench{t: t, dir: dir, now: b.now, samples: map[string]float64{}}
		in, err := Open(after.with(dir))
		after.Intake = in
		return after, err
	}
	zeros := func(p []byte, from, to int) []byte {
		p = slices.Clone(p)
		clear(p[from:to])
		return p
	}
	for _, c := range []struct {
		name string
		log  []byte
		want int // messages; -1: it does not open
	}{
		{"whole", whole, distinct(all)},
		{"nothing of the last group", whole[:first], distinct(all[:half])},
		{"half of a head", whole[:first+5], distinct(all[:half])},
		{"a head alone", whole[:first+groupHead], distinct(all[:half])},
		{"one octet missing", whole[:len(whole)-1], distinct(all[:half])},
		{"zeros for the last group", zeros(whole, int(first), len(whole)), distinct(all[:half])},
		{"a hole in the last group", zeros(whole, int(first)+100, int(first)+200), distinct(all[:half])},
		{"zeros behind", append(slices.Clone(whole), make([]byte, 4096)...), distinct(all)},
		{"an empty file", nil, 0},
		{"half a head of the file", whole[:7], 0},
		{"a hole in the first group", zeros(whole, 60, 80), -1},
		{"another file", []byte("something that is no journal at all"), -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			after, err := again(c.log, snapshot)
			if c.want < 0 {
				if err == nil || !strings.Contains(err.Error(), "move it") {
					t.Errorf("it opens with %v", err)
				}
				return
			}
			must(t, err)
			defer after.Close() //nolint:errcheck // of a test
			after.finish()
			if n := after.sum(); n != c.want {
				t.Errorf("%d messages are counted, want %d", n, c.want)
			}
		})
	}
	for n := int(first); n < len(whole); n += 97 {
		after, err := again(whole[:n], snapshot)
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		after.finish()
		if got := after.sum(); got != distinct(all[:half]) {
			t.Fatalf("cut at %d: %d messages, want %d", n, got, distinct(all[:half]))
		}
		must(t, after.Close())
	}
	if _, err := again(whole, snapshot[:len(snapshot)-1]); err == nil && len(snapshot) > len(magic) {
		t.Error("half a snapshot opens")
	}
}

// faulty is a file that fails from some write, or some fsync, on.
type faulty struct {
	file
	writes, syncs int
}

var errDisk = errors.New("the disk has failed")

func (f *faulty) Write(p []byte) (int, error) {
	if f.writes--; f.writes < 0 {
		return 0, errDisk
	}
	return f.file.Write(p)
}

func (f *faulty) Sync() error {
	if f.syncs--; f.syncs < 0 {
		return errDisk
	}
	return f.file.Sync()
}

// TestAfterAFailedWriteNothingIsAcknowledged fails a write and an fsync under many
// that wait.
func TestAfterAFailedWriteNothingIsAcknowledged(t *testing.T) {
	for name, f := range map[string]faulty{"write": {writes: 1, syncs: 100}, "fsync": {writes: 100, syncs: 1}} {
		t.Run(name, func(t *testing.T) {
			b := open(t, t.TempDir(), noon)
			f.file = b.journal.file
			b.journal.file = &f
			all := stream(t, 1, 2*time.Second, nil)
			b.send(all[0])
			b.sync()
			b.now = all[len(all)-1].at
			ended := make(chan error, 1)
			go func() { ended <- b.Run(t.Context()) }()
			var wg sync.WaitGroup
			for part := range 8 {
				wg.Go(func() {
					for i := 1 + part; i < len(all); i += 8 {
						b.observe(all[i].device, codec.V2X, all[i].topic, all[i].payload)
						if err := b.Sync(); !errors.Is(err, ErrBroken) || !errors.Is(err, errDisk) {
							t.Errorf("after a failed %s, Sync says %v", name, err)
						}
					}
				})
			}
			wg.Wait()
			select {
			case err := <-ended:
				if !errors.Is(err, ErrBroken) {
					t.Errorf("Run ends with %v", err)
				}
			case <-time.After(time.Minute):
				t.Error("Run goes on")
			}
			if err := b.rotate(); !errors.Is(err, ErrBroken) {
				t.Errorf("another file begins: %v", err)
			}
		})
	}
}

// uplink packs frames as units do.
func uplink(at time.Time, counted bool, frames ...[]byte) []byte {
	p := append([]byte("R1\x00\x00\x00\x00\x00\x00"), binary.LittleEndian.AppendUint64(nil, uint64(at.UnixMilli()))...)
	if counted {
		p = append(p, byte(len(frames)))
	}
	for _, f := range frames {
		p = append(binary.LittleEndian.AppendUint16(p, uint16(len(f))), f...)
	}
	return p
}

func framesOf(t *testing.T, message string, n int) (frames [][]byte) {
	for _, m := range stream(t, 4, 10*time.Second, nil) {
		if strings.Contains(m.topic, "/"+message+"/") && m.at.Before(noon.Add(10*time.Second)) {
			frames = append(frames, m.payload)
		}
	}
	if len(frames) < n {
		t.Fatalf("%d messages of %s are played", len(frames), message)
	}
	return frames[:n]
}

// TestForms reads payloads in all forms, and refuses what is none with its place.
func TestForms(t *testing.T) {
	b := open(t, t.TempDir(), noon)
	bsm, spat, lanes := framesOf(t, "BSM", 3), framesOf(t, "SPAT", 3), framesOf(t, "MAP", 1)[0]
	hb := []byte(`{"rsuId":"R1","rsuEsn":"R1","timestamp":` + fmt.Sprint(noon.UnixMilli()) + `,"seqNum":"1","protocolVersion":"V1","rsuStatus":"0"}`)
	cut := bsm[1][:len(bsm[1])-3]
	event := v2x.MessageFrame{Alt: v2x.MessageFrameRsiFrame, RsiFrame: v2x.RoadSideInformation{Rtes: v2x.Some(v2x.RTEList{
		{EventType: 901, Description: v2x.Some(v2x.Description{Alt: v2x.DescriptionTextString, TextString: v2x.Text("call 13912345678")})}})}}
	named, err := event.AppendEncoded(nil)
	must(t, err)
	old := noon.Add(-3 * time.Hour)
	type refused struct {
		Index  int
		Reason telemetry.Reason
		Detail string
	}
	for _, c := range []struct {
		name    string
		format  codec.Format
		topic   string
		payload []byte
		taken   int
		live    bool
		refused []refused
	}{
		{"one frame", codec.V2XFrame, "", bsm[0], 1, true, nil},
		{"frames in a row", codec.V2XFrame, "", slices.Concat(bsm[0], bsm[1], spat[0]), 3, true, nil},
		{"a frame that is cut", codec.V2XFrame, "", cut, 0, false, []refused{{-1, telemetry.ReasonMalformed, "(bit "}}},
		{"a frame that is cut behind another", codec.V2XFrame, "", slices.Concat(bsm[0], cut), 1, true, []refused{{1, telemetry.ReasonMalformed, "bsmFrame."}}},
		{"a frame that names a person", codec.V2XFrame, "", named, 0, false, []refused{{-1, telemetry.ReasonPersonalData, "13********8"}}},
		{"and frames behind it", codec.V2XFrame, "", slices.Concat(named, bsm[1], spat[1]), 2, true, []refused{{0, telemetry.ReasonPersonalData, "phone"}}},
		{"an uplink with such a frame", codec.V2XFramed, "", uplink(noon, false, spat[0], named, spat[1]), 2, true, []refused{{1, telemetry.ReasonPersonalData, "phone"}}},
		{"nothing", codec.V2XFrame, "", nil, 0, false, []refused{{-1, telemetry.ReasonMalformed, "0 octets"}}},
		{"a map, which has no time", codec.V2XFrame, "", lanes, 1, true, nil},
		{"uplink with count", codec.V2XFramed, "", uplink(noon, true, bsm...), 3, true, nil},
		{"uplink without", codec.V2XFramed, "", uplink(noon, false, spat...), 3, true, nil},
		{"uplink with a bad frame", codec.V2XFramed, "", uplink(noon, true, bsm[0], cut, bsm[2]), 2, true, []refused{{1, telemetry.ReasonMalformed, "bsmFrame."}}},
		{"no uplink", codec.V2XFramed, "", bsm[0], 0, false, []refused{{-1, telemetry.ReasonMalformed, "uplink of"}}},
		{"uplink of history", codec.V2XFramed, "", uplink(old, true, bsm...), 3, false, nil},
		{"uplink of yesterday", codec.V2XFramed, "", uplink(noon.Add(-25*time.Hour), true, bsm[0]), 0, false, []refused{{0, telemetry.ReasonWindowClosed, "minute"}}},
		{"uplink of last year", codec.V2XFramed, "", uplink(noon.Add(-300*24*time.Hour), true, bsm...), 0, false, []refused{{-1, telemetry.ReasonTimePast, "accepted from"}}},
		{"uplink of tomorrow", codec.V2XFramed, "", uplink(noon.Add(24*time.Hour), true, bsm...), 0, false, []refused{{-1, telemetry.ReasonTimeFuture, "accepted until"}}},
		{"recognised: a frame", codec.V2X, "", bsm[0], 1, true, nil},
		{"recognised: an uplink", codec.V2X, "", uplink(noon, false, spat...), 3, true, nil},
		{"recognised: a heartbeat", codec.V2X, "", hb, 1, true, nil},
		{"a heartbeat by its topic", codec.V2X, "V2X.RSU.HB.UP", hb, 1, true, nil},
		{"an old heartbeat", codec.V2X, "V2X.RSU.HB.UP", []byte(`{"rsuId":"R1","rsuEsn":"R1","timestamp":` + fmt.Sprint(old.UnixMilli()) + `}`), 1, false, nil},
		{"a heartbeat of the future", codec.V2X, "V2X.RSU.HB.UP", []byte(`{"rsuId":"R1","rsuEsn":"R1","timestamp":` + fmt.Sprint(noon.Add(time.Hour).UnixMilli()) + `}`), 0, false,
			[]refused{{-1, telemetry.ReasonTimeFuture, "accepted until"}}},
		{"JSON of nothing known", codec.V2X, "", []byte(`{"a":1}`), 0, false, []refused{{-1, telemetry.ReasonUnsupported, "?kind="}}},
		{"half of JSON", codec.V2X, "V2X.RSU.HB.UP", hb[:20], 0, false, []refused{{-1, telemetry.ReasonMalformed, "no JSON"}}},
		{"a signal without a time", codec.V2X, "V2X.RSU.SPAT.UP", []byte(`{"intersections":[{"intersectionId":{"id":1},"phases":[{"phaseId":1,"phaseStates":[{"light":"3"}]}]}]}`), 0, false,
			[]refused{{-1, telemetry.ReasonTimeUnresolved, "spat of"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := b.observe("rsu-1", c.format, c.topic, c.payload)
			if o.Taken != c.taken || o.Live != c.live || len(o.Rejects) != len(c.refused) {
				t.Fatalf("%d taken, live %v, refused %v; want %d, %v, %v", o.Taken, o.Live, o.Rejects, c.taken, c.live, c.refused)
			}
			for i, r := range o.Rejects {
				if want := c.refused[i]; r.Index != want.Index || r.Reason != want.Reason || !strings.Contains(r.Detail, want.Detail) {
					t.Errorf("refused %v, want %v", r, want)
				}
			}
		})
	}
}

// TestWhatNamesAPersonIsNowhere looks for a plate and for the ids of vehicles in
// all that is on disk, and in what is told of the refusal.
func TestWhatNamesAPersonIsNowhere(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, noon)
	const plate = "吉A12345"
	o := b.observe("rsu-1", codec.V2X, "V2X.RSU.HB.UP", []byte(`{"rsuId":"R1","rsuEsn":"R1","vendor":{"plate":"`+plate+`"}}`))
	if o.Taken != 0 || len(o.Rejects) != 1 || o.Rejects[0].Reason != telemetry.ReasonPersonalData || strings.Contains(o.Rejects[0].Detail, plate) {
		t.Fatalf("%+v", o)
	}
	bsm := framesOf(t, "BSM", 3)
	for _, p := range bsm {
		b.observe("rsu-1", codec.V2XFrame, "", p)
	}
	b.sync()
	must(t, b.rotate())
	for _, p := range bsm {
		b.observe("rsu-1", codec.V2XFramed, "", uplink(noon, true, p))
	}
	b.finish()
	b.sync()
	files, err := parts(dir)
	must(t, err)
	for _, f := range files {
		data, err := os.ReadFile(f.path)
		must(t, err)
		if strings.Contains(string(data), plate) {
			t.Errorf("%s has the plate", f.path)
		}
		for _, p := range bsm {
			var frame v2x.MessageFrame
			_, _, err := frame.Decode(p)
			must(t, err)
			id := frame.BsmFrame.ID[:]
			if strings.Contains(string(data), string(id)) || strings.Contains(string(data), string(p[4:10])) {
				t.Errorf("%s has the id of a vehicle", f.path)
			}
		}
	}
}

// TestMinutesWaitForRoom keeps a minute until its samples are stored.
func TestMinutesWaitForRoom(t *testing.T) {
	b := open(t, t.TempDir(), noon)
	b.send(sent{noon, "rsu-1", "V2X.RSU.HB.UP", []byte(`{"rsuId":"R1","rsuEsn":"R1"}`)})
	b.busy = true
	b.finish()
	b.busy = false
	b.finish()
	if n := b.sum(); n != 1 {
		t.Fatalf("%d messages are counted", n)
	}
	for key := range maps.Keys(b.samples) {
		if !strings.HasSuffix(key, fmt.Sprint(noon.Truncate(time.Minute).Add(time.Minute).UnixMilli())) {
			t.Errorf("%s is not at the end of its minute", key)
		}
	}
	b.sync()
	after := open(t, b.dir, b.now)
	after.finish()
	if len(after.samples) != 0 {
		t.Errorf("a minute that was written is written again: %v", after.samples)
	}
}

// TestRemovedUnitsAreForgotten also after a restart.
func TestRemovedUnitsAreForgotten(t *testing.T) {
	b := open(t, t.TempDir(), noon)
	b.send(sent{noon, "rsu-1", "V2X.RSU.HB.UP", []byte(`{"rsuId":"R1","rsuEsn":"R1"}`)})
	b.sync()
	b.gone["rsu-1"] = true
	must(t, b.upkeep())
	if units := b.deps.Board.Names(); len(units) != 0 {
		t.Errorf("units %v", units)
	}
	after := &bench{t: t, now: b.now, gone: map[string]bool{"rsu-1": true}}
	in, err := Open(after.with(b.dir))
	must(t, err)
	defer in.Close() //nolint:errcheck // of a test
	if units := in.deps.Board.Names(); len(units) != 0 {
		t.Errorf("units after a restart %v", units)
	}
}

// TestAJournalMovesToTheEncryptedVolume as soon as there is one.
func TestAJournalMovesToTheEncryptedVolume(t *testing.T) {
	plain, sealed := t.TempDir(), t.TempDir()
	b := open(t, plain, noon)
	b.send(sent{noon, "rsu-1", "V2X.RSU.HB.UP", []byte(`{"rsuId":"R1","rsuEsn":"R1"}`)})
	b.sync()
	after := &bench{t: t, now: b.now, samples: map[string]float64{}}
	deps := after.with(sealed)
	deps.Dirs = append(deps.Dirs, plain)
	var err error
	after.Intake, err = Open(deps)
	must(t, err)
	defer after.Close() //nolint:errcheck // of a test
	if left, err := parts(plain); err != nil || len(left) > 0 {
		t.Errorf("%v stay behind, %v", left, err)
	}
	if after.finish(); after.sum() != 1 {
		t.Errorf("%d messages are counted", after.sum())
	}
	if err := Verify(sealed, func(damage string) { t.Error(damage) }); err != nil {
		t.Error(err)
	}
}

// TestUnits finds whom messages are of.
func TestUnits(t *testing.T) {
	b := open(t, t.TempDir(), noon)
	for topic, want := range map[string]string{"V2X/RSU/R1/BSM/UP": "R1", "V2X.RSU.R2.SPAT.UP": "R2", "v2x/v1/rsu/R3/map/up": "R3", "V2X/RSU/HB/UP": ""} {
		if esn, ok := b.Topic(topic); esn != want || !ok {
			t.Errorf("%s: %q, %v", topic, esn, ok)
		}
	}
	if _, ok := b.Topic("devices/t1/telemetry"); ok {
		t.Error("telemetry is of a dialect")
	}
	for payload, want := range map[string]string{`{"rsuEsn":"R7"}`: "R7", `{"rsuESN":77}`: "77", `{"a":1}`: "", "x": "", string(uplink(noon, true, []byte{1})): "R1"} {
		if esn := b.Named("V2X.RSU.BSM.UP", []byte(payload)); esn != want {
			t.Errorf("%.20q names %q, want %q", payload, esn, want)
		}
	}
	if topic, ok := b.ByKind("heartbeat"); !ok || topic != "V2X.RSU.HB.UP" {
		t.Errorf("a heartbeat is %q", topic)
	}
	if f := b.Filters(); !slices.Contains(f, "V2X/RSU/+/SPAT/UP") || !slices.Contains(f, "V2X.RSU.HB.UP") || slices.ContainsFunc(f, func(s string) bool { return strings.Contains(s, "{") }) {
		t.Errorf("filters %q", f)
	}
	b.Knock(ingest.UnitKnock{ESN: "R9", Gateway: "gw", Door: "mqtt", Topic: "V2X/RSU/R9/INFO/UP", Payload: []byte(`{"rsuId":"R9","rsuEsn":"R9","rsuName":"north"}`)})
	b.Knock(ingest.UnitKnock{ESN: "R9", Gateway: "gw", Door: "mqtt", Topic: "V2X/RSU/R9/INFO/UP", Payload: []byte(`{"rsuName":"吉A12345"}`)})
	b.Knock(ingest.UnitKnock{ESN: "no id", Topic: "V2X/RSU/x/INFO/UP"})
	b.Knock(ingest.UnitKnock{ESN: "R8", Gateway: "gw", Door: "mqtt", Topic: "V2X/RSU/R8/BSM/UP", Payload: []byte{1}})
	if want := []string{"R9 gw mqtt true", "R8 gw mqtt false"}; !slices.Equal(b.knocks, want) {
		t.Errorf("knocks %q, want %q", b.knocks, want)
	}
}

// TestWhatAUnitSaysOfItselfIsTold outside the way of messages.
func TestWhatAUnitSaysOfItselfIsTold(t *testing.T) {
	b := open(t, t.TempDir(), noon)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.report(ctx) }()
	b.observe("rsu-1", codec.V2X, "V2X.RSU.INFO.UP", []byte(`{"rsuId":"R1","rsuEsn":"R1","rsuName":"north"}`))
	select {
	case got := <-b.reports:
		if got != "rsu-1 north" {
			t.Errorf("%q", got)
		}
	case <-time.After(time.Minute):
		t.Error("nobody is told")
	}
	cancel()
	must(t, <-ended)
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	return info.Size()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
		if !errors.Is(err, context.Canceled) {
			panic(err)
		}
	}
}

// BenchmarkObserve is a second of ten units, over and over, a minute later each
// time so that it is another; Sync is left out.
func BenchmarkObserve(b *testing.B) {
	in := open(b, b.TempDir(), noon)
	w := roads.New(roads.Config{Seed: 3, Units: 9, Vehicles: 20, Connected: 0.5, Start: noon})
	const some = 1 << 15
	var all []sent
	for len(all) < some {
		w.Step(func(u roads.Uplink) {
			all = append(all, sent{w.Now(), u.Unit, "V2X/RSU/" + u.Unit + "/" + u.Message + "/UP", slices.Clone(u.Payload)})
		})
	}
	kinds := map[string]int{}
	for _, m := range all {
		kinds[strings.Split(m.topic, "/")[3]]++
	}
	b.Log(kinds)
	o := ingest.RoadMessage{Format: codec.V2X, LiveFor: time.Minute}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		m := &all[i%some]
		if i%some == 0 && i > 0 {
			b.StopTimer()
			in.journal.pending = in.journal.pending[:0]
			for _, unit := range in.deps.Board.Names() {
				in.deps.Board.Remove(unit)
			}
			b.StartTimer()
		}
		o.Device, o.Topic, o.Payload, o.Received, o.First = m.device, m.topic, m.payload, m.at, m.at
		o.Oldest, o.Newest, o.Taken, o.Rejects = m.at.Add(-time.Hour), m.at.Add(time.Hour), 0, o.Rejects[:0]
		in.Observe(&o)
		if o.Taken != 1 {
			b.Fatal(o.Rejects)
		}
		if len(in.journal.pending) > 1<<20 {
			in.journal.pending = in.journal.pending[:0]
		}
	}
}

// FuzzObserve takes any payload in any form: it is taken, or refused with a reason
// of the list, and what is in the journal can be read again.
func FuzzObserve(f *testing.F) {
	for _, m := range stream(f, 2, 2*time.Second, nil) {
		f.Add(uint8(codec.V2X), m.topic, m.payload)
	}
	f.Add(uint8(codec.V2XFramed), "", uplink(noon, true, []byte{0}))
	f.Add(uint8(codec.V2X), "", []byte(`{"rsuId":1,"rsuEsn":"R1","timestamp":1}`))
	reasons := map[telemetry.Reason]bool{}
	for _, r := range telemetry.Reasons() {
		reasons[r.Reason] = true
	}
	f.Fuzz(func(t *testing.T, format uint8, topic string, payload []byte) {
		if !codec.Format(format).Road() {
			return
		}
		board := traffic.New(DefaultConfig().Board())
		in := &Intake{deps: Deps{Board: board}, set: set(t), keys: newKeys()}
		in.metrics = newMetrics(prometheus.NewRegistry(), in)
		in.journal = newJournal("", in.metrics, time.Now)
		o := ingest.RoadMessage{Device: "r1", Format: codec.Format(format), Topic: topic, Payload: payload, Received: noon, Oldest: noon.Add(-time.Hour), Newest: noon.Add(time.Hour), LiveFor: time.Minute}
		in.reports.init()
		in.Observe(&o)
		if o.Taken == 0 && len(o.Rejects) == 0 {
			t.Error("it is neither taken nor refused")
		}
		for _, r := range o.Rejects {
			if !reasons[r.Reason] || r.Detail == "" || r.Index < single {
				t.Errorf("refused %+v", r)
			}
		}
		if group := in.journal.pending; len(group) > 0 {
			again := traffic.New(DefaultConfig().Board())
			err := eachChunk(group[groupHead:], func(kind byte, data []byte) error {
				if kind == chunkRecord {
					return again.Apply(data)
				}
				return nil
			})
			if err != nil {
				t.Errorf("what is written cannot be read: %v", err)
			}
		}
	})
}

var set = func() func(testing.TB) *dialect.Set {
	load := sync.OnceValues(dialect.Load)
	return func(t testing.TB) *dialect.Set {
		s, err := load()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}()

// FuzzJournal reads any file as a journal.
func FuzzJournal(f *testing.F) {
	w := append([]byte(magic), make([]byte, groupHead)...)
	w = appendChunk(appendChunk(w, chunkKey, appendKey(nil, 1, key{})), 9, []byte("later"))
	seal(w[len(magic):])
	f.Add(w)
	f.Add(w[:len(w)-1])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "log")
		must(t, os.WriteFile(path, data, 0o600))
		read := 0
		if err := readPart(path, func(_ byte, data []byte) error { read += len(data); return nil }); err == nil && read > len(data) {
			t.Errorf("%d octets are read of %d", read, len(data))
		}
	})
}
