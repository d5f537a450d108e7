package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/songhua-io/hub/internal/command"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/schedule/facility/agent"
	"github.com/songhua-io/hub/internal/twin"
)

// mail is what the hub has to say to devices, as the doors carry it.
type mail struct {
	commands *command.Ledger
	twins    *twin.Twins
	fleet    *agent.Fleet
}

func (h *hub) mail() mail { return mail{h.commands, h.twins, h.fleet} }

// Listen implements ingest.Mail.
func (m mail) Listen(device string, deliver func(ingest.Command) bool) (stop func()) {
	return m.commands.Listen(device, func(l command.Letter) bool {
		return deliver(ingest.Command{ID: l.ID, Message: l.Message, Received: l.Received})
	})
}

// Reply implements ingest.Mail.
func (m mail) Reply(ctx context.Context, device, id string, payload []byte) error {
	err := m.commands.Reply(ctx, device, id, payload)
	switch {
	case errors.Is(err, command.ErrUnknown):
		return fmt.Errorf("command %.40q %w", id, ingest.ErrNoCommand)
	case errors.Is(err, command.ErrInvalid), errors.Is(err, command.ErrEnded):
		return fmt.Errorf("answer to command %.40q %w: %v", id, ingest.ErrRefusedMail, err)
	}
	return err
}

// Wanted implements ingest.Mail.
func (m mail) Wanted(ctx context.Context, device string) ([]byte, error) {
	return m.twins.Message(ctx, device)
}

// Watch implements ingest.Mail.
func (m mail) Watch(device string, changed func(wanted []byte)) (stop func()) {
	return m.twins.Watch(device, changed)
}

// Reported implements ingest.Mail.
func (m mail) Reported(ctx context.Context, device string, payload []byte) error {
	err := m.twins.Report(ctx, device, payload)
	if errors.Is(err, twin.ErrInvalid) {
		return fmt.Errorf("%w: %v", ingest.ErrRefusedMail, err)
	}
	var in struct {
		Config json.RawMessage `json:"config"`
	}
	if err == nil && json.Unmarshal(payload, &in) == nil {
		m.fleet.Heard(device, in.Config)
	}
	return err
}
