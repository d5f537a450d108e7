// Package store says what a time-series engine must promise. The engines are
// its subfolders; store/storetest holds the one suite that all of them pass.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/prometheus/storage"

	"github.com/songhua-io/hub/internal/telemetry"
)

// Engine keeps time series. Series, Forget and the Queryable may be called
// from any goroutine; Commit from one at a time.
type Engine interface {
	// Series returns the id under which points of the series with these labels
	// are committed. The labels hold __name__, are sorted by name and are not
	// kept by the engine. The same labels give the same id until Forget.
	Series(labels []telemetry.Label) telemetry.SeriesID
	// Forget gives ids back. What is stored stays. A later Commit with a point
	// under one of them may fail, so the caller makes sure that none is on its way.
	Forget(ids []telemetry.SeriesID)

	// Commit stores the points of all writes and returns when they are durable
	// (fsynced). Points it does not take are listed in their write's Refused;
	// a point already stored with the same value is taken and changes nothing.
	// After an error nothing of the writes may be acknowledged. One that wraps
	// ErrFull took nothing, and the engine goes on; after any other it takes no
	// further commit: the process must end.
	Commit(writes []*telemetry.Write) error

	// Querier reads what was committed, including points whose commit has just
	// returned.
	storage.Queryable

	// Oldest returns the time before which points are refused with time_past.
	Oldest(now time.Time) time.Time

	// Run does what must be done beside commits (compaction, retention) until
	// ctx ends or it fails.
	Run(ctx context.Context) error
	// Close makes everything durable and releases the directory.
	Close() error
}

// Settler is an engine that reads what was committed only after a while,
// because it keeps it elsewhere.
type Settler interface {
	// Settle returns when all that was committed before the call can be read.
	Settle(ctx context.Context) error
}

// ErrFull is wrapped by what an engine without room returns, until it has some
// again.
var ErrFull = errors.New("store is full")

// ErrFailed is what Commit returns, wrapped, once a commit has failed.
var ErrFailed = errors.New("store failed and takes no further samples")
