package ledger

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/schedule"
)

func TestAValueComesBackAsItWasWritten(t *testing.T) {
	long := []byte(strings.Repeat("\x01tenant-7 pool f012-p3 carbon ", 100))
	memory := &statements{}
	for name, doc := range map[string][]byte{
		"nothing": nil, "short": []byte("\x01short"), "long": long, "long of one byte": long[:squeezeFrom],
		"of before, as long": append([]byte{2}, long...),
	} {
		written := bytes.Clone(memory.squeeze(doc))
		if name == "long" && len(written)*4 > len(long) {
			t.Errorf("%s: %d bytes of %d", name, len(written), len(long))
		}
		for _, is := range [][]byte{written, doc} { // what an older hub wrote is read too
			if got, err := unsqueeze(is); err != nil || !bytes.Equal(got, doc) {
				t.Errorf("%s: %d bytes became %d: %v", name, len(doc), len(got), err)
			}
		}
		if len(written) > squeezeFrom/8 && written[0] == squeezed {
			if _, err := unsqueeze(written[:len(written)-1]); !errors.Is(err, errDocument) {
				t.Errorf("%s, its end lost: %v", name, err)
			}
		}
	}
	if _, err := unsqueeze([]byte{squeezed, 0xff, 0xff, 0xff, 0xff, 0x7f, 0}); !errors.Is(err, errDocument) {
		t.Errorf("a value that says that it is huge: %v", err)
	}
}

func TestNoValueBeginsAsOneThatIsSqueezed(t *testing.T) {
	r := &record{num: 1, Record: Record{ID: "w-1", Tenant: "a", Workload: &schedule.Workload{ID: "w-1", Tenant: "a"}, State: schedule.Queued}}
	d := &document{}
	for name, doc := range map[string][]byte{
		"entry": appendChange(nil, 1, d.append(nil, r, lacksNothing)), "mark": appendChange(nil, 1, nil),
		"pack": d.item(nil, r), "record": d.append(nil, r, lacksNothing), "events": appendEvents(nil, []schedule.Event{{Seq: 1, Kind: schedule.OfFacility}}),
	} {
		if len(doc) == 0 || doc[0] == squeezed {
			t.Errorf("%s begins with %v", name, doc[:min(len(doc), 1)])
		}
	}
}
