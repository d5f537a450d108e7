package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	nethttp "net/http"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
)

// Bounds of what is fetched.
const (
	longestWait = time.Minute
	maxFetched  = 16        // commands in one answer
	maxReply    = 256 << 10 // bytes of an answer or a report
)

// mailRoutes are the paths on which devices hear from the hub.
func (d *Door) mailRoutes() []Route {
	device := func(pattern, zh, en string, serve func(*request) *failure) Route {
		return Route{pattern, zh, en, d.handler(pattern, problems{}, func(r *request) {
			if fault := serve(r); fault != nil {
				r.fail(fault)
			}
		})}
	}
	return []Route{
		device("GET /api/v1/devices/{id}/commands", "设备领取命令；?wait=30s 长轮询，?received=命令编号 确认收到。", "A device's commands: ?wait=30s waits for one, ?received=ID confirms one.", (*request).commands),
		device("POST /api/v1/devices/{id}/commands/{cid}/reply", "设备对命令的答复。", "A device's answer to a command.", (*request).reply),
		device("GET /api/v1/devices/{id}/config", "设备的期望配置；?wait=30s 与 ?version=已知版本 长轮询。", "The configuration that a device is to have: ?version=KNOWN&wait=30s waits for a newer one.", (*request).wanted),
		device("POST /api/v1/devices/{id}/config/reported", "设备上报其实际配置。", "The configuration that a device has.", (*request).reported),
	}
}

// own authenticates the request as one of the device that the path names, or
// of a gateway that speaks for it.
func (r *request) own() (device string, fault *failure) {
	if fault := r.authenticate("Bearer"); fault != nil {
		return "", fault
	}
	device = r.r.PathValue("id")
	if fault := r.hears(device); fault != nil {
		return "", fault
	}
	left, over := r.door.deps.Quotas.Hear(device, r.peer.Token, r.from, quota.HTTP, time.Now())
	if over != nil {
		return "", exceeded(over)
	}
	r.calls = left
	return device, nil
}

// hears makes sure that the peer may at this moment hear what the hub says to a
// device, and answer.
func (r *request) hears(device string) *failure {
	if device == r.peer.Device.ID || r.door.deps.Gate.MayHear(r.peer, device) {
		return nil
	}
	return fail(nethttp.StatusForbidden, "device %q may not hear or answer for %q; use its own path, or make it a gateway of that device", r.peer.Device.ID, clip(device))
}

// place counts a request that waits as one of the device, and of the token that
// asks for it.
func (r *request) place(device string) (leave func(), fault *failure) {
	quotas, token := r.door.deps.Quotas, r.peer.Token
	if over := quotas.Begin(token, quota.HTTP); over != nil {
		return nil, exceeded(over)
	}
	place := quotas.Within(quota.HTTP)
	if over := place.As(device, false); over != nil {
		quotas.Done(token)
		return nil, exceeded(over)
	}
	return func() { place.Leave(); quotas.Done(token) }, nil
}

func (r *request) wait() (time.Duration, *failure) {
	s := r.r.URL.Query().Get("wait")
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > longestWait {
		return 0, fail(nethttp.StatusBadRequest, "wait %q is no duration up to %s; write it like 30s", clip(s), longestWait)
	}
	return d, nil
}

// commands answers with the commands that wait for the device, in a JSON array
// that is empty when none came in time. Those that it did not confirm come
// again.
func (r *request) commands() *failure {
	device, fault := r.own()
	if fault != nil {
		return fault
	}
	wait, fault := r.wait()
	if fault != nil {
		return fault
	}
	for _, id := range r.r.URL.Query()["received"] {
		if err := r.door.deps.Mail.Reply(r.r.Context(), device, id, []byte(`{"state":"received"}`)); err != nil {
			return mailFailure(err)
		}
	}
	if wait > 0 {
		leave, fault := r.place(device)
		if fault != nil {
			return fault
		}
		defer leave()
	}
	got := r.collect(device, wait)
	r.answer = append(r.answer[:0], '[')
	for i, c := range got {
		if i > 0 {
			r.answer = append(r.answer, ',')
		}
		r.answer = append(r.answer, c.Message...)
	}
	r.answer = append(r.answer, ']', '\n')
	r.write(nethttp.StatusOK, jsonType)
	return nil
}

// gather is how long an answer waits for more commands behind the first.
const gather = 20 * time.Millisecond

