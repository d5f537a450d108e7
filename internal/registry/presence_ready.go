package registry

import "fmt"

// Ready returns why presence is not written down; nil when it is.
func (p *Presence) Ready() error {
	if err := p.failed.Load(); err != nil && *err != nil {
		return fmt.Errorf("presence is not written down: %w", *err)
	}
	return nil
}
