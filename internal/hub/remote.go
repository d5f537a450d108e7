package hub

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/storage"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/edge/backoff"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/store"
	"github.com/songhua-io/hub/internal/store/influx"
	"github.com/songhua-io/hub/internal/store/local"
	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/store/remotewrite"
	"github.com/songhua-io/hub/internal/store/tee"
	"github.com/songhua-io/hub/internal/telemetry"
)

// queueDir holds what an engine elsewhere does not have yet, beneath the data
// directory, and beneath that of graded series.
const queueDir = "queue"

// remote is an engine elsewhere, with the queue in front of it.
type remote interface {
	store.Engine
	store.Settler
	Full() error
	Ready(ctx context.Context) error
}

// openRemote opens the engine elsewhere, if there is one. From there on all
// series go to it, and those of a grade above general as well if they may.
func (h *hub) openRemote() (err error) {
	h.plain, h.closed = h.series, nil
	if h.graded != nil {
		h.closed = h.graded
	}
	if h.cfg.Store.Remote.Kind == "" {
		return nil
	}
	if h.far, h.plain, err = h.openFar("series", h.at.Data, h.series); err != nil {
		return err
	}
	if h.cfg.Store.Remote.Graded && h.graded != nil {
		h.farGraded, h.closed, err = h.openFar("graded", h.cfg.Store.GradedDir, h.graded)
	}
	return err
}

// openFar opens the engine elsewhere with its queue beneath dir, and returns what
// commits go to: both, or the engine alone.
func (h *hub) openFar(name, dir string, here *local.DB) (remote, store.Engine, error) {
	dir = filepath.Join(dir, queueDir)
	hot := h.cfg.Store.Remote.Local
	if err := noteAlone(dir, hot == 0, here); err != nil {
		return nil, nil, fmt.Errorf("store.remote.local: %w", err)
	}
	far, err := h.openEngineAt(name, dir)
	if err != nil {
		return nil, nil, err
	}
	if hot > 0 {
		return far, tee.New(here, far, hot), nil
	}
	return far, far, nil
}

// aloneFile notes, beneath the queue, that the engine elsewhere keeps series alone.
const aloneFile = "alone"

// noteAlone has the embedded store know for which time it is not to be asked: it
// does not hold what the engine elsewhere took alone.
func noteAlone(dir string, alone bool, here *local.DB) error {
	file := filepath.Join(dir, aloneFile)
	if alone {
		return errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(file, nil, 0o600))
	}
	if _, err := os.Stat(file); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := here.Missed(); err != nil {
		return err
	}
	return os.Remove(file)
}

// influxEngine is an InfluxDB behind its queue.
type influxEngine struct {
	*queue.Queue
	*influx.Client
}

func (e influxEngine) Close() error { return errors.Join(e.Queue.Close(), e.Client.Close()) }

func (h *hub) openEngineAt(name, dir string) (remote, error) {
	cfg := h.cfg.Store.Remote
	waiting := cfg.Queue
	waiting.Dir = dir
	reg := prometheus.WrapRegistererWith(prometheus.Labels{"store": name}, h.metrics)
	var e remote
	switch cfg.Kind {
	case config.Influx:
		client, err := influx.New(*cfg.Influx, h.log)
		if err != nil {
			return nil, err
		}
		q, err := queue.Open(waiting, h.log, reg, client, h.poison)
		if err != nil {
			return nil, errors.Join(err, client.Close())
		}
		e = influxEngine{q, client}
	default:
		engine, err := remotewrite.Open(*cfg.RemoteWrite, waiting, h.log, reg, h.poison)
		if err != nil {
			return nil, err
		}
		e = engine
	}
	h.stack.onStop(name+" queue", e.Close)
	return e, nil
}

