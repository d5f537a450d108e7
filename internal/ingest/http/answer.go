package http

import (
	"encoding/json"
	nethttp "net/http"
	"strconv"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
)

var (
	jsonType     = []string{"application/json"}
	problemType  = []string{"application/problem+json"}
	textType     = []string{"text/plain; charset=utf-8"}
	protobufType = []string{"application/x-protobuf"}
)

// maxListed bounds the bytes of the rejects that an answer lists.
const maxListed = 256 << 10

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
	b := append(r.answer[:0], '{')
	if f.over != nil {
		b = append(b, `"type":"`+quota.ProblemType+`","violated-policies":["`...)
		b = append(append(b, f.over.Policy.Name()...), `"],`...)
	}
	b = append(b, `"title":`...)
	b = appendString(b, nethttp.StatusText(f.status))
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(f.status), 10)
	b = append(b, `,"detail":`...)
	b = appendString(b, f.detail)
	if f.rejects != nil {
		b = append(b, `,"accepted":0,"rejected":`...)
		b = ingest.AppendRejects(b, f.rejects, maxListed)
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
