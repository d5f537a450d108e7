package intake

import (
	"errors"
	"fmt"
	"math"

	"github.com/songhua-io/hub/internal/traffic"
)

// Verify reads the journal in a directory, which no hub may have open, and reports
// what is damaged. It changes nothing. A journal that is absent was never written
// to. The error says why it could not look.
func Verify(dir string, report func(damage string)) error {
	all, err := parts(dir)
	if err != nil {
		return fmt.Errorf("read the journal of traffic: %w", err)
	}
	board := traffic.New(traffic.Config{MaxUnits: math.MaxInt, MaxNodes: math.MaxInt, MaxLinks: math.MaxInt, MaxEvents: math.MaxInt})
	for _, p := range all {
		err := readPart(p.path, func(kind byte, data []byte) error {
			if kind == chunkRecord {
				return board.Apply(data)
			}
			return nil
		})
		if err != nil && (p.snapshot || !errors.Is(err, errTorn)) {
			report(fmt.Sprintf("%s: %v", p.path, err))
		}
	}
	return nil
}
