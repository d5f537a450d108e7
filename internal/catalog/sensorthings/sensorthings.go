// Package sensorthings answers the read part of the OGC SensorThings API 1.1
// (OGC 18-088) from the registry, the models and the time-series store as they
// are: nothing is copied. A page costs what it holds, however deep it lies;
// whoever asks is shown the devices and series that they may see, and a question
// that would cost more than its budget is refused with what to narrow.
package sensorthings

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/storage"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/model"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Root is the path below which the API lies.
const Root = "/sensorthings/v1.1/"

// Devices are the devices and the places they stand at.
type Devices interface {
	// Get returns a device, or an error for an unknown one.
	Get(id string) (*registry.Device, error)
	// List returns up to limit devices behind an id, in the order of their ids.
	List(f registry.Filter, after string, limit int) (page []*registry.Device, more bool)
	// Site returns a place, or an error for an unknown one.
	Site(id string) (*registry.Site, error)
	// Sites returns the places of a region prefix in the order of their ids.
	Sites(region string) []*registry.Site
	// MetricUnit returns the unit in which a metric was first sent; empty for none.
	MetricUnit(metric string) string
}

// Models are the models of devices, in the order of their ids.
type Models interface{ List() []*model.Model }

// Deps are what the API answers from. All are required.
type Deps struct {
	Devices Devices
	Models  Models
	// Base is the address under which the sender of a request knows the hub, such
	// as https://hub.example.
	Base func(*http.Request) string
	// Sight is what the sender of a request sees who does not see by an own right;
	// nil for who does.
	Sight func(context.Context) Sight
	// Clock is the hub's clock.
	Clock   func() time.Time
	Metrics prometheus.Registerer
}

// Sight is what somebody sees who has no right of the own to read telemetry.
type Sight interface {
	// From is what of a store is seen.
	From(storage.Queryable) storage.Queryable
	// Sees reports whether something of a device may be seen, by what the registry
	// says of it: whether it is, its series tell.
	Sees(*telemetry.Device) bool
	// Places reports whether where a device is may be seen, by those of its series
	// that were selected so far.
	Places(device string) bool
}

// API answers requests. Its methods may be called from any goroutine.
type API struct {
	config  Config
	deps    Deps
	metrics *metrics
}

// New returns the API.
func New(c Config, d Deps) (*API, error) {
	if err := strict.Join(c.Check("sensorthings")); err != nil {
		return nil, err
	}
	return &API{config: c, deps: d, metrics: newMetrics(d.Metrics)}, nil
}

// Answer answers one request from a store that shows what its sender may see
// there. It returns what the store failed with, and has written nothing then.
func (a *API) Answer(w http.ResponseWriter, r *http.Request, from storage.Queryable) error {
	ctx, cancel := context.WithTimeout(r.Context(), a.config.Timeout)
	defer cancel()
	q := &question{api: a, ctx: ctx, caller: access.CallerOf(ctx), from: from, base: a.deps.Base(r) + Root, left: a.config.budget()}
	defer q.close()
	if q.sight = a.deps.Sight(ctx); q.sight != nil {
		q.from = q.sight.From(from)
	}
	path, ok := strings.CutPrefix(r.URL.Path, Root)
	if !ok {
		return notServed(r.URL.Path)
	}
	body, contentType, err := q.answer(path, r.URL.RawQuery)
	a.metrics.samples.Add(float64(a.config.MaxSamples - q.left.samples))
	if err == nil {
		write(w, r, body, contentType)
		return nil
	}
	if r.Context().Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		err = tooLong(a.config.Timeout)
	}
	if over, ok := errors.AsType[*quota.Exceeded](err); ok {
		over.Set(w.Header())
		err = &refusal{code: http.StatusTooManyRequests, zh: over.ZH(), en: over.Error()}
	}
	if no, ok := errors.AsType[*refusal](err); ok {
		if no.limit != "" {
			a.metrics.limited.WithLabelValues(no.limit).Inc()
		}
		no.write(w)
		return nil
	}
	return err
}

// Fail writes a failure that is not this package's.
func (a *API) Fail(w http.ResponseWriter, code int, err error) {
	(&refusal{code: code, en: err.Error(), zh: "请求未能完成：" + err.Error()}).write(w)
}

// write sends an answer, or says that the one the sender has still holds. What
// one caller sees is no other's.
func write(w http.ResponseWriter, r *http.Request, body []byte, contentType string) {
	sum := sha256.Sum256(body)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	h := w.Header()
	h.Set("ETag", tag)
	h.Set("Cache-Control", "private, no-cache")
	h.Add("Vary", "Authorization, Cookie")
	for known := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
		if known = strings.TrimSpace(known); known == "*" || strings.TrimPrefix(known, "W/") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h.Set("Content-Type", cmp.Or(contentType, "application/json"))
	w.Write(body) //nolint:errcheck // what it is collected in tells by itself
}
