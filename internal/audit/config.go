package audit

import (
	"os"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Config says when the record of changes is signed, and where to that is told.
type Config struct {
	// CheckpointEntries is after how many new entries a checkpoint is signed.
	CheckpointEntries int `yaml:"checkpoint_entries"`
	// CheckpointAfter is after what time a new entry is signed at the latest; so long it can be forged by who may write the database.
	CheckpointAfter time.Duration `yaml:"checkpoint_after"`
	// CheckpointTo is where checkpoints go besides the data directory, so that entries cut off at the end are noticed: a directory that exists, best on another machine's disk, or the word log.
	CheckpointTo string `yaml:"checkpoint_to"`
}

// ToLog is the value of checkpoint_to that writes checkpoints to the log.
const ToLog = "log"

// DefaultConfig returns what holds for a hub without a config file.
func DefaultConfig() Config { return Config{CheckpointEntries: 1000, CheckpointAfter: time.Minute} }

// Check implements strict.Checker.
func (c Config) Check(path string) []strict.Error {
	var errs []strict.Error
	if c.CheckpointEntries < 1 || c.CheckpointEntries > 1_000_000 {
		errs = append(errs, strict.Fault(path, "checkpoint_entries", "%d is not from 1 to 1000000", c.CheckpointEntries))
	}
	if c.CheckpointAfter < time.Second || c.CheckpointAfter > 24*time.Hour {
		errs = append(errs, strict.Fault(path, "checkpoint_after", "%s is not from 1s to 24h", c.CheckpointAfter))
	}
	if c.CheckpointTo != "" && c.CheckpointTo != ToLog {
		if info, err := os.Stat(c.CheckpointTo); err != nil || !info.IsDir() {
			errs = append(errs, strict.Fault(path, "checkpoint_to", "%q is no directory that exists; make it, or mount its disk, or write log", c.CheckpointTo))
		}
	}
	return errs
}
