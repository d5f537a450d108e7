package ingest

import (
	"encoding/json"
	"strconv"

	"github.com/songhua-io/hub/internal/telemetry"
)

// AppendAnswer writes what became of a message as senders read it at every
// door: {"accepted": n, "rejected": [{"index", "stage", "reason", "detail"}]}.
// Rejects are listed as long as the answer stays below limit bytes; the desk
// has them all.
func AppendAnswer(b []byte, accepted int, rejects []telemetry.Reject, limit int) []byte {
	limit += len(b)
	b = append(b, `{"accepted":`...)
	b = strconv.AppendInt(b, int64(accepted), 10)
	b = append(b, `,"rejected":`...)
	return append(AppendRejects(b, rejects, limit-len(b)-1), '}')
}

// AppendRejects writes the list that AppendAnswer holds, below limit bytes.
func AppendRejects(b []byte, rejects []telemetry.Reject, limit int) []byte {
	limit += len(b)
	b = append(b, '[')
	for i := range rejects {
		before := len(b)
		if i > 0 {
			b = append(b, ',')
		}
		b = appendReject(b, &rejects[i])
		if len(b)+1 > limit {
			b = b[:before]
			break
		}
	}
	return append(b, ']')
}

func appendReject(b []byte, r *telemetry.Reject) []byte {
	b = append(b, `{"index":`...)
	b = strconv.AppendInt(b, int64(r.Index), 10)
	b = append(b, `,"stage":"`...)
	b = append(b, r.Stage...)
	b = append(b, `","reason":"`...)
	b = append(b, r.Reason...)
	b = append(b, `","detail":`...)
	detail, err := json.Marshal(r.Detail)
	if err != nil {
		detail = []byte(`""`)
	}
	return append(append(b, detail...), '}')
}
