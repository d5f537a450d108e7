package edge

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/edge/source"
	"github.com/songhua-io/hub/internal/edge/source/host"
)

// Sources are what the agent reads.
type Sources struct {
	// Host is the machine that the agent runs on.
	Host host.Config `yaml:"host"`
}

func defaultSources() Sources {
	return Sources{Host: host.DefaultConfig()}
}

// env is what sources are built with.
type env struct {
	device string
	log    *slog.Logger
	now    func() time.Time
}

// named is a source with its name.
type named struct {
	name   string
	source source.Source
}

// kind is one kind of source: its key in the config, the common part of each
// that is configured, and how it is built.
type kind struct {
	name  string
	count int
	at    func(i int) source.Common
	build func(i int) source.Source
}

// kinds is the table of all sources; a new one is a key in Sources, a line in
// defaultSources, and a line here.
func (s Sources) kinds(e env) []kind {
	return []kind{
		single("host", s.Host.Enabled, s.Host.Common, func() source.Source { return host.New(s.Host, e.now) }),
	}
}

func single(name string, enabled bool, c source.Common, build func() source.Source) kind {
	k := kind{name: name, at: func(int) source.Common { return c }, build: func(int) source.Source { return build() }}
	if enabled {
		k.count = 1
	}
	return k
}

func several[C any](name string, all []C, common func(C) source.Common, build func(C) source.Source) kind {
	return kind{name, len(all), func(i int) source.Common { return common(all[i]) }, func(i int) source.Source { return build(all[i]) }}
}

// list builds every source that is configured.
func (s Sources) list(e env) []named {
	var all []named
	for _, k := range s.kinds(e) {
		for i := range k.count {
			all = append(all, named{k.nameOf(i), k.build(i)})
		}
	}
	return all
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
	taken := map[string]string{"self": "the agent itself"}
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
