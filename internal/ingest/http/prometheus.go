package http

import (
	nethttp "net/http"
	"strconv"
	"strings"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/telemetry"
)

// remoteWrite takes Prometheus remote write 1.0 and 2.0. What is not stored of
// a request answers 400 or 422, which Prometheus does not send again.
func (r *request) remoteWrite() {
	r.delivery.Reset()
	fault := r.authenticate("Bearer")
	version, unread := r.remoteWriteVersion()
	switch {
	case fault != nil:
	case unread != nil:
		fault = unread
	default:
		fault = r.remoteWritten(version)
	}
	if fault != nil && fault.status == nethttp.StatusTooManyRequests {
		// Prometheus gives up what is answered 429 unless it is told otherwise.
		fault.status = nethttp.StatusServiceUnavailable
	}
	if version == codec.RemoteWrite2 {
		accepted := 0
		if fault == nil || fault.status < nethttp.StatusInternalServerError {
			accepted, _ = r.outcome()
		}
		h := r.w.Header()
		h.Set("X-Prometheus-Remote-Write-Samples-Written", strconv.Itoa(accepted))
		h.Set("X-Prometheus-Remote-Write-Histograms-Written", "0")
		h.Set("X-Prometheus-Remote-Write-Exemplars-Written", "0")
	}
	if fault != nil {
		r.fail(fault)
		return
	}
	r.answer = r.answer[:0]
	r.write(nethttp.StatusNoContent, nil)
}

func (r *request) remoteWritten(version codec.Format) *failure {
	if enc := r.r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "snappy") {
		return refuse(nethttp.StatusUnsupportedMediaType, telemetry.ReasonUnsupported, "Content-Encoding %q is not read here; remote write is compressed with snappy", clip(enc))
	}
	if fault := r.readBody(); fault != nil {
		return fault
	}
	// The codec unfolds snappy itself; what it refuses to unfold takes no memory.
	if n, err := codec.DecodedLen(version, r.body, r.door.cfg.MaxDecoded); err == nil {
		if fault := r.reserve(n); fault != nil {
			return fault
		}
	}
	if fault := r.deliverSeries(version, r.body); fault != nil {
		return fault
	}
	return r.partial()
}

// remoteWriteVersion reads the Content-Type's proto parameter; none is 1.0.
func (r *request) remoteWriteVersion() (codec.Format, *failure) {
	full := r.r.Header.Get("Content-Type")
	media, params, _ := strings.Cut(full, ";")
	switch strings.TrimSpace(media) {
	case "", "application/x-protobuf":
	default:
		return codec.RemoteWrite, refuse(nethttp.StatusUnsupportedMediaType, telemetry.ReasonUnsupported, "Content-Type %q is not remote write; send application/x-protobuf", clip(full))
	}
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		if name != "proto" {
			continue
		}
		switch strings.Trim(value, `"`) {
		case "prometheus.WriteRequest":
			return codec.RemoteWrite, nil
		case "io.prometheus.write.v2.Request":
			return codec.RemoteWrite2, nil
		}
		return codec.RemoteWrite, refuse(nethttp.StatusUnsupportedMediaType, telemetry.ReasonUnsupported, "proto %q is not read here; send prometheus.WriteRequest or io.prometheus.write.v2.Request", clip(value))
	}
	return codec.RemoteWrite, nil
}
