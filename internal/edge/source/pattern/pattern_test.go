package pattern

import "testing"

func TestNamesAreMatched(t *testing.T) {
	for name, want := range map[string]bool{"lo": true, "veth12": true, "eth0": true, "eth10": false, "lot": false, "": false} {
		if got := Any([]string{"lo", "veth*", "eth?"}, name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
	if Valid("a[") || !Valid("a*") || Any([]string{"a["}, "a[") {
		t.Error("what is no pattern is taken for one")
	}
}
