package hub

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/songhua-io/hub/internal/catalog/source"
)

var (
	oldHub    = flag.String("old.hub", "", "make data directories with this `program` (scripts/old-data does)")
	oldName   = flag.String("old.name", "", "`name` of what is made, below testdata/upgrade")
	oldCommit = flag.String("old.commit", "", "`commit` that the program is of")
)

// past says what a hub of before left in a directory, in its own words.
type past struct {
	Commit  string            `json:"commit"`
	At      time.Time         `json:"at"` // when it was asked
	Secrets map[string]string `json:"secrets"`
	Tokens  map[string]string `json:"tokens"`
	Enrol   string            `json:"enrol,omitempty"` // a token to enrol with
	Leases  []string          `json:"leases,omitempty"`
	// Unknown are the steps that the program had no route for.
	Unknown []string                   `json:"unknown,omitempty"`
	Answers map[string]json.RawMessage `json:"answers"` // by path
	Queries map[string]json.RawMessage `json:"queries"` // results of PromQL at At

	refused int // messages, so far
}

// step is a request to a hub of whatever age. In it, ${ms -1h}, ${time -1h} and the like
// are moments before now.
type step struct {
	method, path, body string
	as                 string // device that sends it; empty: the administrator
	format             string // of a body that is no JSON
	refused            bool   // the hub is to refuse what is in it
}

const workloadNamed = `{"name": "%s", "gang": "all", "tasks": [{"name": "main", "cpu_milli": %d, "memory_mib": 1024, "duration": "%s"}]}`

