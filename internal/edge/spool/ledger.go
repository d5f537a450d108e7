package spool

import "slices"

// Reason says why blocks were lost.
type Reason string

// The reasons of a loss.
const (
	ReasonFull     Reason = "full"      // the byte bound was reached
	ReasonDiskFull Reason = "disk_full" // the disk had no room left
	ReasonAge      Reason = "age"       // the age bound was reached
	ReasonDamaged  Reason = "damaged"   // what the disk gave back is not what was written
	ReasonRefused  Reason = "refused"   // the receiver will never take it
)

// reasons gives each reason its number on disk.
var reasons = [...]Reason{ReasonFull, ReasonDiskFull, ReasonAge, ReasonDamaged, ReasonRefused}

// Loss is one entry of the ledger: blocks that will not be delivered.
type Loss struct {
	ID      uint64 // rising by one
	Reason  Reason
	Blocks  uint64
	Samples uint64 // less than lost when the ledger cannot know: damaged headers
	// From and To are the times of the first and last sample lost, in
	// milliseconds since the Unix epoch; 0 when not known.
	From, To int64
}

// maxLosses bounds the entries that wait to be reported; beyond it a new loss
// is added to the last entry of its reason, so no count is ever lost.
const maxLosses = 256

// ledger is the sum of all losses ever, and those not yet reported.
type ledger struct {
	blocks, samples uint64
	nextID          uint64
	open            []Loss
}

func (l *Loss) add(b Block) {
	l.merge(Loss{Blocks: 1, Samples: uint64(b.Samples), From: b.From, To: b.To})
}

func (l *Loss) merge(o Loss) {
	l.Blocks += o.Blocks
	l.Samples += o.Samples
	if o.From != 0 && (l.From == 0 || o.From < l.From) {
		l.From = o.From
	}
	l.To = max(l.To, o.To)
}

func (g *ledger) record(l Loss) {
	if l.Blocks == 0 {
		return
	}
	g.blocks += l.Blocks
	g.samples += l.Samples
	if len(g.open) >= maxLosses {
		for i := len(g.open) - 1; i >= 0; i-- {
			if g.open[i].Reason == l.Reason {
				g.open[i].merge(l)
				return
			}
		}
		g.open[len(g.open)-1].merge(l)
		return
	}
	l.ID = g.nextID
	g.nextID++
	g.open = append(g.open, l)
}

// Losses returns the ledger's entries that were not yet reported, oldest first.
func (s *Spool) Losses() []Loss {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ledger.open)
}

// Reported takes an entry out of the list of Losses, once its report is itself
// a block of the spool. The entry must be passed as Losses returned it: what
// was added to it since stays.
func (s *Spool) Reported(l Loss) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.ledger.open, func(o Loss) bool { return o.ID == l.ID })
	if i < 0 {
		return nil
	}
	if rest := &s.ledger.open[i]; rest.Blocks > l.Blocks {
		rest.Blocks -= l.Blocks
		rest.Samples -= l.Samples
	} else {
		s.ledger.open = slices.Delete(s.ledger.open, i, i+1)
	}
	return s.writeState()
}

// Stats says how full the spool is and what it lost.
type Stats struct {
	Blocks uint64 // waiting
	Bytes  int64  // on disk
	// LostBlocks and LostSamples are the sums since the spool was made.
	LostBlocks, LostSamples uint64
}

// Stats returns the figures of this moment.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := span{s.segments[0].first, s.next}
	return Stats{
		Blocks:      all.hi - all.lo - s.done.count(all),
		Bytes:       s.bytes,
		LostBlocks:  s.ledger.blocks,
		LostSamples: s.ledger.samples,
	}
}
