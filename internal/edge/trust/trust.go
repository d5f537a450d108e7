// Package trust is whom a connection of the agent believes and how it proves
// itself: the files of TLS.
package trust

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/songhua-io/hub/internal/config/strict"
)

// TLS is the trust and the certificate of a connection.
type TLS struct {
	// CA is a PEM file of the authorities that may sign the server's
	// certificate; empty means those of the system.
	CA string `yaml:"ca"`
	// Certificate is a PEM file of the certificate to show there, whose common name a
	// hub takes for the device id.
	Certificate string `yaml:"certificate"`
	// Key is a PEM file of the certificate's key.
	Key string `yaml:"key"`
	// ServerName is the name that the server's certificate must have; empty
	// means the host of the URL.
	ServerName string `yaml:"server_name"`
}

// Check reports values that cannot be used.
func (t TLS) Check(path string) []strict.Error {
	if (t.Certificate == "") != (t.Key == "") {
		return []strict.Error{strict.Fault(path, "certificate", "and key go together; give both or none")}
	}
	return nil
}

// Load reads the files.
func (t TLS) Load() (*tls.Config, error) {
	cfg := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("tls.ca: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca: %s holds no PEM certificate", t.CA)
		}
	}
	if t.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
		if err != nil {
			return nil, fmt.Errorf("tls.certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
