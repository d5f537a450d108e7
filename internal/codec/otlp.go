package codec

import "github.com/songhua-io/hub/internal/telemetry"

func decodeOTLP(b *telemetry.Batch, f Format, in Input) error {
	return &Error{Format: f, Reason: telemetry.ReasonUnsupported, Detail: "not read in this build"}
}