// history is something of everything that a hub knows.
var history = []step{
	{method: "PUT", path: "/api/v1/sites/plant-a", body: `{"names": {"zh": "水厂甲", "en": "Plant A"}, "region": "220102", "lat": 43.88, "lon": 125.32}`},
	{method: "PUT", path: "/api/v1/models/songhua%2Fgauge@1", body: `{"id": "songhua/gauge@1", "names": {"zh": "水位计", "en": "Gauge"}, "metrics": [{"name": "level", "unit": "m", "min": 0, "max": 100}]}`},
	{method: "POST", path: "/api/v1/devices", body: `{"id": "t1", "kind": "sensor", "site": "plant-a", "region": "220102", "tags": {"floor": "2"}, "period": "60s", "lat": 43.88, "lon": 125.32}`},
	{method: "POST", path: "/api/v1/devices", body: `{"id": "t2", "kind": "sensor", "region": "220104", "secret": "given-by-its-maker-0123"}`},
	{method: "POST", path: "/api/v1/devices", body: `{"id": "g1", "kind": "gateway"}`},
	{method: "POST", path: "/api/v1/devices", body: `{"id": "behind", "kind": "meter", "gateway": "g1"}`},
	{method: "POST", path: "/api/v1/devices", body: `{"id": "off", "kind": "sensor"}`},
	{method: "POST", path: "/api/v1/devices", body: `{"id": "r1", "kind": "rsu", "site": "plant-a", "tags": {"esn": "R1"}}`},
	{method: "POST", path: "/api/v1/devices/off/disable"},
	{method: "PATCH", path: "/api/v1/devices/g1", body: `{"model": "songhua/gauge@1"}`},
	{method: "POST", path: "/api/v1/tokens", body: `{"name": "grafana", "role": "reader", "region": "2201"}`},
	{method: "POST", path: "/api/v1/tokens", body: `{"name": "planner", "role": "scheduler"}`},
	{method: "POST", path: "/api/v1/tokens", body: `{"name": "gone", "role": "operator"}`},
	{method: "DELETE", path: "/api/v1/tokens/gone"},
	{method: "POST", path: "/api/v1/enrolments", body: `{"name": "van", "expires": "${time 720h}", "uses": 5, "kind": "sensor"}`},

	{method: "POST", path: "/api/v1/devices/t2/telemetry", as: "t2", format: "application/senml+json", body: tides()},
	{method: "POST", path: "/api/v1/devices/t1/telemetry", as: "t1", body: `{"ts": ${ms -10m}, "level": 1.5, "door_open": true, "firmware": "1.2"}`},
	{method: "POST", path: "/api/v1/devices/t1/telemetry", as: "t1", body: `{"ts": ${ms -5m}, "level": 2.25, "tags": {"probe": "a"}}`},
	{method: "POST", path: "/api/v1/devices/t1/telemetry", as: "t1", format: "application/senml+json", body: `[{"bt": ${s -4m}, "n": "flow", "u": "m3/s", "v": 3}, {"n": "flow", "t": 60, "v": 4}]`},
	{method: "POST", path: "/api/v1/devices/t2/telemetry", as: "t2", format: "text/plain", body: "water,probe=b level=7,ph=6.9 ${ns -3m}\n"},
	{method: "POST", path: "/api/v1/devices/t1/telemetry", as: "t1", body: `{"ts": ${ms -72h}, "level": 0.5}`},   // out of order
	{method: "POST", path: "/api/v1/devices/t1/telemetry", as: "t1", body: `{"ts": ${ms -960h}, "level": 0.25}`}, // late
	{method: "POST", path: "/api/v1/devices/t2/telemetry", as: "t2", body: `{"ts": ${ms -1500h}, "ph": 7.5}`},
	{method: "POST", path: "/api/v1/devices/t1/telemetry", as: "t1", refused: true, body: `{"ts": ${ms 240h}, "level": 9}`},
	{method: "POST", path: "/api/v1/devices/t2/telemetry", as: "t2", refused: true, body: `{"level": `},
	{method: "POST", path: "/api/v1/devices/r1/v2x", as: "r1", format: "application/octet-stream", body: "BSM"},
	{method: "POST", path: "/api/v1/devices/r1/v2x", as: "r1", format: "application/octet-stream", body: "MAP"},

	{method: "POST", path: "/api/v1/devices/t1/commands", body: `{"name": "reboot", "params": {"in": 5}, "expires_in": "24h"}`},
	{method: "POST", path: "/api/v1/devices/t2/commands", body: `{"name": "reboot", "delivery": "at_most_once", "expires_in": "24h"}`},
	{method: "POST", path: "/api/v1/rollouts", body: `{"name": "reboot", "devices": ["t1", "t2"], "canary": 1, "expires_in": "24h"}`},
	{method: "PUT", path: "/api/v1/devices/t1/twin/wanted", body: `{"period": "30s", "limits": {"low": 1}}`},
	{method: "PATCH", path: "/api/v1/devices/t1/twin/wanted", body: `{"limits": {"high": 9}}`},

	{method: "PUT", path: "/api/v1/facilities/changchun-1", body: `{"names": {"zh": "长春智算中心", "en": "Changchun AI centre"}, "region": "220100", "lat": 43.88, "lon": 125.32, "security_grade": 3, "max_data_grade": "important", "grid_zone": "CN-JL", "pue": 1.25, "state": "ready"}`},
	{method: "PUT", path: "/api/v1/pools/cc1", body: `{"facility": "changchun-1", "arch": "amd64", "nodes": [{"id": "n1", "cpu_milli": 64000, "memory_mib": 262144, "disk_gib": 1000}]}`},
	{method: "PUT", path: "/api/v1/queues/research", body: `{"tenants": ["lab"], "weight": 2, "nominal": {"cpu_milli": 32000}}`},
	{method: "PUT", path: "/api/v1/tenants/lab", body: `{"names": {"zh": "实验室", "en": "Lab"}, "weight": 3}`},
	{method: "PUT", path: "/api/v1/signals/carbon/CN-JL", body: `{"issued_at": "${time -1h}", "unit": "g/kWh", "points": [{"start": "${time -1h}", "end": "${time 23h}", "value": 412}]}`},
	{method: "POST", path: "/api/v1/workloads", body: fmt.Sprintf(workloadNamed, "runs", 8000, "24h")},
	{method: "POST", path: "/api/v1/workloads", body: fmt.Sprintf(workloadNamed, "taken back", 1000, "1h")},
	{method: "POST", path: "/api/v1/workloads", body: fmt.Sprintf(workloadNamed, "waits", 60000, "1h")},
	{method: "POST", path: "/api/v1/reservations", body: `{"pool": "cc1", "resources": {"cpu_milli": 2000, "memory_mib": 1024}, "ttl": "24h"}`},

	{method: "PUT", path: "/api/v1/datasets/levels", body: levels},
	{method: "POST", path: "/api/v1/datasets/levels/submit"},
	{method: "POST", path: "/api/v1/datasets/levels/sign", body: `{"by": "李四"}`},
	{method: "POST", path: "/api/v1/datasets/levels/publish"},
	{method: "PUT", path: "/api/v1/datasets/drafted", body: strings.NewReplacer(`"levels"`, `"drafted"`, `selector": "level`, `selector": "ph`).Replace(levels)},
	{method: "POST", path: "/api/v1/grants", body: `{"dataset": "levels", "way": "share", "body": {"name": {"zh": "某市气象局"}, "code": "91220101MA00000000"}, "purpose": "预报"}`},
	{method: "POST", path: "/api/v1/objections", body: `{"kind": "error", "dataset": "levels", "text": "数值有误", "contact": "赵六"}`},
	{method: "POST", path: "/api/v1/releases", body: `{"dataset": "levels", "from": "${day -72h}", "to": "${day -48h}"}`},
}

