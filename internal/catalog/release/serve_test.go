package release

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// server serves a file to whoever asks, until end is called.
func server(t *testing.T, w *world, name string, h2 bool) (s *httptest.Server, end func(error)) {
	t.Helper()
	held, cancel := context.WithCancelCause(context.Background())
	s = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		c, err := w.Store.Open("soil", 1, name)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusNotFound)
			return
		}
		defer c.Close()
		Serve(rw, r, held, must(w.Get("soil", 1)), c)
	}))
	s.EnableHTTP2 = h2
	s.StartTLS()
	t.Cleanup(s.Close)
	t.Cleanup(func() { cancel(nil) })
	return s, cancel
}

func ask(t *testing.T, s *httptest.Server, method string, header ...string) *http.Response {
	t.Helper()
	req := must(http.NewRequest(method, s.URL, nil))
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestDownloadsByRange(t *testing.T) {
	w := open(t, t.TempDir(), nil)
	m := put(t, w, draft(day(10, false)))
	text := content(t, w, 1, CSVFile)
	s, _ := server(t, w, CSVFile, false)
	tag := `"` + m.File(CSVFile).SHA256 + `"`
	for _, c := range []struct {
		method string
		header []string
		code   int
		body   string
	}{
		{"GET", nil, 200, text},
		{"HEAD", nil, 200, ""},
		{"GET", []string{"Range", "bytes=300000-300009"}, 206, text[300000:300010]},
		{"GET", []string{"Range", "bytes=-5"}, 206, text[len(text)-5:]},
		{"GET", []string{"Range", "bytes=10-", "If-Range", tag}, 206, text[10:]},
		{"GET", []string{"Range", "bytes=10-", "If-Range", `"other"`}, 200, text},
		{"GET", []string{"If-None-Match", tag}, 304, ""},
		{"GET", []string{"Range", "bytes=99999999-"}, 416, ""},
	} {
		resp := ask(t, s, c.method, c.header...)
		got := string(must(io.ReadAll(resp.Body)))
		if resp.StatusCode != c.code || c.code != 416 && (c.body != got || resp.Header.Get("ETag") != tag) {
			t.Errorf("%s %v: %s, %d bytes, %v", c.method, c.header, resp.Status, len(got), resp.Header)
		}
		if c.code == 200 && resp.ContentLength != int64(len(text)) {
			t.Error(resp.ContentLength)
		}
	}
	if h := ask(t, s, "HEAD").Header; h.Get("Content-Disposition") != `attachment; filename="soil-v1-data.csv"` || !strings.Contains(h.Get("Link"), SchemaFile) || h.Get("Content-Type") != "text/csv; charset=utf-8; header=present" {
		t.Error(h)
	}
}

// TestAnAnswerThatIsEndedBreaksOff reads a file slowly, or not at all, and is told
// to stop: the body ends with an error, not as if it were whole.
func TestAnAnswerThatIsEndedBreaksOff(t *testing.T) {
	w := open(t, t.TempDir(), nil)
	m := put(t, w, draft(day(200, false)))
	for _, h2 := range []bool{false, true} {
		for _, ranged := range []string{"", "bytes=5-"} {
			s, end := server(t, w, NDJSONFile, h2)
			resp := ask(t, s, "GET", "Range", ranged)
			if _, err := io.CopyN(io.Discard, resp.Body, 1000); err != nil {
				t.Fatal(err)
			}
			end(errors.New("the grant was revoked"))
			n, err := io.Copy(io.Discard, resp.Body)
			if err == nil || n+1000 >= m.File(NDJSONFile).Size-5 {
				t.Errorf("HTTP/2 %v, range %q: %d of %d bytes, %v", h2, ranged, n+1000, m.File(NDJSONFile).Size, err)
			}
		}
	}
}

// TestAReaderWhoWaitsIsEndedToo: one who takes nothing holds no handler.
func TestAReaderWhoWaitsIsEndedToo(t *testing.T) {
	w := open(t, t.TempDir(), nil)
	put(t, w, draft(day(200, false)))
	held, end := context.WithCancelCause(context.Background())
	began, done := make(chan struct{}), make(chan time.Duration, 1)
	var ended time.Time
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		c := must(w.Store.Open("soil", 1, NDJSONFile))
		defer c.Close()
		defer func() { done <- time.Since(ended); panic(recover()) }()
		close(began)
		Serve(rw, r, held, must(w.Get("soil", 1)), c)
	}))
	defer s.Close()
	resp := ask(t, s, "GET")
	<-began
	ended = time.Now()
	end(errors.New("suspended"))
	t.Log("ended after", <-done)
	n, err := io.Copy(io.Discard, resp.Body)
	if want, _ := strconv.ParseInt(resp.Header.Get("Content-Length"), 10, 64); err == nil || n >= want {
		t.Error(n, want, err)
	}
}
