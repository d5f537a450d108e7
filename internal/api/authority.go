package api

import (
	"context"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/authority"
)

type authorityOut struct {
	Body struct {
		Fingerprint  string           `json:"fingerprint" doc:"SHA-256 of the root, hexadecimal"`
		Root         string           `json:"root" doc:"PEM of the root, and of those before it that are trusted still"`
		Outside      bool             `json:"outside" doc:"the hub's own certificate is of an outside authority (tls.certificate)"`
		Certificates []certificateOut `json:"certificates" doc:"everything that the hub holds"`
	}
}

type certificateOut struct {
	Name        string    `json:"certificate" enum:"root,root before,hub,tls.certificate,tls.client_ca"`
	Subject     string    `json:"subject"`
	Names       []string  `json:"names" doc:"host names and addresses"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	Fingerprint string    `json:"fingerprint" doc:"SHA-256, hexadecimal"`
}

func (a *API) showAuthority(context.Context, *nothing) (*authorityOut, error) {
	out := &authorityOut{}
	for _, c := range a.Authority.List() {
		shown := certificateOut(c)
		if shown.Names == nil {
			shown.Names = []string{}
		}
		out.Body.Certificates = append(out.Body.Certificates, shown)
	}
	out.Body.Fingerprint, out.Body.Root = out.Body.Certificates[0].Fingerprint, string(a.Authority.Root())
	out.Body.Outside = a.Authority.Outside()
	return out, nil
}

type issueIn struct {
	ID   string `path:"id"`
	Body struct {
		CSR string `json:"csr" doc:"certificate signing request in PEM (PKCS#10); its subject is ignored" maxLength:"16384"`
	}
}

type issuedOut struct {
	Body struct {
		Device      string    `json:"device"`
		Certificate string    `json:"certificate" doc:"PEM"`
		NotBefore   time.Time `json:"not_before"`
		NotAfter    time.Time `json:"not_after"`
	}
}

// issueCertificate gives a device a certificate besides those it has.
func (a *API) issueCertificate(ctx context.Context, in *issueIn) (*issuedOut, error) {
	d, err := a.device(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	req, err := authority.ParseRequest([]byte(in.Body.CSR))
	if err != nil {
		return nil, err
	}
	since, err := a.Registry.CertificatesFrom(d.ID)
	if err != nil {
		return nil, err
	}
	issued, err := a.Authority.Issue(ctx, d.ID, req, since)
	if err != nil {
		return nil, err
	}
	after := map[string]any{"certificate_until": issued.NotAfter}
	if err := a.Registry.Certified(a.noted(ctx, access.WriteDevices, "device "+d.ID, d.Region, nil, after), d.ID, issued.NotAfter); err != nil {
		return nil, err
	}
	out := &issuedOut{}
	out.Body.Device, out.Body.Certificate = d.ID, string(issued.PEM)
	out.Body.NotBefore, out.Body.NotAfter = issued.NotBefore, issued.NotAfter
	return out, nil
}
