// Package login lets people in to the pages, by an access token or by an
// OpenID Connect issuer, and out again. Both ways open the same kind of session;
// every coming, refusal and going is on record, without tokens or codes. Who has
// no right is told so and gets nothing.
package login

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"net/url"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/oauth2"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/audit"
	"github.com/songhua-io/hub/internal/quota"
)

// An address may err so often at once, and then so often again. Neither tokens
// nor codes can be guessed; the bound keeps strangers from filling the record.
const (
	failureBurst = 20
	failureEvery = 3 * time.Second
)

// CallbackPath is where the issuer sends people back to.
const CallbackPath = "/signin/callback"

// Deps are what logging in needs; all fields must be set.
type Deps struct {
	Sessions *access.Sessions
	Audit    *audit.Log
	Log      *slog.Logger
	Clock    func() time.Time
	Metrics  prometheus.Registerer
}

// Desk is where people come in and go out. All methods may be called from any
// goroutine.
type Desk struct {
	Deps
	issuer   *issuer // nil when there is none
	failures *quota.Sketch
	opened   *prometheus.CounterVec
	refused  *prometheus.CounterVec
}

// New returns the desk. The issuer need not answer yet; an error means that the
// configuration names files that cannot be used.
func New(cfg Config, d Deps) (*Desk, error) {
	k := &Desk{Deps: d, failures: quota.NewSketch(quota.Rate{N: failureBurst, Per: failureBurst * failureEvery}, d.Clock())}
	k.opened = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hub_login_opened_total", Help: "Sessions that people opened, by what they signed in with."}, []string{"via"})
	k.refused = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hub_login_refused_total", Help: "Sign-ins refused, by reason."}, []string{"reason"})
	for _, via := range []access.Via{access.ViaToken, access.ViaOIDC} {
		k.opened.WithLabelValues(string(via))
	}
	for _, r := range reasons {
		k.refused.WithLabelValues(r.reason)
	}
	d.Metrics.MustRegister(k.opened, k.refused)
	if cfg.Issuer == "" {
		return k, nil
	}
	var err error
	if k.issuer, err = newIssuer(cfg, d.Clock); err != nil {
		return nil, err
	}
	d.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "hub_login_issuer_up", Help: "1 when the OpenID Connect issuer answered last, 0 when it did not.",
	}, func() float64 {
		if known, err := k.issuer.state(); known == nil || err != nil {
			return 0
		}
		return 1
	}))
	return k, nil
}

// Run keeps asking the issuer about itself: often while it does not answer, so
// that people find it back soon.
func (k *Desk) Run(ctx context.Context) error {
	if k.issuer == nil {
		<-ctx.Done()
		return nil
	}
	down := false
	for ctx.Err() == nil {
		pause := refreshEvery
		switch err := k.issuer.discover(ctx); {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if !down {
				k.Log.Warn("issuer_down", "issuer", k.issuer.cfg.Issuer, "error", err)
			}
			down, pause = true, retryEvery
		case down:
			k.Log.Info("issuer_back", "issuer", k.issuer.cfg.Issuer)
			down = false
		}
		wait := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			wait.Stop()
		case <-wait.C:
		}
	}
	return nil
}

// Issuer is what the login page says of the issuer.
type Issuer struct {
	Label string
	Down  bool
}

// Issuer returns what people can sign in with besides tokens; false for
// nothing.
func (k *Desk) Issuer() (Issuer, bool) {
	if k.issuer == nil {
		return Issuer{}, false
	}
	_, err := k.issuer.state()
	return Issuer{Label: k.issuer.cfg.label(), Down: err != nil}, true
}

// Opened is a session that was opened.
type Opened struct {
	Secret  string // for the browser's cookie
	Expires time.Time
	To      string // where the person wanted to go
}

// ByToken opens a session for the holder of a token. Before is who the browser
// was until now. The error is a *Refusal, or a failure of the hub.
func (k *Desk) ByToken(ctx context.Context, before access.Caller, token string) (Opened, error) {
	if r := k.tooOften(before); r != nil {
		return Opened{}, r
	}
	t, err := k.Sessions.Tokens().Find(ctx, token)
	if err != nil {
		return Opened{}, k.refuse(ctx, before, "", refuse(reasonToken, err))
	}
	if !access.May(t.Role, access.ReadHub) {
		return Opened{}, k.refuse(ctx, before, t.Name, refuse(reasonToken, errors.New("role "+string(t.Role)+" may not read")))
	}
	noted := k.noted(ctx, access.SignIn, access.Caller{Name: t.Name, Role: t.Role, Region: t.Region, Address: before.Address}, opening{Via: access.ViaToken})
	s, secret, err := k.Sessions.OpenByToken(noted, token, before.Address)
	return k.open(ctx, before, s, secret, err)
}

