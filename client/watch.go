package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"time"
)

// Event is one change: of a workload, a lease, a facility or a pool.
type Event struct {
	Seq    int64     `json:"seq"`
	At     time.Time `json:"at"`
	Kind   string    `json:"kind"`
	Object string    `json:"object"` // id
	Tenant string    `json:"tenant"`
	Region string    `json:"region"`
	From   string    `json:"from"`
	To     string    `json:"to"`
	Reason *Reason   `json:"reason"`
	Lease  string    `json:"lease"`
	Token  uint64    `json:"token"`
}

// Events returns what happened to a workload and its leases after a sequence
// number, the oldest first. Very old events are not kept.
func (c *Client) Events(ctx context.Context, workload string, since int64) (all []Event, err error) {
	for {
		var page struct {
			Items []Event `json:"items"`
			Next  string  `json:"next_cursor"`
		}
		if err := c.call(ctx, http.MethodGet, fmt.Sprintf("%s/events?limit=1000&since=%d", pathOf(workload), since), "", nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == "" {
			return all, nil
		}
		since = all[len(all)-1].Seq
	}
}

const (
	againAfter = 200 * time.Millisecond // the first pause; it doubles
	againMost  = 10 * time.Second
)

// Watch yields every event after a sequence number, as they happen, until ctx
// ends or the hub refuses. A connection that breaks is made anew and goes on
// behind the last event; nothing is left out and nothing comes twice. It ends
// with a *Problem of status 410 when the hub no longer has the events after
// since: list the workloads, and watch from there.
func (c *Client) Watch(ctx context.Context, since int64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		pause := againAfter
		for {
			done, err := c.follow(ctx, &since, func(e Event) bool {
				pause = againAfter
				return yield(e, nil)
			})
			var refused *Problem
			switch {
			case done:
				return
			case ctx.Err() != nil:
				yield(Event{}, ctx.Err())
				return
			case errors.As(err, &refused) && refused.Status/100 == 4 && refused.Status != http.StatusTooManyRequests:
				yield(Event{}, err)
				return
			}
			t := time.NewTimer(pause)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
			}
			pause = min(2*pause, againMost)
		}
	}
}

// follow reads one connection. Done says that nobody wants more.
func (c *Client) follow(ctx context.Context, since *int64, each func(Event) bool) (done bool, err error) {
	resp, err := c.request(ctx, http.MethodGet, fmt.Sprintf("/api/v1/watch?since=%d", *since), "", nil)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	kind := ""
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			kind = name
		}
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		if kind == "problem" {
			p := &Problem{}
			if err := json.Unmarshal([]byte(data), p); err != nil {
				return false, err
			}
			return false, p
		}
		var e Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return false, err
		}
		*since = e.Seq
		if !each(e) {
			return true, nil
		}
	}
	return false, lines.Err()
}
