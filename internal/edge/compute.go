package edge

import (
	"cmp"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/songhua-io/hub/internal/edge/work"
)

// newWork opens the work of this machine. What a hub is told of it goes with
// the reported configuration: that is sent again at each connection, and the
// hub keeps the newest.
func newWork(cfg Config, wants *remote, log *slog.Logger, now func() time.Time) (*work.Runner, error) {
	jobs, err := work.Open(cfg.Compute, work.Deps{
		Dir: cmp.Or(cfg.Compute.Directory, filepath.Join(cfg.Data, "work")), Save: replaceFile,
		// The program that runs, also when its file was replaced meanwhile.
		Supervisor: []string{"/proc/self/exe", "member"},
		Changed:    func() { signal(wants.tell) }, Log: log, Now: now,
	})
	if err == nil && cfg.Compute.Enabled {
		wants.work = jobs.Report
	}
	return jobs, err
}

// Member is the life of the process that looks after one member of a lease,
// beneath the data directory of the agent that started it.
func Member(dir string) error { return work.Supervise(dir, replaceFile) }
