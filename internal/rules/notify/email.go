package notify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// mailer sends messages by SMTP.
type mailer struct {
	cfg   Receiver
	base  string
	clock func() time.Time
}

// send sends one mail about all messages of a batch.
func (m *mailer) send(ctx context.Context, batch []message) error {
	c := m.cfg.Email
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	conn, err := m.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	err = m.speak(conn, m.mail(batch))
	if ctx.Err() != nil {
		err = errors.Join(fmt.Errorf("mail server %s: %w", c.Server, context.Cause(ctx)), err)
	}
	return err
}

func (m *mailer) dial(ctx context.Context) (net.Conn, error) {
	c := m.cfg.Email
	if c.Security != "tls" {
		return (&net.Dialer{}).DialContext(ctx, "tcp", c.Server)
	}
	trust, err := m.trust()
	if err != nil {
		return nil, err
	}
	return (&tls.Dialer{Config: trust}).DialContext(ctx, "tcp", c.Server)
}

func (m *mailer) trust() (*tls.Config, error) {
	host, _, err := net.SplitHostPort(m.cfg.Email.Server)
	if err != nil {
		return nil, err
	}
	return trusting(m.cfg.Email.CAFile, host)
}

func (m *mailer) speak(conn net.Conn, text []byte) error {
	c := m.cfg.Email
	host, _, err := net.SplitHostPort(c.Server)
	if err != nil {
		return err
	}
	s, err := smtp.NewClient(conn, host)
	if err != nil {
		return fmt.Errorf("mail server %s: %w", c.Server, err)
	}
	if c.Security == "starttls" {
		trust, err := m.trust()
		if err != nil {
			return err
		}
		if err := s.StartTLS(trust); err != nil {
			return fmt.Errorf("mail server %s: STARTTLS: %w; use security: tls where it speaks TLS from the first byte", c.Server, err)
		}
	}
	if c.User != "" {
		password, err := secret(c.PasswordFile)
		if err != nil {
			return err
		}
		if err := s.Auth(smtp.PlainAuth("", c.User, password, host)); err != nil {
			return fmt.Errorf("mail server %s: %w", c.Server, err)
		}
	}
	from, to, err := m.addresses()
	if err != nil {
		return err
	}
	if err := s.Mail(from.Address); err != nil {
		return fmt.Errorf("mail server %s: from %s: %w", c.Server, from.Address, err)
	}
	for _, a := range to {
		if err := s.Rcpt(a.Address); err != nil {
			return fmt.Errorf("mail server %s: to %s: %w", c.Server, a.Address, err)
		}
	}
	w, err := s.Data()
	if err != nil {
		return fmt.Errorf("mail server %s: %w", c.Server, err)
	}
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("mail server %s: %w", c.Server, err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("mail server %s: %w", c.Server, err)
	}
	_ = s.Quit() // it has taken the message
	return nil
}

func (m *mailer) addresses() (from *mail.Address, to []*mail.Address, err error) {
	if from, err = mail.ParseAddress(m.cfg.Email.From); err != nil {
		return nil, nil, err
	}
	for _, s := range m.cfg.Email.To {
		a, err := mail.ParseAddress(s)
		if err != nil {
			return nil, nil, err
		}
		to = append(to, a)
	}
	return from, to, nil
}

// maxMailed bounds the alerts that a mail tells of; how many more there are it
// says.
const maxMailed = 50

