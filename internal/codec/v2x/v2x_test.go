package v2x

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// example is a frame with what it holds.
type example struct {
	Name   string
	Hex    string
	Value  json.RawMessage
	Expect json.RawMessage
}

// shared reads a file of reference frames that lie beside the checkout.
func shared(t testing.TB, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "shared", "v2x", name))
	if os.IsNotExist(err) {
		t.Skipf("no reference frames beside the checkout: %v", err)
	}
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func generated(t testing.TB) (all []example) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "frames.json"))
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err != nil || len(all) == 0 {
		t.Fatal(len(all), err)
	}
	return all
}

func TestFrames(t *testing.T) {
	t.Run("generated", func(t *testing.T) { testFrames(t, generated(t)) })
	t.Run("published", func(t *testing.T) {
		var all []example
		shared(t, "frames-published.json", &all)
		testFrames(t, all)
	})
}

// testFrames decodes into one frame, whose memory is used again, and encodes
// from the bits and from the tree.
func testFrames(t *testing.T, all []example) {
	var used MessageFrame
	for _, e := range all {
		raw := unhex(t, e.Hex)
		for _, f := range []*MessageFrame{{}, &used} {
			n, unknown, err := f.Decode(raw)
			if err != nil || n != len(raw) || unknown != 0 {
				t.Fatalf("%s: %d of %d octets, %d unknown: %v", e.Name, n, len(raw), unknown, err)
			}
			sameTree(t, e.Name, f.AppendTree(nil, false), e.Value)
			if again, err := f.AppendEncoded(nil); err != nil || !bytes.Equal(again, raw) {
				t.Errorf("%s: encoded again it is %x, %v; not %x", e.Name, again, err, raw)
			}
			if si := f.AppendTree(nil, true); !json.Valid(si) {
				t.Errorf("%s: no JSON: %s", e.Name, si)
			}
		}
		var read MessageFrame
		if err := read.ReadTree(e.Value); err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
		if again, err := read.AppendEncoded(nil); err != nil || !bytes.Equal(again, raw) {
			t.Errorf("%s: of its tree it is %x, %v; not %x", e.Name, again, err, raw)
		}
	}
}

func TestEdgeCases(t *testing.T) {
	var all []example
	shared(t, "frames-edge-cases.json", &all)
	for _, e := range all {
		var f MessageFrame
		n, unknown, err := f.Decode(unhex(t, e.Hex))
		var want struct {
			Value             json.RawMessage
			UnknownExtensions int
			ExtIndex          *uint32
			ExtMessageID      int
			ExtMessageName    string
			InnerLen          int
		}
		if string(e.Expect) == `"error"` {
			if fault, ok := err.(*Error); !ok || fault.Path == "" || fault.Reason == "" || fault.Bit > 4*len(e.Hex) {
				t.Errorf("%s: %v, an error with path and bit was expected", e.Name, err)
			}
			continue
		}
		if err := json.Unmarshal(e.Expect, &want); err != nil {
			t.Fatal(err)
		}
		if err != nil || n != len(e.Hex)/2 {
			t.Errorf("%s: %d octets, %v", e.Name, n, err)
			continue
		}
		if want.ExtIndex != nil {
			l, ok := f.Later()
			if !ok || f.Other.Index != *want.ExtIndex || l.MessageID != want.ExtMessageID || l.Name() != want.ExtMessageName || len(l.Raw) != want.InnerLen {
				t.Errorf("%s: %+v %v", e.Name, l, ok)
			}
			if again, err := f.AppendEncoded(nil); err != nil || hex.EncodeToString(again) != e.Hex {
				t.Errorf("%s: encoded again it is %x, %v", e.Name, again, err)
			}
			var read MessageFrame
			if err := read.ReadTree(f.AppendTree(nil, false)); err != nil || !reflect.DeepEqual(read, f) {
				t.Errorf("%s: of its tree it is %+v, %v", e.Name, read, err)
			}
			continue
		}
		if unknown != want.UnknownExtensions {
			t.Errorf("%s: %d unknown extensions, not %d", e.Name, unknown, want.UnknownExtensions)
		}
		sameTree(t, e.Name, f.AppendTree(nil, false), want.Value)
	}
}

// TestShortened cuts frames at every octet: an error that says where, and no
// panic.
func TestShortened(t *testing.T) {
	for _, e := range generated(t) {
		raw := unhex(t, e.Hex)
		for n := range raw {
			var f MessageFrame
			_, _, err := f.Decode(raw[:n])
			fault, ok := err.(*Error)
			if !ok || n > 0 && !strings.Contains(fault.Path, "Frame") {
				t.Fatalf("%s cut after %d octets: %v", e.Name, n, err)
			}
		}
	}
}

