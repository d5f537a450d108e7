package http

import (
	nethttp "net/http"
	"strconv"
	"time"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/telemetry"
)

// influx takes line protocol as InfluxDB's v2 write API does. Organisation and
// bucket are not looked at: there is one store, and the token says who writes.
func (r *request) influx() {
	fault := r.influxWrite()
	if fault != nil {
		r.fail(fault)
		return
	}
	r.answer = r.answer[:0]
	r.write(nethttp.StatusNoContent, nil)
}

func (r *request) influxWrite() *failure {
	if fault := r.authenticate("Token", "Bearer"); fault != nil {
		return fault
	}
	unit := r.r.URL.Query().Get("precision")
	precision, ok := precisionOf(unit)
	if !ok {
		return fail(nethttp.StatusBadRequest, "precision %q is none of ns, us, ms, s", clip(unit))
	}
	payload, fault := r.payload()
	if fault != nil {
		return fault
	}
	if fault := r.deliverLines(payload, precision); fault != nil {
		return fault
	}
	return r.partial()
}

func precisionOf(unit string) (time.Duration, bool) {
	switch unit {
	case "", "ns":
		return time.Nanosecond, true
	case "us":
		return time.Microsecond, true
	case "ms":
		return time.Millisecond, true
	case "s":
		return time.Second, true
	}
	return 0, false
}

// partial says what of an accepted request was not stored, for protocols whose
// success has no body: 400 when some could not be read, 422 for other reasons.
// The senders drop what they sent then, so that the rest is not sent for ever.
func (r *request) partial() *failure {
	accepted, rejects := r.outcome()
	if len(rejects) == 0 {
		return nil
	}
	if m := r.delivery.Messages; len(m) == 1 && m[0].Accepted == 0 && rejects[0].Index < 0 {
		return refusal(&m[0])
	}
	status := nethttp.StatusUnprocessableEntity
	for i := range rejects {
		if rejects[i].Stage == telemetry.StageDecode {
			status = nethttp.StatusBadRequest
		}
	}
	first := rejects[0]
	return fail(status, "partial write: %d stored, %d rejected; the first: %s: %s", accepted, len(rejects), first.Reason, first.Detail)
}

// outcome sums the messages of the delivery up.
func (r *request) outcome() (accepted int, rejects []telemetry.Reject) {
	rejects = r.split.refused
	for i := range r.delivery.Messages {
		m := &r.delivery.Messages[i]
		accepted += m.Accepted
		rejects = append(rejects, m.Rejects...)
	}
	return accepted, rejects
}

// deliverLines takes line protocol: a device's own, or a gateway's lines sorted
// by the device that their tag names.
func (r *request) deliverLines(payload []byte, precision time.Duration) *failure {
	r.delivery.Reset()
	if !r.peer.Gateway {
		r.addLines(r.peer.Device.ID, payload, precision)
		return r.ingest()
	}
	if fault := r.splitLines(payload); fault != nil {
		return fault
	}
	for i := range r.split.parts {
		r.addLines(r.split.parts[i].device, r.split.parts[i].lines, precision)
	}
	return r.ingest()
}

func (r *request) addLines(device string, lines []byte, precision time.Duration) {
	m := r.delivery.Add(device, codec.Influx, lines)
	if precision > time.Nanosecond {
		m.Decode = func(b *telemetry.Batch, in codec.Input) error {
			in.Precision = precision
			return codec.Decode(b, codec.Influx, in)
		}
	}
}

func (r *request) ping() {
	r.answer = r.answer[:0]
	r.write(nethttp.StatusNoContent, nil)
}

func (r *request) health() {
	r.answer = append(r.answer[:0], `{"name":"hub","message":"ready for writes","status":"pass","checks":[]}`...)
	r.write(nethttp.StatusOK, jsonType)
}

// influxErrors are InfluxDB's: {"code": ..., "message": ...}.
type influxErrors struct{}

func (influxErrors) answer(r *request, f *failure) {
	b := append(r.answer[:0], `{"code":`...)
	b = appendString(b, influxCode(f.status))
	b = append(b, `,"message":`...)
	b = appendString(b, f.detail)
	r.answer = append(b, '}')
	r.w.Header().Set("X-Platform-Error-Code", influxCode(f.status))
	r.write(f.status, jsonType)
}

// influxCode returns the word that the v2 API has for a status.
func influxCode(status int) string {
	switch status {
	case nethttp.StatusBadRequest, nethttp.StatusUnsupportedMediaType:
		return "invalid"
	case nethttp.StatusUnauthorized:
		return "unauthorized"
	case nethttp.StatusForbidden:
		return "forbidden"
	case nethttp.StatusNotFound:
		return "not found"
	case nethttp.StatusRequestEntityTooLarge:
		return "request too large"
	case nethttp.StatusUnprocessableEntity:
		return "unprocessable entity"
	case nethttp.StatusTooManyRequests:
		return "too many requests"
	case nethttp.StatusServiceUnavailable:
		return "unavailable"
	}
	return "internal error " + strconv.Itoa(status)
}
