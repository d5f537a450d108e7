package http

import (
	"encoding/json"
	nethttp "net/http"
	"strconv"

	"github.com/songhua-io/hub/internal/telemetry"
)

var (
	jsonType     = []string{"application/json"}
	problemType  = []string{"application/problem+json"}
	textType     = []string{"text/plain; charset=utf-8"}
	protobufType = []string{"application/x-protobuf"}
)

// maxListed bounds the rejects that an answer lists; the desk has them all.
const maxListed = 1000

// appendAnswer writes {"accepted": n, "rejected": [...]}.
func appendAnswer(b []byte, accepted int, rejects []telemetry.Reject) []byte {
	b = append(b, `{"accepted":`...)
	b = strconv.AppendInt(b, int64(accepted), 10)
	b = append(b, `,"rejected":`...)
	b = appendRejects(b, rejects)
	return append(b, '}')
}

func appendRejects(b []byte, rejects []telemetry.Reject) []byte {
	b = append(b, '[')
	for i := range rejects[:min(len(rejects), maxListed)] {
		if i > 0 {
			b = append(b, ',')
		}
		r := &rejects[i]
		b = append(b, `{"index":`...)
		b = strconv.AppendInt(b, int64(r.Index), 10)
		b = append(b, `,"stage":"`...)
		b = append(b, r.Stage...)
		b = append(b, `","reason":"`...)
		b = append(b, r.Reason...)
		b = append(b, `","detail":`...)
		b = append(appendString(b, r.Detail), '}')
	}
	return append(b, ']')
}

func appendString(b []byte, s string) []byte {
	quoted, err := json.Marshal(s)
	if err != nil {
		return append(b, `""`...)
	}
	return append(b, quoted...)
}

// errorStyle is how a route tells a failure: each protocol has its own.
type errorStyle interface{ answer(r *request, f *failure) }

// problems are RFC 9457 problem details.
type problems struct{}

func (problems) answer(r *request, f *failure) {
	b := append(r.answer[:0], `{"title":`...)
	b = appendString(b, nethttp.StatusText(f.status))
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(f.status), 10)
	b = append(b, `,"detail":`...)
	b = appendString(b, f.detail)
	if f.rejects != nil {
		b = append(b, `,"accepted":0,"rejected":`...)
		b = appendRejects(b, f.rejects)
	}
	r.answer = append(b, '}', '\n')
	r.write(f.status, problemType)
}

// plainErrors are text, which Prometheus logs as it is.
type plainErrors struct{}

func (plainErrors) answer(r *request, f *failure) {
	r.answer = append(append(r.answer[:0], f.detail...), '\n')
	r.write(f.status, textType)
}
