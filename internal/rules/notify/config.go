package notify

import (
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/rules"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Config says who is told of alerts.
type Config struct {
	// Receivers are those who are told of alerts, each of those that its matchers take (docs/rules.md).
	Receivers []Receiver `yaml:"receivers"`
}

// Receiver is one of those who are told: by Alertmanager, webhook or e-mail.
type Receiver struct {
	// Name is what metrics and logs call it.
	Name string `yaml:"name"`
	// Matchers are conditions on labels, such as severity="critical" or region=~"2201.*"; all must hold. None: every alert.
	Matchers []rules.Matcher `yaml:"matchers"`
	// MaxGrade is the highest grade of data that may go there: general, important or core. Of alerts about data above it, name, severity and grade are told alone.
	MaxGrade string `yaml:"max_grade"`
	// GroupBy are the labels whose values tell messages apart: alerts that agree in them come in one. Not for alertmanager, which groups itself.
	GroupBy []string `yaml:"group_by"`
	// GroupWait is how long the first alert of a group waits for others.
	GroupWait time.Duration `yaml:"group_wait"`
	// GroupInterval is how long what changes in a group waits after a message about it.
	GroupInterval time.Duration `yaml:"group_interval"`
	// Repeat is after how long it is told again what still fires.
	Repeat time.Duration `yaml:"repeat"`
	// Resolved says whether it is told that alerts fire no more.
	Resolved bool `yaml:"resolved"`
	// Alertmanager are servers that speak its API v2; each is told of everything.
	Alertmanager *Alertmanager `yaml:"alertmanager"`
	// Webhook gets messages in the JSON that Alertmanager sends to webhooks.
	Webhook *Webhook `yaml:"webhook"`
	// Email gets messages by SMTP.
	Email *Email `yaml:"email"`
}

// Alertmanager is a cluster of servers.
type Alertmanager struct {
	// URLs are the servers' base addresses, such as http://alertmanager.example:9093.
	URLs []string `yaml:"urls"`
	// Auth is how to get in.
	Auth `yaml:",inline"`
	// Resend is how often what fires is told again, so that a server which lost it knows.
	Resend time.Duration `yaml:"resend"`
}

// Webhook is an address that takes messages.
type Webhook struct {
	// URL takes them by POST.
	URL string `yaml:"url"`
	// Auth is how to get in.
	Auth `yaml:",inline"`
	// SecretFile holds the secret with which messages are signed (HMAC SHA-256, docs/rules.md); empty: they are not.
	SecretFile string `yaml:"secret_file"`
}

// Auth is how requests prove who sends them. Files are read for each request.
type Auth struct {
	// TokenFile holds a bearer token.
	TokenFile string `yaml:"token_file"`
	// User is who logs in by basic authentication, with the password of password_file.
	User string `yaml:"user"`
	// PasswordFile holds the password.
	PasswordFile string `yaml:"password_file"`
	// CAFile is a PEM file of the authorities that may sign the server's certificate; empty: those of the system.
	CAFile string `yaml:"ca_file"`
	// Timeout is how long an answer may take.
	Timeout time.Duration `yaml:"timeout"`
}

// Email is who gets mail, and by which server.
type Email struct {
	// To are the addresses.
	To []string `yaml:"to"`
	// From is the sender's address.
	From string `yaml:"from"`
	// Server is host:port of the SMTP server: 587, or 465 with tls.
	Server string `yaml:"server"`
	// Security is starttls, tls (from the first byte), or none, which is for servers on this machine alone.
	Security string `yaml:"security"`
	// User is who logs in, with the password of password_file; empty: nobody does.
	User string `yaml:"user"`
	// PasswordFile holds the password; it is read for each message.
	PasswordFile string `yaml:"password_file"`
	// CAFile is a PEM file of the authorities that may sign the server's certificate; empty: those of the system.
	CAFile string `yaml:"ca_file"`
	// Language is zh, en, or both.
	Language string `yaml:"language"`
	// MaxPerHour is how many messages go out in an hour at most; when it is used up, all that waits comes in one.
	MaxPerHour int `yaml:"max_per_hour"`
	// Timeout is how long the server may take for one message.
	Timeout time.Duration `yaml:"timeout"`
}

// MaxReceivers bounds those who are told.
const MaxReceivers = 32

// SetDefaults implements strict.Defaulter.
func (r *Receiver) SetDefaults() {
	*r = Receiver{MaxGrade: telemetry.General.String(), GroupBy: []string{"alertname"}, GroupWait: 30 * time.Second, GroupInterval: 5 * time.Minute, Repeat: 4 * time.Hour, Resolved: true}
}

// SetDefaults implements strict.Defaulter.
func (a *Alertmanager) SetDefaults() {
	a.Resend, a.Timeout = time.Minute, 10*time.Second
}

// SetDefaults implements strict.Defaulter.
func (w *Webhook) SetDefaults() { w.Timeout = 10 * time.Second }

// SetDefaults implements strict.Defaulter.
func (e *Email) SetDefaults() {
	e.Security, e.Language, e.MaxPerHour, e.Timeout = "starttls", "both", 60, 30*time.Second
}

// Check implements strict.Checker.
func (c Config) Check(path string) (all []strict.Error) {
	if len(c.Receivers) > MaxReceivers {
		all = append(all, strict.Fault(path, "receivers", "there are %d, and %d are the most", len(c.Receivers), MaxReceivers))
	}
	seen := map[string]bool{}
	for i, r := range c.Receivers {
		if seen[r.Name] {
			all = append(all, strict.Fault(path, fmt.Sprintf("receivers[%d].name", i), "%q is the name of another receiver already", r.Name))
		}
		seen[r.Name] = true
	}
	return all
}

// Check implements strict.Checker.
func (r Receiver) Check(path string) (all []strict.Error) {
	if r.Name == "" || len(r.Name) > 64 {
		all = append(all, strict.Fault(path, "name", "%q: 1 to 64 bytes are wanted", r.Name))
	}
	if _, err := telemetry.ParseGrade(r.MaxGrade); err != nil {
		all = append(all, strict.Fault(path, "max_grade", "%q is not general, important or core", r.MaxGrade))
	}
	if len(r.GroupBy) > 20 {
		all = append(all, strict.Fault(path, "group_by", "there are %d labels, and 20 are the most", len(r.GroupBy)))
	}
	all = append(all, strict.Between(path, "group_wait", r.GroupWait, 0, time.Hour)...)
	all = append(all, strict.Between(path, "group_interval", r.GroupInterval, time.Second, 24*time.Hour)...)
	all = append(all, strict.Between(path, "repeat", r.Repeat, time.Minute, 30*24*time.Hour)...)
	ways := 0
	for _, is := range []bool{r.Alertmanager != nil, r.Webhook != nil, r.Email != nil} {
		if is {
			ways++
		}
	}
	if ways != 1 {
		all = append(all, strict.Fault(path, "", "a receiver has one of alertmanager, webhook and email, and this one has %d", ways))
	}
	return all
}

// Check implements strict.Checker.
func (a Alertmanager) Check(path string) (all []strict.Error) {
	if len(a.URLs) == 0 || len(a.URLs) > 8 {
		all = append(all, strict.Fault(path, "urls", "there are %d; give 1 to 8", len(a.URLs)))
	}
	for i, u := range a.URLs {
		all = append(all, checkURL(path, fmt.Sprintf("urls[%d]", i), u)...)
	}
	all = append(all, strict.Between(path, "resend", a.Resend, time.Second, time.Hour)...)
	return append(all, a.Auth.check(path)...)
}

// Check implements strict.Checker.
func (w Webhook) Check(path string) []strict.Error {
	return append(checkURL(path, "url", w.URL), w.Auth.check(path)...)
}

func checkURL(path, key, s string) []strict.Error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return []strict.Error{strict.Fault(path, key, "%q is no address; write it like https://alerts.example/path, and who you are into user and password_file", s)}
	}
	return nil
}

