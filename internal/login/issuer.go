package login

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Times of the conversation with the issuer.
const (
	answerWithin = 10 * time.Second // one answer of the issuer
	retryEvery   = 5 * time.Second  // while it does not answer
	refreshEvery = 10 * time.Minute // while it does
)

// maxAnswer bounds what is read of one answer of the issuer, in bytes.
const maxAnswer = 1 << 20

// issuer is the other side: what it published of itself, and whether it answers.
type issuer struct {
	cfg    Config
	client *http.Client
	clock  func() time.Time

	asking sync.Mutex // held while the issuer is asked about itself
	mu     sync.Mutex // guards all below
	known  *provider  // nil until it answered once
	fault  error      // of the last question; nil when it answered
	asked  time.Time
}

// provider is what the issuer said of itself.
type provider struct {
	*oidc.Provider
	verifier *oidc.IDTokenVerifier
	style    oauth2.AuthStyle
	metadata
}

type metadata struct {
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Keys          string   `json:"jwks_uri"`
	EndSession    string   `json:"end_session_endpoint"`
	AuthMethods   []string `json:"token_endpoint_auth_methods_supported"`
	NamesItself   bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207
}

func newIssuer(cfg Config, clock func() time.Time) (*issuer, error) {
	pool, err := authorities(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	i := &issuer{cfg: cfg, clock: clock}
	if _, err := i.secret(); err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	i.client = &http.Client{
		Transport: bounded{transport}, Timeout: answerWithin,
		// What is sent holds the client's secret, and goes where the issuer said.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return i, nil
}

// authorities are the system's and those of a file; nil for the system's alone.
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("oidc.ca_file: %w", err)
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("oidc.ca_file: %s holds no certificate in PEM", file)
	}
	return pool, nil
}

// bounded reads no more than maxAnswer of any answer.
type bounded struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}

// secret is the client's, as it is now; empty for a public client.
func (i *issuer) secret() (string, error) {
	if i.cfg.ClientSecretEnv != "" {
		return os.Getenv(i.cfg.ClientSecretEnv), nil
	}
	if i.cfg.ClientSecretFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(i.cfg.ClientSecretFile)
	if err != nil {
		return "", fmt.Errorf("oidc.client_secret_file: %w", err)
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" {
		return "", fmt.Errorf("oidc.client_secret_file: %s is empty; write the client's secret into it", i.cfg.ClientSecretFile)
	}
	return secret, nil
}

// with returns a context in which the libraries use our client.
func (i *issuer) with(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, i.client)
}

// discover asks the issuer about itself. What it said before holds until it
// says something else.
func (i *issuer) discover(ctx context.Context) error {
	i.asking.Lock()
	defer i.asking.Unlock()
	p, err := i.ask(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fault, i.asked = err, i.clock()
	if err == nil {
		i.known = p
	}
	return err
}

func (i *issuer) ask(ctx context.Context) (*provider, error) {
	found, err := oidc.NewProvider(i.with(ctx), i.cfg.Issuer)
	if err != nil {
		return nil, fmt.Errorf("issuer %s: %.300w", i.cfg.Issuer, err)
	}
	p := &provider{Provider: found, style: oauth2.AuthStyleInHeader}
	if err := found.Claims(&p.metadata); err != nil {
		return nil, fmt.Errorf("issuer %s: its discovery document: %w", i.cfg.Issuer, err)
	}
	for _, at := range []string{p.Authorization, p.Token, p.Keys} {
		if !guarded(at) {
			return nil, fmt.Errorf("issuer %s: its discovery document names %q, which is missing or no https address", i.cfg.Issuer, at)
		}
	}
	if len(p.AuthMethods) > 0 && !slices.Contains(p.AuthMethods, "client_secret_basic") {
		p.style = oauth2.AuthStyleInParams
	}
	p.verifier = found.Verifier(&oidc.Config{ClientID: i.cfg.ClientID, Now: i.clock})
	return p, nil
}

// guarded reports whether an endpoint, which may have a query, is reached by TLS
// or on this machine.
func guarded(at string) bool {
	u, err := url.Parse(at)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()))
}

// provider returns what is known of the issuer, and asks it when nothing is.
func (i *issuer) provider(ctx context.Context) (*provider, error) {
	known, _ := i.state()
	if known != nil {
		return known, nil
	}
	if err := i.discover(ctx); err != nil {
		return nil, err
	}
	known, err := i.state()
	return known, err
}

// state is what is known of the issuer, and why it did not answer last.
func (i *issuer) state() (*provider, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.known, i.fault
}