func (r *request) collect(device string, wait time.Duration) (got []ingest.Command) {
	var mu sync.Mutex
	first := make(chan struct{}, 1)
	stop := r.door.deps.Mail.Listen(device, func(c ingest.Command) bool {
		mu.Lock()
		defer mu.Unlock()
		if len(got) == maxFetched || r.hears(device) != nil {
			return false
		}
		got = append(got, c)
		select {
		case first <- struct{}{}:
		default:
		}
		return true
	})
	if r.until(first, max(wait, gather)) {
		r.until(nil, gather)
	}
	stop()
	mu.Lock()
	defer mu.Unlock()
	return got
}

// until waits for a token and reports whether it came; it gives up after d,
// when the sender is gone, the device revoked, or the hub about to stop.
func (r *request) until(token <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-token:
		return true
	case <-timer.C:
	case <-r.r.Context().Done():
	case <-r.peer.Done:
	case <-r.door.closing:
	}
	return false
}

func (r *request) reply() *failure {
	device, fault := r.own()
	if fault != nil {
		return fault
	}
	body, fault := r.small()
	if fault != nil {
		return fault
	}
	if err := r.door.deps.Mail.Reply(r.r.Context(), device, r.r.PathValue("cid"), body); err != nil {
		return mailFailure(err)
	}
	r.write(nethttp.StatusNoContent, nil)
	return nil
}

func (r *request) small() ([]byte, *failure) {
	body, err := io.ReadAll(io.LimitReader(r.r.Body, maxReply+1))
	if err != nil {
		return nil, fail(nethttp.StatusBadRequest, "the body could not be read: %v", err)
	}
	if len(body) > maxReply {
		return nil, fail(nethttp.StatusRequestEntityTooLarge, "the body is larger than %d bytes", maxReply)
	}
	return body, nil
}

// wanted answers 200 with the wanted configuration, 204 when nothing was ever
// wanted, and 304 when it has no version beyond the one that the device knows.
func (r *request) wanted() *failure {
	device, fault := r.own()
	if fault != nil {
		return fault
	}
	wait, fault := r.wait()
	if fault != nil {
		return fault
	}
	if wait > 0 {
		leave, fault := r.place(device)
		if fault != nil {
			return fault
		}
		defer leave()
	}
	known := r.r.URL.Query().Get("version")
	changed := make(chan struct{}, 1)
	stop := r.door.deps.Mail.Watch(device, func([]byte) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	defer stop()
	message, err := r.door.deps.Mail.Wanted(r.r.Context(), device)
	if err == nil && wait > 0 && known != "" && versionOf(message) == known {
		r.until(changed, wait)
		if fault := r.hears(device); fault != nil {
			return fault
		}
		message, err = r.door.deps.Mail.Wanted(context.WithoutCancel(r.r.Context()), device)
	}
	switch {
	case err != nil:
		return mailFailure(err)
	case message == nil:
		r.write(nethttp.StatusNoContent, nil)
	case known != "" && versionOf(message) == known:
		r.write(nethttp.StatusNotModified, nil)
	default:
		r.answer = append(append(r.answer[:0], message...), '\n')
		r.write(nethttp.StatusOK, jsonType)
	}
	return nil
}

// versionOf reads the version of a message that the hub itself wrote; "0" for
// none.
func versionOf(message []byte) string {
	const head = `{"version":`
	end := len(head)
	for end < len(message) && '0' <= message[end] && message[end] <= '9' {
		end++
	}
	if len(message) < len(head) {
		return "0"
	}
	return string(message[len(head):end])
}

func (r *request) reported() *failure {
	device, fault := r.own()
	if fault != nil {
		return fault
	}
	body, fault := r.small()
	if fault != nil {
		return fault
	}
	if err := r.door.deps.Mail.Reported(r.r.Context(), device, body); err != nil {
		return mailFailure(err)
	}
	r.write(nethttp.StatusNoContent, nil)
	return nil
}

func mailFailure(err error) *failure {
	switch {
	case errors.Is(err, ingest.ErrNoCommand):
		return fail(nethttp.StatusNotFound, "%v", err)
	case errors.Is(err, ingest.ErrRefusedMail):
		return fail(nethttp.StatusUnprocessableEntity, "%v", err)
	}
	return &failure{status: nethttp.StatusServiceUnavailable, detail: fmt.Sprintf("the hub could not do it: %v; try again", err), after: time.Second}
}
