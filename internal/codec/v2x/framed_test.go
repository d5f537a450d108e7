package v2x

import (
	"encoding/hex"
	"strings"
	"testing"
)

func TestFramedUplinks(t *testing.T) {
	var all []struct {
		Type, Hex, RsuID string
		TimestampMs      int64
		Messages         []string
		Trailing         int
	}
	shared(t, "uplinks-framed.json", &all)
	for _, u := range all {
		f, err := ReadFramed(unhex(t, u.Hex), u.Type == "BSM")
		if err != nil || string(f.RSU[:]) != u.RsuID || f.At.UnixMilli() != u.TimestampMs {
			t.Fatalf("%s: %q at %v: %v", u.Type, f.RSU, f.At, err)
		}
		for _, want := range u.Messages {
			frame, err := f.Next()
			if err != nil || hex.EncodeToString(frame) != want {
				t.Errorf("%s: %x, %v; not %s", u.Type, frame, err, want)
			}
		}
		if frame, err := f.Next(); frame != nil || err != nil || f.Trailing() != u.Trailing {
			t.Errorf("%s: behind the last frame: %x, %v, %d octets", u.Type, frame, err, f.Trailing())
		}
	}
}

func TestFaultyUplinks(t *testing.T) {
	head := "0102030405060708" + "0000000000000000"
	for data, want := range map[string]string{
		"01":                            "1 octets are too few",
		head:                            "too few for the head of an uplink, 17",
		head + "01":                     "the uplink ends where the length",
		head + "01" + "0500" + "00":     "a message of 5 octets, and 1 are left",
		head + "01" + "0000":            "a message of 0 octets, and 0 are left",
		strings.Repeat("ff", 16) + "01": "is no number of milliseconds",
	} {
		f, err := ReadFramed(unhex(t, data), true)
		if err == nil {
			_, err = f.Next()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, not %s", data, err, want)
		}
	}
}
