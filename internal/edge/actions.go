package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/edge/source"
	"github.com/songhua-io/hub/internal/edge/work"
)

// action is something that the hub may ask for.
type action struct {
	params schema
	do     func(ctx context.Context, params json.RawMessage) (any, error)
}

// none are the parameters of what takes none.
type none struct{}

// actions is all that the hub may ask for: it is closed, and nothing in it runs
// a program or reads a file that the agent's own file does not name.
func (a *agent) actions() map[string]action {
	return map[string]action{
		"ping":     typed(func(context.Context, none) (any, error) { return a.ping(), nil }),
		"diagnose": typed(func(context.Context, none) (any, error) { return a.diagnose(), nil }),
		"restart_source": typed(func(ctx context.Context, p restartParams) (any, error) {
			return none{}, a.roster.restart(ctx, p.Source)
		}),
		"flush": typed(func(context.Context, none) (any, error) {
			a.outbox.flush()
			return flushed{a.spool.Stats().Blocks}, nil
		}),
		"reload": typed(func(context.Context, none) (any, error) {
			signal(a.remote.again)
			return none{}, nil
		}),
		"work.start": typed(func(_ context.Context, o work.Order) (any, error) { return a.work.Start(o) }),
		"work.stop":  typed(func(_ context.Context, w work.Which) (any, error) { return a.work.Stop(w) }),
		"work.list": typed(func(_ context.Context, p listParams) (any, error) {
			return listed{a.work.List(p.Lease)}, nil
		}),
	}
}

type listParams struct {
	Lease string `json:"lease,omitempty"`
}

type listed struct {
	Work []work.Status `json:"work"`
}

type restartParams struct {
	Source string `json:"source"`
}

// flushed is how many blocks wait when a flush begins.
type flushed struct {
	Blocks uint64 `json:"blocks"`
}

// act does what a command names.
func (a *agent) act(ctx context.Context, name string, params json.RawMessage) (any, error) {
	known := a.actions()
	asked, ok := known[name]
	if !ok {
		return nil, fmt.Errorf("%.70q is no command of this agent; it has %s", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
	}
	return asked.do(ctx, params)
}

// typed reads the parameters strictly.
func typed[P any](do func(context.Context, P) (any, error)) action {
	return action{paramsSchema(reflect.TypeFor[P]()), func(ctx context.Context, params json.RawMessage) (any, error) {
		var p P
		if len(params) > 0 && string(params) != "null" {
			d := json.NewDecoder(bytes.NewReader(params))
			d.DisallowUnknownFields()
			if err := d.Decode(&p); err != nil {
				return nil, fmt.Errorf("params: %w", err)
			}
		}
		return do(ctx, p)
	}}
}

type pong struct {
	Version       string    `json:"version"`
	Time          time.Time `json:"time"`
	UptimeSeconds float64   `json:"uptime_seconds"`
}

func (a *agent) ping() pong {
	now := a.now()
	return pong{a.version, now.UTC(), now.Sub(a.started).Seconds()}
}

// diagnosis is how the agent is.
type diagnosis struct {
	pong
	Config      int64      `json:"config_version"`
	Connections uint64     `json:"connections"`
	Spool       spoolState `json:"spool"`
	// Sources are those that are not up first; the hub takes no more than 16 KiB.
	Sources     []sourceState `json:"sources"`
	SourcesMore int           `json:"sources_more,omitempty"`
}

type spoolState struct {
	Blocks      uint64 `json:"blocks"`
	Bytes       int64  `json:"bytes"`
	LostSamples uint64 `json:"lost_samples"`
}

type sourceState struct {
	Name     string    `json:"name"`
	Up       bool      `json:"up"`
	Samples  uint64    `json:"samples"`
	Failures uint64    `json:"failures"`
	Last     time.Time `json:"last,omitzero"`
	Error    string    `json:"error,omitempty"`
}

const maxDiagnosed = 32

func (a *agent) diagnose() diagnosis {
	sp := a.spool.Stats()
	d := diagnosis{pong: a.ping(), Config: a.remote.version.Load(), Connections: a.outbox.connections.Load(), Spool: spoolState{sp.Blocks, sp.Bytes, sp.LostSamples}}
	all := a.roster.statuses()
	slices.SortStableFunc(all, func(x, y source.Status) int {
		switch {
		case x.Up == y.Up:
			return 0
		case y.Up:
			return -1
		}
		return 1
	})
	for i, st := range all {
		if i == maxDiagnosed {
			d.SourcesMore = len(all) - i
			break
		}
		s := sourceState{Name: fmt.Sprintf("%.64s", st.Name), Up: st.Up, Samples: st.Samples, Failures: st.Failures, Last: st.Last.UTC()}
		if st.Err != nil {
			s.Error = fmt.Sprintf("%.160s", st.Err)
		}
		d.Sources = append(d.Sources, s)
	}
	return d
}
