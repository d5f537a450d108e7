package client

import (
	"context"
	"net/http"
	"time"
)

// Lease is a promise of capacity. Token is its fencing token: an engine refuses
// one that is lower than the highest it has seen of the facility.
type Lease struct {
	ID        string       `json:"id"`
	Facility  string       `json:"facility"`
	Token     uint64       `json:"token"`
	State     string       `json:"state"`
	Parts     []Assignment `json:"parts"`
	ExpiresAt *time.Time   `json:"expires_at"` // nil: when it is released
}

// Reservation asks for capacity without work: for schedulers that keep their own
// queue. Pool or Any says where; neither: anywhere.
type Reservation struct {
	Tenant    string    `json:"tenant,omitempty"`
	Pool      string    `json:"pool,omitempty"`
	Any       *Affinity `json:"any,omitempty"`
	Resources Resources `json:"resources"`
	TTL       string    `json:"ttl,omitempty"` // 10m when empty
}

// Resources are those of equal members.
type Resources struct {
	Count        int           `json:"count,omitempty"`
	CPUMilli     int64         `json:"cpu_milli,omitempty"`
	MemoryMiB    int64         `json:"memory_mib,omitempty"`
	DiskGiB      int64         `json:"disk_gib,omitempty"`
	Accelerators *Accelerators `json:"accelerators,omitempty"`
}

const reservations = "/api/v1/reservations"

// Reserve promises capacity at once, or refuses with a *Problem of status 409
// that has the reasons. Key is as of Submit. There is a lease for each facility.
func (c *Client) Reserve(ctx context.Context, r Reservation, key string) ([]Lease, error) {
	var out struct {
		Leases []Lease `json:"leases"`
	}
	err := c.call(ctx, http.MethodPost, reservations, key, r, &out)
	return out.Leases, err
}

func (c *Client) onLease(ctx context.Context, verb, id string, ttl time.Duration) (Lease, error) {
	var l Lease
	err := c.call(ctx, http.MethodPost, reservations+":"+verb, "", map[string]string{"lease": id, "ttl": ttl.String()}, &l)
	return l, err
}

// Renew lets a lease end a ttl from now.
func (c *Client) Renew(ctx context.Context, lease string, ttl time.Duration) (Lease, error) {
	return c.onLease(ctx, "renew", lease, ttl)
}

// Commit says that a reservation is used, for a ttl from now; zero: until it is
// released.
func (c *Client) Commit(ctx context.Context, lease string, ttl time.Duration) (Lease, error) {
	return c.onLease(ctx, "commit", lease, ttl)
}

// Release gives a reservation back.
func (c *Client) Release(ctx context.Context, lease string) error {
	_, err := c.onLease(ctx, "release", lease, 0)
	return err
}
