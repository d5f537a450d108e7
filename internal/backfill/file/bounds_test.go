package file

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/songhua-io/hub/internal/codec"
)

// forms are a file of each form of text with three samples.
var forms = map[string]struct{ head, line, end string }{
	CSV:         {"device,metric,time,value\n", "%s,%s,17000000%02d,1\n", ""},
	Influx:      {"", "%[2]s,device=%[1]s value=1 17000000%02[3]d\n", ""},
	OpenMetrics: {"", "%[2]s{device=\"%[1]s\"} 1 17000000%02[3]d\n", "# EOF\n"},
}

func form(name string, devices ...string) string {
	f := forms[name]
	var text strings.Builder
	text.WriteString(f.head)
	for i, d := range devices {
		fmt.Fprintf(&text, f.line, d, "m", i)
	}
	return text.String() + f.end
}

func plain(format string) Options {
	return Options{Format: format, Time: "time", DeviceFrom: "device", Precision: 1e9}
}

// What is no file of text, or of another text, is refused before anything is read
// of it, with what to do.
func TestWhatIsNoFileOfHistory(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ path, want string }{
		"directory": {dir, "is a directory"},
		"pipe":      {pipe, "is no regular file"},
		"device":    {"/dev/null", "is no regular file"},
		"absent":    {filepath.Join(dir, "none"), "no such file"},
		"gzip":      {written(t, "a", "\x1f\x8b\x08\x00\x00"), "gunzip"},
		"zstd":      {written(t, "b", "\x28\xb5\x2f\xfd\x00"), "zstd -d"},
		"xlsx":      {written(t, "c", "PK\x03\x04\x00"), "save it as CSV"},
		"utf-16":    {written(t, "d", "\xff\xfet\x00"), "iconv -f UTF-16"},
	} {
		for format := range forms {
			if r, err := Open(c.path, plain(format), Mark{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s as %s: %v, want %q", name, format, err, c.want)
				if err == nil {
					r.Close()
				}
			}
		}
		if !strings.Contains("gzip zstd xlsx utf-16", name) {
			if _, _, err := ID(t.Context(), c.path, plain(CSV), func(int64, int64) {}); err == nil {
				t.Errorf("%s has an id", name)
			}
		}
		if r, err := Open(c.path, plain(Blocks), Mark{}); err == nil {
			t.Errorf("%s is a block", name)
			r.Close()
		}
	}
	for name, text := range map[string]string{"empty": "", "no UTF-8": "time,device,\xce\xc2\xb6\xc8\n", "wide": "time,device," + strings.Join(columns(maxColumns), ",") + "\n"} {
		if r, err := Open(written(t, "e", text), plain(CSV), Mark{}); err == nil {
			t.Errorf("%s: it is read", name)
			r.Close()
		}
	}
	for _, format := range []string{Influx, OpenMetrics} {
		if samples, _ := read(t, written(t, "f", ""), plain(format), true); len(samples) != 0 {
			t.Errorf("an empty file of %s holds %v", format, samples)
		}
	}
}

func columns(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("m%d", i))
	}
	return all
}

// A record that is too long, or no text, is a fault of its line, and takes no other
// with it.
func TestARecordThatIsTooMuch(t *testing.T) {
	long, huge := strings.Repeat("x", maxText), strings.Repeat("x", maxLine)
	for format := range forms {
		for name, device := range map[string]string{"long": long, "no UTF-8": "\xce\xc2\xb6\xc8", "line": huge} {
			if format == CSV && name == "line" {
				continue // TestAQuoteThatIsNotClosedEndsInAnError
			}
			samples, faults := read(t, written(t, "f", form(format, "a", device, "b")), plain(format), false)
			if len(samples) != 2 || len(faults) != 1 || len(faults[0]) > 2000 {
				t.Errorf("%s, %s: %d samples and %.300q", format, name, len(samples), faults)
			}
		}
	}
}

// A part is bounded by the bytes of its series, however few samples that are, and
// one row of many columns by its tags.
func TestAPartIsBoundedInBytes(t *testing.T) {
	var devices []string
	for i := range 2000 {
		devices = append(devices, fmt.Sprintf("%d%s", i, strings.Repeat("x", maxText-100)))
	}
	for _, format := range []string{CSV, OpenMetrics} { // the codec of line protocol bounds its texts
		r, err := Open(written(t, "f", form(format, devices...)), plain(format), Mark{})
		if err != nil {
			t.Fatal(err)
		}
		parts, samples, e := 0, 0, codec.RemoteWriteEncoder{}
		for p := (&Part{}); !p.Last; parts++ {
			if err := r.Next(p); err != nil {
				t.Fatal(err)
			}
			samples += p.Samples
			if n := len(p.Encode(&e, nil)); n > partText+2*maxText {
				t.Errorf("a part of %s has %d bytes", format, n)
			}
		}
		if parts < 3 || samples != len(devices) {
			t.Errorf("%d samples of %s in %d parts", samples, format, parts)
		}
		r.Close()
	}
	o := plain(CSV)
	o.Tags = []string{"tag"}
	head := "time,device,tag," + strings.Join(columns(5000), ",") + "\n"
	row := "1700000000,a," + strings.Repeat("y", 2*maxText) + strings.Repeat(",1", 5000) + "\n"
	if samples, faults := read(t, written(t, "f", head+row), o, false); len(samples) != 0 || len(faults) != 1 {
		t.Errorf("%d samples and %.200q", len(samples), faults)
	}
}

