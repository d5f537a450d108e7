package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/edge/backoff"
	"github.com/songhua-io/hub/internal/edge/uplink"
	"github.com/songhua-io/hub/internal/edge/work"
)

const (
	// trial is how long sources that a new configuration starts have to come up.
	trial = 10 * time.Second
	// look is the time between looks at them.
	look = 50 * time.Millisecond

	maxWanted   = 64 << 10 // bytes of JSON
	maxReported = 60 << 10 // of the 64 KiB of a configuration that the hub keeps
	maxFaults   = 100
)

// wanted is a configuration that the hub wants of the agent; Config is nil where
// it wants nothing (any more).
type wanted struct {
	// Device keeps the data directory of one agent from another.
	Device  string   `json:"device,omitempty"`
	Version int64    `json:"version"`
	Config  document `json:"config"`
}

// remote lays what the hub wants over the agent's own config. A configuration is
// used when all of it is right and what it starts comes up; else the last good
// one goes on, and the hub hears why. The last good one is on disk.
type remote struct {
	own  Config
	file string
	// use makes the agent one of the config, and returns what it started.
	use func(context.Context, Config) []*running
	// work is what runs here for the hub; nil where it may run nothing.
	work  func() []work.Status
	send  func(context.Context, uplink.Message) error
	trial time.Duration
	log   *slog.Logger

	news  chan []byte   // the newest that the hub sent
	tell  chan struct{} // wants a report
	again chan struct{} // wants a refused configuration to be tried anew

	// version is that of the configuration in use; it may be read at any time.
	version atomic.Int64

	// Owned by run.
	good   wanted
	cfg    Config // of good
	last   []byte // message that was decided upon
	seen   int64  // its version
	faults []strict.Error
}

func newRemote(own Config, log *slog.Logger) *remote {
	return &remote{
		own: own, cfg: own, file: wantedFile(own), trial: trial, log: log,
		news: make(chan []byte, 1), tell: make(chan struct{}, 1), again: make(chan struct{}, 1),
	}
}

func wantedFile(cfg Config) string { return filepath.Join(cfg.Data, "wanted.json") }

// loadWanted reads the last good configuration; the zero one when there is none.
func loadWanted(cfg Config) (wanted, error) {
	var w wanted
	text, err := os.ReadFile(wantedFile(cfg))
	if errors.Is(err, fs.ErrNotExist) {
		return w, nil
	}
	if err == nil {
		w, err = parseWanted(text)
	}
	if err == nil && w.Device != cfg.Device {
		err = fmt.Errorf("%s is of the device %q; remove it", wantedFile(cfg), w.Device)
	}
	if err != nil {
		return wanted{}, err
	}
	return w, nil
}

func parseWanted(text []byte) (w wanted, err error) {
	if len(text) > maxWanted+1024 {
		return w, fmt.Errorf("the wanted configuration has %d B; at most %d are read", len(text), maxWanted)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&w); err != nil {
		return w, fmt.Errorf("the wanted configuration: %w", err)
	}
	return w, nil
}

// restore takes the last good configuration up, as far as the agent's own file
// still lets it be one, and returns the config to begin with.
func (r *remote) restore() Config {
	w, err := loadWanted(r.own)
	if err != nil {
		r.log.Error("wanted_config_not_read", "error", err)
		return r.own
	}
	cfg, faults := overlay(r.own, w.Config)
	if len(faults) > 0 {
		if w.Version > 0 {
			r.seen, r.faults = w.Version, faults
			r.log.Error("wanted_config_refused", "version", w.Version, "error", strict.Join(faults))
		}
		return r.own
	}
	r.seen = w.Version
	r.adopt(w, cfg)
	return cfg
}

func (r *remote) adopt(w wanted, cfg Config) {
	r.good, r.cfg = w, cfg
	r.version.Store(w.Version)
}

// take is the [uplink.Inbox]'s: only the newest counts.
func (r *remote) take(message []byte) {
	message = bytes.Clone(message)
	for {
		select {
		case r.news <- message:
			return
		case <-r.news:
		}
	}
}

