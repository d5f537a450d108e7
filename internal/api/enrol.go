package api

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/songhua-io/hub/internal/authority"
	"github.com/songhua-io/hub/internal/enrolment"
	"github.com/songhua-io/hub/internal/registry"
)

type requestKey struct{}

// stranger lets callers in who have no token of the API: the handler asks who
// they are. An address that erred too often waits.
func (a *API) stranger(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	if over := a.Enrolment.Attempt(addressOf(r)); over != nil {
		Refuse(w, over)
		return
	}
	next(huma.WithValue(ctx, requestKey{}, r))
}

// open registers an operation of devices that have no token of the API.
func open[I, O any](a *API, method, path, zh, en string, h func(context.Context, *http.Request, *I) (*O, error), options ...option) {
	on(a, method, path, "", zh, en, func(ctx context.Context, in *I) (*O, error) {
		return h(ctx, ctx.Value(requestKey{}).(*http.Request), in)
	}, options...)
}

func addressOf(r *http.Request) netip.Addr {
	at, _ := netip.ParseAddrPort(r.RemoteAddr)
	return at.Addr().Unmap()
}

type enrolIn struct {
	Body struct {
		Token  string            `json:"token" doc:"of hub enrol add" maxLength:"256"`
		Device string            `json:"device" doc:"its id: A-Z a-z 0-9 . _ : - up to 64"`
		CSR    string            `json:"csr" doc:"certificate signing request in PEM (PKCS#10) of the device's own key; its subject is ignored" maxLength:"16384"`
		Kind   string            `json:"kind,omitempty" doc:"where the token leaves it open"`
		Site   string            `json:"site,omitempty" doc:"where the token leaves it open"`
		Region string            `json:"region,omitempty" doc:"six-digit division code, where the token leaves it open"`
		Tags   map[string]string `json:"tags,omitempty"`
		Secret bool              `json:"secret,omitempty" doc:"answer with a secret too"`
	}
}

// credentialsOut is what a device works with from now on.
type credentialsOut struct {
	Device      string    `json:"device"`
	Certificate string    `json:"certificate" doc:"PEM"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	// CA is empty when the hub's own certificate is of an outside authority.
	CA     string            `json:"ca,omitempty" doc:"PEM of the authority that the hub's own certificate is checked against"`
	Secret string            `json:"secret,omitempty" doc:"shown this once"`
	Doors  map[string]string `json:"doors" doc:"where the hub is reached: mqtt, mqtts, coap, coaps, http, https"`
}

func (a *API) credentials(r *http.Request, device string, c authority.Issued) credentialsOut {
	out := credentialsOut{Device: device, Certificate: string(c.PEM), NotBefore: c.NotBefore, NotAfter: c.NotAfter, Doors: a.Doors(r.Host)}
	if !a.Authority.Outside() {
		out.CA = string(a.Authority.Root())
	}
	return out
}

type oneCredentials struct{ Body credentialsOut }

func (a *API) enrol(ctx context.Context, r *http.Request, in *enrolIn) (*oneCredentials, error) {
	b := in.Body
	e, err := a.Enrolment.Enrol(ctx, enrolment.Request{
		Token: b.Token, Device: b.Device, CSR: b.CSR, Kind: b.Kind, Site: b.Site, Region: b.Region, Tags: b.Tags, Address: addressOf(r),
	})
	if err != nil {
		return nil, err
	}
	out := &oneCredentials{a.credentials(r, e.Device.ID, e.Certificate)}
	if b.Secret {
		out.Body.Secret = e.Secret
	}
	return out, nil
}

type renewIn struct {
	Body struct {
		CSR    string `json:"csr" doc:"certificate signing request in PEM (PKCS#10); its subject is ignored" maxLength:"16384"`
		Device string `json:"device,omitempty" doc:"its id, where several devices have one secret"`
	}
}

// renew gives a device that shows its present certificate or its secret a new
// certificate. The one it has stays valid until its own end.
func (a *API) renew(ctx context.Context, r *http.Request, in *renewIn) (*oneCredentials, error) {
	peer, err := a.known(ctx, r, in.Body.Device)
	if errors.Is(err, registry.ErrUnauthorized) {
		a.Enrolment.Failed(addressOf(r))
		return nil, newProblem(http.StatusUnauthorized, "neither a client certificate nor the secret of a device in use was shown; come over HTTPS with the present certificate, send `Authorization: Bearer <device secret>`, or enrol anew")
	}
	if err != nil {
		return nil, err
	}
	issued, err := a.Enrolment.Renew(ctx, peer.Device.ID, in.Body.CSR, addressOf(r))
	if err != nil {
		return nil, err
	}
	return &oneCredentials{a.credentials(r, peer.Device.ID, issued)}, nil
}

// known finds the device behind a client certificate or a secret.
func (a *API) known(ctx context.Context, r *http.Request, about string) (*registry.Peer, error) {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		c := r.TLS.PeerCertificates[0]
		return a.Registry.AuthenticateCertificate(c, a.Authority.Issued(c))
	}
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return nil, registry.ErrUnauthorized
	}
	return a.Registry.AuthenticateBearer(ctx, []byte(strings.TrimSpace(secret)), about)
}
