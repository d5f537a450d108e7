package simulate

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"

	"github.com/songhua-io/hub/internal/client"
)

// Secrets returns device secrets that follow from one key, so that a fleet
// signs in again after a restart.
func Secrets(key []byte) func(id string) string {
	return func(id string) string {
		h := hmac.New(sha256.New, key)
		h.Write([]byte("simulated device " + id))
		return hex.EncodeToString(h.Sum(nil))
	}
}

type registration struct {
	ID     string            `json:"id"`
	Kind   string            `json:"kind"`
	Site   string            `json:"site"`
	Region string            `json:"region"`
	Tags   map[string]string `json:"tags"`
	Period string            `json:"period"`
	Lat    float64           `json:"lat"`
	Lon    float64           `json:"lon"`
	Secret string            `json:"secret"`
}

// register tells the hub of the sites and of every device that it does not
// know yet. Devices that it knows are left as they are, so that what took too long
// on a busy machine can be done again.
func register(ctx context.Context, devices []*Device, doors Doors, secret func(string) string) error {
	hub, err := client.New(doors.HTTP, doors.Admin)
	if err != nil {
		return err
	}
	for range attempts {
		var slow net.Error
		if err = registerUnknown(ctx, hub, devices, secret); !errors.As(err, &slow) || !slow.Timeout() || ctx.Err() != nil {
			break
		}
	}
	return err
}

// attempts is how often a registration is tried that the hub does not answer in
// time.
const attempts = 3

func registerUnknown(ctx context.Context, hub *client.Client, devices []*Device, secret func(string) string) error {
	known, err := knownDevices(ctx, hub)
	if err != nil {
		return fmt.Errorf("register the simulated fleet: %w", err)
	}
	var unknown []registration
	for _, d := range devices {
		if !known[d.ID] {
			unknown = append(unknown, registration{d.ID, d.Kind, d.Site, d.Region, d.Tags, d.Period.String(), d.Lat, d.Lon, secret(d.ID)})
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	for _, p := range places() {
		if err := hub.Call(ctx, http.MethodPut, "/api/v1/sites/"+p.site, nil, p.description(), nil); err != nil {
			return fmt.Errorf("register the simulated site %s: %w", p.site, err)
		}
	}
	for some := range slices.Chunk(unknown, batchSize) {
		body := map[string][]registration{"devices": some}
		if err := hub.Call(ctx, http.MethodPost, "/api/v1/devices:batch", nil, body, nil); err != nil {
			return fmt.Errorf("register the simulated fleet: %w", err)
		}
	}
	return nil
}

// batchSize is how many devices are registered at once; the API takes 10,000.
const batchSize = 5000

type site struct {
	Names  names   `json:"names"`
	Region string  `json:"region"`
	Lat    float64 `json:"lat"`
	Lon    float64 `json:"lon"`
}

type names struct {
	ZH string `json:"zh"`
	EN string `json:"en"`
}

func (p place) description() site { return site{names{p.zh, p.en}, p.region, p.lat, p.lon} }

// knownDevices returns the ids of all devices that the hub has.
func knownDevices(ctx context.Context, hub *client.Client) (map[string]bool, error) {
	all, err := client.Pages[struct{ ID string }](ctx, hub, "/api/v1/devices", nil, 0)
	known := make(map[string]bool, len(all))
	for _, d := range all {
		known[d.ID] = true
	}
	return known, err
}

// SecretsOf returns secrets that follow from the token which registers the
// fleet, so that it finds its devices again as long as the token is the same.
func SecretsOf(token string) func(id string) string {
	key := sha256.Sum256([]byte("fleet " + token))
	return Secrets(key[:])
}