func (a Auth) check(path string) (all []strict.Error) {
	if a.TokenFile != "" && a.User != "" {
		all = append(all, strict.Fault(path, "token_file", "and user exclude each other"))
	}
	if (a.User == "") != (a.PasswordFile == "") {
		all = append(all, strict.Fault(path, "user", "and password_file go together; give both or none"))
	}
	return append(all, strict.Between(path, "timeout", a.Timeout, time.Second, 2*time.Minute)...)
}

// Check implements strict.Checker.
func (e Email) Check(path string) (all []strict.Error) {
	if len(e.To) == 0 || len(e.To) > 50 {
		all = append(all, strict.Fault(path, "to", "there are %d addresses; give 1 to 50", len(e.To)))
	}
	for i, a := range e.To {
		if _, err := mail.ParseAddress(a); err != nil {
			all = append(all, strict.Fault(path, fmt.Sprintf("to[%d]", i), "%q is no mail address: %v", a, err))
		}
	}
	if _, err := mail.ParseAddress(e.From); err != nil {
		all = append(all, strict.Fault(path, "from", "%q is no mail address: %v", e.From, err))
	}
	host, _, err := net.SplitHostPort(e.Server)
	if err != nil || host == "" {
		all = append(all, strict.Fault(path, "server", "%q is not host:port, such as smtp.example:587", e.Server))
	}
	switch e.Security {
	case "starttls", "tls":
	case "none":
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			all = append(all, strict.Fault(path, "security", "none sends alerts and passwords in the clear, and %s is not this machine; use starttls or tls", host))
		}
	default:
		all = append(all, strict.Fault(path, "security", "%q is not starttls, tls or none", e.Security))
	}
	if (e.User == "") != (e.PasswordFile == "") {
		all = append(all, strict.Fault(path, "user", "and password_file go together; give both or none"))
	}
	if !strings.Contains(" zh en both ", " "+e.Language+" ") || e.Language == "" {
		all = append(all, strict.Fault(path, "language", "%q is not zh, en or both", e.Language))
	}
	all = append(all, strict.Between(path, "max_per_hour", e.MaxPerHour, 1, 3600)...)
	return append(all, strict.Between(path, "timeout", e.Timeout, time.Second, 5*time.Minute)...)
}
