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

// register tells the hub of every device. Devices that it knows already are
// left as they are.
func register(ctx context.Context, f *Fleet, doors Doors, secret func(string) string) error {
	var body struct {
		Devices []registration `json:"devices"`
	}
	for _, d := range f.Devices {
		body.Devices = append(body.Devices, registration{d.ID, d.Kind, d.Site, d.Region, d.Tags, d.Period.String(), d.Lat, d.Lon, secret(d.ID)})
	}
	if len(body.Devices) == 0 {
		return nil
	}
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("write down %d devices: %w", len(body.Devices), err)
	}
	return post(ctx, doors, "/api/v1/devices:batch", text)
}

func post(ctx context.Context, doors Doors, path string, text []byte) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, doors.HTTP+path, bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("register the simulated fleet at %s: %w", doors.HTTP, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+doors.Admin())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("register the simulated fleet: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 == 2 || resp.StatusCode == http.StatusConflict {
		return nil
	}
	detail, _ := io.ReadAll(io.LimitReader(resp.Body, 500)) // the status alone must do when this fails
	return fmt.Errorf("register the simulated fleet: %s%s answered %s: %s", doors.HTTP, path, resp.Status, detail)
}
