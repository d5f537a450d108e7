package http

import (
	"context"
	"encoding/json"
	"fmt"
	nethttp "net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/songhua-io/hub/internal/edge/backoff"
	"github.com/songhua-io/hub/internal/edge/uplink"
)

// poll asks for what the hub says. config and commands are each called by one
// goroutine.
type poll struct {
	link    *Link
	session *session

	version  string   // of the configuration that was handed on
	received []string // commands to confirm
}

// get asks the hub, which may keep the request for wait.
func (p *poll) get(ctx context.Context, resource string, query url.Values, wait time.Duration) (code int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait+answerTimeout)
	defer cancel()
	query.Set("wait", wait.String())
	req, err := p.link.request(ctx, nethttp.MethodGet, resource+"?"+query.Encode(), nil)
	if err != nil {
		return 0, nil, err
	}
	code, _, body, err = p.session.do(req, uplink.MaxHeard+1)
	switch {
	case err != nil:
		return 0, nil, err
	case len(body) > uplink.MaxHeard:
		return 0, nil, fmt.Errorf("%s: the hub answers with more than %d B", resource, uplink.MaxHeard)
	case code/100 == 2 || code == nethttp.StatusNotModified:
		return code, body, nil
	case query.Has("received") && (code == nethttp.StatusNotFound || code == nethttp.StatusUnprocessableEntity):
		return nethttp.StatusNotModified, nil, nil // one was answered meanwhile, which confirms it as well
	}
	return 0, nil, fmt.Errorf("%s: the hub answered %s", resource, detail(code, body))
}

// config hands the wanted configuration on when it is another one.
func (p *poll) config(ctx context.Context, wait time.Duration) error {
	code, body, err := p.get(ctx, uplink.Config, url.Values{"version": {p.version}}, wait)
	if err != nil || code != nethttp.StatusOK {
		return err
	}
	var wanted struct {
		Version int64 `json:"version"`
	}
	if err := json.Unmarshal(body, &wanted); err != nil {
		return fmt.Errorf("wanted configuration: %w", err)
	}
	p.version = strconv.FormatInt(wanted.Version, 10)
	if p.link.in.Wanted != nil {
		p.link.in.Wanted(body)
	}
	return nil
}

// commands hands on what waits, and confirms it by the next request. A
// confirmation that is lost costs another delivery.
func (p *poll) commands(ctx context.Context, wait time.Duration) error {
	query := url.Values{}
	if len(p.received) > 0 {
		query["received"] = p.received
	}
	p.received = nil
	code, body, err := p.get(ctx, uplink.Commands, query, wait)
	if err != nil || code == nethttp.StatusNotModified {
		return err
	}
	var all []json.RawMessage
	if err := json.Unmarshal(body, &all); err != nil {
		return fmt.Errorf("commands: %w", err)
	}
	var failed error
	for _, message := range all {
		var command struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(message, &command); err != nil {
			return fmt.Errorf("command: %w", err)
		}
		if err := p.link.in.Command(message); err != nil {
			failed = err
			continue
		}
		p.received = append(p.received, command.ID)
	}
	if failed != nil {
		p.link.log.Warn("hub_not_heard", "topic", uplink.Commands, "error", failed)
		backoff.Sleep(ctx, keepPause)
	}
	return nil
}
