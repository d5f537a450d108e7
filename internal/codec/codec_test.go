package codec

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/telemetry"
)

// now is the hub's clock in the tests: 2025-11-24T16:00:00Z.
const now = 1764000000000

// written renders a batch, one line for each sample, state and reject.
func written(b *telemetry.Batch) string {
	var s strings.Builder
	for _, v := range b.Samples {
		var tags []string
		for _, t := range v.Tags {
			tags = append(tags, fmt.Sprintf("%s=%s", t.Name, t.Value))
		}
		name := string(v.Metric)
		if len(tags) > 0 {
			name += "{" + strings.Join(tags, ",") + "}"
		}
		fmt.Fprintf(&s, "%d %s %v", v.Index, name, v.Value)
		if len(v.Unit) > 0 {
			fmt.Fprintf(&s, " %s", v.Unit)
		}
		fmt.Fprintf(&s, " @%s\n", moment(v.Time))
	}
	for _, v := range b.States {
		fmt.Fprintf(&s, "state %s %q @%s\n", v.Name, v.Value, moment(v.Time))
	}
	for _, v := range b.Rejects {
		fmt.Fprintf(&s, "%d %s %s: %s\n", v.Index, v.Stage, v.Reason, v.Detail)
	}
	return s.String()
}

// moment renders a time relative to now where it is near.
func moment(ms int64) string {
	if d := ms - now; d > -1e6 && d < 1e6 {
		return fmt.Sprintf("now%+d", d)
	}
	return fmt.Sprint(ms)
}

// expect decodes a payload and compares what it holds, or the error, with want.
func expect(t *testing.T, f Format, in Input, want string) {
	t.Helper()
	in.Now = now
	var b telemetry.Batch
	got := ""
	if err := Decode(&b, f, in); err != nil {
		got = "error " + err.Error() + "\n"
		if len(b.Samples)+len(b.States)+len(b.Rejects) > 0 {
			t.Errorf("a refused message left something behind:\n%s", written(&b))
		}
	}
	got += written(&b)
	if diff := cmp.Diff(strings.TrimLeft(want, "\n"), got); diff != "" {
		t.Errorf("%s\nwant -, got +:\n%s", clip(in.Payload), diff)
	}
}

func TestFirstByteNamesTheFormat(t *testing.T) {
	for payload, want := range map[string]Format{
		" [{}]": SenML, "\r\n{": JSON, "\x81\xa0": SenMLCBOR, "\x9f\xff": SenMLCBOR, "cpu a=1": Influx, "": Influx, "# c": Influx,
	} {
		if got := Detect([]byte(payload)); got != want {
			t.Errorf("%q is taken for %s, want %s", payload, got, want)
		}
	}
}

func TestMessageWithTooManyValuesIsRefused(t *testing.T) {
	for f, payload := range map[Format]string{
		SenML:     `[{"n":"a","v":1},{"n":"b","v":1},{"n":"c","v":1}]`,
		SenMLCBOR: "\x83\xa2\x00\x61a\x02\x01\xa2\x00\x61b\x02\x01\xa2\x00\x61c\x02\x01",
		JSON:      `{"a":1,"b":2,"c":3}`,
		Influx:    "m a=1\nm b=2\nm c=3",
	} {
		var b telemetry.Batch
		err := Decode(&b, f, Input{Payload: []byte(payload), MaxSamples: 2})
		e, ok := err.(*Error)
		if !ok || e.Reason != telemetry.ReasonTooLarge || e.Detail != "the message holds more than 2 values; send it in smaller pieces" {
			t.Errorf("%s: %v", f, err)
		}
		if len(b.Samples) != 0 {
			t.Errorf("%s left %d samples behind", f, len(b.Samples))
		}
	}
}

func TestFaultLeavesEarlierMessagesOfTheBatch(t *testing.T) {
	for f, bad := range map[Format]string{SenML: `[{"n":"b","v":2},`, JSON: `{"b":2,`, SenMLCBOR: "\x82\xa2\x00\x61b\x02\x02"} {
		var b telemetry.Batch
		if err := Decode(&b, SenML, Input{Payload: []byte(`[{"n":"a","v":1},{"v":3}]`), Now: now}); err != nil {
			t.Fatal(err)
		}
		before := written(&b)
		if err := Decode(&b, f, Input{Payload: []byte(bad), Now: now}); err == nil {
			t.Errorf("%s: %q was read", f, bad)
		}
		if diff := cmp.Diff(before, written(&b)); diff != "" {
			t.Errorf("%s: %s", f, diff)
		}
	}
}
