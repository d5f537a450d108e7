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

// New returns the source.
func New(cfg Config, device string, log *slog.Logger, now func() time.Time) source.Source {
	return source.Func(func(ctx context.Context, put source.Put) error {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Listen)
		if err != nil {
			return err
		}
		if err := put(ctx, source.Record{}); err != nil {
			return errors.Join(err, l.Close())
		}
		put = source.Tagged(put, cfg.Tags)
		mux := http.NewServeMux()
		mux.HandleFunc("POST /telemetry", func(w http.ResponseWriter, r *http.Request) { take(w, r, device, now, put) })
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
			return server.Shutdown(grace)
		})
		return g.Wait()
	})
}

// answer is the body of every answer.
type answer struct {
	Accepted int      `json:"accepted"`
	Rejected []string `json:"rejected,omitempty"`
	Error    string   `json:"error,omitempty"`
}

func take(w http.ResponseWriter, r *http.Request, device string, now func() time.Time, put source.Put) {
	status, a := keep(w, r, device, now, put)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(a) // a sender that went away gets no answer
}

func keep(w http.ResponseWriter, r *http.Request, device string, now func() time.Time, put source.Put) (int, answer) {
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
	decoder := source.Decoder{Format: format, Device: device, Now: now}
	record, err := decoder.Decode(body)
	if err != nil {
		return http.StatusBadRequest, answer{Error: err.Error()}
	}
	a := answer{Accepted: len(record.Samples) + len(record.States)}
	for _, f := range record.Faults {
		a.Rejected = append(a.Rejected, f.Error())
	}
	record.Faults = nil // the sender hears of them
	if a.Accepted == 0 && len(a.Rejected) > 0 {
		return http.StatusUnprocessableEntity, a
	}
	if err := put(r.Context(), record); err != nil {
		w.Header().Set("Retry-After", "1")
		return http.StatusServiceUnavailable, answer{Error: err.Error()}
	}
	return http.StatusOK, a
}
