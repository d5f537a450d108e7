package codec

import "github.com/songhua-io/hub/internal/telemetry"

func decodeJSON(b *telemetry.Batch, in Input) error {
	return &Error{Format: JSON, Reason: telemetry.ReasonUnsupported, Detail: "not read in this build"}
}
