package notify

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/hubtest/freeport"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/rules"
	"github.com/songhua-io/hub/internal/telemetry"
)

// hub is what fires, and where what was told is kept.
type hub struct {
	t   *testing.T
	db  *records.DB
	mu  sync.Mutex
	now map[string]rules.View
	n   *Notifier
}

func newHub(t *testing.T) *hub {
	db, err := records.Open(context.Background(), filepath.Join(t.TempDir(), "records.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return &hub{t: t, db: db, now: map[string]rules.View{}}
}

func (h *hub) fire(name, device string, change ...func(*rules.View)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	since := time.Now().Add(-time.Minute).Truncate(time.Second)
	v := rules.View{Alert: &rules.Alert{Labels: labels.FromStrings("alertname", name, "device", device, "severity", "warning"), Value: 41.5, Active: since, Fired: since,
		Annotations: labels.FromStrings("summary", "It is hot at "+device, "summary_zh", device+" 处过热", "runbook_url", "/docs/hot")}, ID: name + "-" + device, Group: "f;g", Rule: name, Grade: telemetry.General}
	for _, c := range change {
		c(&v)
	}
	h.now[v.ID] = v
	if h.n != nil {
		h.n.Changed()
	}
}

func (h *hub) end(name, device string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.now, name+"-"+device)
	if h.n != nil {
		h.n.Changed()
	}
}

func (h *hub) alerts() (all []rules.View) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, v := range h.now {
		all = append(all, v)
	}
	return all
}

// run tells receivers until stop is called.
func (h *hub) run(receivers ...Receiver) (stop func()) {
	h.t.Helper()
	c := Config{Receivers: receivers}
	if err := strict.Join(c.Check("rules")); err != nil {
		h.t.Fatal(err)
	}
	for _, r := range receivers {
		if err := strict.Join(r.Check("r")); err != nil {
			h.t.Fatal(err)
		}
	}
	n, err := New(c, Deps{Alerts: h.alerts, Base: "http://hub.example", Records: h.db, Log: slog.New(slog.DiscardHandler), Clock: time.Now, Metrics: prometheus.NewRegistry()})
	if err != nil {
		h.t.Fatal(err)
	}
	h.mu.Lock()
	h.n = n
	h.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	h.t.Cleanup(stop)
	return stop
}

func newReceiver(name string) Receiver {
	var r Receiver
	r.SetDefaults()
	r.Name, r.GroupWait, r.GroupInterval = name, 0, time.Second
	return r
}

func hook(name, url string) Receiver {
	r := newReceiver(name)
	r.Webhook = &Webhook{}
	r.Webhook.SetDefaults()
	r.Webhook.URL, r.Webhook.Timeout = url, 2*time.Minute // what is answered late is told again
	return r
}

// soon waits for what is to come about.
func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: it does not come about", what)
		}
	}
}

// inbox takes webhook messages.
type inbox struct {
	*httptest.Server
	mu     sync.Mutex
	all    []hookMessage
	last   *http.Request
	body   []byte
	status int
}

func newInbox(t *testing.T) *inbox {
	b := &inbox{status: http.StatusOK}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var m hookMessage
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.status == http.StatusOK {
			if err := json.Unmarshal(body, &m); err != nil {
				t.Error(err)
			}
			b.all, b.last, b.body = append(b.all, m), r, body
		}
		w.WriteHeader(b.status)
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *inbox) messages() []hookMessage {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.all)
}

func (b *inbox) answer(status int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status = status
}

