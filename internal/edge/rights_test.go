package edge

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/config/strict"
)

// TestEveryKeyOfASourceIsDecidedUpon: what a hub may give each key of a source
// is written down, so that a new key is not forgotten.
func TestEveryKeyOfASourceIsDecidedUpon(t *testing.T) {
	left := maps.Clone(rights)
	sources := idleDocument()["sources"].(map[string]any)
	for kind, v := range sources {
		prefix := "sources." + kind + "."
		if list, ok := v.([]any); ok {
			prefix, v = "sources."+kind+"[].", list[0]
		}
		for key := range v.(map[string]any) {
			if _, ok := rights[prefix+key]; !ok {
				t.Errorf("%s%s is not in the table of rights", prefix, key)
			}
			delete(left, prefix+key)
		}
	}
	delete(left, "tags")
	delete(left, "status_interval")
	if len(left) > 0 {
		t.Errorf("the table of rights names keys that there are not: %v", slices.Sorted(maps.Keys(left)))
	}
}

const localFile = `
device: rsu-7
uplink: {url: "mqtt://hub:1883", secret: hidden-secret}
remote: {allow: [%ALLOW%]}
tags: {floor: "2"}
sources:
  host: {interval: 10s}
  exec:
    - {name: count, command: [count, --fast], env: {KEY: hidden-env}}
    - {name: other, command: [other]}
  file: [{path: /var/log/sensor.log}]
  snmp: [{name: switch, address: 10.0.0.1, community: hidden-community, values: [{oid: 1.3.6.1.2.1.1.3.0, name: uptime}]}]
  prometheus: [{url: "http://user:hidden-password@127.0.0.1:9100/metrics", bearer_token: hidden-token}]
  udp: [{listen: "127.0.0.1:4040"}]
  mqtt: [{url: "mqtt://127.0.0.1:1884", topics: [a], username: u, password: hidden-mqtt, tls: {ca: /etc/ca.pem}}]
`

func local(t *testing.T, allow string) Config {
	t.Helper()
	cfg, faults := ParseConfig([]byte(strings.ReplaceAll(localFile, "%ALLOW%", allow)))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return cfg
}

