package influx

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/telemetry"
)

// secret is a token in the form of InfluxDB 2.
const secret = "Dh3-xQ_yV1n0t4realT0ken=="

// fake is an InfluxDB 2 as far as the client sees it: what the 1.8 that tests can
// have is not.
type fake struct {
	t testing.TB
	// judge answers a write; nil takes it. It has a lock.
	judge func(lines []string, w http.ResponseWriter) bool
	// answer is the CSV of every query.
	answer string

	mu      sync.Mutex
	stored  map[string]bool // lines of writes that were taken
	writes  int
	queries []string
	gzip    bool
}

func (f *fake) start(t testing.TB) (*Client, *fake) {
	t.Helper()
	f.t, f.stored = t, map[string]bool{}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	cfg := configAt(t, server.URL, "road $data", secret)
	cfg.Org, cfg.Gzip = "吉林", f.gzip
	return clientWith(t, cfg), f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.URL.Path == "/ping" {
		w.Header().Set("X-Influxdb-Version", "v2.7.12")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if got := r.Header.Get("Authorization"); got != "Token "+secret {
		f.t.Errorf("%s comes with %q", r.URL.Path, got)
	}
	if got := r.URL.Query().Get("org"); got != "吉林" {
		f.t.Errorf("%s is of the organisation %q", r.URL.Path, got)
	}
	switch r.URL.Path {
	case "/api/v2/write":
		f.write(w, r)
	case "/api/v2/query":
		var ask struct{ Query, Type string }
		if err := json.NewDecoder(r.Body).Decode(&ask); err != nil || ask.Type != "flux" {
			f.t.Errorf("query of type %q: %v", ask.Type, err)
		}
		f.queries = append(f.queries, ask.Query)
		w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		_, _ = io.WriteString(w, f.answer)
	default:
		f.t.Errorf("asked for %s", r.URL.Path)
	}
}

func (f *fake) write(w http.ResponseWriter, r *http.Request) {
	if q := r.URL.Query(); q.Get("bucket") != "road $data" || q.Get("precision") != "ms" {
		f.t.Errorf("written to %q with the precision %q", q.Get("bucket"), q.Get("precision"))
	}
	var body io.Reader = r.Body
	if f.gzip != (r.Header.Get("Content-Encoding") == "gzip") {
		f.t.Errorf("the encoding is %q", r.Header.Get("Content-Encoding"))
	}
	if f.gzip {
		var err error
		if body, err = gzip.NewReader(r.Body); err != nil {
			f.t.Error(err)
			return
		}
	}
	text, err := io.ReadAll(body)
	if err != nil {
		f.t.Error(err)
		return
	}
	f.writes++
	lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
	if f.judge != nil && !f.judge(lines, w) {
		return
	}
	for _, l := range lines {
		f.stored[strings.TrimSuffix(l, "\n")] = true
	}
	w.WriteHeader(http.StatusNoContent)
}

// tell answers as InfluxDB 2 does.
func tell(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"code": code, "message": message})
}

// batchOf has n points of each series m0, m1, …; the value is the number of the point.
func batchOf(series, n int) []queue.Series {
	var batch []queue.Series
	for i := range series {
		s := queue.Series{Labels: metric(fmt.Sprintf("m%d", i), "device", "probe-1")}
		for j := range n {
			s.Points = append(s.Points, telemetry.Point{Time: int64(1764000000000 + j), Value: float64(j)})
		}
		batch = append(batch, s)
	}
	return batch
}