func TestErrorsNameFieldAndBit(t *testing.T) {
	for _, c := range []struct{ name, hex, want string }{
		{"heading", "00001b3df73de8512272e000000000000000000000001fffc00000000000000000000000", "bsmFrame.heading (bit 179): 32767 is outside of 0 to 28800"},
	} {
		var f MessageFrame
		if _, _, err := f.Decode(unhex(t, c.hex)); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, not %s", c.name, err, c.want)
		}
	}
	var f MessageFrame
	for tree, want := range map[string]string{
		`{"bsmFrame": {}}`: "bsmFrame: msgCnt is missing",
		`{"spatFrame": {"msgCnt": 0, "intersections": [{"intersectionId": {"id": 1}, "status": "01", "phases": []}]}}`: "spatFrame.intersections[0].status: 2 bits are not 16",
		`{"carFrame": {}}`: "carFrame: is none of its alternatives",
		`7`:                ": 7 is no object with one alternative",
	} {
		if err := f.ReadTree([]byte(tree)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, not %s", tree, err, want)
		}
	}
	f = MessageFrame{Alt: MessageFrameMapFrame, MapFrame: MapData{Nodes: NodeList{{}, {RefPos: Position3D{Lat: 900000002}}}}}
	if _, err := f.AppendEncoded(nil); err == nil || !strings.HasPrefix(err.Error(), "mapFrame.nodes[1].refPos.lat (bit ") {
		t.Error(err)
	}
}

// TestNothingIsAllocated decodes and encodes into memory that is there.
func TestNothingIsAllocated(t *testing.T) {
	var f MessageFrame
	var out []byte
	for _, e := range generated(t) {
		raw := unhex(t, e.Hex)
		work := func() {
			if _, _, err := f.Decode(raw); err != nil {
				t.Fatal(err)
			}
			out, _ = f.AppendEncoded(out[:0])
		}
		work()
		if n := testing.AllocsPerRun(10, work); n != 0 {
			t.Errorf("%s: %v allocations", e.Name, n)
		}
	}
}

// TestSchema compares the types with the table of the reference.
func TestSchema(t *testing.T) {
	var all map[string]struct {
		Kind   string
		Fields []struct {
			Name     string
			Optional bool
		}
	}
	shared(t, "types.json", &all)
	text, err := os.ReadFile("messages.asn1")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "::="); n != len(all) {
		t.Errorf("%d types, the table has %d", n, len(all))
	}
	for name := range all {
		if !strings.Contains(string(text), "\n"+name+" ::=") {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestUnits(t *testing.T) {
	var f MessageFrame
	for _, e := range generated(t) {
		if e.Name != "bsmFrame-min-0" {
			continue
		}
		if _, _, err := f.Decode(unhex(t, e.Hex)); err != nil {
			t.Fatal(err)
		}
		si := string(f.AppendTree(nil, true))
		for _, want := range []string{`"lat": -90, "long": -179.9999999`, `"speed": 0`, `"long": -20`, `"vert": null`, `"yaw": -327.67`, `"width": null`} {
			if !strings.Contains(si, want) {
				t.Errorf("%s is not in %s", want, si)
			}
		}
	}
}

func sameTree(t *testing.T, name string, got, want []byte) {
	t.Helper()
	var a, b any
	if err := json.Unmarshal(got, &a); err != nil {
		t.Fatalf("%s: %v in %s", name, err, got)
	}
	if err := json.Unmarshal(want, &b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("%s is\n%s, not\n%s", name, got, want)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func FuzzDecode(f *testing.F) {
	for _, e := range generated(f) {
		f.Add(unhex(f, e.Hex))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var m MessageFrame
		n, unknown, err := m.Decode(data)
		if err != nil {
			return
		}
		out, err := m.AppendEncoded(nil)
		if err != nil {
			t.Fatalf("what was decoded of %x is not encoded: %v", data, err)
		}
		if unknown == 0 && !bytes.Equal(out[:n-1], data[:n-1]) {
			t.Fatalf("%x becomes %x", data[:n], out)
		}
		var again MessageFrame
		if _, _, err := again.Decode(out); err != nil {
			t.Fatalf("%x became %x: %v", data, out, err)
		}
		if a, b := m.AppendTree(nil, false), again.AppendTree(nil, false); !bytes.Equal(a, b) {
			t.Fatalf("%s became %s", a, b)
		}
		var read MessageFrame
		if err := read.ReadTree(m.AppendTree(nil, false)); err != nil {
			t.Fatalf("%s is not read back: %v", m.AppendTree(nil, false), err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	byKind := map[string][][]byte{}
	for _, e := range generated(b) {
		kind, _, _ := strings.Cut(e.Name, "-")
		byKind[kind] = append(byKind[kind], unhex(b, e.Hex))
	}
	for _, kind := range []string{"bsmFrame", "rsmFrame", "spatFrame", "mapFrame", "rsiFrame"} {
		b.Run(kind, func(b *testing.B) {
			var f MessageFrame
			all := byKind[kind]
			b.ReportAllocs()
			for i := range b.N {
				if _, _, err := f.Decode(all[i%len(all)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("published", func(b *testing.B) {
		var all []example
		shared(b, "frames-published.json", &all)
		for _, e := range all {
			raw := unhex(b, e.Hex)
			b.Run(e.Name, func(b *testing.B) {
				var f MessageFrame
				b.ReportAllocs()
				for range b.N {
					if _, _, err := f.Decode(raw); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	})
}
