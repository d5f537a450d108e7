package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/songhua-io/hub/internal/edge/backoff"
)

// client posts JSON with what Auth says.
type client struct{ auth Auth }

func newClient(a Auth) *client { return &client{a} }

// post sends a body; anything but 2xx is an error with the beginning of the
// answer. Certificates and secrets are read anew, so that they may be replaced.
func (c *client) post(ctx context.Context, to string, body []byte, header http.Header) error {
	ctx, cancel := context.WithTimeout(ctx, c.auth.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "songhua-hub")
	if err := c.prove(req); err != nil {
		return err
	}
	trust, err := trusting(c.auth.CAFile, "")
	if err != nil {
		return err
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: trust, DisableKeepAlives: true}
	h := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := h.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(res.Body, 512)) // of a failure enough
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s answers %s: %s", to, res.Status, strings.TrimSpace(string(said)))
	}
	return nil
}

func (c *client) prove(req *http.Request) error {
	switch {
	case c.auth.TokenFile != "":
		token, err := secret(c.auth.TokenFile)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	case c.auth.User != "":
		password, err := secret(c.auth.PasswordFile)
		if err != nil {
			return err
		}
		req.SetBasicAuth(c.auth.User, password)
	}
	return nil
}

func secret(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	s := strings.TrimSpace(string(text))
	if s == "" {
		return "", fmt.Errorf("secret: %s is empty", file)
	}
	return s, nil
}

func trusting(caFile, server string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: server}
	if caFile == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file: %s holds no PEM certificate", caFile)
	}
	return cfg, nil
}

// webhook sends what Alertmanager sends to webhooks.
type webhook struct {
	n      *Notifier
	cfg    Receiver
	client *client
}

// maxAlerts bounds the alerts of one message; how many more there are is told.
const maxAlerts = 500

// hookMessage is version 4 of Alertmanager's webhook message.
type hookMessage struct {
	Version     string        `json:"version"`
	GroupKey    string        `json:"groupKey"`
	Truncated   int           `json:"truncatedAlerts"`
	Status      string        `json:"status"`
	Receiver    string        `json:"receiver"`
	GroupLabels labels.Labels `json:"groupLabels"`
	Labels      labels.Labels `json:"commonLabels"`
	Annotations labels.Labels `json:"commonAnnotations"`
	External    string        `json:"externalURL"`
	Alerts      []hookAlert   `json:"alerts"`
}

type hookAlert struct {
	Status      string        `json:"status"`
	Labels      labels.Labels `json:"labels"`
	Annotations labels.Labels `json:"annotations"`
	StartsAt    time.Time     `json:"startsAt"`
	EndsAt      time.Time     `json:"endsAt"`
	Generator   string        `json:"generatorURL"`
	Fingerprint string        `json:"fingerprint"`
}

// send sends the only message of a batch.
func (w *webhook) send(ctx context.Context, batch []message) error {
	for _, m := range batch {
		body, err := json.Marshal(w.message(m))
		if err != nil {
			return err
		}
		header := http.Header{}
		header.Set(MessageHeader, m.id())
		if w.cfg.Webhook.SecretFile != "" {
			key, err := secret(w.cfg.Webhook.SecretFile)
			if err != nil {
				return err
			}
			at := strconv.FormatInt(w.n.deps.Clock().Unix(), 10)
			header.Set(TimeHeader, at)
			header.Set(SignatureHeader, Signature(key, at, body))
		}
		if err := w.client.post(ctx, w.cfg.Webhook.URL, body, header); err != nil {
			return err
		}
	}
	return nil
}

// MessageHeader tells a message that is sent again, because the hub does not know
// whether it came, from any other: it has the same value.
const MessageHeader = "X-Songhua-Message"

// The headers of a signed message.
const (
	TimeHeader      = "X-Songhua-Timestamp" // seconds since the Unix epoch
	SignatureHeader = "X-Songhua-Signature"
)

// Signature is what SignatureHeader must be: "sha256=" and the HMAC, in
// hexadecimal, of the time, a full stop and the body.
func Signature(secret, time string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(time + "."))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