func TestWritesToInfluxDB2(t *testing.T) {
	for _, packed := range []bool{false, true} {
		c, f := (&fake{gzip: packed}).start(t)
		if err := c.Send(context.Background(), batchOf(3, 4)); err != nil {
			t.Fatal(err)
		}
		if f.writes != 1 || len(f.stored) != 12 || !f.stored["m2,device=probe-1 value=3 1764000000003"] {
			t.Errorf("%d writes stored %v", f.writes, f.stored)
		}
		if err := c.Send(context.Background(), nil); err != nil || f.writes != 1 {
			t.Errorf("an empty batch: %v, %d writes", err, f.writes)
		}
		if err := c.Ready(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// bad lines are of m1, and odd points of m3.
func bad(line string) bool {
	return strings.HasPrefix(line, "m1,") || strings.HasPrefix(line, "m3,") && strings.Contains("13579", line[len(line)-2:len(line)-1])
}

func TestPointsThatAServerNeverTakesAreFound(t *testing.T) {
	const each = 10
	for name, answer := range map[string]func(w http.ResponseWriter, n int){
		"says how many": func(w http.ResponseWriter, n int) {
			tell(w, 422, "unprocessable entity", fmt.Sprintf(`failure writing points to database: partial write: field type conflict: input field "value" on measurement "m1" is type float, already exists as type integer dropped=%d`, n))
		},
		"says not how many": func(w http.ResponseWriter, n int) {
			tell(w, 400, "invalid", "unable to parse 'm1': bad timestamp")
		},
		"says something new": func(w http.ResponseWriter, n int) { tell(w, 400, "invalid", "the moon is full") },
		"of version 1.8": func(w http.ResponseWriter, n int) {
			w.Header().Set("Content-Type", "application/json")
			text := fmt.Sprintf("partial write: points beyond retention policy dropped=%d", n)
			w.Header().Set("X-Influxdb-Error", text)
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"error":%q}`, text)
		},
		"says it at length": func(w http.ResponseWriter, n int) {
			tell(w, 422, "unprocessable entity", fmt.Sprintf("partial write: field type conflict %s dropped=%d", strings.Repeat("长", 1000), n))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, f := (&fake{judge: func(lines []string, w http.ResponseWriter) bool {
				n := 0
				for _, l := range lines {
					if bad(strings.TrimSuffix(l, "\n") + " ") {
						n++
					}
				}
				if n > 0 {
					answer(w, n) // and none of the others is stored either, as in 1.8 when several shards are written
				}
				return n == 0
			}}).start(t)
			batch := batchOf(5, each)
			batch[4].Points[3].Time = math.MaxInt64
			batch[4].Points[4].Time = math.MinInt64
			err := c.Send(context.Background(), batch)
			var refused *queue.Refused
			if !errors.As(err, &refused) {
				t.Fatalf("got the error %v", err)
			}
			var got, want []string
			for _, p := range refused.Points {
				got = append(got, fmt.Sprintf("m%d %d", p.Series, p.Point))
				if p.Detail == "" || p.Reason == "" || len(p.Detail) > 2*maxText || strings.Contains(p.Detail, secret) {
					t.Errorf("refused as %+v", p)
				}
			}
			for s := range 5 {
				for j := range each {
					switch line := fmt.Sprintf("m%d,device=probe-1 value=%d %d", s, j, 1764000000000+j); {
					case bad(line+" ") || s == 4 && (j == 3 || j == 4):
						want = append(want, fmt.Sprintf("m%d %d", s, j))
					case !f.stored[line]:
						t.Errorf("%s is not stored", line)
					}
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("refused %q, want %q", got, want)
			}
			if want[len(want)-1] != "m4 4" || refused.Points[len(want)-1].Reason != telemetry.ReasonTimePast || refused.Points[len(want)-2].Reason != telemetry.ReasonTimeFuture {
				t.Errorf("times that InfluxDB has not are refused as %+v", refused.Points[len(want)-2:])
			}
			t.Logf("%d writes", f.writes)
		})
	}
}

func TestPointsAreRefusedByWhatTheServerSays(t *testing.T) {
	for text, want := range map[string]telemetry.Reason{
		"partial write: points beyond retention policy dropped=1":                                   telemetry.ReasonTimePast,
		"partial write: max-values-per-tag limit exceeded (100000/100000): measurement=m dropped=1": telemetry.ReasonSeriesLimit,
		"partial write: max-series-per-database limit exceeded: (1000000) dropped=1":                telemetry.ReasonSeriesLimit,
		"partial write: field type conflict: input field dropped=1":                                 telemetry.ReasonUnsupported,
		"partial write: max key length exceeded: 70000 > 65535 dropped=1":                           telemetry.ReasonTooLarge,
		"unable to parse 'x': missing fields":                                                       telemetry.ReasonMalformed,
	} {
		c, _ := (&fake{judge: func(_ []string, w http.ResponseWriter) bool { tell(w, 400, "invalid", text); return false }}).start(t)
		var refused *queue.Refused
		if err := c.Send(context.Background(), batchOf(1, 1)); !errors.As(err, &refused) || len(refused.Points) != 1 || refused.Points[0].Reason != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestWhatMayComeRightIsTriedAgain(t *testing.T) {
	for _, c := range []struct {
		status         int
		retry, message string
		after          time.Duration
		says           string // in the error
	}{
		{status: 401, message: "unauthorized access with " + secret, says: "token_file"},
		{status: 403, message: "forbidden", says: "right"},
		{status: 404, message: `bucket "road $data" not found`, says: "create the bucket"},
		{status: 413, message: "too large"},
		{status: 429, retry: "17", after: 17 * time.Second, message: "slow down"},
		{status: 429, message: "slow down"},
		{status: 503, retry: "99999999", after: time.Hour, message: "away"},
		{status: 503, retry: "Fri, 31 Dec 9999 23:59:59 GMT", after: time.Hour, message: "away"},
		{status: 503, retry: "soon", message: "away"},
		{status: 500, message: "timeout"},
		{status: 502, message: "<html>bad gateway"},
		{status: 400, message: "a proxy does not like this " + secret},
		{status: 307, message: "elsewhere", says: "url"},
	} {
		client, f := (&fake{judge: func(_ []string, w http.ResponseWriter) bool {
			if c.retry != "" {
				w.Header().Set("Retry-After", c.retry)
			}
			w.Header().Set("Location", "/elsewhere")
			tell(w, c.status, "code", c.message)
			return false
		}}).start(t)
		err := client.Send(context.Background(), batchOf(2, 40))
		var refused *queue.Refused
		var later *queue.Later
		switch {
		case err == nil || errors.As(err, &refused):
			t.Errorf("%d %s: got %v", c.status, c.message, err)
			continue
		case errors.As(err, &later) != (c.after > 0) || c.after > 0 && later.After != c.after:
			t.Errorf("%d %s: got %v, want it again after %v", c.status, c.retry, err, c.after)
		}
		if text := err.Error(); strings.Contains(text, secret) || !strings.Contains(text, c.says) || !strings.Contains(text, fmt.Sprint(c.status)) {
			t.Errorf("%d: the error reads %s", c.status, text)
		}
		if f.writes > 30 {
			t.Errorf("%d: %d writes for one answer", c.status, f.writes)
		}
	}
}

func TestABatchThatIsTooLargeGoesInParts(t *testing.T) {
	c, f := (&fake{judge: func(lines []string, w http.ResponseWriter) bool {
		if len(lines) > 7 {
			tell(w, 413, "request too large", "too large")
		}
		return len(lines) <= 7
	}}).start(t)
	if err := c.Send(context.Background(), batchOf(3, 20)); err != nil || len(f.stored) != 60 {
		t.Errorf("%v, %d points are stored", err, len(f.stored))
	}
}

func TestAServerWithoutAnAnswerIsAnError(t *testing.T) {
	c, _ := (&fake{}).start(t)
	c.cfg.URL = "http://127.0.0.1:1" // for the text alone
	c.writeURL = "http://127.0.0.1:1/api/v2/write"
	var refused *queue.Refused
	err := c.Send(context.Background(), batchOf(1, 1))
	if err == nil || errors.As(err, &refused) {
		t.Errorf("got %v", err)
	}
	release := make(chan struct{})
	c, _ = (&fake{judge: func([]string, http.ResponseWriter) bool { <-release; return true }}).start(t)
	defer close(release)
	c.cfg.Timeout = 10 * time.Millisecond
	if err := c.Send(context.Background(), batchOf(1, 1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a server that does not answer: %v", err)
	}
}

func TestTheTokenIsReadAgain(t *testing.T) {
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	cfg := configAt(t, server.URL, "b", "one")
	c := clientWith(t, cfg)
	for _, token := range []string{"one", "two", "", "a\nb", "three"} {
		got = ""
		if err := os.WriteFile(cfg.TokenFile, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := c.Send(context.Background(), batchOf(1, 1))
		if good := token != "" && !strings.Contains(token, "\n"); good && got != "Token "+token || (err == nil) != good {
			t.Errorf("with the token %q: sent %q, %v", token, got, err)
		}
	}
	if err := os.Remove(cfg.TokenFile); err != nil {
		t.Fatal(err)
	}
	if err := c.Send(context.Background(), batchOf(1, 1)); err == nil || !strings.Contains(err.Error(), "token_file") {
		t.Errorf("without the file: %v", err)
	}
}

func selectAll(c *Client, ctx context.Context, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	q, _ := c.Querier(math.MinInt64, math.MaxInt64)
	return q.Select(ctx, true, hints, ms...)
}

const answerOf2 = "\r\n#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,string,string,string\r\n" +
	"#group,false,false,true,true,false,false,true,true,true\r\n#default,0,,,,,,,,\r\n,result,table,_start,_stop,_time,_value,_field,_measurement,device\r\n" +
	",,0,1970-01-01T00:00:00Z,2030-01-01T00:00:00Z,2026-01-01T00:00:00.123456789Z,1.5,value,load,a\r\n" +
	",,0,1970-01-01T00:00:00Z,2030-01-01T00:00:00Z,2026-01-01T00:00:10Z,2.5,value,load,a\r\n" +
	",,1,1970-01-01T00:00:00Z,2030-01-01T00:00:00Z,2026-01-01T00:00:00Z,7,value,load,\"b,\"\"c\"\"\"\r\n\r\n" +
	"#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,long,string,string,string\r\n" +
	"#group,false,false,true,true,false,false,true,true,true\r\n#default,0,,,,,,,,\r\n,result,table,_start,_stop,_time,_value,_field,_measurement,device\r\n" +
	",,2,1970-01-01T00:00:00Z,2030-01-01T00:00:00Z,2026-01-01T00:00:05Z,9218868437227405312,bits,load,a\r\n\r\n"

func TestReadsFromInfluxDB2(t *testing.T) {
	c, f := (&fake{answer: answerOf2}).start(t)
	set := selectAll(c, context.Background(), nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "load"))
	var got []string
	for set.Next() {
		line := set.At().Labels().String()
		it := set.At().Iterator(nil)
		for it.Next() != 0 {
			at, v := it.At()
			line += fmt.Sprintf(" %d=%v", at-1767225600000, v)
		}
		got = append(got, line)
	}
	want := []string{`{__name__="load", device="a"} 123=1.5 5000=+Inf 10000=2.5`, `{__name__="load", device="b,\"c\""} 0=7`}
	if !slices.Equal(got, want) || set.Err() != nil {
		t.Errorf("read %q, %v", got, set.Err())
	}
	if !strings.Contains(f.queries[0], `from(bucket: "road \x24data")`) {
		t.Errorf("asked %s", f.queries[0])
	}
	c.cfg.MaxSamples = 3
	if err := selectAll(c, context.Background(), nil).Err(); err == nil || !strings.Contains(err.Error(), "max_samples") {
		t.Errorf("beyond the bound: %v", err)
	}
}

func TestAnswersThatAreNotWholeAreErrors(t *testing.T) {
	for name, answer := range map[string]string{
		"error of the query": "#datatype,string,string\r\n#group,true,true\r\n#default,,\r\n,error,reference\r\n,\"out of memory\",897\r\n",
		"error behind rows":  answerOf2 + "#datatype,string,string\r\n#group,true,true\r\n#default,,\r\n,error,reference\r\n,\"out of memory\",897\r\n",
		"no CSV":             "<html>welcome,",
		"an odd value":       strings.Replace(answerOf2, "1.5,value", "many,value", 1),
		"an odd time":        strings.Replace(answerOf2, "2026-01-01T00:00:10Z", "noon", 1),
		"an odd field":       strings.Replace(answerOf2, "value,load,a", "other,load,a", 1),
	} {
		c, _ := (&fake{answer: answer}).start(t)
		set := selectAll(c, context.Background(), nil)
		if set.Next() || set.Err() == nil {
			t.Errorf("%s: no error", name)
		} else {
			t.Logf("%s: %v", name, set.Err())
		}
	}
	// One whose connection ends.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, answerOf2)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer server.Close()
	if err := selectAll(clientWith(t, configAt(t, server.URL, "b", secret)), context.Background(), nil).Err(); err == nil {
		t.Error("a torn answer is no error")
	}
}

func TestAQueryEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, answerOf2)
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	}))
	defer server.Close()
	if err := selectAll(clientWith(t, configAt(t, server.URL, "b", secret)), ctx, nil).Err(); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := DefaultConfig()
	good.URL, good.Bucket, good.TokenFile = "https://influx.example:8086", "telemetry", "/run/token"
	if faults := good.Check("influx"); len(faults) > 0 {
		t.Error(faults)
	}
	for key, spoil := range map[string]func(*Config){
		"url":         func(c *Config) { c.URL = "https://me:" + secret + "@influx.example" },
		"token_file":  func(c *Config) { c.URL = "http://influx.example:8086" },
		"bucket":      func(c *Config) { c.Bucket = "" },
		"timeout":     func(c *Config) { c.Timeout = -1 },
		"max_samples": func(c *Config) { c.MaxSamples = 0 },
	} {
		c := good
		spoil(&c)
		faults := c.Check("influx")
		if len(faults) != 1 || faults[0].Path != "influx."+key || strings.Contains(faults[0].Error(), secret) {
			t.Errorf("%s: %v", key, faults)
		}
	}
}

// TestLinesAreReadAsTheDoorsReadThem has the body of a write decoded by the codec.
func TestLinesAreReadAsTheDoorsReadThem(t *testing.T) {
	b := &body{}
	s := &sending{batch: batchOf(2, 3), from: []int{0, 3, 6}}
	if n := s.encode(b, 1, 5); n != 4 || bytes.Count(b.lines, []byte("\n")) != 4 {
		t.Fatalf("%d lines: %s", n, b.lines)
	}
	var batch telemetry.Batch
	if err := codec.Decode(&batch, codec.Influx, codec.Input{Payload: b.lines, Precision: time.Millisecond}); err != nil || len(batch.Samples) != 4 || batch.Samples[3].Value != 1 {
		t.Errorf("%v %v", batch.Samples, err)
	}
	if n := testing.AllocsPerRun(100, func() { s.encode(b, 0, 6) }); n > 0 {
		t.Errorf("%v allocations for six points", n)
	}
}