// mail writes the whole message.
func (m *mailer) mail(batch []message) []byte {
	from, to, err := m.addresses()
	if err != nil { // Check has looked
		from = &mail.Address{}
	}
	now := m.clock()
	names := make([]string, len(to))
	for i, a := range to {
		names[i] = a.String()
	}
	thread := sha256.Sum256([]byte(m.cfg.Name + "\x00" + batch[0].key))
	domain := from.Address[strings.LastIndex(from.Address, "@")+1:]
	ref := "<" + hex.EncodeToString(thread[:8]) + "@" + domain + ">" // all mail about a group is one thread
	id := sha256.New()                                               // the same when it is sent again, so that mailboxes can tell
	for i := range batch {
		id.Write([]byte(batch[i].id()))
	}
	var b bytes.Buffer
	for _, h := range [][2]string{
		{"From", from.String()}, {"To", strings.Join(names, ", ")}, {"Subject", mime.BEncoding.Encode("utf-8", m.subject(batch))},
		{"Date", now.Format(time.RFC1123Z)}, {"Message-ID", fmt.Sprintf("<%x.%x@%s>", thread[:8], id.Sum(nil)[:16], domain)},
		{"In-Reply-To", ref}, {"References", ref}, {"Auto-Submitted", "auto-generated"}, {"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "quoted-printable"},
	} {
		b.WriteString(h[0] + ": " + h[1] + "\r\n")
	}
	b.WriteString("\r\n")
	q := quotedprintable.NewWriter(&b)
	_, _ = q.Write([]byte(strings.ReplaceAll(m.text(batch), "\n", "\r\n"))) // into memory
	_ = q.Close()
	return b.Bytes()
}

func (m *mailer) speaks(language string) bool {
	return m.cfg.Email.Language == language || m.cfg.Email.Language == "both"
}

// pick is the text of the languages that are spoken.
func (m *mailer) pick(zh, en, between string) string {
	switch {
	case !m.speaks("en"):
		return zh
	case !m.speaks("zh"):
		return en
	}
	return zh + between + en
}

func (m *mailer) subject(batch []message) string {
	firing, ended := 0, 0
	for _, g := range batch {
		firing, ended = firing+len(g.firing), ended+len(g.ended)
	}
	about := strings.Trim(batch[0].labels.String(), "{}")
	if name := batch[0].labels.Get("alertname"); name != "" {
		about = name
	}
	if len(batch) > 1 {
		about = m.pick(fmt.Sprintf("%d 组", len(batch)), fmt.Sprintf("%d groups", len(batch)), " / ")
	}
	var parts []string
	if firing > 0 {
		parts = append(parts, m.pick("告警", "firing", "/")+fmt.Sprintf(" %d", firing))
	}
	if ended > 0 {
		parts = append(parts, m.pick("恢复", "resolved", "/")+fmt.Sprintf(" %d", ended))
	}
	return "[" + strings.Join(parts, ", ") + "] " + about
}

func (m *mailer) text(batch []message) string {
	var b strings.Builder
	shown, total := 0, 0
	for _, g := range batch {
		for _, a := range append(g.firing[:len(g.firing):len(g.firing)], g.ended...) {
			if total++; shown == maxMailed {
				continue
			}
			shown++
			m.alert(&b, a)
		}
	}
	if more := total - shown; more > 0 {
		b.WriteString(m.pick(fmt.Sprintf("另有 %d 条告警未列出。", more), fmt.Sprintf("%d more alerts are not listed.", more), "\n") + "\n\n")
	}
	if m.base != "" {
		b.WriteString(m.pick("全部告警：", "All alerts: ", " ") + m.base + "/alerts\n")
	}
	return b.String()
}

// layout is how times are written: with the zone, for who reads them elsewhere.
const layout = "2006-01-02 15:04:05 -0700"

func (m *mailer) alert(b *strings.Builder, a alert) {
	line := func(zh, en, v string) {
		if v != "" {
			b.WriteString(m.pick(zh, en, " ") + ": " + v + "\n")
		}
	}
	state := m.pick("告警", "firing", " / ")
	if !a.Ended.IsZero() {
		state = m.pick("已恢复", "resolved", " / ")
	}
	title := a.Labels.Get("alertname")
	if s := a.Labels.Get("severity"); s != "" {
		title += " (" + s + ")"
	}
	b.WriteString("== " + state + " == " + title + "\n")
	for _, text := range []struct{ language, key string }{{"zh", "summary_zh"}, {"en", "summary"}, {"zh", "description_zh"}, {"en", "description"}} {
		v := a.Annotations.Get(text.key)
		if text.language == "zh" && v == "" && !m.speaks("en") { // a rule of somebody else, in one language
			v = a.Annotations.Get(strings.TrimSuffix(text.key, "_zh"))
		}
		if m.speaks(text.language) && v != "" {
			b.WriteString(v + "\n")
		}
	}
	line("开始", "since", a.Since.Format(layout))
	if !a.Ended.IsZero() {
		line("结束", "until", a.Ended.Format(layout))
	}
	line("数值", "value", a.Value)
	a.Labels.Range(func(l labels.Label) {
		if l.Name != "alertname" && l.Name != "severity" {
			b.WriteString("  " + l.Name + " = " + l.Value + "\n")
		}
	})
	runbook := a.Annotations.Get("runbook_url")
	if strings.HasPrefix(runbook, "/") {
		runbook = m.base + runbook
	}
	line("处置手册", "runbook", runbook)
	b.WriteString("\n")
}
