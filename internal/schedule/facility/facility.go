// Package facility says what an engine of a facility must promise: it runs what
// a lease allows and nothing else. The engines are its subfolders;
// scheduletest holds the one suite that all of them pass.
package facility

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// Engine runs the work of one facility. All methods may be called from any
// goroutine.
//
// The fencing token of a lease orders what is asked: of the same workload, an
// engine obeys the highest token that it has seen and refuses lower ones with
// ErrFenced, also after a restart of the engine or of the hub.
type Engine interface {
	// Start hands the members of a lease over, and returns when the engine has
	// taken them so that they survive a restart. Asked again with the same
	// token, it changes nothing. What will never work is ErrRefused, wrapped
	// with the engine's own words; any other error may be tried again, and then
	// it is not known whether the engine has the work.
	//
	// Of one lease no member begins before the engine has taken all of them. Work
	// with Hold is taken and does not begin: it is Waiting, also after a restart,
	// until Start is asked for without Hold, or Stop. What has begun is not held
	// again.
	Start(ctx context.Context, w Work) error
	// Stop ends the members of a lease, and returns when none of them runs or
	// will ever run under this token. Work that is not known is stopped. Of what
	// the ledger does not know, only Lease and Token are there.
	Stop(ctx context.Context, w Work) error
	// Watch reports how far work is: first everything that the engine knows
	// of, also what has ended as long as it remembers it, then
	// Report{Complete: true}, then every change, until ctx ends. It
	// returns an error when it cannot see the engine any more; what happened
	// until it is called again is in the next beginning.
	Watch(ctx context.Context, report func(Report)) error
}

// Work is what a lease allows to run.
type Work struct {
	Workload string
	Name     string // that people gave it
	Lease    string
	Token    uint64
	Members  []Member
	// Payload is the workload's, for the engine, JSON.
	Payload json.RawMessage
	// Hold lets Start take the work without beginning it: so a gang over several
	// engines begins when all of them have taken their part.
	Hold bool
}

// Member is one member at its place.
type Member struct {
	schedule.Assignment
	// Limit is how long it may run; zero for as long as it likes.
	Limit time.Duration
}

// Output names the file that a member of a lease writes to, in a directory of the
// facility, where the engine keeps outputs in files: members are counted from 0,
// and * stands for all of them.
func Output(directory, lease, member string) string {
	return directory + "/" + lease + "-" + member + ".out"
}

// Report says how far the work of a lease is.
type Report struct {
	Lease string
	Token uint64
	State Progress
	// ExitCode is that of the member that ended worst; Message is what the
	// engine says of it, without secrets.
	ExitCode int
	Message  string
	// TimedOut says that the engine ended it because it ran longer than its limit.
	TimedOut bool
	// NotBegun says that the engine could not begin it, as Message says.
	NotBegun bool
	At       time.Time
	// Complete marks that all that the engine knew at the beginning was
	// reported; the other fields are empty.
	Complete bool
}

// Progress is how far work is at its engine.
type Progress string

// The states of work at an engine.
const (
	Waiting   Progress = "waiting" // taken, and not begun
	Running   Progress = "running"
	Succeeded Progress = "succeeded" // every member ended with exit code 0
	Failed    Progress = "failed"
	Stopped   Progress = "stopped" // by Stop
)

// Over reports whether nothing runs any more.
func (p Progress) Over() bool { return p == Succeeded || p == Failed || p == Stopped }

// Errors of engines.
var (
	ErrFenced  = errors.New("the engine has seen a higher token")
	ErrRefused = errors.New("the engine refuses the work")
)
