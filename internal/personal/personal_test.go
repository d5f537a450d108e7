package personal

import "testing"

func TestFind(t *testing.T) {
	for text, want := range map[string]struct {
		kind   Kind
		masked string
	}{
		"吉A·12345":                 {Plate, "吉A*****5"},
		"吉A12345":                  {Plate, "吉A****5"},
		"车牌 吉AD12345 经过":           {Plate, "吉A*****5"},
		"粤B·F12345":                {Plate, "粤B******5"},
		"沪C1234挂":                  {Plate, "沪C****挂"},
		"11010519491231002X":       {Identity, "11***************X"},
		"id=440308199901101512;":   {Identity, "44***************2"},
		"tel 13912345678":          {Phone, "13********8"},
		"+8613912345678":           {Phone, "86**********8"},
		"440308199901101513":       {}, // a wrong check digit
		"ESN0001":                  {},
		"1605336902333":            {}, // milliseconds
		"860000000000001":          {}, // IMEI
		"89860000000000000001":     {}, // ICCID
		"12912345678":              {},
		"人民大街-自由大路":                {},
		"吉林A座12345":                {},
		"吉A1234":                   {},
		"吉A12345678":               {},
		"V1.0":                     {},
		"2015-12-12T12:12:12.356Z": {},
		"12.5,8.0,30.1,4.4":        {},
		"139123456789":             {},
		"":                         {},
	} {
		k, masked, found := Find(text)
		if k != want.kind || masked != want.masked || found != (want.kind != "") {
			t.Errorf("%q: %q %q %v, not %q %q", text, k, masked, found, want.kind, want.masked)
		}
	}
}

func FuzzFind(f *testing.F) {
	for _, s := range []string{"吉A·12345", "11010519491231002X", "13912345678", "吉"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if k, masked, found := Find(s); found && (k == "" || masked == "") {
			t.Fatal(k, masked)
		}
	})
}
