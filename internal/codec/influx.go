package codec

import "github.com/songhua-io/hub/internal/telemetry"

func decodeInflux(b *telemetry.Batch, in Input) error {
	return &Error{Format: Influx, Reason: telemetry.ReasonUnsupported, Detail: "not read in this build"}
}
