package api

import (
	"context"
	"testing"
	"time"

	"github.com/songhua-io/hub/client"
)

// The package that others call with speaks to the real thing.
func TestTheClientOfOthers(t *testing.T) {
	h := centre(t)
	c, err := client.New(h.server.URL, h.token)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	task := client.Task{Name: "main", CPUMilli: 8000, Accelerators: &client.Accelerators{Milli: 460, Models: []string{"A100"}}, Duration: "1h"}
	w := client.Workload{Name: "train-1", Gang: "all", Tasks: []client.Task{task}}
	s, err := c.Submit(ctx, w, "k")
	if err != nil || s.State != "reserved" || s.Lease == nil || s.Lease.Token == 0 || len(s.Decision.Assignments) != 1 || s.Decision.EnergyKWh <= 0 {
		t.Fatalf("%+v %v", s, err)
	}
	if again, err := c.Submit(ctx, w, "k"); err != nil || again.ID != s.ID || !again.Repeated {
		t.Errorf("%+v %v", again, err)
	}
	if tried, err := c.Try(ctx, w); err != nil || tried.ID != "" || tried.State != "reserved" {
		t.Errorf("%+v %v", tried, err)
	}
	task.CPUMilli = 128_000
	waits, err := c.Submit(ctx, client.Workload{Name: "large", Tasks: []client.Task{task}}, "")
	if err != nil || waits.State != "queued" || waits.Queue == nil || len(waits.Reasons) == 0 {
		t.Fatalf("%+v %v", waits, err)
	}
	if why, err := c.Explain(ctx, waits.ID); err != nil || len(why.Decision.Refused) != 1 || len(why.Decision.Refused[0].Change) == 0 {
		t.Errorf("%+v %v", why, err)
	}
	if err := c.Cancel(ctx, waits.ID); err != nil {
		t.Error(err)
	}
	if err := c.Cancel(ctx, waits.ID); client.StatusOf(err) != 409 {
		t.Error(err)
	}
	leases, err := c.Reserve(ctx, client.Reservation{Pool: "cc1-a100", Resources: client.Resources{CPUMilli: 1000}}, "")
	if err != nil || len(leases) != 1 {
		t.Fatalf("%+v %v", leases, err)
	}
	if l, err := c.Renew(ctx, leases[0].ID, time.Hour); err != nil || time.Until(*l.ExpiresAt) < 50*time.Minute {
		t.Errorf("%+v %v", l, err)
	}
	if l, err := c.Commit(ctx, leases[0].ID, 0); err != nil || l.ExpiresAt != nil {
		t.Errorf("%+v %v", l, err)
	}
	if err := c.Release(ctx, leases[0].ID); err != nil {
		t.Error(err)
	}
	if _, err := c.Reserve(ctx, client.Reservation{Resources: client.Resources{CPUMilli: 1 << 40}}, ""); client.StatusOf(err) != 409 || len(err.(*client.Problem).Refused) != 1 {
		t.Error(err)
	}
	last := int64(0)
	for e, err := range c.Watch(ctx, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Seq != last+1 {
			t.Errorf("event %d follows %d", e.Seq, last)
		}
		last = e.Seq
		if last%4 == 0 {
			h.server.CloseClientConnections() // it goes on by itself
		}
		if e.Object == waits.ID && e.To == "cancelled" {
			break
		}
	}
	for _, err := range c.Watch(ctx, 999_999) {
		if client.StatusOf(err) != 410 {
			t.Error(err)
		}
	}
}
