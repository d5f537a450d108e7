package records

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
)

const (
	// checkpointEvery is how many commits are between checkpoints.
	checkpointEvery = 16
	// maxLog is the length of the log in pages, 64 MiB, at which a commit runs
	// what is left of the checkpoint itself: beside commits that never pause the
	// log would grow without a bound, and be read again at the next start.
	maxLog = 16384
)

// checkpointer carries pages from the log to the file beside those who commit,
// on a connection of its own: a commit would wait for thousands of pages and two
// fsyncs. It takes nothing from durability, which is the log's.
type checkpointer struct {
	db   *sql.DB
	stop context.CancelFunc
	all  sync.WaitGroup
	wake chan struct{} // holds one token for a commit that nobody has seen

	mu      sync.Mutex
	commits int
}

func newCheckpointer(abs string) (*checkpointer, error) {
	db, err := sql.Open("sqlite", dataSource(abs))
	if err != nil {
		return nil, fmt.Errorf("open a connection for checkpoints: %w", err)
	}
	db.SetMaxOpenConns(1)
	ctx, stop := context.WithCancel(context.Background())
	c := &checkpointer{db: db, stop: stop, wake: make(chan struct{}, 1)}
	c.all.Go(func() { c.run(ctx) })
	return c, nil
}

// committed counts a commit. The nil one, of a database that is only read, does
// nothing.
func (c *checkpointer) committed() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.commits++; c.commits < checkpointEvery {
		return
	}
	c.commits = 0
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *checkpointer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
		// One that fails is made up for by the next, or by a commit at maxLog.
		_, _ = c.db.ExecContext(context.WithoutCancel(ctx), "PRAGMA wal_checkpoint(PASSIVE)")
	}
}

func (c *checkpointer) close() error {
	if c == nil {
		return nil
	}
	c.stop()
	c.all.Wait()
	return c.db.Close()
}
