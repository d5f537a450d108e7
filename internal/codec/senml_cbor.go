package codec

import "github.com/songhua-io/hub/internal/telemetry"

func decodeSenMLCBOR(b *telemetry.Batch, in Input) error {
	return &Error{Format: SenMLCBOR, Reason: telemetry.ReasonUnsupported, Detail: "not read in this build"}
}
