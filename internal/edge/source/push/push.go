// Package push takes telemetry by HTTP from programs on this machine. The
// answer 200 means that it is on disk.
package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/edge/source"
)

// Config is one listener.
type Config struct {
	source.Common
	// Listen is the address and port; it must be of the loopback interface.
	Listen string `yaml:"listen"`
}

// SetDefaults listens on 127.0.0.1:8186.
func (c *Config) SetDefaults() { c.Listen = "127.0.0.1:8186" }

// Check reports values that cannot be used.
func (c Config) Check(path string) []strict.Error {
	errs := c.CheckTags(path)
	addr, err := net.ResolveTCPAddr("tcp", c.Listen)
	switch {
	case err != nil:
		errs = append(errs, strict.Fault(path, "listen", "%q is no address and port; write 127.0.0.1:8186", c.Listen))
	case !addr.IP.IsLoopback():
		errs = append(errs, strict.Fault(path, "listen", "%q can be reached from other machines, and nobody is asked who he is; write 127.0.0.1:8186", c.Listen))
	}
	return errs
}

const (
	maxBody     = 4 << 20
	readTimeout = 10 * time.Second
	closeGrace  = 2 * time.Second
)

// New returns the source. limit bounds what goes into one message, in bytes.
func New(cfg Config, device string, limit int, log *slog.Logger, now func() time.Time) source.Source {
	return source.Func(func(ctx context.Context, put source.Put) error {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Listen)
		if err != nil {
			return err
		}
		if err := put(ctx, source.Record{}); err != nil {
			return errors.Join(err, l.Close())
		}
		return serve(ctx, l, &door{device: device, limit: limit, now: now, put: source.Tagged(put, cfg.Tags)}, log)
	})
}

// serve answers until the context ends; no request outlives it.
func serve(ctx context.Context, l net.Listener, d *door, log *slog.Logger) error {
	defer d.close()
	mux := http.NewServeMux()
	mux.Handle("POST /telemetry", d)
	server := &http.Server{Handler: mux, ReadTimeout: readTimeout, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeGrace)
		defer cancel()
		if server.Shutdown(grace) != nil { // somebody sends still, slowly
			return server.Close()
		}
		return nil
	})
	return g.Wait()
}

// door answers requests until it is closed.
type door struct {
	device string
	limit  int
	now    func() time.Time
	put    source.Put

	open   sync.RWMutex // held for reading by each request
	closed bool
}

// close returns when no request is under way; later ones are refused.
func (d *door) close() {
	d.open.Lock()
	defer d.open.Unlock()
	d.closed = true
}

// answer is the body of every answer.
type answer struct {
	Accepted int      `json:"accepted"`
	Rejected []string `json:"rejected,omitempty"`
	Error    string   `json:"error,omitempty"`
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.open.RLock()
	defer d.open.RUnlock()
	status, a := d.keep(w, r)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(a) // a sender that went away gets no answer
}

func (d *door) keep(w http.ResponseWriter, r *http.Request) (int, answer) {
	if d.closed {
		return http.StatusServiceUnavailable, answer{Error: "the agent ends"}
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil && r.Header.Get("Content-Type") != "" {
		return http.StatusUnsupportedMediaType, answer{Error: err.Error()}
	}
	format, ok := codec.FromMediaType(kind)
	if !ok {
		return http.StatusUnsupportedMediaType, answer{Error: fmt.Sprintf("the type %q is not taken; send application/senml+json, application/senml+cbor, application/json or text/plain", kind)}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if e := (*http.MaxBytesError)(nil); errors.As(err, &e) {
		return http.StatusRequestEntityTooLarge, answer{Error: fmt.Sprintf("the body has more than %d B; send it in parts", e.Limit)}
	}
	if err != nil {
		return http.StatusBadRequest, answer{Error: err.Error()}
	}
	decoder := source.Decoder{Format: format, Device: d.device, Now: d.now}
	record, err := decoder.Decode(body)
	if err != nil {
		return http.StatusBadRequest, answer{Error: err.Error()}
	}
	record, large := source.Fit(record, d.limit)
	a := answer{Accepted: len(record.Samples) + len(record.States)}
	for _, f := range slices.Concat(record.Faults, large) {
		a.Rejected = append(a.Rejected, f.Error())
	}
	record.Faults = nil // the sender hears of them
	if a.Accepted == 0 && len(a.Rejected) > 0 {
		return http.StatusUnprocessableEntity, a
	}
	if err := d.put(r.Context(), record); err != nil {
		w.Header().Set("Retry-After", "1")
		return http.StatusServiceUnavailable, answer{Error: err.Error()}
	}
	return http.StatusOK, a
}