// FromElsewhere refuses a link with a token that another site led to: it would
// sign people in as whoever made the link.
func (k *Desk) FromElsewhere(ctx context.Context, c access.Caller) error {
	return k.refuse(ctx, c, "", refuse(reasonLink, nil))
}

// Begun is a way to the issuer.
type Begun struct {
	URL    string // at the issuer
	Cookie string // what the browser is to keep for AttemptLife
}

// Begin leads to the issuer. Base is where the browser reaches the pages, and
// to where the person wants to go on them; again asks for another account.
func (k *Desk) Begin(ctx context.Context, base, to string, again bool) (Begun, error) {
	if k.issuer == nil {
		return Begun{}, refuse(reasonAttempt, nil)
	}
	p, err := k.issuer.provider(ctx)
	if err != nil {
		return Begun{}, k.down(err)
	}
	a := newAttempt(to, k.Clock())
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(a.verifier()), oauth2.SetAuthURLParam("nonce", a.nonce())}
	if again {
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"))
	}
	return Begun{URL: k.issuer.oauth(p, base+CallbackPath, "").AuthCodeURL(a.state(), options...), Cookie: a.cookie()}, nil
}

func (k *Desk) down(err error) *Refusal {
	k.refused.WithLabelValues(reasonDown).Inc()
	return refuse(reasonDown, err, k.issuer.cfg.label())
}

// Finish opens a session for whom the issuer sends back. Base is as at Begin,
// cookie what the browser kept, and answer the query that the issuer sent it
// with. The error is a *Refusal, or a failure of the hub.
func (k *Desk) Finish(ctx context.Context, before access.Caller, base, cookie string, answer url.Values) (Opened, error) {
	if r := k.tooOften(before); r != nil {
		return Opened{}, r
	}
	a, ok := parseAttempt(cookie, k.Clock())
	if k.issuer == nil || !ok || !same(answer.Get("state"), a.state()) {
		return Opened{}, k.refuse(ctx, before, "", refuse(reasonAttempt, errors.New("the state is not that of an attempt of this browser")))
	}
	p, err := k.issuer.provider(ctx)
	if err != nil {
		return Opened{}, k.down(err)
	}
	label := k.issuer.cfg.label()
	if from, named := answer["iss"]; named && (len(from) != 1 || from[0] != k.issuer.cfg.Issuer) || !named && p.NamesItself {
		return Opened{}, k.refuse(ctx, before, "", refuse(reasonProof, errors.New("another issuer answered"), label))
	}
	if code := answer.Get("error"); code != "" {
		return Opened{}, k.refuse(ctx, before, "", refuse(reasonIssuer, nil, label, wordOf(code)))
	}
	who, err := k.issuer.exchange(ctx, a, base+CallbackPath, answer.Get("code"))
	switch {
	case errors.Is(err, errNotProven):
		return Opened{}, k.refuse(ctx, before, "", refuse(reasonProof, err, label))
	case err != nil:
		return Opened{}, k.down(err)
	}
	return k.admit(ctx, before, who, a.to)
}

// wordOf is an error code as RFC 6749 has them; what is none is not repeated.
func wordOf(code string) string {
	if regexp.MustCompile(`^[a-z_]{1,64}$`).MatchString(code) {
		return code
	}
	return "error"
}

func (k *Desk) admit(ctx context.Context, before access.Caller, who identity, to string) (Opened, error) {
	p := personOf(k.issuer.cfg.Issuer, who.subject, who.claims)
	role, region, ok := k.issuer.cfg.grant(who.claims)
	if !ok {
		return Opened{}, k.refuse(ctx, before, p.name, refuse(reasonGrant, nil, p.name))
	}
	noted := k.noted(ctx, access.SignIn, access.Caller{Name: p.name, Role: role, Region: region, Address: before.Address},
		opening{Via: access.ViaOIDC, Issuer: k.issuer.cfg.Issuer, Subject: who.subject})
	s, secret, err := k.Sessions.Open(noted, access.Session{
		Name: p.name, Shown: p.shown, Via: access.ViaOIDC, Subject: who.subject, Role: role, Region: region, Origin: before.Address, Hint: who.hint,
	})
	opened, err := k.open(ctx, before, s, secret, err)
	opened.To = to
	return opened, err
}

