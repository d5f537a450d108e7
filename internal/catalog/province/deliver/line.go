package deliver

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"os"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/outbox"
)

// line carries by HTTPS.
type line struct {
	cfg  Config
	http *http.Client
}

func newLine(c Config, transport http.RoundTripper) (*line, error) {
	if transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		if c.Certificate != "" {
			// Read for each connection: a renewed one needs no start.
			t.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
				return &pair, err
			}
		}
		if c.CA != "" {
			pem, err := os.ReadFile(c.CA)
			if err != nil {
				return nil, fmt.Errorf("province %s: ca: %w", c.Name, err)
			}
			t.TLSClientConfig.RootCAs = x509.NewCertPool()
			if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("province %s: ca: %s has no certificate in PEM", c.Name, c.CA)
			}
		}
		transport = t
	}
	return &line{cfg: c, http: &http.Client{
		Timeout: c.Timeout, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // nobody else is to see the headers
	}}, nil
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 20

func (l *line) carry(ctx context.Context, d document) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, l.cfg.Method, l.cfg.URL, bytes.NewReader(d.body))
	if err != nil {
		return nil, err
	}
	if l.cfg.HeadersFile != "" {
		if r.Header, err = headers(l.cfg.HeadersFile); err != nil {
			return nil, err
		}
	}
	r.Header.Set("Content-Type", d.mediaType())
	r.Header.Set("Catalogue-Action", d.action)
	// A platform that knows it may tell what comes twice from what is new.
	r.Header.Set("Idempotency-Key", d.name())
	res, err := l.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close() //nolint:errcheck // it was read only
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err == nil && len(answer) > maxAnswer {
		err = fmt.Errorf("the platform answers with more than %d bytes", maxAnswer)
	}
	switch {
	case err != nil:
		return nil, err
	case res.StatusCode == http.StatusBadRequest || res.StatusCode == http.StatusConflict || res.StatusCode == http.StatusRequestEntityTooLarge || res.StatusCode == http.StatusUnprocessableEntity:
		said := short(string(answer))
		return nil, &outbox.Refused{Text: catalog.Text{ZH: fmt.Sprintf("平台不接受（%d）：%s", res.StatusCode, said), EN: fmt.Sprintf("the platform does not take it (%d): %s", res.StatusCode, said)}}
	case res.StatusCode/100 != 2:
		return nil, fmt.Errorf("the platform answers %s: %.200q", res.Status, answer)
	}
	return answer, nil
}

// later: there is nothing to come.
func (l *line) later(document) ([]byte, error) { return nil, nil }

// headers reads lines such as "X-Key: value". What is in the file is in no message.
func headers(file string) (http.Header, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("headers_file cannot be read: %w", err)
	}
	text = append(bytes.TrimSpace(text), "\n\n"...)
	h, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(text))).ReadMIMEHeader()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("headers_file %s is no list of headers; write a line each, Name: value", file)
	}
	return http.Header(h), nil
}
