package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/telemetry"
)

// open opens the registry of a directory as a start of the hub does.
func open(t testing.TB, dir string) *Registry {
	t.Helper()
	db, err := records.Open(t.Context(), filepath.Join(dir, "records.db"))
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := OpenSealer(filepath.Join(dir, "secrets.key"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	r, err := Open(t.Context(), Config{Records: db, Sealer: sealer, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func add(t testing.TB, r *Registry, s Spec) Created {
	t.Helper()
	c, err := r.Create(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ended(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

const chosen = "correct-horse-battery"

func TestDeviceSurvivesRestartWithItsSecret(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	lat, lon := 43.88, 125.32
	made := add(t, r, Spec{ID: "t1", Kind: "sensor", Site: "plant-a", Region: "220100", Tags: map[string]string{"floor": "2"},
		Period: time.Minute, Lat: &lat, Lon: &lon, Gateway: "gw1", Grade: "general"})
	people := add(t, r, Spec{ID: "t2", Secret: chosen})
	if len(made.Secret) != 43 || people.Secret != chosen {
		t.Fatalf("secrets %q and %q", made.Secret, people.Secret)
	}

	again := open(t, dir)
	got, err := again.Get("t1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(made.Device, got); diff != "" {
		t.Errorf("after the restart (-before +after):\n%s", diff)
	}
	for id, secret := range map[string]string{"t1": made.Secret, "t2": chosen} {
		if p, err := again.Authenticate(t.Context(), id, []byte(secret)); err != nil || p.Device.ID != id {
			t.Errorf("%s by id and secret: %v, %v", id, p, err)
		}
		if p, err := again.AuthenticateBearer(t.Context(), []byte(secret), ""); err != nil || p.Device.ID != id {
			t.Errorf("%s by its secret alone: %v, %v", id, p, err)
		}
		if psk, err := again.PSK(id); err != nil || string(psk) != secret {
			t.Errorf("%s: pre-shared key %q, %v", id, psk, err)
		}
	}
}

func TestStrangersAreRefused(t *testing.T) {
	r := open(t, t.TempDir())
	add(t, r, Spec{ID: "t1", Secret: chosen})
	for name, try := range map[string]func() (*Peer, error){
		"unknown id":     func() (*Peer, error) { return r.Authenticate(t.Context(), "nobody", []byte(chosen)) },
		"wrong secret":   func() (*Peer, error) { return r.Authenticate(t.Context(), "t1", []byte("wrong-horse-battery")) },
		"no secret":      func() (*Peer, error) { return r.Authenticate(t.Context(), "t1", nil) },
		"unknown bearer": func() (*Peer, error) { return r.AuthenticateBearer(t.Context(), []byte("x"), "") },
		"certificate":    func() (*Peer, error) { return r.AuthenticateCertificate(certificate("nobody", time.Now()), true) },
	} {
		if p, err := try(); !errors.Is(err, ErrUnauthorized) || p != nil {
			t.Errorf("%s: peer %v, error %v", name, p, err)
		}
	}
}

func TestRevocationEndsLiveSessions(t *testing.T) {
	revocations := map[string]func(r *Registry) error{
		"disable": func(r *Registry) error { _, err := r.Disable(t.Context(), "t1", 0); return err },
		"rotate":  func(r *Registry) error { _, err := r.Rotate(t.Context(), "t1", 0); return err },
		"remove":  func(r *Registry) error { return r.Remove(t.Context(), "t1", 0) },
	}
	for name, revoke := range revocations {
		t.Run(name, func(t *testing.T) {
			r := open(t, t.TempDir())
			made := add(t, r, Spec{ID: "t1"})
			peer, err := r.Authenticate(t.Context(), "t1", []byte(made.Secret))
			if err != nil {
				t.Fatal(err)
			}
			if err := revoke(r); err != nil {
				t.Fatal(err)
			}
			if !ended(peer.Done) {
				t.Error("the session lives on")
			}
			if _, err := r.Authenticate(t.Context(), "t1", []byte(made.Secret)); !errors.Is(err, ErrUnauthorized) {
				t.Errorf("the old secret still works: %v", err)
			}
			if _, err := r.AuthenticateBearer(t.Context(), []byte(made.Secret), ""); !errors.Is(err, ErrUnauthorized) {
				t.Errorf("the old secret still works alone: %v", err)
			}
		})
	}
}

func TestChangesOfADescriptionLeaveSessionsAlone(t *testing.T) {
	r := open(t, t.TempDir())
	made := add(t, r, Spec{ID: "t1"})
	peer, err := r.Authenticate(t.Context(), "t1", []byte(made.Secret))
	if err != nil {
		t.Fatal(err)
	}
	before := r.Device("t1")
	d, err := r.Update(t.Context(), Spec{ID: "t1", Kind: "meter", Region: "220200"}, made.Version)
	if err != nil {
		t.Fatal(err)
	}
	if ended(peer.Done) {
		t.Error("the session ended")
	}
	if now := r.Device("t1"); now == before || now.Kind != telemetry.KindMeter || before.Kind != telemetry.KindSensor {
		t.Errorf("before %+v, after %+v", before, now)
	}
	if d.Version != 2 {
		t.Errorf("version %d", d.Version)
	}
	if _, err := r.Update(t.Context(), Spec{ID: "t1"}, made.Version); !errors.Is(err, ErrStale) {
		t.Errorf("a change of a stale version: %v", err)
	}
}

func TestDisabledDeviceComesBackEnabled(t *testing.T) {
	r := open(t, t.TempDir())
	made := add(t, r, Spec{ID: "t1"})
	if _, err := r.Disable(t.Context(), "t1", 0); err != nil {
		t.Fatal(err)
	}
	if !r.Device("t1").Disabled {
		t.Error("not marked as disabled")
	}
	if _, err := r.PSK("t1"); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("pre-shared key of a disabled device: %v", err)
	}
	if _, err := r.Enable(t.Context(), "t1", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Authenticate(t.Context(), "t1", []byte(made.Secret)); err != nil {
		t.Error(err)
	}
}

func TestSecretsOutliveALostKeyFile(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	made := add(t, r, Spec{ID: "t1"})
	add(t, r, Spec{ID: "t2", Secret: chosen})
	if err := os.Remove(filepath.Join(dir, "secrets.key")); err != nil {
		t.Fatal(err)
	}

	r = open(t, dir)
	if _, err := r.PSK("t2"); !errors.Is(err, ErrUnauthorized) || !strings.Contains(err.Error(), "hub device rotate t2") {
		t.Errorf("pre-shared key without the key file: %v", err)
	}
	for id, secret := range map[string]string{"t1": made.Secret, "t2": chosen} {
		if _, err := r.Authenticate(t.Context(), id, []byte("wrong-horse-battery")); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("%s with a wrong secret: %v", id, err)
		}
		if _, err := r.Authenticate(t.Context(), id, []byte(secret)); err != nil {
			t.Errorf("%s with its secret: %v", id, err)
		}
		if _, err := r.AuthenticateBearer(t.Context(), []byte(secret), ""); err != nil {
			t.Errorf("%s by its secret alone, sealed anew: %v", id, err)
		}
	}
	if psk, err := open(t, dir).PSK("t2"); err != nil || string(psk) != chosen {
		t.Errorf("after the next restart: pre-shared key %q, %v", psk, err)
	}
}

func TestASecretThatSeveralShare(t *testing.T) {
	r := open(t, t.TempDir())
	for _, id := range []string{"t1", "t2"} {
		add(t, r, Spec{ID: id, Secret: chosen})
	}
	if _, err := r.AuthenticateBearer(t.Context(), []byte(chosen), ""); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("it names no device: %v", err)
	}
	p, err := r.AuthenticateBearer(t.Context(), []byte(chosen), "t2")
	if err != nil || p.Device.ID != "t2" {
		t.Errorf("with the path: %v, %v", p, err)
	}
}

func TestGatewaySpeaksForItsDevicesOnly(t *testing.T) {
	r := open(t, t.TempDir())
	gw := add(t, r, Spec{ID: "gw", Kind: "gateway"})
	add(t, r, Spec{ID: "child", Gateway: "gw"})
	add(t, r, Spec{ID: "other"})
	p, err := r.Authenticate(t.Context(), "gw", []byte(gw.Secret))
	if err != nil || !p.Gateway {
		t.Fatalf("%v, %v", p, err)
	}
	for device, want := range map[string]bool{"gw": true, "child": true, "other": false, "nobody": false} {
		if got := r.MaySpeak(p, device); got != want {
			t.Errorf("for %s: %v", device, got)
		}
	}
}

func TestBatchIsAllOrNothing(t *testing.T) {
	r := open(t, t.TempDir())
	add(t, r, Spec{ID: "old"})
	_, err := r.CreateBatch(t.Context(), []Spec{{ID: "a"}, {ID: "old"}, {ID: "b"}, {ID: "a"}})
	var batch *BatchError
	if !errors.As(err, &batch) || len(batch.Items) != 2 || batch.Items[0].Index != 1 || batch.Items[1].Index != 3 {
		t.Fatalf("%v", err)
	}
	_, err = r.CreateBatch(t.Context(), []Spec{{ID: "a"}, {ID: "no good"}, {ID: "c", Kind: "toaster", Region: "22"}})
	if !errors.As(err, &batch) || len(batch.Items) != 2 {
		t.Fatalf("%v", err)
	}
	var invalid *Invalid
	if !errors.As(batch.Items[1].Err, &invalid) || len(invalid.Faults) != 2 {
		t.Errorf("item 2: %v", batch.Items[1].Err)
	}
	if r.Len() != 1 {
		t.Errorf("%d devices; nothing of the batches should be there", r.Len())
	}
}

func TestDescriptionsThatAreRefusedNameTheWayOut(t *testing.T) {
	r := open(t, t.TempDir())
	ninety := 95.0
	for want, s := range map[string]Spec{
		"id":        {ID: "-x"},
		"kind":      {ID: "x", Kind: "toaster"},
		"region":    {ID: "x", Region: "22010"},
		"site":      {ID: "x", Site: "a b"},
		"reserved":  {ID: "x", Tags: map[string]string{"kind": "a"}},
		"tag name":  {ID: "x", Tags: map[string]string{"a b": "a"}},
		"period":    {ID: "x", Period: time.Millisecond},
		"both":      {ID: "x", Lat: &ninety},
		"place":     {ID: "x", Lat: &ninety, Lon: &ninety},
		"itself":    {ID: "x", Gateway: "x"},
		"grade":     {ID: "x", Grade: "secret"},
		"16 to 128": {ID: "x", Secret: "short"},
		"visible":   {ID: "x", Secret: "a secret with blanks"},
	} {
		_, err := r.Create(t.Context(), s)
		var invalid *Invalid
		if !errors.As(err, &invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v; want one that says %q", s, err, want)
		}
	}
}

func TestListPagesInOrder(t *testing.T) {
	r := open(t, t.TempDir())
	var specs []Spec
	for i := range 25 {
		specs = append(specs, Spec{ID: fmt.Sprintf("t%02d", i), Region: []string{"220100", "220200"}[i%2], Tags: map[string]string{"room": fmt.Sprint("R", i%5)}})
	}
	if _, err := r.CreateBatch(t.Context(), specs); err != nil {
		t.Fatal(err)
	}
	var got []string
	after, more := "", true
	for more {
		var page []*Device
		page, more = r.List(Filter{Region: "2202"}, after, 5)
		for _, d := range page {
			got = append(got, d.ID)
		}
		after = got[len(got)-1]
	}
	var want []string
	for i := 1; i < 25; i += 2 {
		want = append(want, fmt.Sprintf("t%02d", i))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
	if page, more := r.List(Filter{Query: "r3"}, "", 100); len(page) != 5 || more {
		t.Errorf("by a tag's value: %d, more %v", len(page), more)
	}
}

// Devices come, change and go while others look them up: what is seen is
// always a whole state, and sessions of removed devices have ended.
func TestManyAtOnce(t *testing.T) {
	r := open(t, t.TempDir())
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := range 10 {
				id := fmt.Sprintf("w%d-%d", w, i)
				made, err := r.Create(context.WithoutCancel(t.Context()), Spec{ID: id, Region: "220100"})
				if err != nil {
					t.Error(err)
					return
				}
				p, err := r.Authenticate(t.Context(), id, []byte(made.Secret))
				if err != nil {
					t.Error(err)
					return
				}
				r.List(Filter{}, "", 10)
				if err := r.Remove(t.Context(), id, 0); err != nil || !ended(p.Done) || r.Device(id) != nil {
					t.Errorf("%s lives on: %v", id, err)
				}
			}
		})
	}
	all.Wait()
	if r.Len() != 0 {
		t.Errorf("%d devices are left", r.Len())
	}
}

func TestStatesKeepTheNewest(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	add(t, r, Spec{ID: "t1"})
	at := func(s int) time.Time { return time.Unix(int64(1_700_000_000+s), 0).UTC() }
	put := func(r *Registry, name, value string, s int) {
		t.Helper()
		if refused, err := r.PutStates(t.Context(), []StateChange{{"t1", name, value, at(s)}}); err != nil || len(refused) > 0 {
			t.Fatalf("%v, %v", refused, err)
		}
	}
	put(r, "firmware", "1.0", 10)
	put(r, "firmware", "1.1", 20)
	put(r, "firmware", "0.9", 5) // late
	put(r, "alarm", "door", 10)

	r = open(t, dir)
	put(r, "firmware", "0.8", 6) // late, and the memory of marks is gone
	got, err := r.States(t.Context(), "t1")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]State{"firmware": {"1.1", at(20)}, "alarm": {"door", at(10)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

func TestStatesAreBounded(t *testing.T) {
	r := open(t, t.TempDir())
	add(t, r, Spec{ID: "t1"})
	var changes []StateChange
	for i := range telemetry.MaxStates + 1 {
		changes = append(changes, StateChange{"t1", fmt.Sprint("s", i), "x", time.Unix(1, 0)})
	}
	changes = append(changes,
		StateChange{"t1", "s0", "y", time.Unix(2, 0)},
		StateChange{"t1", "big", strings.Repeat("x", telemetry.MaxStateValue+1), time.Unix(1, 0)},
		StateChange{"nobody", "s", "x", time.Unix(1, 0)})
	refused, err := r.PutStates(t.Context(), changes)
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[int]telemetry.Reason{}
	for i, r := range refused {
		reasons[i] = r.Reason
	}
	want := map[int]telemetry.Reason{
		telemetry.MaxStates:     telemetry.ReasonStateLimit,
		telemetry.MaxStates + 2: telemetry.ReasonStateInvalid,
		telemetry.MaxStates + 3: telemetry.ReasonUnknownDevice,
	}
	if diff := cmp.Diff(want, reasons); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
}

func TestTheFirstUnitStaysAndSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	for _, units := range []map[string]string{{"temperature": "Cel", "bytes_total": "B"}, {"temperature": "K"}, {"temperature": "K"}} {
		if err := r.PutUnits(t.Context(), units); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]Metadata{"temperature": {Type: "gauge", Unit: "Cel"}, "bytes_total": {Type: "counter", Unit: "B"}}
	if diff := cmp.Diff(want, open(t, dir).Metadata()); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
}

func TestSites(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	s, err := r.PutSite(t.Context(), Site{ID: "plant-a", ZH: "甲厂", EN: "Plant A", Region: "220100"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.PutSite(t.Context(), Site{ID: "plant-a", EN: "Plant B"}, s.Version+1); !errors.Is(err, ErrStale) {
		t.Errorf("a change of another version: %v", err)
	}
	got, err := open(t, dir).Site("plant-a")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, got); diff != "" {
		t.Errorf("after the restart:\n%s", diff)
	}
	if err := r.RemoveSite(t.Context(), "plant-a", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Site("plant-a"); !errors.Is(err, ErrUnknown) {
		t.Errorf("after removal: %v", err)
	}
}

// A device that goes leaves its grade with its series, over a restart too, and
// one that comes in its place inherits it.
func TestTheGradeOfARemovedDeviceStays(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	for _, s := range []Spec{{ID: "core", Grade: "core"}, {ID: "plain"}} {
		add(t, r, s)
		if err := r.Remove(t.Context(), s.ID, 0); err != nil {
			t.Fatal(err)
		}
	}
	r = open(t, dir)
	if core, plain := r.Departed("core"), r.Departed("plain"); core != telemetry.Core || plain != telemetry.Ungraded {
		t.Errorf("departed: %s, %s", core, plain)
	}
	before := r.Gradings()
	if got := add(t, r, Spec{ID: "core", Grade: "general"}); got.Grade != telemetry.Core || r.Gradings() == before {
		t.Errorf("it came back as %s", got.Grade)
	}
	devices, departed := open(t, dir).Graded()
	if len(devices) != 1 || devices[0].ID != "core" || len(departed) != 0 {
		t.Errorf("graded: %v, departed: %v", devices, departed)
	}
}

func TestUnitsAreFoundBySerialNumber(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	r := open(t, dir)
	add(t, r, Spec{ID: "rsu-1", Kind: "rsu", Tags: map[string]string{"esn": "R1"}})
	add(t, r, Spec{ID: "R2", Kind: "rsu"})
	add(t, r, Spec{ID: "rsu-3", Kind: "rsu", Tags: map[string]string{"esn": "R3"}})
	add(t, r, Spec{ID: "rsu-4", Kind: "rsu", Tags: map[string]string{"esn": "R3"}})
	found := func(r *Registry, want map[string]string) {
		t.Helper()
		for esn, device := range want {
			if got := r.Unit(esn); got != device {
				t.Errorf("ESN %q is %q, want %q", esn, got, device)
			}
		}
	}
	all := map[string]string{"R1": "rsu-1", "R2": "R2", "R3": "", "R4": "", "": ""}
	found(r, all)
	found(open(t, dir), all)
	if !r.IsUnit("rsu-3", "R3") || !r.IsUnit("R2", "R2") || r.IsUnit("rsu-1", "R2") || r.IsUnit("R2", "") || r.IsUnit("nobody", "R1") {
		t.Error("whose a serial number is")
	}
	if _, err := r.Update(ctx, Spec{ID: "rsu-1", Kind: "rsu", Tags: map[string]string{"esn": "R9"}}, 0); err != nil {
		t.Fatal(err)
	}
	if err := r.Remove(ctx, "rsu-3", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Replace(ctx, "R2", 0, map[string]string{"esn": "R8"}, false); err != nil {
		t.Fatal(err)
	}
	found(r, map[string]string{"R1": "", "R9": "rsu-1", "R3": "rsu-4", "R8": "R2"})
}
