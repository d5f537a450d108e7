package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/simulate/roads"
)

func TestPlay(t *testing.T) {
	url, token := os.Getenv("HUB_URL"), os.Getenv("HUB_TOKEN")
	if os.Getenv("PLAY") == "" {
		t.Skip()
	}
	post := func(path, media, auth string, body []byte) {
		req, _ := http.NewRequest(http.MethodPost, url+path, bytes.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+auth)
		req.Header.Set("Content-Type", media)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode >= 300 {
			t.Logf("%s: %s %s", path, resp.Status, text)
		}
	}
	const n = 9
	for i := range n {
		post("/api/v1/devices", "application/json", token, []byte(fmt.Sprintf(`{"id": "rsu-%03d", "kind": "rsu", "site": "ring-road", "region": "220100", "period": "60s", "secret": "0123456789abcdef0123", "tags": {"esn": "R%06d"}}`, i+1, i+1)))
	}
	w := roads.New(roads.Config{Seed: 1, Units: n, Vehicles: 8, Connected: .4, Start: time.Now(), Faulty: map[int]roads.Fault{0: roads.NoYellow, 1: roads.BothGreen, 2: roads.Misspelled, 3: roads.StaleEvent, 4: roads.ClockSkew, 5: roads.Lossy}})
	for {
		time.Sleep(time.Until(w.Now()))
		w.Step(func(u roads.Uplink) {
			kind, media := "", "application/vnd.songhua.v2x.uper"
			if u.Payload[0] == '{' {
				kind, media = "?kind="+map[string]string{"HB": "heartbeat", "INFO": "info", "RunningInfo": "running"}[u.Message], "application/json"
			}
			post("/api/v1/devices/rsu-"+strings.TrimPrefix(u.Unit, "R000")+"/v2x"+kind, media, "0123456789abcdef0123", u.Payload)
		})
	}
}
