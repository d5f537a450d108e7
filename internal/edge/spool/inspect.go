package spool

import (
	"fmt"
	"os"
	"path/filepath"
)

// Report is what a spool's directory holds.
type Report struct {
	Segments int
	Bytes    int64
	// Blocks and Samples wait to be delivered, Damaged cannot be read.
	Blocks, Samples, Damaged uint64
	// From and To are the times of the first and last waiting sample, in
	// milliseconds since the Unix epoch; 0 when none waits.
	From, To int64
	// Lost is the sum of all losses since the spool was made, Unreported those
	// that the receiver does not know of.
	Lost       Loss
	Unreported []Loss
}

// Inspect reads a spool without changing it. While another process writes to
// it the figures are those of some moment during the call.
func Inspect(dir string) (Report, error) {
	file, err := os.Open(filepath.Join(dir, "state"))
	if err != nil {
		return Report{}, fmt.Errorf("spool: no spool in %s: %w", dir, err)
	}
	defer file.Close()
	state := stateFile{file: file}
	if err := state.read(); err != nil {
		return Report{}, fmt.Errorf("spool %s: %w", dir, err)
	}
	r := Report{Lost: Loss{Blocks: state.ledger.blocks, Samples: state.ledger.samples}, Unreported: state.ledger.open}
	segments, err := listSegments(dir)
	if err != nil {
		return Report{}, fmt.Errorf("spool %s: %w", dir, err)
	}
	for _, g := range segments {
		if err := r.add(g, state.done); err != nil {
			return Report{}, fmt.Errorf("spool %s: %w", dir, err)
		}
	}
	return r, nil
}

func (r *Report) add(g *segment, done ranges) error {
	if err := g.open(os.O_RDONLY); err != nil {
		return err
	}
	defer g.close()
	r.Segments++
	r.Bytes += g.size
	waiting := Loss{From: r.From, To: r.To}
	g.scan(segmentHeader, func(rec record, err error) bool {
		switch {
		case err != nil:
			r.Damaged++
		case !done.has(rec.Seq):
			waiting.add(rec.Block)
		}
		return true
	})
	r.Blocks += waiting.Blocks
	r.Samples += waiting.Samples
	r.From, r.To = waiting.From, waiting.To
	return nil
}
