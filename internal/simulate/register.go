package simulate

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
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
// know yet. Devices that it knows are left as they are.
func register(ctx context.Context, f *Fleet, doors Doors, secret func(string) string) error {
	known, err := knownDevices(ctx, doors)
	if err != nil {
		return err
	}
	var batch struct {
		Devices []registration `json:"devices"`
	}
	for _, d := range f.Devices {
		if !known[d.ID] {
			batch.Devices = append(batch.Devices, registration{d.ID, d.Kind, d.Site, d.Region, d.Tags, d.Period.String(), d.Lat, d.Lon, secret(d.ID)})
		}
	}
	if len(batch.Devices) == 0 {
		return nil
	}
	if err := ask(ctx, doors, http.MethodPost, "/api/v1/devices:batch", batch, nil); err != nil {
		return err
	}
	for _, p := range places() {
		if err := ask(ctx, doors, http.MethodPut, "/api/v1/sites/"+p.site, p.description(), nil); err != nil {
			return err
		}
	}
	return nil
}

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
func knownDevices(ctx context.Context, doors Doors) (map[string]bool, error) {
	known := map[string]bool{}
	for cursor := ""; ; {
		var page struct {
			Items []struct{ ID string }
			Next  string `json:"next_cursor"`
		}
		if err := ask(ctx, doors, http.MethodGet, "/api/v1/devices?limit=1000&cursor="+url.QueryEscape(cursor), nil, &page); err != nil {
			return nil, err
		}
		for _, d := range page.Items {
			known[d.ID] = true
		}
		if cursor = page.Next; cursor == "" {
			return known, nil
		}
	}
}

// ask sends in to the API and reads the answer into out; nil means none.
func ask(ctx context.Context, doors Doors, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("register the simulated fleet: %w", err)
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, doors.HTTP+path, body)
	if err != nil {
		return fmt.Errorf("register the simulated fleet: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+doors.Admin())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("register the simulated fleet: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		detail, _ := io.ReadAll(io.LimitReader(resp.Body, 500)) // the status alone must do when this fails
		return fmt.Errorf("register the simulated fleet: %s%s answered %s: %s", doors.HTTP, path, resp.Status, detail)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("register the simulated fleet: %s%s: %w", doors.HTTP, path, err)
	}
	return nil
}

// SecretsOf returns secrets that follow from the token which registers the
// fleet, so that it finds its devices again as long as the token is the same.
func SecretsOf(token string) func(id string) string {
	key := sha256.Sum256([]byte("fleet " + token))
	return Secrets(key[:])
}
