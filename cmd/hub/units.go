package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/songhua-io/hub/internal/client"
	"github.com/songhua-io/hub/internal/model"
	"github.com/songhua-io/hub/internal/telemetry"
)

// units finds out in which unit a series is, and remembers what it asked.
type units struct {
	hub      *client.Client
	models   map[string]map[string]string // unit by metric, by device
	byID     map[string]map[string]string // the same, by model
	metadata map[string][]struct {
		Unit string `json:"unit"`
	}
}

// convert turns the values of a series into a unit.
func (u *units) convert(ctx context.Context, s *promSeries, to string) error {
	name := s.Metric["__name__"]
	if name == "" {
		return errors.New("a result without a metric has no known unit; leave --unit away, or ask for the metric itself")
	}
	from, err := u.of(ctx, name, s.Metric)
	if err != nil {
		return err
	}
	if !telemetry.Convertible(from, to) {
		return fmt.Errorf("%s is in %s, which is no %s", name, from, to)
	}
	for _, p := range append([]*promPoint{&s.Value}, pointers(s.Values)...) {
		if v, err := strconv.ParseFloat(p.value, 64); err == nil {
			v, _ = telemetry.Convert(v, from, to)
			p.value = strconv.FormatFloat(v, 'g', 12, 64)
		}
	}
	s.Metric[telemetry.UnitTag] = to
	return nil
}

func pointers(all []promPoint) []*promPoint {
	p := make([]*promPoint, len(all))
	for i := range all {
		p[i] = &all[i]
	}
	return p
}

// of returns the unit of a series: the one that its samples were sent with
// where it is not the model's, the model's, or what senders said of the metric.
func (u *units) of(ctx context.Context, name string, labels map[string]string) (string, error) {
	if unit := labels[telemetry.UnitTag]; unit != "" {
		return unit, nil
	}
	if device := labels["device"]; device != "" {
		byMetric, err := u.ofDevice(ctx, device)
		if unit := byMetric[name]; unit != "" || err != nil {
			return unit, err
		}
	}
	if u.metadata == nil {
		var answer struct {
			Data map[string][]struct {
				Unit string `json:"unit"`
			} `json:"data"`
		}
		if err := u.hub.Call(ctx, http.MethodGet, "/prometheus/api/v1/metadata", nil, nil, &answer); err != nil {
			return "", err
		}
		u.metadata = answer.Data
	}
	known := u.metadata[name]
	if len(known) != 1 || known[0].Unit == "" {
		return "", fmt.Errorf("the unit of %s of device %q is not known; give the device a model that says it", name, labels["device"])
	}
	return known[0].Unit, nil
}

// ofDevice returns the units that a device's model gives its metrics.
func (u *units) ofDevice(ctx context.Context, id string) (map[string]string, error) {
	if byMetric, asked := u.models[id]; asked {
		return byMetric, nil
	}
	var d struct {
		Model string `json:"model"`
	}
	err := u.hub.Call(ctx, http.MethodGet, devicePath(id), nil, nil, &d)
	var gone *client.Problem
	if errors.As(err, &gone) && gone.Status == http.StatusNotFound {
		err = nil // its series stay
	}
	if err == nil && d.Model != "" {
		u.models[id], err = u.ofModel(ctx, d.Model)
	} else if err == nil {
		u.models[id] = nil
	}
	return u.models[id], err
}

func (u *units) ofModel(ctx context.Context, id string) (map[string]string, error) {
	if byMetric, asked := u.byID[id]; asked {
		return byMetric, nil
	}
	var m model.Document
	if err := u.hub.Call(ctx, http.MethodGet, modelPath(id), nil, nil, &m); err != nil {
		return nil, err
	}
	byMetric := map[string]string{}
	for _, metric := range m.Metrics {
		byMetric[metric.Name] = metric.Unit
	}
	u.byID[id] = byMetric
	return byMetric, nil
}
