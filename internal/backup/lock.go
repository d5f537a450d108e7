package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// A lock that was not renewed for staleLock is of a program that is gone.
const (
	renewLock = time.Minute
	staleLock = 15 * time.Minute
)

// holder is who writes to a place.
type holder struct {
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Renewed time.Time `json:"renewed"`
}

// lock keeps a second program from writing to the place or removing from it at
// the same time. Places have no way to do that for certain; what it keeps apart are
// two timers, or a person and a timer.
func (r *Repository) lock(ctx context.Context, now time.Time) (unlock func(), err error) {
	if _, alone := r.target.(*archive); alone {
		return func() {}, nil
	}
	var by holder
	text, err := r.target.Get(ctx, lockName)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case json.Unmarshal(text, &by) == nil && now.Sub(by.Renewed) < staleLock:
		return nil, fmt.Errorf("process %d of %s is at it since %s; wait for it, or remove the object %q if it is gone", by.PID, by.Host, by.Renewed.Format(time.RFC3339), lockName)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	began := time.Now()
	put := func() error {
		text, err := json.Marshal(holder{host, os.Getpid(), now.Add(time.Since(began)).UTC()})
		if err != nil {
			return err
		}
		return r.target.Put(ctx, lockName, text)
	}
	if err := put(); err != nil {
		return nil, err
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(renewLock)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				put() //nolint:errcheck // what is written meanwhile tells of a place that is gone
			}
		}
	}()
	return func() {
		close(done)
		<-ended
		r.target.Delete(context.WithoutCancel(ctx), lockName) //nolint:errcheck // it goes stale
	}, nil
}
