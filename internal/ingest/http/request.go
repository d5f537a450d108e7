package http

import (
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	nethttp "net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

// request is the memory of one request; it is reused for the next.
type request struct {
	door *Door
	w    nethttp.ResponseWriter
	r    *nethttp.Request

	errors   errorStyle
	peer     *ingest.Peer
	sender   quota.Sender
	from     netip.Addr
	calls    quota.Standing // of requests about mail
	over     *quota.Exceeded
	body     []byte // as sent
	unfolded []byte // after gzip or zstd
	reserved int64  // of the door's memory
	answer   []byte
	code     int
	delivery ingest.Delivery
	split    split
	unpack   unpack
}

// failure is why a request is not answered with what it asked for.
type failure struct {
	status int
	detail string
	after  time.Duration // Retry-After; 0 is none
	// reason is set where the door itself refused the message: it becomes a
	// reject of its device.
	reason telemetry.Reason
	// rejects are what of the request was not stored, when it could be read.
	rejects []telemetry.Reject
	over    *quota.Exceeded // set with 429 where a quota is used up
}

func exceeded(over *quota.Exceeded) *failure {
	return &failure{status: nethttp.StatusTooManyRequests, detail: over.Error(), after: over.After, over: over}
}

func fail(status int, format string, args ...any) *failure {
	return &failure{status: status, detail: fmt.Sprintf(format, args...)}
}

// refuse is a failure that is a reject.
func refuse(status int, reason telemetry.Reason, format string, args ...any) *failure {
	f := fail(status, format, args...)
	f.reason = reason
	return f
}

func (d *Door) handler(route string, style errorStyle, serve func(*request)) nethttp.Handler {
	meter := d.metrics.meter(route)
	return nethttp.HandlerFunc(func(w nethttp.ResponseWriter, hr *nethttp.Request) {
		begin := time.Now()
		r := d.pool.Get().(*request)
		r.w, r.r, r.errors = w, hr, style
		serve(r)
		d.metrics.body.Add(float64(len(r.body)))
		meter.count(r.code, time.Since(begin))
		r.release()
	})
}

// release gives the request's memory back; what a large one grew to is freed.
func (r *request) release() {
	r.door.memory.Add(-r.reserved)
	r.w, r.r, r.peer, r.over, r.calls, r.reserved = nil, nil, nil, nil, quota.Standing{}, 0
	r.delivery.Trim()
	r.split.reset()
	if cap(r.body) > keep || cap(r.unfolded) > keep || cap(r.answer) > keep {
		r.body, r.unfolded, r.answer = nil, nil, nil
	}
	r.body, r.unfolded, r.answer = r.body[:0], r.unfolded[:0], r.answer[:0]
	r.door.pool.Put(r)
}

// authenticate finds the peer behind the request's secret, or behind the client
// certificate of its connection where it shows no secret.
func (r *request) authenticate(schemes ...string) *failure {
	c := ingest.Credentials{About: r.r.PathValue("id"), Door: "http"}
	if secret, ok := credential(r.r.Header.Get("Authorization"), schemes); ok {
		c.Secret = []byte(secret)
	} else if c.Certificate = r.certificate(); c.Certificate != nil {
		c.ID = c.Certificate.Subject.CommonName
	} else {
		r.w.Header().Set("WWW-Authenticate", `Bearer realm="hub"`)
		return fail(nethttp.StatusUnauthorized, "the request carries no secret; send the header \"Authorization: %s <device secret>\", or show the device's client certificate at the HTTPS door", schemes[0])
	}
	if a, err := netip.ParseAddrPort(r.r.RemoteAddr); err == nil {
		c.Address = a.Addr().Unmap()
	}
	peer, err := r.door.deps.Gate.Authenticate(r.r.Context(), c)
	if over := (*quota.Exceeded)(nil); errors.As(err, &over) {
		return exceeded(over)
	}
	if err != nil {
		if !errors.Is(err, ingest.ErrUnauthorized) {
			r.door.deps.Log.Error("device could not be authenticated", "door", "http", "error", err)
			return &failure{status: nethttp.StatusServiceUnavailable, detail: "the hub cannot check secrets at this moment; try again", after: time.Second}
		}
		r.w.Header().Set("WWW-Authenticate", `Bearer realm="hub", error="invalid_token"`)
		if c.Certificate != nil {
			return fail(nethttp.StatusUnauthorized, "the client certificate is not one of a device in use: it ended, or the device is disabled or has got new credentials since; enrol it anew")
		}
		return fail(nethttp.StatusUnauthorized, "the secret is not one of a device in use; take it from `hub device add` or `hub device rotate`")
	}
	r.from = c.Address
	r.peer, r.sender = peer, r.door.deps.Quotas.Sender(quota.HTTP, peer.Token, c.Address)
	r.delivery.From = &r.sender
	return nil
}

// certificate is the verified one of the client; nil when it showed none, or when
// the page of another site asks in its name.
func (r *request) certificate() *x509.Certificate {
	if r.r.TLS == nil || len(r.r.TLS.VerifiedChains) == 0 {
		return nil
	}
	if ingest.FromAnotherSite(r.r.Header.Get("Sec-Fetch-Site"), r.r.Header.Get("Origin"), r.r.Host) {
		return nil
	}
	return r.r.TLS.PeerCertificates[0]
}

// credential returns what follows one of the schemes (RFC 9110 section 11.4).
func credential(header string, schemes []string) (string, bool) {
	scheme, rest, ok := strings.Cut(header, " ")
	for _, s := range schemes {
		if ok && strings.EqualFold(scheme, s) {
			rest = strings.TrimSpace(rest)
			return rest, rest != ""
		}
	}
	return "", false
}

// telemetry takes one message of the device that the path names.
func (r *request) telemetry(f codec.Format) { r.answered(r.telemetryOf(f)) }

// answered tells what became of the one message of the request.
func (r *request) answered(fault *failure) {
	if fault != nil {
		r.fail(fault)
		return
	}
	m := &r.delivery.Messages[0]
	r.answer = ingest.AppendAnswer(r.answer[:0], m.Accepted, m.Rejects, maxListed)
	r.write(nethttp.StatusOK, jsonType)
}

func (r *request) telemetryOf(f codec.Format) *failure {
	if fault := r.authenticate("Bearer"); fault != nil {
		return fault
	}
	device := r.r.PathValue("id")
	if fault := r.speakFor(device); fault != nil {
		return fault
	}
	if f == codec.Auto {
		var fault *failure
		if f, fault = r.format(); fault != nil {
			return fault
		}
	}
	payload, fault := r.payload()
	if fault != nil {
		return fault
	}
	r.delivery.Reset()
	r.delivery.Add(device, f, payload)
	if fault := r.ingest(); fault != nil {
		return fault
	}
	return refusal(&r.delivery.Messages[0])
}

// speakFor makes sure that the peer may send the telemetry of a device. It
// tells a stranger to the device nothing about whether it exists.
func (r *request) speakFor(device string) *failure {
	if device == r.peer.Device.ID || r.door.deps.Gate.MaySpeak(r.peer, device) {
		return nil
	}
	return fail(nethttp.StatusForbidden, "device %q may not send telemetry of %q; send to its own path, or make it a gateway of that device", r.peer.Device.ID, clip(device))
}

// device is the one that the path names, else the sender. The sender is known.
func (r *request) device() string {
	if id := r.r.PathValue("id"); id != "" {
		return id
	}
	return r.peer.Device.ID
}

func (r *request) format() (codec.Format, *failure) {
	full := r.r.Header.Get("Content-Type")
	media, _, _ := strings.Cut(full, ";")
	f, ok := codec.FromMediaType(strings.TrimSpace(media))
	if !ok {
		return f, refuse(nethttp.StatusUnsupportedMediaType, telemetry.ReasonUnsupported, "Content-Type %q is not read here; send application/senml+json, application/senml+cbor, application/json or text/plain (line protocol)", clip(full))
	}
	return f, nil
}

func (r *request) unknownFormat() {
	r.unread("format %q is not read here; use senml, senml-cbor, json or influx as the last part of the path", clip(r.r.PathValue("format")))
}

// v2x takes one V2X message, or several in one body, of the unit that the path
// names.
func (r *request) v2x() { r.answered(r.v2xOf()) }

func (r *request) v2xOf() *failure {
	if fault := r.authenticate("Bearer"); fault != nil {
		return fault
	}
	device := r.r.PathValue("id")
	if fault := r.speakFor(device); fault != nil {
		return fault
	}
	f, topic, fault := r.v2xFormat()
	if fault != nil {
		return fault
	}
	payload, fault := r.payload()
	if fault != nil {
		return fault
	}
	r.delivery.Reset()
	r.delivery.Add(device, f, payload).Topic = topic
	if fault := r.ingest(); fault != nil {
		return fault
	}
	return refusal(&r.delivery.Messages[0])
}

func (r *request) v2xFormat() (f codec.Format, topic string, fault *failure) {
	full := r.r.Header.Get("Content-Type")
	media, _, _ := strings.Cut(full, ";")
	f, known := codec.V2XFromMediaType(strings.TrimSpace(media))
	switch {
	case r.door.deps.Units == nil:
		return f, "", refuse(nethttp.StatusUnsupportedMediaType, telemetry.ReasonUnsupported, "V2X messages are not taken by this hub")
	case !known:
		return f, "", refuse(nethttp.StatusUnsupportedMediaType, telemetry.ReasonUnsupported, "Content-Type %q is not read here; send application/vnd.songhua.v2x.uper, application/vnd.songhua.v2x.framed, application/octet-stream or application/json", clip(full))
	}
	kind := r.r.URL.Query().Get("kind")
	if kind == "" {
		return f, "", nil
	}
	if topic, known = r.door.deps.Units.ByKind(kind); !known {
		fault = refuse(nethttp.StatusBadRequest, telemetry.ReasonUnsupported, "kind %q is none of a V2X message; heartbeat, info, base, running, rsm, spat and rsi are", clip(kind))
	}
	return f, topic, fault
}

// unread refuses a message of a kind that the hub does not read.
func (r *request) unread(format string, args ...any) {
	fault := r.authenticate("Bearer")
	if fault == nil {
		fault = r.speakFor(r.r.PathValue("id"))
	}
	if fault == nil {
		fault = refuse(nethttp.StatusUnsupportedMediaType, telemetry.ReasonUnsupported, format, args...)
	}
	r.fail(fault)
}

// ingest takes the delivery through the pipeline, unless the sender was revoked
// while its body came.
func (r *request) ingest() *failure {
	select {
	case <-r.peer.Done:
		return fail(nethttp.StatusUnauthorized, "the sender was disabled, removed or given a new secret while it sent; nothing was stored")
	default:
	}
	err := r.door.deps.Pipeline.Ingest(&r.delivery)
	if err == nil {
		return nil
	}
	var over *quota.Exceeded
	switch {
	case errors.As(err, &over):
		return exceeded(over)
	case errors.Is(err, ingest.ErrBusy):
		return &failure{status: nethttp.StatusTooManyRequests, detail: err.Error() + "; nothing of the request was stored, send it again", after: time.Second}
	case errors.Is(err, ingest.ErrClosed):
		return &failure{status: nethttp.StatusServiceUnavailable, detail: err.Error() + "; nothing of the request was stored, send it again", after: time.Second}
	}
	return &failure{status: nethttp.StatusServiceUnavailable, detail: "the store failed; nothing of the request was stored, send it again", after: 10 * time.Second}
}

// refusal says why nothing of a message was stored; nil when something was, or
// when there was nothing to store.
func refusal(m *ingest.Message) *failure {
	if m.Accepted > 0 || len(m.Rejects) == 0 {
		return nil
	}
	f := &failure{status: nethttp.StatusUnprocessableEntity, rejects: m.Rejects, detail: fmt.Sprintf("nothing was stored: all of %d records were rejected", len(m.Rejects))}
	first := m.Rejects[0]
	if first.Index >= 0 {
		return f
	}
	f.detail = first.Detail
	switch first.Reason {
	case telemetry.ReasonUnknownDevice:
		f.status = nethttp.StatusNotFound
		f.detail += "; add it with `hub device add`"
	case telemetry.ReasonDeviceDisabled, telemetry.ReasonNotPermitted:
		f.status = nethttp.StatusForbidden
	case telemetry.ReasonTooLarge, telemetry.ReasonDecompression:
		f.status = nethttp.StatusRequestEntityTooLarge
	case telemetry.ReasonUnsupported:
		f.status = nethttp.StatusUnsupportedMediaType
	case telemetry.ReasonMalformed:
		f.status = nethttp.StatusBadRequest
	}
	return f
}

// fail answers with a failure in the manner of the route.
func (r *request) fail(f *failure) {
	if f.reason != "" {
		r.door.deps.Pipeline.Refuse(r.device(), f.reason, f.detail)
	}
	r.over = f.over
	if f.after > 0 {
		r.w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.after.Seconds()))))
	}
	r.errors.answer(r, f)
}

// write sends the answer that was built.
func (r *request) write(status int, contentType []string) {
	r.code = status
	h := r.w.Header()
	r.limits(h)
	if contentType != nil {
		h["Content-Type"] = contentType
	}
	r.w.WriteHeader(status)
	if len(r.answer) > 0 {
		// A sender that is gone will send again; the store knows what it has.
		_, _ = r.w.Write(r.answer)
	}
}

// limits tells what is left of the quota that is nearest to its end, or of the
// one that is used up.
func (r *request) limits(h nethttp.Header) {
	var left quota.Standing
	switch {
	case r.over != nil:
		left = r.over.Standing()
	case r.calls.Policy != nil:
		left = r.calls
	case r.peer != nil:
		left = r.door.deps.Pipeline.Standing(r.device(), &r.sender)
	}
	left.Set(h)
}

// clip keeps what a stranger sent short in answers.
func clip(s string) string {
	if len(s) <= 64 {
		return s
	}
	return s[:64] + "…"
}
