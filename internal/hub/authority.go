package hub

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/songhua-io/hub/internal/authority"
	"github.com/songhua-io/hub/internal/config"
)

func (h *hub) openAuthority(context.Context) error {
	var err error
	h.authority, err = authority.Open(authority.Options{
		Dir: filepath.Join(h.at.Data, authorityDir), Config: h.cfg.Authority, Names: hosts(h.cfg.Listen),
		Files: authority.Files{Certificate: h.cfg.TLS.Certificate, Key: h.cfg.TLS.Key, ClientCA: h.cfg.TLS.ClientCA},
		Log:   h.log, Clock: h.clock, Metrics: h.metrics,
	})
	if err != nil {
		return err
	}
	h.stack.start("authority", h.authority.Run)
	return nil
}

// hosts are the names by which the encrypted doors are reached: those that the
// config names, and this machine's where a door listens on every address.
func hosts(l config.Listen) (all []string) {
	for _, address := range []string{l.HTTPS, l.MQTTS, l.CoAPS} {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			continue // the door is closed
		}
		if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
			if host, err = os.Hostname(); err != nil {
				continue
			}
		}
		all = append(all, host)
	}
	return all
}
