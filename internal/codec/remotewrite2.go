package codec

import "github.com/songhua-io/hub/internal/telemetry"

func decodeRemoteWrite2(b *telemetry.Batch, in Input) error {
	return &Error{Format: RemoteWrite2, Reason: telemetry.ReasonUnsupported, Detail: "not read in this build"}
}