func TestAWebhookGetsWhatAlertmanagerSends(t *testing.T) {
	h, b := newHub(t), newInbox(t)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := hook("hook", b.URL+"/in")
	r.Webhook.SecretFile = key
	h.fire("Hot", "t1")
	h.fire("Hot", "t2")
	h.fire("Cold", "t1")
	stop := h.run(r)
	soon(t, "two groups", func() bool { return len(b.messages()) == 2 && len(h.known()) == 2 })
	i := slices.IndexFunc(b.messages(), func(m hookMessage) bool { return m.GroupLabels.Get("alertname") == "Hot" })
	m := b.messages()[i]
	if m.Version != "4" || m.Status != "firing" || len(m.Alerts) != 2 || m.Receiver != "hook" || m.Labels.String() != `{alertname="Hot", severity="warning"}` ||
		m.Annotations.Get("runbook_url") != "/docs/hot" || m.Annotations.Has("summary") || m.Alerts[0].Generator != "http://hub.example/alerts#Hot-t1" || !m.Alerts[0].EndsAt.IsZero() {
		t.Errorf("%+v", m)
	}
	b.mu.Lock()
	if got := b.last.Header.Get(SignatureHeader); got != Signature("s3cret", b.last.Header.Get(TimeHeader), b.body) {
		t.Errorf("signature %q", got)
	}
	b.mu.Unlock()
	stop()
	h.run(r) // nothing is told twice
	h.end("Hot", "t1")
	soon(t, "what ended", func() bool { return len(b.messages()) == 3 })
	m = b.messages()[2]
	if m.Status != "firing" || len(m.Alerts) != 2 || m.Alerts[1].Status != "resolved" || m.Alerts[1].Labels.Get("device") != "t1" || m.Alerts[1].EndsAt.IsZero() {
		t.Errorf("%+v", m)
	}
	h.end("Hot", "t2")
	soon(t, "the end of the group", func() bool { return len(b.messages()) == 4 })
	if m := b.messages()[3]; m.Status != "resolved" || len(m.Alerts) != 1 {
		t.Errorf("%+v", m)
	}
}

// known are the receivers of which it is kept what they were told, once for each group.
func (h *hub) known() (all []string) {
	h.t.Helper()
	err := h.db.Each(h.t.Context(), func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		all = append(all, name)
		return err
	}, `SELECT receiver FROM rule_told ORDER BY receiver`)
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

func TestWhatRemovedReceiversWereToldIsForgotten(t *testing.T) {
	h, b := newHub(t), newInbox(t)
	h.fire("Hot", "t1")
	stop := h.run(hook("duty", b.URL), hook("left", b.URL), hook("moved", b.URL))
	soon(t, "all are told", func() bool { return slices.Equal(h.known(), []string{"duty", "left", "moved"}) })
	stop()
	am := Receiver{}
	am.SetDefaults()
	am.Name, am.Alertmanager = "moved", &Alertmanager{}
	am.Alertmanager.SetDefaults()
	am.Alertmanager.URLs = []string{"http://127.0.0.1:1"} // which is away
	stop = h.run(hook("duty", b.URL), am)
	soon(t, "two are forgotten", func() bool { return slices.Equal(h.known(), []string{"duty"}) })
	stop()
	told := len(b.messages())
	stop = h.run(hook("duty", b.URL), hook("left", b.URL))
	soon(t, "who comes back is told anew", func() bool { return slices.Equal(h.known(), []string{"duty", "left"}) })
	stop()
	if got := len(b.messages()) - told; got != 1 {
		t.Errorf("%d messages; who stayed is not told again", got)
	}
	h.run()
	soon(t, "without receivers all are", func() bool { return len(h.known()) == 0 })
}

func TestWhatEndedWhileTheHubWasDownIsTold(t *testing.T) {
	h, b := newHub(t), newInbox(t)
	h.fire("Hot", "t1")
	stop := h.run(hook("hook", b.URL))
	soon(t, "firing", func() bool { return len(b.messages()) == 1 && len(h.known()) == 1 })
	stop()
	h.end("Hot", "t1")
	h.run(hook("hook", b.URL))
	soon(t, "resolved", func() bool { return len(b.messages()) == 2 && b.messages()[1].Status == "resolved" })
}

func TestAReceiverThatFailsHoldsUpNoOther(t *testing.T) {
	h, good, bad := newHub(t), newInbox(t), newInbox(t)
	bad.answer(http.StatusInternalServerError)
	deaf, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = deaf.Close() })
	h.run(hook("bad", bad.URL), hook("deaf", "http://"+deaf.Addr().String()), hook("good", good.URL))
	h.fire("Hot", "t1")
	soon(t, "the good one", func() bool { return len(good.messages()) == 1 })
	bad.answer(http.StatusOK)
	soon(t, "the bad one, once it is well", func() bool { return len(bad.messages()) == 1 })
}