// signal wants what c stands for.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run works until the context ends. The first report goes out with the first
// connection.
func (r *remote) run(ctx context.Context) error {
	pending := true
	for {
		var retry <-chan time.Time
		if pending {
			pause, err := r.report(ctx)
			if pending = err != nil; pending {
				retry = time.After(pause)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case message := <-r.news:
			if !bytes.Equal(message, r.last) {
				r.decide(ctx, message)
			}
			pending = true
		case <-r.again:
			if len(r.faults) > 0 && r.last != nil {
				r.decide(ctx, r.last)
			}
			pending = true
		case <-r.tell:
			pending = true
		case <-retry:
		}
	}
}

// decide uses a configuration or refuses it.
func (r *remote) decide(ctx context.Context, message []byte) {
	r.last, r.faults = message, nil
	w, err := parseWanted(message)
	if err != nil {
		r.faults = []strict.Error{strict.Fault("", "", "%v", err)}
		r.log.Error("wanted_config_refused", "error", err)
		return
	}
	w.Device, r.seen = r.own.Device, w.Version
	if same(w, r.good) {
		return
	}
	cfg, faults := overlay(r.own, w.Config)
	if len(faults) == 0 {
		faults = r.try(ctx, cfg)
	}
	if ctx.Err() != nil {
		return
	}
	if len(faults) > 0 {
		r.faults = faults
		r.log.Error("wanted_config_refused", "version", w.Version, "error", strict.Join(faults))
		return
	}
	r.adopt(w, cfg)
	r.log.Info("wanted_config_applied", "version", w.Version)
	text, err := json.Marshal(w)
	if err == nil {
		err = replaceFile(r.file, text)
	}
	if err != nil {
		r.log.Error("wanted_config_not_kept", "file", r.file, "error", err)
	}
}

// try uses a config, and goes back to the one before when a source that it
// started does not come up.
func (r *remote) try(ctx context.Context, cfg Config) []strict.Error {
	started := r.use(ctx, cfg)
	faults := r.await(ctx, started)
	if len(faults) > 0 {
		r.use(ctx, r.cfg)
	}
	return faults
}

// await returns once every source gave a record, or the trial is over: then
// what has failed and given none is at fault, and what is still at it is not.
func (r *remote) await(ctx context.Context, started []*running) (faults []strict.Error) {
	deadline := time.Now().Add(r.trial)
	for {
		faults = faults[:0]
		waiting := false
		for _, s := range started {
			st := s.Status()
			if st.Messages > 0 {
				continue
			}
			waiting = true
			if st.Err != nil {
				faults = append(faults, strict.Fault(s.path, "", "the source %s did not come up within %s: %v", s.name, r.trial, st.Err))
			}
		}
		if !waiting || time.Now().After(deadline) || !backoff.Sleep(ctx, look) {
			return faults
		}
	}
}

// reported is what the hub reads (docs/formats/commands.md).
type reported struct {
	Version int64    `json:"version"`
	Config  document `json:"config"`
	Errors  []fault  `json:"errors,omitempty"`
}

type fault struct {
	Path    string `json:"path"`
	Message string `json:"message"`
}

// report tells the hub what became of its wish, and the whole config in use.
// On an error it says when to try again.
func (r *remote) report(ctx context.Context) (time.Duration, error) {
	config := shown(r.own, r.good.Config)
	about := map[string]any{"version": r.own.Version, "applied": r.good.Version}
	if r.work != nil {
		about["work"] = r.work()
	}
	config["agent"] = about
	if len(config.text()) > maxReported { // the hub would not keep it: only what it knows
		config = document{"agent": about}
		for key, v := range r.good.Config {
			config[key] = v
		}
	}
	out := reported{Version: r.seen, Config: config}
	for i, f := range r.faults {
		if i == maxFaults {
			break
		}
		out.Errors = append(out.Errors, fault{f.Path, fmt.Sprintf("%.400s", f.Msg)})
	}
	payload, err := json.Marshal(out)
	if err != nil {
		return 0, fmt.Errorf("report: %w", err)
	}
	err = r.send(ctx, uplink.Message{Suffix: uplink.Config + "/reported", Payload: payload})
	return told(r.log, "config_not_reported", err)
}

// told says when to send again what the hub did not take, and that an answer
// which it never will is over.
func told(log *slog.Logger, event string, err error) (time.Duration, error) {
	refused, later := (*uplink.Refused)(nil), (*uplink.Later)(nil)
	switch {
	case errors.As(err, &refused):
		log.Warn(event, "error", err)
		return 0, nil
	case errors.As(err, &later):
		return later.After, err
	}
	return retryPause, err
}
