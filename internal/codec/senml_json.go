package codec

import "github.com/songhua-io/hub/internal/telemetry"

func decodeSenML(b *telemetry.Batch, in Input) error {
	return &Error{Format: SenML, Reason: telemetry.ReasonUnsupported, Detail: "not read in this build"}
}
