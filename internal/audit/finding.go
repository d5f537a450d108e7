package audit

// How says what became of an entry.
type How string

// What a verification may find.
const (
	Changed       How = "changed"        // a field is not what was written
	Removed       How = "removed"        // entries between two others are gone
	Inserted      How = "inserted"       // an entry that was never written here
	Reordered     How = "reordered"      // an entry stands in another's place
	Truncated     How = "truncated"      // the newest entries are gone
	Forged        How = "forged"         // the hashes fit each other, and not what was signed
	OtherRecord   How = "other_record"   // a checkpoint that is not of this record
	BadCheckpoint How = "bad_checkpoint" // a checkpoint that cannot be read, or whose signature is wrong
	BadTree       How = "bad_tree"       // the stored Merkle tree is not that of the entries
	Unproved      How = "unproved"       // entries of an export that nothing leads to a checkpoint
)

// Finding is one thing that is wrong.
type Finding struct {
	Seq  int64 // the first entry that it is about; 0 for none
	How  How
	Text string // names the entry, what happened, and by what it was found
}

// Error implements error.
func (f *Finding) Error() string { return f.Text }

// Report is what a verification went over.
type Report struct {
	Entries int64 // found intact, from the first on
	Head    [32]byte
	// Signed is the newest checkpoint that fits; its Size is 0 when there is none.
	Signed   Checkpoint
	Findings int
}
