package sensorthings

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/offer"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/telemetry"
)

// offer publishes live datasets of metrics, and lets everybody ask from then on.
func (w *world) offer(metrics ...string) {
	w.Helper()
	none := func(context.Context, string, int) ([]register.Series, error) { return nil, nil }
	equal := func(metric string) (register.Selection, error) {
		return register.Selection{{Label: "__name__", Is: "=", Value: metric}, {Label: "region", Is: "=~", Value: "22.*"}}, nil
	}
	catalogue, err := register.Open(w.Context(), register.DefaultConfig(), register.Deps{
		Changed: func(string) {}, Records: w.db, Noted: func(ctx context.Context, _ access.Action, _, _ string, _, _ any) context.Context { return ctx },
		Selection: equal, Series: none, Metric: func(string) register.Metric { return register.Metric{} },
		Seal: func(plain []byte, _ string) []byte { return plain }, Unseal: func(sealed []byte, _ string) ([]byte, error) { return sealed, nil },
		Log: slog.New(slog.DiscardHandler), Clock: time.Now, Metrics: prometheus.NewRegistry(),
	})
	w.ok(err)
	for i, metric := range metrics {
		id := fmt.Sprint("set-", i)
		d, err := register.Parse(fmt.Appendf(nil, `{id: %s, title: {zh: 水位, en: Level (%[1]s)}, abstract: {zh: 水位}, region: "22", path: ["1"],
provider: {name: {zh: 某局}, code: 91220101MA00000000}, contact: {name: {zh: 张三}, email: a@example.org}, items: [{name: %s, title: {zh: 水位}, unit: m}],
source: {kind: series, selector: %[2]s, bin: 1h, by: [device], live: true}, share: {class: unconditional}, open: {class: unconditional, basis: [{title: {zh: 条例}, article: 第三十三条}]}, licence: "https://creativecommons.org/licenses/by/4.0/", cycle: {kind: continuous}}`, id, metric))
		w.ok(err)
		_, err = catalogue.Put(w.Context(), *d, 0)
		w.ok(err)
		_, err = catalogue.Submit(w.Context(), id, 0)
		w.ok(err)
		_, err = catalogue.Sign(w.Context(), id, 0, register.Signing{By: "李四"})
		w.ok(err)
		_, err = catalogue.Publish(w.Context(), id, 0)
		w.ok(err)
	}
	w.offers = offer.New(offer.Deps{
		Register: catalogue, Selection: func(d *catalog.Dataset) (register.Selection, error) { return equal(d.Source.Selector) },
		Grade: func(device, _ string) (telemetry.Grade, bool) {
			d, err := w.devices.Get(device)
			return telemetry.General, err == nil && d != nil
		},
		Gated: func(string) bool { return false }, Log: slog.New(slog.DiscardHandler), Clock: time.Now, Metrics: prometheus.NewRegistry(),
	})
	w.sight = func(ctx context.Context) Sight {
		if r, ok := offer.ReadingOf(ctx); ok {
			return r
		}
		return nil
	}
	w.caller = access.Caller{}
	w.metrics = newRegistry()
	w.serve = w.api(func(*Config) {})
}

// BenchmarkOffered is BenchmarkPage for a stranger: 500 datasets are published, one
// of which has what is asked for.
func BenchmarkOffered(b *testing.B) {
	metrics := []string{"level"}
	for i := range 499 {
		metrics = append(metrics, fmt.Sprint("other_", i))
	}
	pages(b, func(w *world) { w.offer(metrics...) })
}