func TestReceiversAreChosenByLabelsAndSeeNoHigherGrade(t *testing.T) {
	h, some, all := newHub(t), newInbox(t), newInbox(t)
	m, err := rules.ParseMatcher(`device=~"a.*"`)
	if err != nil {
		t.Fatal(err)
	}
	few, open := hook("few", some.URL), hook("open", all.URL)
	few.Matchers, few.MaxGrade = []rules.Matcher{m}, "core"
	h.fire("Hot", "b1")
	h.fire("Hot", "a-core", func(v *rules.View) { v.Grade = telemetry.Core })
	h.fire("Hot", "a-quiet", func(v *rules.View) { v.Silences = []string{"s-1"} })
	h.run(few, open)
	soon(t, "both", func() bool { return len(some.messages()) == 1 && len(all.messages()) == 1 })
	if got := some.messages()[0].Alerts; len(got) != 1 || got[0].Labels.Get("device") != "a-core" {
		t.Errorf("%+v", got)
	}
	text := fmt.Sprint(all.messages()[0].Alerts)
	if strings.Contains(text, "a-core") && strings.Contains(strings.ReplaceAll(text, "Hot-a-core", ""), "a-core") || !strings.Contains(text, "b1") || !strings.Contains(text, `grade="core"`) || strings.Contains(text, "41.5") {
		t.Errorf("%s", text)
	}
}

