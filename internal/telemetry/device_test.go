package telemetry

import (
	"regexp"
	"strings"
	"testing"
)

func TestDeviceIDs(t *testing.T) {
	grammar := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$`)
	ids := []string{"", "a", "9", "probe-1", "urn:dev:mac:0024befffe804ff1", "A.b_c:d-e", "-a", ".a", ":a", "_a", "a b", "a/b", "a+", "a#", "$SYS", "a\x00", "a\n", "\n",
		"松花", "a松", "é", strings.Repeat("x", MaxDeviceID), strings.Repeat("x", MaxDeviceID+1), "../x", "a\u200b"}
	for c := range 256 {
		ids = append(ids, string([]byte{byte(c)}), string([]byte{'a', byte(c)}), string([]byte{'a', byte(c), 'b'}))
	}
	for _, id := range ids {
		// In Go's syntax $ is the end of the text, so "a\n" does not match.
		if err := CheckDeviceID(id); (err == nil) != grammar.MatchString(id) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func FuzzCheckDeviceID(f *testing.F) {
	grammar := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$`)
	f.Add("probe-1")
	f.Add("a/b")
	f.Fuzz(func(t *testing.T, id string) {
		if err := CheckDeviceID(id); (err == nil) != grammar.MatchString(id) {
			t.Errorf("%q: %v", id, err)
		}
	})
}

func TestRegions(t *testing.T) {
	for region, ok := range map[string]bool{
		"": true, "220100": true, "000000": true, "22": false, "2201000": false, "22010a": false, "22010 ": false, "２２０１００": false, "-22010": false, "220\n00": false,
	} {
		if err := CheckRegion(region); (err == nil) != ok {
			t.Errorf("%q: %v", region, err)
		}
	}
}

func TestWordsAreReadAsTheyAreWritten(t *testing.T) {
	for _, k := range Kinds() {
		if got, err := ParseKind(string(k)); got != k || err != nil {
			t.Errorf("kind %s: %s, %v", k, got, err)
		}
	}
	for g := Ungraded; g <= Core; g++ {
		if got, err := ParseGrade(g.String()); got != g || err != nil {
			t.Errorf("grade %s: %s, %v", g, got, err)
		}
	}
	for _, wrong := range []string{"", "Sensor", "drone"} {
		if _, err := ParseKind(wrong); err == nil || !strings.Contains(err.Error(), "sensor, rsu, node, gateway, meter") {
			t.Errorf("kind %q: %v", wrong, err)
		}
		if _, err := ParseGrade(wrong); err == nil || !strings.Contains(err.Error(), "important") {
			t.Errorf("grade %q: %v", wrong, err)
		}
	}
}

func TestLabelsComeFromTheRegistry(t *testing.T) {
	d := Device{ID: "t1", Kind: KindSensor, Region: "220100", Tags: map[string]string{"floor": "2"}}
	got := d.Labels()
	if len(got) != 3 {
		t.Errorf("%v: an absent site, and tags, are no labels", got)
	}
	for _, l := range got {
		if !IsReserved([]byte(l.Name)) {
			t.Errorf("a sender may set %s", l.Name)
		}
	}
	if IsReserved([]byte("floor")) || IsReserved([]byte("Device")) || IsReserved(nil) {
		t.Error("labels of senders are reserved")
	}
}

// TestEveryReasonIsExplained: the list is closed, so what is used is in it once.
func TestEveryReasonIsExplained(t *testing.T) {
	seen := map[Reason]bool{}
	for _, r := range Reasons() {
		if seen[r.Reason] || r.EN == "" || r.ZH == "" || r.Stage == "" {
			t.Errorf("%+v is there twice or not explained", r)
		}
		seen[r.Reason] = true
	}
}
