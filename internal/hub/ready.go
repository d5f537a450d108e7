package hub

import "errors"

// ready returns every reason why the hub cannot do its work; nil when it can.
func (h *hub) ready() error {
	return errors.Join(h.pipeline.Ready(), h.series.Ready(), h.presence.Ready(), h.full())
}