func TestDecide(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	r := newReceiver("r")
	r.GroupWait, r.GroupInterval, r.Repeat = 30*time.Second, 5*time.Minute, 4*time.Hour
	one := map[string]alert{"a": {ID: "a"}}
	two := map[string]alert{"a": {ID: "a"}, "b": {ID: "b"}}
	quiet := map[string]alert{"a": {ID: "a", silenced: true}}
	knows := func(ago time.Duration, firing map[string]alert) told { return told{At: now.Add(-ago), Firing: firing} }
	for _, c := range []struct {
		name        string
		firing      map[string]alert
		since       time.Duration
		was         told
		send        bool
		fires, ends int
	}{
		{"a new one waits for others", one, 10 * time.Second, told{}, false, 1, 0},
		{"and is told", one, 30 * time.Second, told{}, true, 1, 0},
		{"a silenced one is not", quiet, time.Hour, told{}, false, 0, 0},
		{"a further one waits", two, 0, knows(time.Minute, one), false, 2, 0},
		{"and is told with the others", two, 0, knows(5*time.Minute, one), true, 2, 0},
		{"nothing new", one, 0, knows(time.Hour, one), false, 1, 0},
		{"is told again", one, 0, knows(4*time.Hour, one), true, 1, 0},
		{"but not while silenced", quiet, 0, knows(5*time.Hour, one), false, 0, 0},
		{"an end is told", nil, 0, knows(5*time.Minute, one), true, 0, 1},
	} {
		v := decide(&r, now, now.Add(-c.since), c.firing, c.was)
		if v.send != c.send || len(v.firing) != c.fires || len(v.ended) != c.ends {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}

// postOffice is an SMTP server that wants STARTTLS and a password.
type postOffice struct {
	t    *testing.T
	l    net.Listener
	tls  *tls.Config
	ca   string
	mu   sync.Mutex
	mail []string
	auth string
}

func newPostOffice(t *testing.T) *postOffice {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	p := &postOffice{t: t, tls: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, ca: filepath.Join(t.TempDir(), "ca.pem")}
	if err := os.WriteFile(p.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if p.l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.l.Close() })
	go func() {
		for {
			c, err := p.l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *postOffice) serve(c net.Conn) {
	defer func() { c.Close() }()
	r := bufio.NewReader(c)
	say := func(s string) { fmt.Fprintf(c, "%s\r\n", s) }
	say("220 mail ESMTP")
	secure, authed := false, false
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(strings.Fields(line + " x")[0]); {
		case verb == "EHLO" && !secure:
			say("250-mail\r\n250 STARTTLS")
		case verb == "EHLO":
			say("250-mail\r\n250-8BITMIME\r\n250 AUTH PLAIN")
		case verb == "STARTTLS":
			say("220 go")
			c = tls.Server(c, p.tls)
			r, secure = bufio.NewReader(c), true
		case verb == "AUTH" && secure:
			text, _ := base64.StdEncoding.DecodeString(strings.Fields(line)[2])
			p.mu.Lock()
			p.auth = string(text)
			p.mu.Unlock()
			authed = true
			say("235 welcome")
		case !authed:
			say("530 who are you")
		case verb == "DATA":
			say("354 go on")
			var b strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				b.WriteString(strings.TrimPrefix(line, "."))
			}
			p.mu.Lock()
			p.mail = append(p.mail, b.String())
			p.mu.Unlock()
			say("250 taken")
		case verb == "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

func (p *postOffice) all() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.mail)
}

func (p *postOffice) receiver(language string) Receiver {
	r := newReceiver("mail")
	r.Email = &Email{}
	r.Email.SetDefaults()
	r.Email.Timeout = 2 * time.Minute
	pass := filepath.Join(p.t.TempDir(), "pass")
	if err := os.WriteFile(pass, []byte("secret"), 0o600); err != nil {
		p.t.Fatal(err)
	}
	r.Email.To, r.Email.From, r.Email.Server, r.Email.User, r.Email.PasswordFile, r.Email.CAFile, r.Email.Language =
		[]string{"值班 <duty@example.org>", "b@example.org"}, "hub@example.org", p.l.Addr().String(), "hub", pass, p.ca, language
	return r
}

// read returns subject and text of a mail.
func read(t *testing.T, s string) (subject, text string) {
	m, err := mail.ReadMessage(strings.NewReader(s))
	if err != nil {
		t.Fatal(err)
	}
	subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		t.Fatal(err)
	}
	return subject, string(body)
}

func TestMailGoesOutEncryptedInBothLanguages(t *testing.T) {
	h, p := newHub(t), newPostOffice(t)
	h.fire("Hot", "t1")
	h.run(p.receiver("both"))
	soon(t, "a mail", func() bool { return len(p.all()) == 1 })
	subject, text := read(t, p.all()[0])
	if subject != "[告警/firing 1] Hot" {
		t.Errorf("subject %q", subject)
	}
	for _, want := range []string{"== 告警 / firing == Hot (warning)", "t1 处过热", "It is hot at t1", "数值 value: 41.5", "device = t1", "http://hub.example/docs/hot", "http://hub.example/alerts"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	p.mu.Lock()
	if p.auth != "\x00hub\x00secret" {
		t.Errorf("auth %q", p.auth)
	}
	p.mu.Unlock()
	h.end("Hot", "t1")
	soon(t, "a mail of the end", func() bool { return len(p.all()) == 2 })
	if _, text := read(t, p.all()[1]); !strings.Contains(text, "已恢复 / resolved") || !strings.Contains(text, "结束 until") {
		t.Error(text)
	}
}

func TestAMailServerWithoutEncryptionGetsNothing(t *testing.T) {
	p := newPostOffice(t)
	p.tls = &tls.Config{} // no certificate: the handshake fails
	r := p.receiver("zh")
	m := &mailer{cfg: r, clock: time.Now}
	if err := m.send(context.Background(), []message{{firing: []alert{{ID: "a"}}}}); err == nil || len(p.all()) > 0 || p.auth != "" {
		t.Errorf("%v, %v", err, p.all())
	}
}

func TestAFloodOfMailBecomesOne(t *testing.T) {
	h, p := newHub(t), newPostOffice(t)
	r := p.receiver("en")
	r.Email.MaxPerHour = 2
	r.GroupWait = time.Second
	for i := range 30 {
		h.fire(fmt.Sprintf("Alert%02d", i), "t1")
	}
	h.run(r)
	soon(t, "a mail", func() bool { return len(p.all()) > 0 })
	subject, text := read(t, p.all()[0])
	if subject != "[firing 30] 30 groups" || !strings.Contains(text, "Alert29") || len(p.all()) != 1 {
		t.Errorf("%d mails, %q\n%s", len(p.all()), subject, text)
	}
}

func TestTextOfAlertsCannotWriteHeaders(t *testing.T) {
	p := newPostOffice(t)
	m := &mailer{cfg: p.receiver("en"), clock: time.Now}
	text := m.mail([]message{{labels: labels.FromStrings("alertname", "x\r\nBcc: evil@example.org"), firing: []alert{{Labels: labels.FromStrings("alertname", "x\r\n.\r\nQUIT")}}}})
	head, _, _ := bytes.Cut(text, []byte("\r\n\r\n"))
	if bytes.Contains(head, []byte("\nBcc")) {
		t.Errorf("%s", head)
	}
}

// TestARealAlertmanagerTakesAlerts and tells of them what it was told.
func TestARealAlertmanagerTakesAlerts(t *testing.T) {
	var program string
	for _, name := range []string{"prometheus-alertmanager", "alertmanager"} {
		if p, err := exec.LookPath(name); err == nil {
			program = p
			break
		}
	}
	if program == "" {
		t.Skip("no Alertmanager on PATH: scripts/install-test-tools installs one")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "am.yml")
	if err := os.WriteFile(file, []byte("route: {receiver: none}\nreceivers: [{name: none}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", freeport.New(t))
	cmd := exec.Command(program, "--config.file="+file, "--storage.path="+dir, "--web.listen-address="+address, "--cluster.listen-address=", "--log.level=error")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })

	h := newHub(t)
	h.fire("Hot", "t1")
	r := newReceiver("am")
	r.Alertmanager = &Alertmanager{}
	r.Alertmanager.SetDefaults()
	r.Alertmanager.URLs = []string{"http://" + address, "http://127.0.0.1:1"} // one of the cluster is away
	h.run(r)
	type status struct {
		Labels       map[string]string
		StartsAt     time.Time
		GeneratorURL string
	}
	known := func() (all []status) {
		res, err := http.Get("http://" + address + "/api/v2/alerts")
		if err != nil {
			return nil
		}
		defer res.Body.Close()
		_ = json.NewDecoder(res.Body).Decode(&all)
		return all
	}
	soon(t, "Alertmanager knows of it", func() bool { return len(known()) == 1 })
	if a := known()[0]; a.Labels["alertname"] != "Hot" || a.Labels["device"] != "t1" || a.GeneratorURL != "http://hub.example/alerts#Hot-t1" || a.StartsAt.IsZero() {
		t.Errorf("%+v", a)
	}
	h.end("Hot", "t1")
	soon(t, "Alertmanager knows of its end", func() bool { return len(known()) == 0 })
}

func TestReceiversThatCannotBeAreFaulted(t *testing.T) {
	var c Config
	faults := strict.Decode([]byte(`
receivers:
  - {name: a}
  - {name: a, max_grade: secret, webhook: {url: "ftp://x"}, matchers: ['severity="x"']}
  - {name: b, email: {to: [x], from: a@b.example, server: "mail.example:25", security: none, language: fr}}
  - {name: c, alertmanager: {urls: ["http://u:p@x"], user: u}}
  - {name: d, webhook: {url: "https://x"}, matchers: ['severity=x']}
`), &c)
	text := fmt.Sprint(faults)
	for _, want := range []string{
		`receivers[0]: a receiver has one of alertmanager, webhook and email`, `receivers[1].name: "a" is the name of another`, `max_grade: "secret"`, `url: "ftp://x"`, `to[0]: "x"`,
		`security: none sends`, `language: "fr"`, `urls[0]: "http://u:p@x"`, `user: and password_file go together`, `receivers[4].matchers[0]`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in %s", want, strings.ReplaceAll(text, "} {", "}\n{"))
		}
	}
}