// open ends the session that the browser had before: it keeps one.
func (k *Desk) open(ctx context.Context, before access.Caller, s access.Session, secret string, err error) (Opened, error) {
	if errors.Is(err, access.ErrFull) {
		return Opened{}, k.refuse(ctx, before, s.Name, refuse(reasonFull, err))
	}
	if err != nil {
		return Opened{}, err
	}
	k.opened.WithLabelValues(string(s.Via)).Inc()
	if before.Session != "" {
		if _, err := k.Leave(ctx, before, ""); err != nil {
			return Opened{}, err
		}
	}
	return Opened{Secret: secret, Expires: s.Expires}, nil
}

// Leave ends the session of a caller, and returns where the issuer lets people
// sign out of it too; empty for nowhere. Base is as at Begin.
func (k *Desk) Leave(ctx context.Context, c access.Caller, base string) (next string, err error) {
	if c.Session == "" {
		return "", nil
	}
	s, err := k.Sessions.Get(c.Session)
	if errors.Is(err, access.ErrUnknown) {
		return "", nil // somebody else ended it meanwhile
	}
	// Its end is not undone by the end of the request that asked for it.
	ctx = context.WithoutCancel(ctx)
	if err := k.Sessions.End(k.noted(ctx, access.SignOut, c, opening{Via: s.Via}), s.ID); err != nil && !errors.Is(err, access.ErrUnknown) {
		return "", err
	}
	if s.Via != access.ViaOIDC || k.issuer == nil {
		return "", nil
	}
	return k.issuer.leave(s.Hint, base), nil
}

// leave is where the issuer ends its own session (OpenID Connect RP-Initiated
// Logout); empty when it offers that nowhere.
func (i *issuer) leave(hint, base string) string {
	known, _ := i.state()
	if known == nil || !guarded(known.EndSession) {
		return ""
	}
	u, err := url.Parse(known.EndSession)
	if err != nil {
		return ""
	}
	q := u.Query()
	q.Set("client_id", i.cfg.ClientID)
	q.Set("post_logout_redirect_uri", base+"/signin")
	if hint != "" {
		q.Set("id_token_hint", hint)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// tooOften refuses an address that erred too often, before anything it shows is
// looked at; that is counted, and not recorded.
func (k *Desk) tooOften(c access.Caller) error {
	after := k.failures.Wait(k.origin(c), k.Clock())
	if after <= 0 {
		return nil
	}
	k.refused.WithLabelValues(reasonRate).Inc()
	after = max(after.Round(time.Second), time.Second)
	r := refuse(reasonRate, nil, after.String())
	r.After = after
	return r
}

func (k *Desk) origin(c access.Caller) quota.Key {
	at, _ := netip.ParseAddr(c.Address) // all without an address share one allowance
	return k.failures.Address(at)
}

// opening is what the record says of a coming or going besides who and where.
type opening struct {
	Via     access.Via `json:"via,omitempty"`
	Issuer  string     `json:"issuer,omitempty"`
	Subject string     `json:"subject,omitempty"`
	Reason  string     `json:"reason,omitempty"`
}

func (k *Desk) entry(action access.Action, who access.Caller, more opening) audit.Entry {
	text, err := json.Marshal(more)
	if err != nil {
		panic(err) // texts always have a JSON form
	}
	return audit.Entry{At: k.Clock(), Actor: who.Name, Role: who.Role, Origin: who.Address, Action: action, Object: "session of " + who.Name, Region: who.Region, After: string(text)}
}

func (k *Desk) noted(ctx context.Context, action access.Action, who access.Caller, more opening) context.Context {
	return audit.With(ctx, k.entry(action, who, more))
}

// refuse puts a refusal on record and counts it against the address; it returns
// why the record failed when it did.
func (k *Desk) refuse(ctx context.Context, from access.Caller, name string, r *Refusal) error {
	k.failures.Take(k.origin(from), k.Clock())
	k.refused.WithLabelValues(r.Reason).Inc()
	e := k.entry(access.Refuse, access.Caller{Name: name, Address: from.Address}, opening{Reason: r.Reason})
	if name == "" {
		e.Object = "sign-in"
	}
	if err := k.Audit.Add(context.WithoutCancel(ctx), e); err != nil {
		return err
	}
	return r
}