func TestWhatAHubMayChange(t *testing.T) {
	const all = "connect, listen, exec, files, credentials"
	for _, c := range []struct {
		name, allow, wanted string
		paths               string // of the faults; empty: it may
	}{
		{"periods", "", `{"sources": {"host": {"interval": "30s"}}, "status_interval": "5s"}`, ""},
		{"tags", "", `{"tags": {"floor": null, "room": "a"}}`, ""},
		{"filters", "", `{"sources": {"host": {"mounts": ["/data"], "ignore_disks": ["sd*"], "cores": false}}}`, ""},
		{"sources off", "", `{"sources": {"host": {"enabled": false}, "exec": null, "file": [], "snmp": null, "mqtt": null}}`, ""},
		{"a new address", "connect", `{"sources": {"modbus": [{"address": "10.0.0.9:502", "units": [{"id": 1, "registers": [{"name": "a", "address": 1}]}]}]}}`, ""},
		{"a new address, not allowed", "", `{"sources": {"prometheus": [{"url": "http://169.254.169.254/latest"}]}}`, "sources.prometheus[0].url"},
		{"the default address, not allowed", "", `{"sources": {"mqtt": [{"topics": ["#"]}]}}`, "sources.mqtt[0].url"},
		{"the period of a program", "connect", `{"sources": {"exec": [{"name": "other", "command": ["other"], "interval": "5s"}]}}`, ""},
		{"a program", "connect", `{"sources": {"exec": [{"command": ["sh", "-c", "id"]}]}}`, "sources.exec[0].command"},
		{"a program, allowed", all, `{"sources": {"exec": [{"command": ["sh", "-c", "id"]}]}}`, ""},
		{"its environment", "connect", `{"sources": {"exec": [{"command": ["other"], "env": {"LD_PRELOAD": "/tmp/x.so"}}]}}`, "sources.exec[0].command sources.exec[0].env"},
		{"the environment of another program", "connect", `{"sources": {"exec": [{"command": ["other"], "env": {"KEY": "hidden-env"}}]}}`, "sources.exec[0].command sources.exec[0].env"},
		{"a program by way of gpu", "connect", `{"sources": {"gpu": {"command": "/bin/sh"}}}`, "sources.gpu.command"},
		{"a file", "connect", `{"sources": {"file": [{"path": "/etc/shadow"}]}}`, "sources.file[0].path"},
		{"the period of a file", "connect", `{"sources": {"file": [{"path": "/var/log/sensor.log", "interval": "5s"}]}}`, ""},
		{"a file by way of tls", "connect", `{"sources": {"mqtt": [{"url": "mqtts://evil", "topics": ["#"], "tls": {"ca": "/etc/shadow"}}]}}`, "sources.mqtt[0].tls"},
		{"a port by default", "connect", `{"sources": {"http": [{}]}}`, "sources.http[0].listen"},
		{"a port", "connect", `{"sources": {"udp": [{"listen": "0.0.0.0:4040"}]}}`, "sources.udp[0].from sources.udp[0].listen"},
		{"credentials", "connect", `{"sources": {"prometheus": [{"url": "http://10.0.0.2/metrics", "bearer_token": "guess"}]}}`, "sources.prometheus[0].bearer_token"},
		{"the credentials of another address", "", `{"sources": {"snmp": [{"address": "10.9.9.9", "community": "hidden-community", "values": [{"oid": "1.3.6.1.2.1.1.3.0", "name": "uptime"}]}]}}`, "sources.snmp[0].address sources.snmp[0].community sources.snmp[0].port"},
		{"the hub", all, `{"uplink": {"url": "mqtt://evil:1883", "secret": null}}`, "uplink.secret uplink.secret_file uplink.url"},
		{"the device", all, `{"device": "rsu-8"}`, "device"},
		{"the data", all, `{"data": "/"}`, "data"},
		{"the spool", all, `{"spool": {"max_size": "16MiB"}}`, "spool.max_size"},
		{"the log", all, `{"log": {"level": "error"}}`, "log.level"},
		{"its own rights", all, `{"remote": {"allow": ["exec"]}}`, "remote.allow"},
		{"its own rights, none before", "", `{"remote": {"allow": ["exec"]}, "sources": {"exec": [{"command": ["sh"]}]}}`, "remote.allow sources.exec[0].command"},
		{"what may be run", all, `{"compute": {"enabled": true, "allow": ["/opt/"], "user": "root"}}`, "compute.allow compute.enabled compute.user"},
		{"everything cleared", all, `{"uplink": null, "remote": null}`, "remote.allow uplink.secret uplink.secret_file uplink.url"},
		{"nonsense", all, `{"sources": {"host": {"interval": "1ms", "intervall": "5s"}, "hots": {}}}`, "sources.host.interval sources.host.intervall sources.hots"},
		{"no object", all, `{"sources": 7}`, "sources"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wanted, err := parseDocument([]byte(c.wanted))
			if err != nil {
				t.Fatal(err)
			}
			_, faults := overlay(local(t, c.allow), wanted)
			var paths []string
			for _, f := range faults {
				paths = append(paths, f.Path)
			}
			slices.Sort(paths)
			if got := strings.Join(paths, " "); got != c.paths {
				t.Errorf("faults at %q, want %q: %v", got, c.paths, strict.Join(faults))
			}
		})
	}
}

func TestTheHubIsToldNoSecrets(t *testing.T) {
	wanted, err := parseDocument([]byte(`{"tags": {"floor": null, "room": "a"}, "sources": {"host": {"interval": "60s"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	d := shown(local(t, "connect"), wanted)
	if text := string(d.text()); strings.Contains(text, "hidden") {
		t.Errorf("a secret is told: %s", text)
	}
	tags := d["tags"].(map[string]any)
	if v, there := tags["floor"]; !there || v != nil || tags["room"] != "a" || d.at("sources.host.interval") != "60s" {
		t.Errorf("what the hub wants is told otherwise than it wrote it: %s", d.text())
	}
	if d.at("sources.exec[].command") == nil || d.at("sources.snmp[].address") != "10.0.0.1" {
		t.Errorf("too little is told: %s", d.text())
	}
}
