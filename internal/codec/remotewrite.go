package codec

import "github.com/songhua-io/hub/internal/telemetry"

func decodeRemoteWrite(b *telemetry.Batch, in Input) error {
	return &Error{Format: RemoteWrite, Reason: telemetry.ReasonUnsupported, Detail: "not read in this build"}
}
