package backup

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// s3Place is a bucket of a server that wants requests to be signed by the keeper.
func s3Place(t *testing.T) (Target, func() Target) {
	backend := s3mem.New()
	if err := backend.CreateBucket("backups"); err != nil {
		t.Fatal(err)
	}
	s3 := gofakes3.New(backend).Server()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=keeper/") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		s3.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "keeper")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "key-of-keeper")
	open := func() Target { return must(OpenS3(t.Context(), "s3://backups/hub 1", server.URL))(t) }
	return open(), open
}

func TestPlacesInS3ThatAreNone(t *testing.T) {
	_, reopen := s3Place(t)
	endpoint := "http://" + reopen().(*s3).client.EndpointURL().Host
	for address, want := range map[string]string{"s3://absent/x": "create it first", "s3:///x": "BUCKET", "https://backups": "BUCKET", "s3://u:p@backups": "BUCKET"} {
		if _, err := OpenS3(t.Context(), address, endpoint); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "other")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "canary-wrong")
	if _, err := OpenS3(t.Context(), "s3://backups", endpoint); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("with a wrong key: %v", err)
	}
}
