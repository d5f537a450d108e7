package api

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

func TestADecisionNamesWhoGaveWay(t *testing.T) {
	doc, err := json.Marshal(showDecision(&schedule.Decision{Preempts: []schedule.Victim{{Workload: "w-1", Tenant: "other", Priority: 10, Lost: 12 * time.Minute, Cost: 1.5}}}))
	if err != nil {
		t.Fatal(err)
	}
	if want := `"preempts":[{"workload":"w-1","priority":10,"lost":"12m0s","cost":1.5}]`; !strings.Contains(string(doc), want) {
		t.Errorf("%s\nwants %s", doc, want)
	}
}