func (i *issuer) oauth(p *provider, redirect, secret string) *oauth2.Config {
	at := p.Endpoint()
	if at.AuthStyle = p.style; secret == "" {
		at.AuthStyle = oauth2.AuthStyleInParams // RFC 6749, section 3.2.1: a public client names itself
	}
	return &oauth2.Config{ClientID: i.cfg.ClientID, ClientSecret: secret, Endpoint: at, RedirectURL: redirect, Scopes: i.cfg.Scopes}
}

// errNotProven means that what the issuer sent proves nothing.
var errNotProven = errors.New("what the issuer sent does not prove who this is")

// identity is what an issuer proved of a person.
type identity struct {
	subject string
	claims  claims
	hint    string // the ID token
}

// exchange turns a code into what the issuer says of the person. An error that
// is errNotProven is the issuer's or an attacker's doing; others are failures.
func (i *issuer) exchange(ctx context.Context, a attempt, redirect, code string) (identity, error) {
	ctx, cancel := context.WithTimeout(i.with(ctx), answerWithin)
	defer cancel()
	p, err := i.provider(ctx)
	if err != nil {
		return identity{}, err
	}
	secret, err := i.secret()
	if err != nil {
		return identity{}, err
	}
	tokens, err := i.oauth(p, redirect, secret).Exchange(ctx, code, oauth2.VerifierOption(a.verifier()))
	var refused *oauth2.RetrieveError
	switch {
	case errors.As(err, &refused) && refused.ErrorCode != "" && refused.Response.StatusCode < http.StatusInternalServerError:
		return identity{}, fmt.Errorf("%w: it answers %.64q to the code", errNotProven, refused.ErrorCode)
	case err != nil:
		return identity{}, withoutSecrets(err)
	}
	raw, _ := tokens.Extra("id_token").(string)
	who, err := p.verify(ctx, i.cfg.ClientID, raw, a.nonce(), tokens.AccessToken)
	if err != nil {
		return identity{}, err
	}
	return who, p.ask(ctx, tokens, &who)
}

// withoutSecrets takes the issuer's answer out of an error, which may hold what
// was sent.
func withoutSecrets(err error) error {
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return fmt.Errorf("the issuer answers %s", refused.Response.Status)
	}
	return err
}

// verify checks an ID token as OpenID Connect Core, section 3.1.3.7 asks.
func (p *provider) verify(ctx context.Context, client, raw, nonce, access string) (identity, error) {
	token, err := p.verifier.Verify(ctx, raw)
	switch {
	case err != nil && ctx.Err() != nil:
		return identity{}, ctx.Err()
	case err != nil:
		return identity{}, fmt.Errorf("%w: %w", errNotProven, err)
	case !same(token.Nonce, nonce):
		return identity{}, fmt.Errorf("%w: the nonce is not that of this attempt", errNotProven)
	case token.Subject == "" || len(token.Subject) > maxSubject:
		return identity{}, fmt.Errorf("%w: its subject has %d bytes", errNotProven, len(token.Subject))
	}
	if token.AccessTokenHash != "" {
		if err := token.VerifyAccessToken(access); err != nil {
			return identity{}, fmt.Errorf("%w: %w", errNotProven, err)
		}
	}
	who := identity{subject: token.Subject, claims: claims{}, hint: raw}
	if err := token.Claims(&who.claims); err != nil {
		return identity{}, fmt.Errorf("%w: %w", errNotProven, err)
	}
	party, named := who.claims["azp"]
	if named && party != client || !named && len(token.Audience) > 1 {
		return identity{}, fmt.Errorf("%w: it was issued to %.100q", errNotProven, fmt.Sprint(party))
	}
	return who, nil
}

// ask adds what the issuer says of the person beyond the ID token.
func (p *provider) ask(ctx context.Context, tokens *oauth2.Token, who *identity) error {
	if p.UserInfoEndpoint() == "" {
		return nil
	}
	if !guarded(p.UserInfoEndpoint()) {
		return fmt.Errorf("%w: its userinfo has no https address", errNotProven)
	}
	info, err := p.UserInfo(ctx, oauth2.StaticTokenSource(tokens))
	if err != nil {
		return fmt.Errorf("ask the issuer's userinfo: %.300w", err)
	}
	if info.Subject != who.subject {
		return fmt.Errorf("%w: its userinfo is of somebody else", errNotProven)
	}
	more := claims{}
	if err := info.Claims(&more); err != nil {
		return fmt.Errorf("%w: %w", errNotProven, err)
	}
	who.claims.merge(more)
	return nil
}
