// Package issuer runs a real OpenID Connect issuer on loopback, for tests: with
// a page where people type name and password, and a way to make what it signs
// wrong.
package issuer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/songhua-io/hub/internal/hubtest/freeport"
)

// The hub as the issuer knows it, and the password of everybody.
const (
	ClientID     = "songhua-hub"
	ClientSecret = "the-secret-of-the-client"
	Password     = "the-password-of-everybody"
)

// Person is somebody whom the issuer knows. Claims are sent by its userinfo, not
// in the ID token, as several issuers do.
type Person struct {
	Name, FullName, Email string
	Verified              bool // the e-mail address
	Claims                map[string]any
}

// Issuer is a running issuer.
type Issuer struct {
	URL string

	t        testing.TB
	provider http.Handler
	storage  *kept
	server   *http.Server
	done     chan struct{}

	mu     sync.Mutex
	tamper func(*Token)
	codes  int // requests to the token endpoint
}

// Start runs an issuer that knows some people, on a port that stays its own.
func Start(t testing.TB, people ...Person) *Issuer {
	t.Helper()
	l, err := net.Listen("tcp", freeport.Address(t))
	if err != nil {
		t.Fatal(err)
	}
	// A site of its own to a browser that finds the hub at 127.0.0.1.
	i := &Issuer{t: t, URL: fmt.Sprintf("http://localhost:%d", l.Addr().(*net.TCPAddr).Port)}
	all := directory{}
	for _, p := range people {
		all[p.Name] = p
	}
	i.storage = &kept{
		Storage: storage.NewStorageWithClients(all, map[string]*storage.Client{ClientID: storage.WebClient(ClientID, ClientSecret, "unused")}),
		people:  all,
	}
	provider, err := op.NewProvider(&op.Config{
		CryptoKey: sha256.Sum256([]byte(t.Name())), CodeMethodS256: true, AuthMethodPost: true, DefaultLogoutRedirectURI: "/signed-out",
	}, i.storage, op.StaticIssuer(i.URL), op.WithAllowInsecure())
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", provider)
	mux.HandleFunc("/login/username", i.login(op.AuthCallbackURL(provider), op.NewIssuerInterceptor(provider.IssuerFromRequest)))
	mux.Handle("/oauth/token", i.tampered(provider))
	i.provider = mux
	i.serve(l)
	t.Cleanup(i.Stop)
	return i
}

func (i *Issuer) serve(l net.Listener) {
	server, done := &http.Server{Handler: i.provider, ReadHeaderTimeout: time.Minute}, make(chan struct{})
	i.server, i.done = server, done
	go func() {
		defer close(done)
		_ = server.Serve(l) // ends with the server
	}()
}

// Stop makes the issuer go away; what it issued stays known.
func (i *Issuer) Stop() {
	_ = i.server.Close()
	<-i.done
}

// Again brings a stopped issuer back to where it was.
func (i *Issuer) Again() {
	i.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1"+i.URL[strings.LastIndex(i.URL, ":"):])
	if err != nil {
		i.t.Fatal(err)
	}
	i.serve(l)
}

// Allow registers where the hub is reached.
func (i *Issuer) Allow(hub string) {
	i.storage.mu.Lock()
	defer i.storage.mu.Unlock()
	i.storage.hubs = append(i.storage.hubs, hub)
}

// Codes is how often a code was brought.
func (i *Issuer) Codes() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.codes
}

var loginPage = template.Must(template.New("").Parse(`<!doctype html><title>Issuer</title><h1>Who are you?</h1>
<form method="post"><input name="id" type="hidden" value="{{.}}"><input id="username" name="username"><input id="password" name="password" type="password"><button id="go">Sign in</button></form>`))

// login is where people say who they are.
func (i *Issuer) login(next func(context.Context, string) string, issued *op.IssuerInterceptor) http.HandlerFunc {
	return issued.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_ = loginPage.Execute(w, r.URL.Query().Get("authRequestID")) // an error means that the browser is gone
			return
		}
		if err := i.storage.CheckUsernamePassword(r.FormValue("username"), r.FormValue("password"), r.FormValue("id")); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		http.Redirect(w, r, next(r.Context(), r.FormValue("id")), http.StatusFound)
	})
}

// directory is who the issuer knows, by name.
type directory map[string]Person

// GetUserByID implements storage.UserStore.
func (d directory) GetUserByID(id string) *storage.User {
	p, ok := d[id]
	if !ok {
		return nil
	}
	return &storage.User{ID: p.Name, Username: p.Name, Password: Password, FirstName: p.FullName, Email: p.Email, EmailVerified: p.Verified}
}

// GetUserByUsername implements storage.UserStore.
func (d directory) GetUserByUsername(name string) *storage.User { return d.GetUserByID(name) }

// ExampleClientID implements storage.UserStore.
func (d directory) ExampleClientID() string { return storage.ServiceUserID }

// kept is what the issuer remembers.
type kept struct {
	*storage.Storage
	people directory

	mu   sync.Mutex
	hubs []string
}

// SetUserinfoFromToken implements op.Storage.
func (k *kept) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, token, subject, origin string) error {
	if err := k.Storage.SetUserinfoFromToken(ctx, info, token, subject, origin); err != nil {
		return err
	}
	for name, v := range k.people[subject].Claims {
		info.AppendClaims(name, v)
	}
	return nil
}

// GetClientByClientID implements op.Storage.
func (k *kept) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := k.Storage.GetClientByClientID(ctx, id)
	k.mu.Lock()
	defer k.mu.Unlock()
	return client{c, k.hubs}, err
}

// client is the hub, wherever tests run it.
type client struct {
	op.Client
	hubs []string
}

// RedirectURIs implements op.Client.
func (c client) RedirectURIs() []string { return c.under("/signin/callback") }

// PostLogoutRedirectURIs implements op.Client.
func (c client) PostLogoutRedirectURIs() []string { return c.under("/signin") }

func (c client) under(path string) []string {
	all := make([]string, len(c.hubs))
	for i, hub := range c.hubs {
		all[i] = hub + path
	}
	return all
}