// A file that has become shorter than what was imported of it is another one.
func TestAFileThatShrank(t *testing.T) {
	for format := range forms {
		path := written(t, "f", form(format, "a", "b", "c"))
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := Open(path, plain(format), Mark{info.Size(), 4}); err != nil {
			t.Errorf("%s at its end: %v", format, err)
		} else {
			r.Close()
		}
		if r, err := Open(path, plain(format), Mark{info.Size() + 1, 4}); err == nil || !strings.Contains(err.Error(), "another file") {
			t.Errorf("%s behind its end: %v", format, err)
			if err == nil {
				r.Close()
			}
		}
	}
	for _, s := range []string{"x", "1", "1:x", "-1:0", "0:-1"} {
		if _, err := ParseMark(s); err == nil {
			t.Errorf("%q is a place", s)
		}
	}
}

// A line of a series that was read before is read as the first one would be.
func TestALineOfAKnownSeries(t *testing.T) {
	for _, series := range []string{`m{device="a"}`, `m{device="a",t="x} 5 6"}`, "m"} {
		for _, rest := range []string{" 1 17", " 1_0 17", " 0x1p3 17", " 0x10 17", " NaN 17", " nan 17", " +Inf 17", " -infinity 17", " 1 17e8", " 1 1700000000.0005", " 1  17", "  1 17", "1 17", " 1 17 # {} 1", " 1 17 # {t=\"x\"} 1 5", " 1 17 18", " 1", "", " ", " 1 ", " 1 NaN", " 1 Inf", " 1 -5", " 1 +5", " .5 1", " 1\t17", " 1 17 ", " 1 1e400", " 1e400 1", " 1 17}", "} 1 17"} {
			o := plain(OpenMetrics)
			o.Device = "x"
			line := series + rest + "\n# EOF\n"
			alone, wrong := read(t, written(t, "f", "\n"+line), o, false)
			behind, wrongToo := read(t, written(t, "f", series+" 5 1\n"+line), o, false)
			if diff := cmp.Diff(alone, behind[1:], cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%q: %s", line, diff)
			}
			if diff := cmp.Diff(wrong, wrongToo); diff != "" {
				t.Errorf("%q: %s", line, diff)
			}
		}
	}
}

// Whatever a file holds, it is read to its end or to an error, each sample has a
// device, a metric and a line, and reading goes on at any mark.
func fuzz(f *testing.F, format string, more ...string) {
	f.Add([]byte(form(format, "a", "b", "a")))
	for _, s := range more {
		f.Add([]byte(s))
	}
	path := filepath.Join(f.TempDir(), "f")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, device := range []string{"", "x"} {
			o := plain(format)
			o.Device = device
			r, err := Open(path, o, Mark{})
			if err != nil {
				return
			}
			defer r.Close()
			for p := (&Part{}); !p.Last; {
				before := r.from.mark()
				if err := r.Next(p); err != nil {
					return
				}
				if p.Mark.Offset < before.Offset || p.Mark.Offset > int64(len(text)) {
					t.Fatalf("mark %v follows %v in %d bytes", p.Mark, before, len(text))
				}
				var e codec.RemoteWriteEncoder
				decoded(t, p, p.Encode(&e, nil))
				if at, err := Open(path, o, p.Mark); err != nil {
					t.Fatalf("it does not go on at %v: %v", p.Mark, err)
				} else {
					at.Close()
				}
			}
		}
	})
}

func FuzzCSV(f *testing.F) {
	fuzz(f, CSV, "time,device,a,b\n1700000000,d,1,\n2024-01-01T00:00:00Z,d,x,2\n", "\ufefftime,value,metric\n1,\"2\n\",\"m\"\"\"\n", "time,device,a\r\n1,\"")
}

func FuzzInflux(f *testing.F) {
	fuzz(f, Influx, "# c\nm,device=a,t=x\\ y f=1i,g=t,s=\"a\nb\" 1\n", "m f=1")
}

func FuzzOpenMetrics(f *testing.F) {
	fuzz(f, OpenMetrics, "# TYPE a counter\na_total{device=\"h\"} 5 1700000000.5 # {trace_id=\"x\"} 1\n", "{\"a\",device=\"x\"} 1 2\n# EOF\n")
}
