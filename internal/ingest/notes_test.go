package ingest_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

func TestAStateThatIsSlowToWriteHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := soilProbe()
		other.ID = "t2"
		s := newShelf(soilProbe(), other)
		s.noting = make(chan struct{})
		p, _ := start(t, ingest.DefaultConfig(), s)
		var m ingest.Message
		done := false
		go func() { m = send(t, p, "t1", `{"a": 1, "firmware": "1.2"}`); done = true }()
		synctest.Wait()
		send(t, p, "t2", `{"a": 1}`)
		if done {
			t.Fatal("a state is acknowledged before it is durable")
		}
		close(s.noting)
		synctest.Wait()
		if !done || m.Accepted != 2 || s.states["t1/firmware"] != "1.2" {
			t.Errorf("done %v: %+v, states %v", done, m, s.states)
		}
	})
}

func TestAStateThatChangesAllTheTimeIsWrittenWithItsNewestValueNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(soilProbe())
		p, _ := start(t, ingest.DefaultConfig(), s)
		begin := time.Now()
		var wg sync.WaitGroup
		for i := range 500 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if m := send(t, p, "t1", fmt.Sprintf(`{"ts": %d, "clock": "at %d"}`, noon.UnixMilli()-500+int64(i), i)); m.Accepted != 1 {
					t.Errorf("%+v", m.Rejects)
				}
			})
		}
		wg.Wait()
		if most := int(time.Since(begin)/ingest.NotesPause) + 1; len(s.puts) > most {
			t.Errorf("%d writes, want at most %d", len(s.puts), most)
		}
		for _, changes := range s.puts {
			if len(changes) != 1 {
				t.Errorf("one state is written %d times at once", len(changes))
			}
		}
		if s.states["t1/clock"] != "at 499" {
			t.Errorf("states %v", s.states)
		}
	})
}

func TestARefusedStateIsRefusedEveryTime(t *testing.T) {
	s := newShelf(soilProbe())
	s.refuse = map[string]telemetry.Reject{"t1/fw": {Reason: telemetry.ReasonStateLimit, Detail: "no room"}}
	p, _ := start(t, ingest.DefaultConfig(), s)
	for range 3 {
		m := send(t, p, "t1", `{"fw": "1.0", "a": 1}`)
		if m.Accepted != 1 || len(m.Rejects) != 1 || m.Rejects[0].Reason != telemetry.ReasonStateLimit || m.Rejects[0].Stage != telemetry.StageCommit {
			t.Errorf("accepted %d, rejects %+v", m.Accepted, m.Rejects)
		}
	}
	s.mu.Lock()
	s.refuse = nil
	s.mu.Unlock()
	if m := send(t, p, "t1", `{"fw": "1.0"}`); m.Accepted != 1 || s.states["t1/fw"] != "1.0" {
		t.Errorf("once there is room: %+v, states %v", m, s.states)
	}
}

func TestStatesHaveBoundsAndReasonsOfTheirOwn(t *testing.T) {
	s := newShelf(soilProbe())
	p, _ := start(t, ingest.DefaultConfig(), s)
	for i := range telemetry.MaxStates {
		send(t, p, "t1", fmt.Sprintf(`{"s%d": "x"}`, i))
	}
	for body, want := range map[string]telemetry.Reason{
		fmt.Sprintf(`{"%s": "x"}`, strings.Repeat("n", telemetry.MaxStateName+1)):   telemetry.ReasonStateInvalid,
		fmt.Sprintf(`{"s1": "%s"}`, strings.Repeat("v", telemetry.MaxStateValue+1)): telemetry.ReasonStateInvalid,
		`{"one more": "x"}`: telemetry.ReasonStateLimit,
	} {
		if m := send(t, p, "t1", body); m.Accepted != 0 || len(m.Rejects) != 1 || m.Rejects[0].Reason != want {
			t.Errorf("%.30s: accepted %d, rejects %+v, want %s", body, m.Accepted, m.Rejects, want)
		}
	}
}

func TestADeviceThatIsAddedAgainHasNoStates(t *testing.T) {
	s := newShelf(soilProbe())
	p, _ := start(t, ingest.DefaultConfig(), s)
	send(t, p, "t1", `{"fw": "1.0"}`)
	tagged := soilProbe()
	tagged.Tags = map[string]string{"floor": "2"}
	s.register(tagged)
	send(t, p, "t1", `{"fw": "1.0"}`)
	if len(s.puts) != 1 {
		t.Errorf("a change of the same device made it write %v again", s.puts)
	}
	delete(s.states, "t1/fw") // as the registry does when a device is removed
	again := soilProbe()
	again.Created = noon
	s.register(again)
	send(t, p, "t1", `{"fw": "1.0"}`)
	if s.states["t1/fw"] != "1.0" {
		t.Errorf("states %v", s.states)
	}
}

func TestARepeatedStateIsAsNewAsItsLastReport(t *testing.T) {
	s := newShelf(soilProbe())
	p, _ := start(t, ingest.DefaultConfig(), s)
	send(t, p, "t1", `{"ts": 1764000000000, "fw": "1.2"}`)
	send(t, p, "t1", `{"ts": 1764000010000, "fw": "1.2"}`)
	send(t, p, "t1", `{"ts": 1764000005000, "fw": "1.1"}`)
	if s.states["t1/fw"] != "1.2" {
		t.Errorf("late data won: %v", s.states)
	}
}

func TestStatesCountForTheRate(t *testing.T) {
	s := newShelf(soilProbe())
	p, _ := start(t, ingest.DefaultConfig(), s, samplesPerSecond(10))
	var names []string
	for i := range 30 {
		names = append(names, fmt.Sprintf(`"s%d": "x"`, i))
	}
	send(t, p, "t1", "{"+strings.Join(names, ",")+"}")
	var d ingest.Delivery
	d.Add("t1", codec.Auto, []byte(`{"a": 1}`))
	if err, rate := p.Ingest(&d), (*quota.Exceeded)(nil); !errors.As(err, &rate) {
		t.Errorf("after 30 states at 10 a second: %v", err)
	}
}

func TestTheFirstUnitOfAMetricStays(t *testing.T) {
	s := newShelf(soilProbe())
	p, _ := start(t, ingest.DefaultConfig(), s)
	for range 10 {
		send(t, p, "t1", `[{"n":"a","u":"Cel","v":1,"t":-1},{"n":"a","u":"K","v":1}]`)
	}
	if s.units["a"] != "Cel" || s.noted != 1 {
		t.Errorf("units %v after %d writes", s.units, s.noted)
	}
}

// A notebook that fails is a store that fails: what it has is not acknowledged.
func TestAfterAFailedWriteOfStatesRunEnds(t *testing.T) {
	s := newShelf(soilProbe())
	p, stop := start(t, ingest.DefaultConfig(), s)
	s.mu.Lock()
	s.fail = errors.New("disk is gone")
	s.mu.Unlock()
	var d ingest.Delivery
	d.Add("t1", codec.Auto, []byte(`{"fw": "1.0"}`))
	if err := p.Ingest(&d); err == nil || d.Messages[0].Done {
		t.Errorf("Ingest: %v, done %v", err, d.Messages[0].Done)
	}
	if err := stop(); err == nil || !strings.Contains(err.Error(), "disk is gone") {
		t.Errorf("Run: %v", err)
	}
}
