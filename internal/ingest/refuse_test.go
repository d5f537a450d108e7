package ingest_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/ingest/doortest"
	"github.com/songhua-io/hub/internal/telemetry"
)

func TestWhatADoorRefusedUnreadIsARejectOfItsDevice(t *testing.T) {
	h := doortest.Start(t, ingest.DefaultConfig())
	h.Register("t1", telemetry.KindSensor)
	h.Pipeline.Refuse("t1", telemetry.ReasonTooLarge, "a packet of 9 MB; 1 MB are taken")
	h.Pipeline.Refuse("token/importer", telemetry.ReasonUnsupported, "content type text/html")
	want := []doortest.Kept{
		{Device: "t1", Rejects: []telemetry.Reject{{Index: -1, Stage: telemetry.StageDoor, Reason: telemetry.ReasonTooLarge, Detail: "a packet of 9 MB; 1 MB are taken"}}},
		{Device: "token/importer", Rejects: []telemetry.Reject{{Index: -1, Stage: telemetry.StageDoor, Reason: telemetry.ReasonUnsupported, Detail: "content type text/html"}}},
	}
	if diff := cmp.Diff(want, h.Desk()); diff != "" {
		t.Error(diff)
	}
	lines, err := testutil.GatherAndFormat(h.Metrics, expfmt.TypeTextPlain, "hub_ingest_rejects_total")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`hub_ingest_rejects_total{reason="too_large",stage="door"} 1`,
		`hub_ingest_rejects_total{reason="unsupported",stage="door"} 1`,
	} {
		if !strings.Contains(string(lines), line+"\n") {
			t.Errorf("%s is missing in\n%s", line, lines)
		}
	}
	if _, rejected, _ := h.Pipeline.Totals(); rejected != 2 {
		t.Errorf("%d rejects in total", rejected)
	}
}
