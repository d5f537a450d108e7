package quality

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// Bounds of probes.
const (
	probeTimeout = 5 * time.Second
	maxProbes    = 50
	probeTries   = 4 // where the hub says that too many come at once
)

// probe asks the own addresses of a dataset whether they are there, as anybody
// would who harvests it.
func (k *Keeper) probe(ctx context.Context, m *Measured, paths []string) {
	for _, path := range paths[:min(len(paths), maxProbes)] {
		p := Probe{Path: path}
		for range probeTries {
			var wait time.Duration
			if p.Status, p.MS, wait = k.ask(ctx, path); wait == 0 || ctx.Err() != nil {
				break
			}
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
		}
		m.Probes = append(m.Probes, p)
	}
}

// ask sends HEAD to an address. Wait is when to come again where the hub says so.
func (k *Keeper) ask(ctx context.Context, path string) (status int, ms float64, wait time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, k.deps.Base()+path, nil)
	if err != nil {
		return 0, 0, 0
	}
	began := time.Now()
	resp, err := k.deps.Client.Do(req)
	if err != nil {
		return 0, 0, 0
	}
	resp.Body.Close()
	ms = float64(time.Since(began).Microseconds()) / 1000
	if resp.StatusCode == http.StatusTooManyRequests {
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		wait = time.Duration(max(1, min(seconds, 5))) * time.Second
	}
	return resp.StatusCode, ms, wait
}