// runRemote forwards, once there is a desk for what the engine will never take.
func (h *hub) runRemote() {
	for name, e := range map[string]remote{"series": h.far, "graded": h.farGraded} {
		if e != nil {
			h.stack.start(name+" forwarding", e.Run)
		}
	}
	if h.far != nil {
		h.stack.start("engine check", h.checkRemote)
	}
}

// checkRemote says once whether the engine is there and lets the hub in. Samples
// wait for it in any case.
func (h *hub) checkRemote(ctx context.Context) error {
	var pause backoff.Backoff
	for said := false; ; {
		err := h.far.Ready(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			h.log.Info("engine_ready", "kind", h.cfg.Store.Remote.Kind)
			<-ctx.Done()
			return nil
		case !said:
			said = true
			h.log.Warn("engine_not_ready", "kind", h.cfg.Store.Remote.Kind, "error", err, "way_out", "samples are kept in the queue until it is; see that it runs, and store.remote in the configuration")
		}
		if !backoff.Sleep(ctx, pause.Next()) {
			return nil
		}
	}
}

// full returns why no telemetry may be taken.
func (h *hub) full() error {
	var errs []error
	for _, e := range []remote{h.far, h.farGraded} {
		if e != nil {
			errs = append(errs, e.Full())
		}
	}
	return errors.Join(errs...)
}

// ingestStore is an engine as ingest takes it: one without room is busy.
type ingestStore struct{ store.Engine }

// Commit implements ingest.Store.
func (s ingestStore) Commit(writes []*telemetry.Write) error {
	err := s.Engine.Commit(writes)
	if errors.Is(err, store.ErrFull) {
		return fmt.Errorf("%w: %w", ingest.ErrBusy, err)
	}
	return err
}

// poison puts what the engine will never take on the desk, as lines that can be
// replayed; once, though they are sent and refused again after a restart of either
// side. The hub's own series have no device that could be told.
func (h *hub) poison(all []queue.Poisoned) error {
	refused := make([]*ingest.Message, 0, len(all))
	for i := range all {
		p := &all[i]
		m := &ingest.Message{Format: codec.Influx, Rejects: []telemetry.Reject{{Stage: telemetry.StageCommit, Reason: p.Reason, Detail: p.Detail}}}
		m.Device, m.Payload = lineOf(p.Labels, p.Point)
		if m.Device == "" {
			h.log.Warn("own_sample_refused", "labels", fmt.Sprint(p.Labels), "reason", string(p.Reason), "detail", p.Detail)
			continue
		}
		refused = append(refused, m)
	}
	return h.desk.KeepOnce(h.clock(), refused...)
}

// lineOf writes a point as line protocol, and names its device. Values that are
// no numbers have no line.
func lineOf(labels []telemetry.Label, p telemetry.Point) (device string, line []byte) {
	var name, tags strings.Builder
	escape := strings.NewReplacer(",", `\,`, " ", `\ `, "=", `\=`)
	for _, l := range labels {
		switch {
		case l.Name == "__name__":
			name.WriteString(escape.Replace(l.Value))
		case l.Name == "device":
			device = l.Value
		case !telemetry.IsReserved([]byte(l.Name)):
			tags.WriteString("," + escape.Replace(l.Name) + "=" + escape.Replace(l.Value))
		}
	}
	if math.IsNaN(p.Value) || math.IsInf(p.Value, 0) {
		return device, nil
	}
	return device, fmt.Appendf(nil, "%s%s value=%s %d\n", name.String(), tags.String(), strconv.FormatFloat(p.Value, 'g', -1, 64), p.Time*int64(time.Millisecond))
}

// rawSeries is every store, and the engine elsewhere once, as samples came. What
// the embedded store held before the engine came stays readable.
func (h *hub) rawSeries() storage.Queryable {
	var all storage.Queryable = h.plain
	if h.far != nil && h.plain == store.Engine(h.far) {
		all = store.Join(h.series, h.far)
	}
	if h.graded != nil {
		all = store.Join(all, h.graded)
	}
	return all
}
