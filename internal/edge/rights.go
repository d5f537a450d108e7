package edge

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Right is something that the hub may be allowed to give sources.
type Right string

// The rights; RemoteConfig says what they mean.
const (
	Connect     Right = "connect"
	Listen      Right = "listen"
	Exec        Right = "exec"
	Files       Right = "files"
	Credentials Right = "credentials"

	// free is what needs none: sources, periods, filters, tags.
	free Right = "free"
)

var allRights = []Right{Connect, Listen, Exec, Files, Credentials}

// rights is the whole of what the hub may change, with the right that each key
// needs. A key that does not stand here it cannot change, whatever is allowed:
// the device and its data, the uplink, the spool, the log, and remote itself.
var rights = map[string]Right{
	"tags": free, "status_interval": free,

	"sources.host.enabled": free, "sources.host.name": free, "sources.host.tags": free, "sources.host.interval": free,
	"sources.host.mounts": free, "sources.host.ignore_interfaces": free, "sources.host.ignore_disks": free, "sources.host.cores": free,

	"sources.gpu.enabled": free, "sources.gpu.name": free, "sources.gpu.tags": free, "sources.gpu.interval": free,
	"sources.gpu.command": Exec, "sources.gpu.dcgm": Connect,

	"sources.prometheus[].name": free, "sources.prometheus[].tags": free, "sources.prometheus[].interval": free, "sources.prometheus[].metrics": free,
	"sources.prometheus[].url": Connect, "sources.prometheus[].bearer_token": Credentials,

	"sources.snmp[].name": free, "sources.snmp[].tags": free, "sources.snmp[].interval": free, "sources.snmp[].version": free,
	"sources.snmp[].timeout": free, "sources.snmp[].retries": free, "sources.snmp[].values": free, "sources.snmp[].tables": free,
	"sources.snmp[].address": Connect, "sources.snmp[].port": Connect, "sources.snmp[].community": Credentials, "sources.snmp[].user": Credentials,

	"sources.modbus[].name": free, "sources.modbus[].tags": free, "sources.modbus[].interval": free, "sources.modbus[].timeout": free,
	"sources.modbus[].units": free, "sources.modbus[].address": Connect,

	"sources.exec[].name": free, "sources.exec[].tags": free, "sources.exec[].interval": free, "sources.exec[].stream": free,
	"sources.exec[].format": free, "sources.exec[].timeout": free, "sources.exec[].command": Exec, "sources.exec[].env": Exec,

	"sources.file[].name": free, "sources.file[].tags": free, "sources.file[].interval": free, "sources.file[].format": free,
	"sources.file[].from": free, "sources.file[].path": Files,

	"sources.mqtt[].name": free, "sources.mqtt[].tags": free, "sources.mqtt[].topics": free, "sources.mqtt[].format": free,
	"sources.mqtt[].topic_tag": free, "sources.mqtt[].levels": free, "sources.mqtt[].client_id": free, "sources.mqtt[].url": Connect,
	"sources.mqtt[].username": Credentials, "sources.mqtt[].password": Credentials, "sources.mqtt[].tls": Files,

	"sources.udp[].name": free, "sources.udp[].tags": free, "sources.udp[].topic": free, "sources.udp[].listen": Listen, "sources.udp[].from": Listen,

	"sources.http[].name": free, "sources.http[].tags": free, "sources.http[].listen": Listen,
}

// UnmarshalText reads the name of a right.
func (r *Right) UnmarshalText(text []byte) error {
	if *r = Right(text); !slices.Contains(allRights, *r) {
		return fmt.Errorf("%.40q is nothing that can be allowed; write connect, listen, exec, files or credentials", text)
	}
	return nil
}

// MarshalText writes the name of the right.
func (r Right) MarshalText() ([]byte, error) { return []byte(r), nil }

// guard compares two whole configs.
type guard struct {
	allow []Right
	// idle is a config in which every list has one element of its defaults.
	idle document
	errs []strict.Error
}

// overreach lists what differs between the agent's own config and another one
// that the hub may not change.
func overreach(own, other Config, allow []Right) []strict.Error {
	g := &guard{allow: allow, idle: idleDocument()}
	g.object("", "", documentOf(own), documentOf(other))
	return g.errs
}

func (g *guard) may(r Right) bool { return r == free || slices.Contains(g.allow, r) }

func (g *guard) object(path, pattern string, own, other map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(other)) {
		g.value(under(path, key), under(pattern, key), own[key], other[key])
	}
}

func (g *guard) value(path, pattern string, own, other any) {
	if same(own, other) {
		return
	}
	r, known := rights[pattern]
	a, objects := own.(map[string]any)
	b, both := other.(map[string]any)
	list, isList := other.([]any)
	switch {
	case known && g.may(r):
	case known:
		g.refuse(path, r)
	case objects && both:
		g.object(path, pattern, a, b)
	case isList && ofSources(pattern):
		mine, _ := own.([]any)
		g.list(path, pattern+"[]", mine, list)
	default:
		g.errs = append(g.errs, strict.Fault(path, "", "is the agent's own: it stands in its file, and the hub cannot change it"))
	}
}

func ofSources(pattern string) bool {
	kind, ok := strings.CutPrefix(pattern, "sources.")
	return ok && !strings.Contains(kind, ".")
}

func (g *guard) refuse(path string, r Right) {
	g.errs = append(g.errs, strict.Fault(path, "", "may not be set by the hub; write it into the agent's own file, or allow the hub to by adding %s to remote.allow there", r))
}

// list lets an element pass whose restricted keys have, all together, the
// values of one element of the agent's own: what the hub may not give it may
// still use as it stands.
func (g *guard) list(path, pattern string, own, other []any) {
	for i, e := range other {
		wants := g.restricted(pattern, e)
		if len(wants) == 0 || slices.ContainsFunc(own, func(o any) bool { return same(g.restricted(pattern, o), wants) }) {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(wants)) {
			g.refuse(fmt.Sprintf("%s[%d].%s", path, i, key), rights[pattern+"."+key])
		}
	}
}

// restricted are the keys of an element that the hub may not give, with their
// values. No program, no file and no credentials are nothing to be kept from
// it; a port is opened also by default.
func (g *guard) restricted(pattern string, element any) map[string]any {
	all := map[string]any{}
	object, _ := element.(map[string]any)
	for key, v := range object {
		r := rights[pattern+"."+key]
		if g.may(r) || r != Listen && r != Connect && same(v, g.idle.at(pattern+"."+key)) {
			continue
		}
		all[key] = v
	}
	return all
}

func under(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