const levels = `{"id": "levels", "title": {"zh": "水位", "en": "Level"}, "abstract": {"zh": "水位"}, "region": "2201", "path": ["1"],
	"provider": {"name": {"zh": "某局"}, "code": "91220101MA00000000"}, "contact": {"name": {"zh": "张三"}, "email": "a@example.org"},
	"items": [{"name": "device", "title": {"zh": "设备"}, "type": "string"}, {"name": "time", "title": {"zh": "时间"}, "type": "datetime"}, {"name": "level", "title": {"zh": "水位"}, "unit": "m"}],
	"source": {"kind": "series", "selector": "level", "bin": "1h", "by": ["device"]},
	"share": {"class": "unconditional"}, "open": {"class": "unconditional"}, "licence": "https://creativecommons.org/licenses/by/4.0/", "cycle": {"kind": "periodic", "period": "24h"}}`

// tides are values of hours, of which blocks are made at the next start.
func tides() string {
	records := []string{`{"bt": ${s -11h}, "n": "tide", "u": "m", "v": 0}`}
	for i := range 120 {
		records = append(records, fmt.Sprintf(`{"n": "tide", "t": %d, "v": %d}`, (i+1)*300, i*i%17))
	}
	return "[" + strings.Join(records, ",") + "]"
}

// more is what happens after an orderly end, before the hub is killed.
var more = []step{
	{method: "POST", path: "/api/v1/devices", body: `{"id": "t3", "kind": "sensor"}`},
	{method: "POST", path: "/api/v1/devices/t3/telemetry", as: "t3", body: `{"ts": ${ms -1m}, "level": 33}`},
	{method: "POST", path: "/api/v1/devices/t1/telemetry", as: "t1", body: `{"ts": ${ms -30s}, "level": 4}`},
	{method: "POST", path: "/api/v1/devices/t1/telemetry", as: "t1", body: `{"ts": ${ms -1000h}, "level": 0.125}`},
	{method: "POST", path: "/api/v1/devices/t1/telemetry", as: "t1", refused: true, body: `[{`},
	{method: "POST", path: "/api/v1/devices/r1/v2x", as: "r1", format: "application/octet-stream", body: "SPAT"},
	{method: "POST", path: "/api/v1/devices/t3/commands", body: `{"name": "reboot", "expires_in": "24h"}`},
	{method: "POST", path: "/api/v1/workloads", body: fmt.Sprintf(workloadNamed, "later", 1000, "24h")},
}

// staying are the paths whose answers have to stay.
var staying = []string{
	"/api/v1/devices?limit=100", "/api/v1/devices/t1", "/api/v1/sites", "/api/v1/regions", "/api/v1/tokens", "/api/v1/rejects?payload=true", "/api/v1/audit?limit=1000", "/api/v1/models", "/api/v1/enrolments",
	"/api/v1/commands", "/api/v1/rollouts", "/api/v1/twins", "/api/v1/devices/t1/twin", "/api/v1/devices/t1/twin/history", "/api/v1/roads/units",
	"/api/v1/facilities", "/api/v1/pools", "/api/v1/queues", "/api/v1/tenants", "/api/v1/signals", "/api/v1/capacity", "/api/v1/workloads",
	"/api/v1/datasets", "/api/v1/datasets/levels", "/api/v1/datasets/levels/versions", "/api/v1/grants", "/api/v1/objections", "/api/v1/releases", "/catalog/dataset/levels/release/1/data.csv",
}

// queried are queries whose results have to stay. Metrics of the hub itself go on.
var queried = []string{
	`{device=~"t.*", job!="hub"}[100d]`, `count_over_time(level[100d])`, `level`, `max_over_time(tide[2h:10m])`, `avg by (site) (level)`, `rate(flow[10m])`, `max_over_time(level{device="t1"}[60d])`,
}

// TestMakeOldData makes data directories of a program of before. It is no test
// without -old.hub.
func TestMakeOldData(t *testing.T) {
	if *oldHub == "" {
		t.Skip("scripts/old-data makes directories")
	}
	dir, to := t.TempDir(), filepath.Join("testdata", "upgrade", *oldName)
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	p := &past{Commit: *oldCommit, Secrets: map[string]string{}, Tokens: map[string]string{}}
	o := startOld(t, dir, p)
	o.live(history)
	o.cancel("taken back")
	o.ask()
	o.end(syscall.SIGTERM)
	p.keep(t, dir, filepath.Join(to, "stopped.tar.zst"))

	o = startOld(t, dir, p)
	o.live(more)
	o.ask()
	o.end(syscall.SIGKILL)
	p.keep(t, dir, filepath.Join(to, "killed.tar.zst"))
}

