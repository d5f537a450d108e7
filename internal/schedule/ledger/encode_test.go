package ledger

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/songhua-io/hub/internal/schedule"
)

// kinds has a field of every kind that the nouns have.
type kinds struct {
	Text   string
	Int    int64
	Uint   uint64
	Float  float64
	Yes    bool
	At     time.Time
	For    time.Duration
	Raw    []byte
	Vector schedule.Vector
	Texts  []string
	Curve  []schedule.Point
	Labels map[string]string
	Speed  map[string]float64
	Lat    *float64
	Next   *kinds
}

func drawKinds(t *rapid.T, depth int) kinds {
	k := kinds{
		Text: rapid.String().Draw(t, "text"), Int: rapid.Int64().Draw(t, "int"), Uint: rapid.Uint64().Draw(t, "uint"), Float: rapid.Float64().Draw(t, "float"),
		Yes: rapid.Bool().Draw(t, "yes"), For: time.Duration(rapid.Int64().Draw(t, "for")), Raw: rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "raw"),
		Texts: rapid.SliceOfN(rapid.String(), 1, 5).Draw(t, "texts"), Labels: rapid.MapOfN(rapid.String(), rapid.String(), 1, 5).Draw(t, "labels"),
		Speed: map[string]float64{"": 0, "A100": 1.5}, Curve: []schedule.Point{{}, {X: 1, Y: math.Inf(-1)}},
	}
	for i := range k.Vector {
		k.Vector[i] = rapid.Int64().Draw(t, "vector")
	}
	if rapid.Bool().Draw(t, "there") {
		k.Lat, k.At = new(float64), time.Unix(0, rapid.Int64().Draw(t, "at")).UTC()
	}
	if depth < 3 && rapid.Bool().Draw(t, "next") {
		next := drawKinds(t, depth+1)
		k.Next = &next
	}
	return k
}

func TestDocumentsGiveBackWhatWasWritten(t *testing.T) {
	form := formOf[kinds]()
	rapid.Check(t, func(t *rapid.T) {
		in := drawKinds(t, 0)
		doc := appendDoc(form, nil, &in)
		var out kinds
		if err := parseDoc(form, doc, &out); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(in, out); diff != "" {
			t.Fatal(diff)
		}
		if again := appendDoc(form, nil, &out); !bytes.Equal(doc, again) {
			t.Fatal("the same value gives other bytes")
		}
	})
}

// What an older or newer hub wrote is read: fields were added, moved, removed.
func TestDocumentsOfOtherVersions(t *testing.T) {
	type old struct {
		Gone  string
		Text  string
		Point *schedule.Point
		Int   int64
	}
	doc := appendDoc(formOf[old](), nil, &old{Gone: "x", Text: "t", Point: &schedule.Point{X: 1}, Int: -3})
	type fresh struct {
		Int   int64
		Added []string
		Text  string
	}
	var got fresh
	if err := parseDoc(formOf[fresh](), doc, &got); err != nil || got.Int != -3 || got.Text != "t" {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzDamagedDocuments(f *testing.F) {
	r := Record{Tenant: "a", Leases: []schedule.Lease{{Token: 3, Parts: []schedule.Assignment{{Task: "main", Devices: []uint8{1}}}}}}
	f.Add((&document{}).append(nil, &record{Record: r}, lacksNothing))
	f.Add(appendEvents(nil, []schedule.Event{{Kind: schedule.OfLease, Token: 1}, {Kind: schedule.OfPool, Object: "p"}}))
	f.Fuzz(func(_ *testing.T, doc []byte) {
		parseRecord(1, doc)                                                  //nolint:errcheck // it must end, and not in a panic
		parseEvents(1, doc)                                                  //nolint:errcheck // the same
		parseChanges(doc)                                                    //nolint:errcheck // the same
		unpack(1, 2, doc, func(uint64, string, string) bool { return true }) //nolint:errcheck // the same
	})
}
