package registry

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"testing"
	"time"
)

// certificate is one that a door has verified.
func certificate(id string, from time.Time) *x509.Certificate {
	return &x509.Certificate{Subject: pkix.Name{CommonName: id}, NotBefore: from.Truncate(time.Second), NotAfter: from.Add(24 * time.Hour)}
}

// issued is a certificate as the authority issues one now.
func issued(t *testing.T, r *Registry, id string) *x509.Certificate {
	t.Helper()
	since, err := r.CertificatesFrom(id)
	if err != nil {
		t.Fatal(err)
	}
	from := r.now().Add(-time.Minute)
	if from.Before(since) {
		from = since
	}
	return certificate(id, from)
}

// A change of credentials ends the certificates from before, and no others.
// Rotations may follow each other within one second of certificates' clock.
func TestAChangeOfCredentialsEndsCertificatesFromBefore(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	rotate := func() error { _, err := r.Rotate(t.Context(), "t1", 0); return err }
	changes := []struct {
		name string
		do   func() error
	}{
		{"removed and registered anew", func() error {
			if err := r.Remove(t.Context(), "t1", 0); err != nil {
				return err
			}
			for since := time.Now().Truncate(time.Second); time.Now().Truncate(time.Second).Equal(since); time.Sleep(10 * time.Millisecond) {
			}
			_, err := r.Create(t.Context(), Spec{ID: "t1"})
			return err
		}},
		{"rotated", rotate},
		{"rotated again", rotate},
	}
	add(t, r, Spec{ID: "t1"})
	for _, change := range changes {
		before := issued(t, r, "t1")
		if _, err := r.AuthenticateCertificate(before, true); err != nil {
			t.Errorf("before it was %s: %v", change.name, err)
		}
		if err := change.do(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.AuthenticateCertificate(before, true); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("after it was %s: %v", change.name, err)
		}
		for _, now := range []*Registry{r, open(t, dir)} {
			if _, err := now.AuthenticateCertificate(issued(t, now, "t1"), true); err != nil {
				t.Errorf("a new one after it was %s: %v", change.name, err)
			}
		}
	}
}

func TestDisabledDevicesAreLetInAgainWithTheirCertificate(t *testing.T) {
	r := open(t, t.TempDir())
	add(t, r, Spec{ID: "t1"})
	c := issued(t, r, "t1")
	if _, err := r.Disable(t.Context(), "t1", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := r.AuthenticateCertificate(c, true); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("disabled: %v", err)
	}
	if _, err := r.Enable(t.Context(), "t1", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := r.AuthenticateCertificate(c, true); err != nil {
		t.Errorf("enabled: %v", err)
	}
}

func TestAnOutsideAuthorityMayIssueBeforeTheDeviceIsRegistered(t *testing.T) {
	r := open(t, t.TempDir())
	early := certificate("t1", time.Now().Add(-time.Hour))
	add(t, r, Spec{ID: "t1"})
	if _, err := r.AuthenticateCertificate(early, false); err != nil {
		t.Error(err)
	}
	if _, err := r.AuthenticateCertificate(early, true); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("one of the hub's own: %v", err)
	}
	if _, err := r.Rotate(t.Context(), "t1", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := r.AuthenticateCertificate(early, false); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("rotated: %v", err)
	}
}

func TestAnAwaitedDeviceGetsItsCredentialsOnce(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	if made := add(t, r, Spec{ID: "t1", Awaited: true}); made.Secret != "" || !made.Awaited {
		t.Errorf("registered: %+v", made)
	}
	r = open(t, dir)
	bound, err := r.Bind(t.Context(), "t1")
	if err != nil || bound.Awaited || bound.Secret == "" {
		t.Fatalf("bound: %+v, %v", bound, err)
	}
	for _, now := range []*Registry{r, open(t, dir)} {
		if _, err := now.Authenticate(t.Context(), "t1", []byte(bound.Secret)); err != nil {
			t.Error(err)
		}
		if _, err := now.Bind(t.Context(), "t1"); !errors.Is(err, ErrExists) {
			t.Errorf("bound twice: %v", err)
		}
	}
	if _, err := r.Create(t.Context(), Spec{ID: "t2", Awaited: true, Secret: chosen}); err == nil {
		t.Error("awaited, with a secret")
	}
}

func TestNewHardwareKeepsWhatTheDeviceIs(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	old := add(t, r, Spec{ID: "t1", Kind: "rsu", Site: "ring-road", Region: "220100", Tags: map[string]string{"lane": "2", "serial": "A"}})
	peer, err := r.Authenticate(t.Context(), "t1", []byte(old.Secret))
	if err != nil {
		t.Fatal(err)
	}
	before := issued(t, r, "t1")
	got, err := r.Replace(t.Context(), "t1", 0, map[string]string{"serial": "B"}, true)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Awaited || got.Secret != "" || got.Kind != "rsu" || got.Site != "ring-road" || got.Tags["lane"] != "2" || got.Tags["serial"] != "B" || !got.Created.Equal(old.Created) {
		t.Errorf("%+v", got)
	}
	if !ended(peer.Done) {
		t.Error("the old hardware's session lives on")
	}
	for _, now := range []*Registry{r, open(t, dir)} {
		if _, err := now.Authenticate(t.Context(), "t1", []byte(old.Secret)); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("the old secret: %v", err)
		}
		if _, err := now.AuthenticateCertificate(before, true); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("the old certificate: %v", err)
		}
	}
	if _, err := r.Bind(t.Context(), "t1"); err != nil {
		t.Error(err)
	}
	if got, err := r.Replace(t.Context(), "t1", 0, nil, false); err != nil || got.Awaited || got.Secret == "" {
		t.Errorf("replaced with a secret: %+v, %v", got, err)
	}
	if _, err := r.Replace(t.Context(), "t1", 0, map[string]string{"kind": "x"}, false); !errors.As(err, new(*Invalid)) {
		t.Errorf("a tag that cannot be: %v", err)
	}
}

// A connection that was opened with a certificate may be used after its end.
func TestACertificateThatEndedProvesNothing(t *testing.T) {
	r := open(t, t.TempDir())
	add(t, r, Spec{ID: "t1"})
	c := issued(t, r, "t1")
	c.NotAfter = time.Now().Add(-time.Second)
	if _, err := r.AuthenticateCertificate(c, false); !errors.Is(err, ErrUnauthorized) {
		t.Error(err)
	}
}