// old is a program of before that runs.
type old struct {
	t     *testing.T
	cmd   *exec.Cmd
	base  string
	admin string
	past  *past
}

// startOld runs the program with those of its doors that it knows on free ports.
func startOld(t *testing.T, dir string, p *past) *old {
	t.Helper()
	help, err := exec.Command(*oldHub, "serve", "--help").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"serve", "--data", dir}
	for _, door := range []string{"http", "https", "mqtt", "mqtts", "coap", "coaps"} {
		if bytes.Contains(help, []byte("--"+door+" ")) {
			args = append(args, "--"+door, "127.0.0.1:0")
		}
	}
	if err := os.Remove(filepath.Join(dir, addressFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	o := &old{t: t, cmd: exec.Command(*oldHub, args...), past: p}
	var said bytes.Buffer
	o.cmd.Stdout, o.cmd.Stderr = &said, &said
	if err := o.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if o.cmd.ProcessState == nil {
			_ = o.cmd.Process.Kill()
			_ = o.cmd.Wait()
		}
		if t.Failed() {
			t.Logf("the program said:\n%s", said.Bytes())
		}
	})
	soon(t, "the program is ready", func() bool {
		var at Addresses
		text, err := os.ReadFile(filepath.Join(dir, addressFile))
		if err != nil || json.Unmarshal(text, &at) != nil {
			return false
		}
		token, err := os.ReadFile(filepath.Join(dir, "admin.token"))
		o.base, o.admin = at.HTTP, strings.TrimSpace(string(token))
		if err != nil || o.base == "" {
			return false
		}
		resp, err := http.Get(o.base + "/readyz")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	p.Tokens["admin"] = o.admin
	return o
}

func (o *old) end(by syscall.Signal) {
	o.t.Helper()
	if err := o.cmd.Process.Signal(by); err != nil {
		o.t.Fatal(err)
	}
	if err := o.cmd.Wait(); err != nil && by != syscall.SIGKILL {
		o.t.Fatal(err)
	}
}

func (o *old) do(method, path, as, format string, body []byte) (code int, text []byte) {
	o.t.Helper()
	req, err := http.NewRequestWithContext(o.t.Context(), method, o.base+path, bytes.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	bearer := o.admin
	if as != "" {
		bearer = o.past.Secrets[as]
	}
	if format == "" {
		format = "application/json"
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set("Content-Type", format)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		o.t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err = io.ReadAll(resp.Body); err != nil {
		o.t.Fatal(err)
	}
	return resp.StatusCode, text
}

var momentOf = regexp.MustCompile(`\$\{(\w+) (-?\w+)\}`)

// live makes the requests. One that the program has no route for is noted.
func (o *old) live(all []step) {
	o.t.Helper()
	now, frames := time.Now(), &moments{time.Now()}
	for _, s := range all {
		body := momentOf.ReplaceAllFunc([]byte(s.body), func(m []byte) []byte {
			parts := momentOf.FindSubmatch(m)
			by, err := time.ParseDuration(string(parts[2]))
			if err != nil {
				o.t.Fatal(err)
			}
			at := now.Add(by)
			switch string(parts[1]) {
			case "s":
				return fmt.Append(nil, at.Unix())
			case "ms":
				return fmt.Append(nil, at.UnixMilli())
			case "day": // as releases have them
				at = source.Day(at).From
			case "ns":
				return fmt.Append(nil, at.UnixNano())
			}
			return []byte(at.UTC().Format(time.RFC3339))
		})
		if s.format == "application/octet-stream" {
			body = frames.frame(o.t, s.body)
		}
		code, text := o.do(s.method, s.path, s.as, s.format, body)
		switch {
		case code == http.StatusNotFound && bytes.Contains(text, []byte("is not served")), code == http.StatusMethodNotAllowed, code == http.StatusUnsupportedMediaType && bytes.Contains(text, []byte("not read by this hub")), code == http.StatusUnprocessableEntity && (bytes.Contains(text, []byte("unexpected property")) || bytes.Contains(text, []byte("unknown field"))):
			o.past.Unknown = append(o.past.Unknown, s.method+" "+s.path)
			continue
		case s.refused != (code >= 400):
			o.t.Errorf("%s %s %s: %d %s", s.method, s.path, body, code, text)
		}
		if s.refused {
			o.past.refused++
		}
		o.learn(s.path, text)
	}
}

// learn takes secrets out of an answer.
func (o *old) learn(path string, text []byte) {
	var made struct {
		ID, Name, Secret, Token string
		Lease                   struct{ ID string }
	}
	if json.Unmarshal(text, &made) != nil {
		return
	}
	switch path {
	case "/api/v1/devices":
		o.past.Secrets[made.ID] = made.Secret
	case "/api/v1/tokens":
		o.past.Tokens[made.Name] = made.Token
	case "/api/v1/enrolments":
		o.past.Enrol = made.Token
	case "/api/v1/reservations":
		o.past.Leases = append(o.past.Leases, made.Lease.ID)
	}
}

// cancel takes a workload back.
func (o *old) cancel(name string) {
	o.t.Helper()
	code, text := o.do(http.MethodGet, "/api/v1/workloads", "", "", nil)
	var page struct {
		Items []struct{ ID, Name string }
	}
	if code != http.StatusOK || json.Unmarshal(text, &page) != nil {
		return
	}
	for _, w := range page.Items {
		if w.Name != name {
			continue
		}
		if code, text := o.do(http.MethodDelete, "/api/v1/workloads/"+w.ID, "", "", nil); code >= 300 {
			o.t.Fatalf("%d %s", code, text)
		}
	}
}

// ask notes what the program says of all that it has.
func (o *old) ask() {
	o.t.Helper()
	soon(o.t, "all rejects are kept", func() bool {
		_, text := o.do(http.MethodGet, "/api/v1/rejects", "", "", nil)
		return bytes.Count(text, []byte(`"device"`)) >= o.past.refused
	})
	o.past.At = time.Now().UTC().Truncate(time.Millisecond)
	o.past.Answers, o.past.Queries = map[string]json.RawMessage{}, map[string]json.RawMessage{}
	for _, path := range staying {
		if code, text := o.do(http.MethodGet, path, "", "", nil); code == http.StatusOK {
			if !json.Valid(text) {
				text, _ = json.Marshal(string(text))
			}
			o.past.Answers[path] = text
		}
	}
	for _, q := range queried {
		code, text := o.do(http.MethodGet, queryAt(q, o.past.At), "", "", nil)
		if code != http.StatusOK {
			o.t.Fatalf("%s: %d %s", q, code, text)
		}
		o.past.Queries[q] = resultOf(o.t, text)
	}
}

func queryAt(promql string, at time.Time) string {
	return "/prometheus/api/v1/query?" + url.Values{"query": {promql}, "time": {fmt.Sprintf("%.3f", float64(at.UnixMilli())/1000)}}.Encode()
}

// resultOf is the result of a query, its series in order.
func resultOf(t *testing.T, text []byte) json.RawMessage {
	t.Helper()
	var answer struct {
		Data struct{ Result []json.RawMessage }
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(answer.Data.Result, func(a, b json.RawMessage) int { return bytes.Compare(a, b) })
	sorted, err := json.Marshal(answer.Data.Result)
	if err != nil {
		t.Fatal(err)
	}
	return sorted
}

// expected is what an archive has besides the data directory, which is below data.
const expected = "expected.json"

// keep writes what the program left, and what it said of it.
func (p *past) keep(t *testing.T, dir, to string) {
	t.Helper()
	text, err := json.Marshal(p)
	if err == nil {
		err = pack(dir, text, to)
	}
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(to)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s has %d bytes", to, info.Size())
}

// pack writes an archive.
func pack(dir string, said []byte, to string) (err error) {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(8<<20))
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	add := func(name string, mode fs.FileMode, text []byte) error {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: int64(mode), Size: int64(len(text))}); err != nil {
			return err
		}
		_, err := w.Write(text)
		return err
	}
	err = add(expected, 0o600, said)
	err = errors.Join(err, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		name := "data/" + filepath.ToSlash(rel)
		if e.IsDir() {
			return w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: int64(info.Mode().Perm())})
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return add(name, info.Mode().Perm(), text)
	}))
	return errors.Join(err, w.Close(), z.Close())
}

// unpack is the reverse of pack: it returns what was said, and the data directory.
func unpack(t *testing.T, from string) (p *past, data string) {
	t.Helper()
	f, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	dir := t.TempDir()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, fs.FileMode(h.Mode))
		} else {
			text := make([]byte, h.Size)
			if _, err = io.ReadFull(r, text); err == nil {
				err = os.WriteFile(path, text, fs.FileMode(h.Mode))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, expected))
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p, filepath.Join(dir, "data")
}
