package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/hubtest"
)

// faults are what a disk can do to a running hub. Nothing may be acknowledged
// that is not stored, the hub says what is wrong and ends with exit code 1, and
// starts without help once the disk does.
var faults = []struct {
	name  string
	mib   int
	spoil func(*testing.T, *harness)
	mend  func(*testing.T, *disk)
	// says is an expression for the hub's last words: whichever part of it
	// writes first fails, the store or the database.
	says *regexp.Regexp
}{
	{
		name: "every write and fsync fails", mib: 256,
		spoil: func(t *testing.T, h *harness) { must(t, h.cutPower()); must(t, h.hub.Thaw()) },
		mend:  func(t *testing.T, d *disk) { must(t, d.powerUp()) },
		says:  regexp.MustCompile("none of them was acknowledged|disk I/O error"),
	},
	{
		name: "the disk is full", mib: 192,
		spoil: func(t *testing.T, h *harness) { fill(t, h.disk) },
		mend:  func(t *testing.T, d *disk) { must(t, os.Remove(filepath.Join(d.at, "filler"))) },
		says:  regexp.MustCompile("disk is full"),
	},
}

func TestFaultsOfTheDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute; make test")
	}
	binary := hubtest.Build(t, "")
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			h := start(t, binary, needDisk(t, f.mib))
			end := h.publish("fault")
			f.spoil(t, h)
			select {
			case <-h.hub.Ended():
			case <-time.After(patience):
				t.Fatalf("the hub runs on without a disk\n%s", h.hub.Output())
			}
			end()
			if code := h.hub.ExitCode(); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if !f.says.MatchString(h.hub.Output()) {
				t.Errorf("the hub did not say %q:\n%s", f.says, h.hub.Output())
			}
			f.mend(t, h.disk)
			h.launch()
			if faults := h.compare("fault"); len(faults) > 0 {
				t.Errorf("after the fault:\n%s", list(faults))
			}
			h.sendAgain("fault")
		})
	}
}

// TestAReadOnlyDirectoryIsAClearError: a hub that cannot write does not start.
func TestAReadOnlyDirectoryIsAClearError(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the hub")
	}
	d := needDisk(t, 64)
	must(t, sh("mount", "-o", "remount,ro", d.at))
	_, err := hubtest.Launch(hubtest.Build(t, ""), d.at+"/data", "serve")
	if err == nil || !strings.Contains(err.Error(), "read-only file system") || !strings.Contains(err.Error(), "--data") {
		t.Errorf("a read-only directory gives: %v", err)
	}
}

// TestAnOrderlyEndUnderLoadLosesNothing stops the hub by SIGTERM while all
// doors are busy: exit code 0, and what was acknowledged is there once.
func TestAnOrderlyEndUnderLoadLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the hub")
	}
	h := start(t, hubtest.Build(t, ""), nil)
	for n := range 3 {
		metric := fmt.Sprintf("orderly_%d", n)
		end := h.publish(metric)
		code, err := h.hub.Stop()
		end()
		if err != nil || code != 0 {
			t.Fatalf("SIGTERM: exit code %d, %v\n%s", code, err, h.hub.Output())
		}
		h.launch()
		if faults := h.compare(metric); len(faults) > 0 {
			t.Fatalf("after an orderly end:\n%s", list(faults))
		}
		h.sendAgain(metric)
	}
}

// fill leaves no byte free on the disk.
func fill(t *testing.T, d *disk) {
	t.Helper()
	f, err := os.Create(filepath.Join(d.at, "filler"))
	must(t, err)
	defer f.Close()
	block := make([]byte, 1<<20)
	for err == nil {
		_, err = f.Write(block)
	}
	for len(block) > 1 {
		block = block[:len(block)/2]
		for err = nil; err == nil; {
			_, err = f.Write(block)
		}
	}
}
