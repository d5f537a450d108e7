package http

import (
	"fmt"
	nethttp "net/http"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/telemetry"
)

// otlp takes metrics by OTLP over HTTP. Points that were not stored are told
// in partial_success, as the OTLP specification asks for.
func (r *request) otlp() {
	if fault := r.otlpExport(); fault != nil {
		r.fail(fault)
		return
	}
	accepted, rejects := r.outcome()
	if accepted == 0 && len(rejects) > 0 {
		fault := fail(nethttp.StatusBadRequest, "nothing was stored, %d points rejected; the first: %s: %s", len(rejects), rejects[0].Reason, rejects[0].Detail)
		r.fail(fault)
		return
	}
	message := ""
	if len(rejects) > 0 {
		message = fmt.Sprintf("the first: %s: %s", rejects[0].Reason, rejects[0].Detail)
	}
	r.answer = r.answer[:0]
	if r.otlpJSON() {
		r.answer = appendPartialJSON(r.answer, len(rejects), message)
		r.write(nethttp.StatusOK, jsonType)
		return
	}
	r.answer = appendPartial(r.answer, len(rejects), message)
	r.write(nethttp.StatusOK, protobufType)
}

func (r *request) otlpExport() *failure {
	if fault := r.authenticate("Bearer"); fault != nil {
		return fault
	}
	full := r.r.Header.Get("Content-Type")
	media, _, _ := strings.Cut(full, ";")
	f := codec.OTLP
	switch strings.TrimSpace(media) {
	case "application/x-protobuf":
	case "application/json":
		f = codec.OTLPJSON
	default:
		return refuse(nethttp.StatusUnsupportedMediaType, telemetry.ReasonUnsupported, "Content-Type %q is not OTLP; send application/x-protobuf or application/json", clip(full))
	}
	payload, fault := r.payload()
	if fault != nil {
		return fault
	}
	return r.deliverSeries(f, payload)
}

func (r *request) otlpJSON() bool {
	return strings.HasPrefix(r.r.Header.Get("Content-Type"), "application/json")
}

// appendPartial writes an ExportMetricsServiceResponse: partial_success = 1
// with rejected_data_points = 1 and error_message = 2.
func appendPartial(b []byte, rejected int, message string) []byte {
	if rejected == 0 {
		return b
	}
	inner := protowire.AppendTag(nil, 1, protowire.VarintType)
	inner = protowire.AppendVarint(inner, uint64(rejected))
	inner = protowire.AppendTag(inner, 2, protowire.BytesType)
	inner = protowire.AppendString(inner, message)
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	return protowire.AppendBytes(b, inner)
}

func appendPartialJSON(b []byte, rejected int, message string) []byte {
	if rejected == 0 {
		return append(b, '{', '}')
	}
	b = append(b, `{"partialSuccess":{"rejectedDataPoints":"`...)
	b = strconv.AppendInt(b, int64(rejected), 10)
	b = append(b, `","errorMessage":`...)
	b = appendString(b, message)
	return append(b, '}', '}')
}

// otlpErrors are google.rpc.Status in the encoding of the request.
type otlpErrors struct{}

func (otlpErrors) answer(r *request, f *failure) {
	code := rpcCode(f.status)
	b := r.answer[:0]
	if r.otlpJSON() {
		b = append(b, `{"code":`...)
		b = strconv.AppendInt(b, code, 10)
		b = append(b, `,"message":`...)
		b = appendString(b, f.detail)
		r.answer = append(b, '}')
		r.write(f.status, jsonType)
		return
	}
	b = protowire.AppendTag(b, 1, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(code))
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	r.answer = protowire.AppendString(b, f.detail)
	r.write(f.status, protobufType)
}

// rpcCode returns the google.rpc.Code of a status.
func rpcCode(status int) int64 {
	switch status {
	case nethttp.StatusUnauthorized:
		return 16 // UNAUTHENTICATED
	case nethttp.StatusForbidden:
		return 7 // PERMISSION_DENIED
	case nethttp.StatusNotFound:
		return 5 // NOT_FOUND
	case nethttp.StatusTooManyRequests, nethttp.StatusRequestEntityTooLarge:
		return 8 // RESOURCE_EXHAUSTED
	case nethttp.StatusServiceUnavailable:
		return 14 // UNAVAILABLE
	}
	return 3 // INVALID_ARGUMENT
}
