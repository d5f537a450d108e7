package codec

import (
	"fmt"

	"github.com/songhua-io/hub/internal/telemetry"
)

// longName says that a name of n bytes, of which head is the beginning, is
// longer than it may be.
func (in *Input) longName(head []byte, n int) string {
	return fmt.Sprintf("the name that begins with %q has %d bytes; at most %d are allowed", clip(head), n, in.MaxName)
}

// tagsFit reports whether a sample may carry these tags.
func (in *Input) tagsFit(tags []telemetry.Tag) bool {
	for i := range tags {
		if len(tags[i].Name) > in.MaxName || len(tags[i].Value) > in.MaxValue {
			return false
		}
	}
	return len(tags) <= in.MaxTags
}

// tagFault says why a sample may not carry these tags; fault is empty when it
// may.
func (in *Input) tagFault(tags []telemetry.Tag) (reason telemetry.Reason, fault string) {
	if len(tags) > in.MaxTags {
		return telemetry.ReasonLabelLimit, fmt.Sprintf("the sample has %d tags; at most %d are allowed", len(tags), in.MaxTags)
	}
	for i := range tags {
		if len(tags[i].Name) > in.MaxName {
			return telemetry.ReasonLabelInvalid, "of a tag, " + in.longName(tags[i].Name, len(tags[i].Name))
		}
		if n := len(tags[i].Value); n > in.MaxValue {
			return telemetry.ReasonLabelInvalid, fmt.Sprintf("the value of tag %q has %d bytes; at most %d are allowed", clip(tags[i].Name), n, in.MaxValue)
		}
	}
	return "", ""
}

// stageOf is where a record with such a fault is refused. Names and tags are
// what ingest's validate checks: what a codec sees of them sooner counts there.
func stageOf(reason telemetry.Reason) telemetry.Stage {
	switch reason {
	case telemetry.ReasonForeignName:
		return telemetry.StageIdentify
	case telemetry.ReasonMetricInvalid, telemetry.ReasonLabelInvalid, telemetry.ReasonLabelLimit:
		return telemetry.StageValidate
	}
	return telemetry.StageDecode
}
