package hub

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/songhua-io/hub/internal/authority"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/enrolment"
)

func (h *hub) openAuthority(ctx context.Context) error {
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
	h.enrolment, err = enrolment.Open(ctx, enrolment.Options{
		Records: h.records, Registry: h.registry, Authority: h.authority, Clock: h.clock, Metrics: h.metrics,
	})
	return err
}

// doors says where a device that reached the hub at a host finds its doors: at
// the same host, unless a door listens at one address alone.
func (h *hub) doors(host string) map[string]string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	all := map[string]string{}
	for _, door := range []string{"mqtt://" + h.at.MQTT, "mqtts://" + h.at.MQTTS, "coap://" + h.at.CoAP, "coaps://" + h.at.CoAPS, h.at.HTTP, h.at.HTTPS} {
		scheme, at, _ := strings.Cut(door, "://")
		own, err := netip.ParseAddrPort(at)
		if err != nil {
			continue // the door is closed
		}
		if own.Addr().IsUnspecified() {
			at = net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(int(own.Port())))
		}
		all[scheme] = scheme + "://" + at
	}
	return all
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
