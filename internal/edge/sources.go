package edge

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/edge/source"
	"github.com/songhua-io/hub/internal/edge/source/command"
	"github.com/songhua-io/hub/internal/edge/source/file"
	"github.com/songhua-io/hub/internal/edge/source/gpu"
	"github.com/songhua-io/hub/internal/edge/source/host"
	"github.com/songhua-io/hub/internal/edge/source/modbus"
	"github.com/songhua-io/hub/internal/edge/source/mqtt"
	"github.com/songhua-io/hub/internal/edge/source/push"
	"github.com/songhua-io/hub/internal/edge/source/scrape"
	"github.com/songhua-io/hub/internal/edge/source/snmp"
	"github.com/songhua-io/hub/internal/edge/source/udp"
)

// Sources are what the agent reads.
type Sources struct {
	// Host is the machine that the agent runs on.
	Host host.Config `yaml:"host"`
	// GPU is its accelerators.
	GPU gpu.Config `yaml:"gpu"`
	// Prometheus are exporters to scrape.
	Prometheus []scrape.Config `yaml:"prometheus"`
	// SNMP are SNMP agents to ask.
	SNMP []snmp.Config `yaml:"snmp"`
	// Modbus are Modbus TCP servers to read.
	Modbus []modbus.Config `yaml:"modbus"`
	// Exec are programs whose output is read.
	Exec []command.Config `yaml:"exec"`
	// File are files that are followed.
	File []file.Config `yaml:"file"`
	// MQTT are brokers whose messages are taken.
	MQTT []mqtt.Config `yaml:"mqtt"`
	// UDP are listeners for datagrams that are handed on as they are.
	UDP []udp.Config `yaml:"udp"`
	// HTTP are listeners on loopback for programs of this machine.
	HTTP []push.Config `yaml:"http"`
}

func defaultSources() Sources {
	return Sources{Host: host.DefaultConfig(), GPU: gpu.DefaultConfig()}
}

// env is what sources are built with.
type env struct {
	device string
	data   string
	limit  int // of a message, in bytes
	log    *slog.Logger
	now    func() time.Time
}

// named is a source that is configured.
type named struct {
	name string
	// path is where in the config it stands.
	path string
	// text is the config that it is built of, its kind included: a source stays
	// as it is as long as that does.
	text  string
	build func() source.Source
}

// kind is one kind of source: its key in the config, the config and the common
// part of each that is configured, and how it is built.
type kind struct {
	name   string
	list   bool // it may be configured more than once
	count  int
	config func(i int) any // a pointer to it
	at     func(i int) source.Common
	build  func(i int) source.Source
}

// kinds is the table of all sources; a new one is a key in Sources, a line in
// defaultSources, and a line here.
func (s Sources) kinds(e env) []kind {
	return []kind{
		single("host", s.Host.Enabled, &s.Host, s.Host.Common, func() source.Source { return host.New(s.Host, e.now) }),
		single("gpu", s.GPU.Enabled, &s.GPU, s.GPU.Common, func() source.Source { return gpu.New(s.GPU, e.now) }),
		several("prometheus", s.Prometheus, func(c scrape.Config) source.Common { return c.Common }, func(c scrape.Config) source.Source { return scrape.New(c, e.now) }),
		several("snmp", s.SNMP, func(c snmp.Config) source.Common { return c.Common }, func(c snmp.Config) source.Source { return snmp.New(c, e.now) }),
		several("modbus", s.Modbus, func(c modbus.Config) source.Common { return c.Common }, func(c modbus.Config) source.Source { return modbus.New(c, e.now) }),
		several("exec", s.Exec, func(c command.Config) source.Common { return c.Common }, func(c command.Config) source.Source { return command.New(c, e.device, e.now) }),
		several("file", s.File, func(c file.Config) source.Common { return c.Common }, func(c file.Config) source.Source { return file.New(c, e.device, e.data, e.now) }),
		several("mqtt", s.MQTT, func(c mqtt.Config) source.Common { return c.Common }, func(c mqtt.Config) source.Source { return mqtt.New(c, e.device, e.now) }),
		several("udp", s.UDP, func(c udp.Config) source.Common { return c.Common }, func(c udp.Config) source.Source { return udp.New(c, e.log) }),
		several("http", s.HTTP, func(c push.Config) source.Common { return c.Common }, func(c push.Config) source.Source { return push.New(c, e.device, e.limit, e.log, e.now) }),
	}
}

func single(name string, enabled bool, cfg any, c source.Common, build func() source.Source) kind {
	k := kind{name: name, config: func(int) any { return cfg }, at: func(int) source.Common { return c }, build: func(int) source.Source { return build() }}
	if enabled {
		k.count = 1
	}
	return k
}

func several[C any](name string, all []C, common func(C) source.Common, build func(C) source.Source) kind {
	return kind{
		name: name, list: true, count: len(all), config: func(i int) any { return &all[i] },
		at: func(i int) source.Common { return common(all[i]) }, build: func(i int) source.Source { return build(all[i]) },
	}
}

// list names every source that is configured.
func (s Sources) list(e env) []named {
	var all []named
	for _, k := range s.kinds(e) {
		for i := range k.count {
			all = append(all, named{k.nameOf(i), k.pathOf(i), k.name + "\n" + string(strict.Annotate(k.config(i), nil)), func() source.Source { return k.build(i) }})
		}
	}
	return all
}

func (k kind) pathOf(i int) string {
	if !k.list {
		return "sources." + k.name
	}
	return fmt.Sprintf("sources.%s[%d]", k.name, i)
}

func (k kind) nameOf(i int) string {
	switch name := k.at(i).Name; {
	case name != "":
		return name
	case i == 0:
		return k.name
	}
	return fmt.Sprintf("%s-%d", k.name, i+1)
}

// Check reports two sources of one name.
func (s Sources) Check(path string) (errs []strict.Error) {
	taken := map[string]string{selfName: "the agent itself"}
	for _, k := range s.kinds(env{}) {
		for i := range k.count {
			key := fmt.Sprintf("%s[%d].name", k.name, i)
			name := k.nameOf(i)
			if by, ok := taken[name]; ok {
				errs = append(errs, strict.Fault(path, key, "%q is also the name of %s; choose another", name, by))
				continue
			}
			taken[name] = fmt.Sprintf("sources.%s[%d]", k.name, i)
		}
	}
	return errs
}
