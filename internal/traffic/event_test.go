package traffic

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// works is an event of road works, some metres north of the middle.
func works(id string, north float64, end time.Time) road.Event {
	return road.Event{ID: id, Type: 501, Source: "detection", At: road.Position{Lat: 43.86 + north/metresPerDegree, Lon: 125.3}, Radius: 50, End: end, Priority: 3, Confidence: math.NaN()}
}

// tells sends events as a unit does once a second, for a while from a time on; it
// returns the end.
func (s *stage) tells(unit string, from time.Time, d time.Duration, all ...road.Event) time.Time {
	s.t.Helper()
	for at := from; at.Before(from.Add(d)); at = at.Add(time.Second) {
		s.hash++
		m := road.Message{Kind: road.KindRSI, Count: -1, At: at.Truncate(time.Minute), Events: all}
		if _, err := s.b.Take(&Arrival{Unit: unit, Message: &m, Raw: []byte{1}, Hash: s.hash, Received: at, Live: s.live}, nil); err != nil {
			s.t.Fatal(err)
		}
	}
	return from.Add(d)
}

func (s *stage) beats(at time.Time) {
	s.says(road.Message{Kind: road.KindHeartbeat, Count: -1, At: at}, at)
}

func (s *stage) events() (all []string) {
	for _, v := range s.b.Events() {
		all = append(all, fmt.Sprintf("%s %s active=%v past=%v also=%v", v.Unit, v.Event.ID, v.Active, v.PastEnd, v.AlsoBy))
	}
	return all
}

// An event is active while it is told of, and a fault when that is longer than it
// lasts.
func TestEventsComeAndGo(t *testing.T) {
	s := newStage(t)
	at := s.tells("r1", noon, 2*time.Minute, works("7", 0, noon.Add(3*time.Minute)))
	before := s.b.Events()
	s.live = false
	s.tells("r1", noon, time.Minute, works("7", 0, noon)) // before it was extended
	s.live = true
	if got := s.events(); len(got) != 1 || got[0] != "r1 7 active=true past=false also=[]" || !s.b.Events()[0].Event.End.Equal(before[0].Event.End) {
		t.Fatalf("%q", got)
	}
	s.beats(at.Add(90 * time.Second)) // nobody tells of it any more
	if got := s.events(); len(got) != 1 || got[0] != "r1 7 active=false past=false also=[]" {
		t.Fatalf("%q", got)
	}
	at = s.tells("r1", noon.Add(5*time.Minute), 3*time.Minute, works("7", 0, noon.Add(6*time.Minute)))
	if got := s.events(); len(got) != 2 || got[0] != "r1 7 active=true past=true also=[]" || got[1] != "r1 7 active=false past=false also=[]" {
		t.Fatalf("%q", got)
	}
	s.wants("past_end ×60: event 7 (road works) ended 1 minutes ago and is still told")
	over := works("7", 0, time.Time{})
	over.Over = true
	s.tells("r1", at, time.Second, over)
	if got := s.events(); len(got) != 2 || !strings.Contains(got[0], "active=false") {
		t.Fatalf("%q", got)
	}
	s.beats(noon.Add(26 * time.Hour))
	if got := s.events(); len(got) != 0 || len(s.b.known("r1").documents) != 0 {
		t.Errorf("a day later %q, %v", got, s.b.known("r1").documents)
	}
	got := map[string][]float64{}
	for _, m := range minutes(s.b, noon.Add(48*time.Hour)) {
		for _, one := range m.Samples {
			if one.Metric == "road_event_active" {
				got[one.Tags[0].Value] = append(got[one.Tags[0].Value], one.Value)
			}
		}
	}
	if want := "map[501:[1 1 0 1 1 1 1 0]]"; fmt.Sprint(got) != want {
		t.Errorf("%v, not %s", got, want)
	}
}

// Events told once last until their end, and have the time of their begin.
func TestEventsToldOnce(t *testing.T) {
	s := newStage(t)
	s.beats(noon)
	e := works("cam-3/a-77", 0, noon.Add(30*time.Minute))
	m := road.Message{Kind: road.KindRSI, Count: -1, At: noon.Add(-48 * time.Hour), Events: []road.Event{e}}
	s.says(m, noon.Add(time.Second))
	s.beats(noon.Add(29 * time.Minute))
	if got := s.b.Events(); len(got) != 1 || !got[0].Active || got[0].First.Before(noon.Add(-time.Minute)) {
		t.Fatalf("%+v", got)
	}
	s.beats(noon.Add(31 * time.Minute))
	if got := s.b.Events(); len(got) != 1 || got[0].Active {
		t.Fatalf("%+v", got)
	}
	s.wants()
}

// Units that tell of one event know of each other.
func TestEventsOfSeveralUnits(t *testing.T) {
	s := newStage(t)
	end := noon.Add(time.Hour)
	s.tells("r1", noon, 3*time.Second, works("7", 0, end))
	small := works("9", 80, end)
	small.Radius = math.NaN()
	s.tells("r2", noon, 3*time.Second, small)
	s.tells("r3", noon, 3*time.Second, works("1", 900, end))
	other := works("2", 0, end)
	other.Type = 707
	s.tells("r4", noon, 3*time.Second, other)
	got := map[string]string{}
	for _, v := range s.b.Events() {
		got[v.Unit] = fmt.Sprint(v.AlsoBy)
	}
	if fmt.Sprint(got) != "map[r1:[r2] r2:[r1] r3:[] r4:[]]" {
		t.Errorf("%v", got)
	}
	s.tells("r1", noon.Add(time.Minute), time.Second, works("7", 0, end))
	s.b.Remove("r2")
	s.tells("r1", noon.Add(2*time.Minute), time.Second, works("7", 0, end))
	if got := s.samples()["road_events_shared[{type 501}]"]; got != 1 { // not with the one that is gone
		t.Errorf("%v are shared", got)
	}
	for _, v := range s.b.Events() {
		if len(v.AlsoBy) > 0 {
			t.Errorf("%v is told by one that is gone", v)
		}
	}
}

// An event more than a unit may tell of is not taken, and counted.
func TestEventsAreBounded(t *testing.T) {
	s := newStage(t)
	s.b.cfg.MaxEvents = 3
	for i := range 20 {
		s.tells("r1", noon.Add(time.Duration(i)*time.Second), time.Second, works(fmt.Sprint(i), 0, noon.Add(time.Minute)))
	}
	if got := s.events(); len(got) != 3 {
		t.Errorf("%q", got)
	}
	at := noon
	for i := range 20 { // each ends, and the history is bounded too
		at = at.Add(2 * time.Minute)
		e := works(fmt.Sprint("x", i), 0, time.Time{})
		s.tells("r1", at, 2*time.Second, e)
		e.Over = true
		s.tells("r1", at.Add(2*time.Second), time.Second, e)
	}
	if got, kept := len(s.events()), len(s.b.known("r1").documents); got != 3 || kept != 3 {
		t.Errorf("%d events, %d documents", got, kept)
	}
	if got := s.samples()["road_events_refused[]"]; got != 17 {
		t.Errorf("%v refused", got)
	}
}