func (w *webhook) message(m message) hookMessage {
	out := hookMessage{Version: "4", GroupKey: "{}:" + m.labels.String(), Status: "resolved", Receiver: w.cfg.Name, GroupLabels: m.labels, External: w.n.deps.Base}
	if len(m.firing) > 0 {
		out.Status = "firing"
	}
	var common, notes map[string]string
	for _, all := range [][]alert{m.firing, m.ended} {
		for _, a := range all {
			common, notes = intersect(common, a.Labels), intersect(notes, a.Annotations)
			if len(out.Alerts) == maxAlerts {
				out.Truncated++
				continue
			}
			h := hookAlert{"firing", a.Labels, a.Annotations, a.Since.UTC(), a.Ended.UTC(), link(w.n.deps.Base, a), a.ID}
			if !a.Ended.IsZero() {
				h.Status = "resolved"
			}
			out.Alerts = append(out.Alerts, h)
		}
	}
	out.Labels, out.Annotations = labels.FromMap(common), labels.FromMap(notes)
	return out
}

func intersect(have map[string]string, ls labels.Labels) map[string]string {
	if have == nil {
		return ls.Map()
	}
	for k, v := range have {
		if ls.Get(k) != v {
			delete(have, k)
		}
	}
	return have
}

func link(base string, a alert) string { return base + "/alerts#" + a.ID }

// alertmanager tells one server of everything that fires, again and again.
type alertmanager struct {
	n      *Notifier
	r      *receiver
	server string
	client *client

	known map[string]alert // that it was told of; Ended is set of those that fire no more
}

// remember is for how long a server is told that an alert ended, as Prometheus
// does: it may have been away when it was told first.
const remember = 15 * time.Minute

func (m *alertmanager) run(ctx context.Context) {
	m.known = map[string]alert{}
	var pause backoff.Backoff
	for {
		wait := m.r.cfg.Alertmanager.Resend
		sent, err := m.tell(ctx)
		if sent > 0 || err != nil {
			m.n.done(m.r, sent, err)
		}
		if err != nil {
			m.n.metrics.waiting.WithLabelValues(m.r.name).Set(1)
			if !backoff.Sleep(ctx, pause.Next()) {
				return
			}
			continue
		}
		pause.Reset()
		m.n.metrics.waiting.WithLabelValues(m.r.name).Set(0)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-m.r.wake:
		}
		timer.Stop()
	}
}

// posted is a postableAlert of the API v2.
type posted struct {
	Labels      labels.Labels `json:"labels"`
	Annotations labels.Labels `json:"annotations"`
	StartsAt    time.Time     `json:"startsAt"`
	EndsAt      time.Time     `json:"endsAt"`
	Generator   string        `json:"generatorURL,omitempty"`
}

// batch is how many alerts a request has at most, as Prometheus sends them.
const batch = 256

func (m *alertmanager) tell(ctx context.Context) (int, error) {
	now := m.n.deps.Clock().UTC()
	firing := m.n.alerts(m.r)
	for id, a := range firing {
		if a.silenced {
			delete(firing, id) // it ends there by itself
			delete(m.known, id)
			continue
		}
		m.known[id] = a
	}
	all := make([]posted, 0, len(m.known))
	for id, a := range m.known {
		if _, still := firing[id]; !still {
			if a.Ended.IsZero() {
				a.Ended = now
				m.known[id] = a
			}
			if now.Sub(a.Ended) > remember {
				delete(m.known, id)
				continue
			}
			if !m.r.cfg.Resolved {
				continue
			}
		}
		p := posted{a.Labels, a.Annotations, a.Since.UTC(), a.Ended, ""}
		if a.Ended.IsZero() { // it takes four failures until it seems to have ended
			p.EndsAt = now.Add(4 * max(m.r.cfg.Alertmanager.Resend, time.Minute))
		}
		if m.n.deps.Base != "" {
			p.Generator = link(m.n.deps.Base, a)
		}
		all = append(all, p)
	}
	var errs []error
	sent := 0
	for len(all) > 0 {
		n := min(len(all), batch)
		body, err := json.Marshal(all[:n])
		if err == nil {
			err = m.client.post(ctx, strings.TrimSuffix(m.server, "/")+"/api/v2/alerts", body, nil)
		}
		if err == nil {
			sent += n
		}
		errs = append(errs, err)
		all = all[n:]
	}
	return sent, errors.Join(errs...)
}
