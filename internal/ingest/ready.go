package ingest

import "fmt"

// Ready returns why no more telemetry is taken; nil while it is.
func (p *Pipeline) Ready() error {
	p.queue.mu.Lock()
	defer p.queue.mu.Unlock()
	if p.queue.end != nil {
		return fmt.Errorf("telemetry is not taken: %w", p.queue.end)
	}
	return nil
}
