package hub

import (
	"context"
	"encoding/json"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/audit"
	"github.com/songhua-io/hub/internal/model"
	"github.com/songhua-io/hub/internal/telemetry"
)

// openModels reads the models; devices come after what they name.
func (h *hub) openModels(ctx context.Context) (err error) {
	h.models, err = model.Open(ctx, model.Deps{
		Records: h.records, Dir: h.cfg.Models.Dir,
		// Models change when the registry is there.
		Users:   func(id string) int { return h.registry.Users(id, nil) },
		Changed: func(m *telemetry.Model) { h.registry.Remodel(m) },
		Noted:   h.notedModel,
		Log:     h.log, Clock: h.clock, Metrics: h.metrics,
	})
	return err
}

// followModels takes the files of models.dir over, and what changes there.
func (h *hub) followModels(ctx context.Context) error {
	if h.cfg.Models.Dir == "" {
		return nil
	}
	if err := h.models.Sync(ctx); err != nil {
		return err
	}
	h.stack.start("models", h.models.Run)
	return nil
}

// notedModel puts a change that a file made on record.
func (h *hub) notedModel(ctx context.Context, id, file string, before, after []byte) context.Context {
	return audit.With(ctx, audit.Entry{
		At: h.clock(), Actor: "models.dir", Origin: file, Action: access.WriteModels, Object: "model " + id,
		Before: string(before), After: string(after),
	})
}

// checks are what a device's model says of what the device is asked for.
type checks struct{ *hub }

// Command reports why a device may not be asked for something.
func (c checks) Command(device, name string, params json.RawMessage) error {
	d := c.registry.Device(device)
	if o, ok := orderOf(name); ok { // the standard describes it, no model
		return c.order(d, o, params)
	}
	return c.models.Of(d).Command(name, params)
}

// Config reports why a device may not be given a configuration.
func (c checks) Config(device string, doc json.RawMessage) error {
	d := c.registry.Device(device)
	if err := c.unitConfig(d, doc); err != nil {
		return err
	}
	return c.models.Of(d).Configuration(doc)
}
