package codec

import (
	"fmt"

	"github.com/songhua-io/hub/internal/telemetry"
)

// mark is how much of a batch was filled when a message began.
type mark struct{ samples, states, rejects int }

func markOf(b *telemetry.Batch) mark {
	return mark{len(b.Samples), len(b.States), len(b.Rejects)}
}

// undo takes back what was added since the mark.
func (m mark) undo(b *telemetry.Batch) {
	m.keepRejects(b)
	b.Rejects = b.Rejects[:m.rejects]
}

// keepRejects takes back the samples and states that were added since the mark.
func (m mark) keepRejects(b *telemetry.Batch) {
	b.Samples, b.States = b.Samples[:m.samples], b.States[:m.states]
}

// added is the number of samples, states and rejects since the mark.
func (m mark) added(b *telemetry.Batch) int {
	return len(b.Samples) + len(b.States) + len(b.Rejects) - m.samples - m.states - m.rejects
}

// checkCount refuses a message that holds more than it may.
func (m mark) checkCount(b *telemetry.Batch, f Format, most, at int) error {
	if m.added(b) <= most {
		return nil
	}
	return &Error{f, at, telemetry.ReasonTooLarge,
		fmt.Sprintf("the message holds more than %d values; send it in smaller pieces", most)}
}

// rejectAt notes a record that cannot be read; at is a byte of the payload.
func rejectAt(b *telemetry.Batch, index, at int, reason telemetry.Reason, detail string) {
	b.Rejects = append(b.Rejects, telemetry.Reject{
		Index: index, Stage: stageOf(reason), Reason: reason,
		Detail: fmt.Sprintf("byte %d: %s", at, detail),
	})
}

// maxTime is the largest magnitude of a time in milliseconds, about the year
// 275,760; what lies beyond it is no time but a fault.
const maxTime = 8.64e15
