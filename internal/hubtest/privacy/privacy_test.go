package privacy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/songhua-io/hub/internal/codec/v2x"
	"github.com/songhua-io/hub/internal/hubtest"
	"github.com/songhua-io/hub/internal/simulate/roads"
)

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	hubtest.Clean()
	os.Exit(code)
}

// people are texts that name somebody; each is refused wherever it stands.
var people = []string{"吉A·12345", "吉AD67890", "吉A2D345F", "440308199901101512", "13944012345"}

// unknown is the value of a field that nobody reads.
const unknown = "what-the-driver-said"

// span is how much of the road each play tells: within it times of the minute are
// resolved.
const span = 10 * time.Second

// patience is how long the hub may take for an answer, or for what must come.
const patience = 3 * time.Minute

// road is a hub, and the units that report to it.
type road struct {
	*hubtest.Hub
	t       *testing.T
	search  *search
	devices map[string]string // by serial number
	secrets map[string]string // of devices
	clients map[string]paho.Client
	reader  string // token
}

// names of the units, and of their devices.
func device(i int) string { return fmt.Sprintf("rsu-%03d", i+1) }

const units = 9

func (r *road) config(seed uint64, start time.Time) roads.Config {
	return roads.Config{
		Seed: seed, Units: units, Vehicles: 40, Connected: 0.7, Start: start, Device: device,
		Faulty: map[int]roads.Fault{0: roads.BrokenDown, 1: roads.FixedID, 2: roads.ZeroID, 3: roads.Misspelled, 4: roads.ClockSkew, 5: roads.BothGreen, 7: roads.WrongWay},
		Speech: map[int]roads.Speech{6: roads.Framed, 7: roads.TITS, 8: roads.OpenV2X},
	}
}

// register registers the units, and a reader.
func (r *road) register() {
	r.t.Helper()
	for i, u := range roads.New(r.config(1, time.Now())).Units() {
		var made struct{ Secret string }
		spec := map[string]any{"id": u.Device, "kind": "rsu", "period": "60s", "tags": map[string]string{"esn": u.Name}}
		if err := r.Do(r.t.Context(), http.MethodPost, "/api/v1/devices", spec, &made); err != nil {
			r.t.Fatal(i, err)
		}
		r.devices[u.Name], r.secrets[u.Device] = u.Device, made.Secret
	}
	var made struct{ Token string }
	if err := r.Do(r.t.Context(), http.MethodPost, "/api/v1/tokens", map[string]string{"name": "looks", "role": "reader"}, &made); err != nil {
		r.t.Fatal(err)
	}
	r.reader = made.Token
}

// connect connects all units.
func (r *road) connect() {
	r.t.Helper()
	for d, secret := range r.secrets {
		c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + r.MQTT).SetClientID(d).SetUsername(d).SetPassword(secret).SetAutoReconnect(false).SetConnectTimeout(patience))
		if t := c.Connect(); t.Wait() && t.Error() != nil {
			r.t.Fatal(d, t.Error())
		}
		r.clients[d] = c
	}
}

// publish sends messages and waits until all are acknowledged.
func (r *road) publish(all []sent) {
	r.t.Helper()
	for len(all) > 0 {
		some := all[:min(len(all), 500)]
		all = all[len(some):]
		var tokens []paho.Token
		for _, m := range some {
			tokens = append(tokens, r.clients[m.device].Publish(m.topic, 1, false, m.payload))
		}
		for i, t := range tokens {
			if !t.WaitTimeout(patience) || t.Error() != nil {
				r.t.Fatalf("%s on %s: no acknowledgement: %v", some[i].device, some[i].topic, t.Error())
			}
		}
	}
}

// sent is a message on its way.
type sent struct {
	device, topic string
	payload       []byte
}

// play is what units tell of a span that ends now, with ids wherever there may be
// one: all of them are looked for later.
func (r *road) play(seed uint64) (all []sent) {
	w := roads.New(r.config(seed, time.Now().Add(-span)))
	for end := w.Now().Add(span); w.Now().Before(end); {
		w.Step(func(u roads.Uplink) {
			all = append(all, sent{r.devices[u.Unit], u.Topic, r.identified(seed, u)})
		})
	}
	return all
}

// identified notes the ids of a message, and gives one to each participant of an
// RSM.
func (r *road) identified(seed uint64, u roads.Uplink) []byte {
	id := func(track uint16) [8]byte {
		sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %d", seed, u.Unit, track))
		return [8]byte([]byte(base32.StdEncoding.EncodeToString(sum[:5]))) // text, as JSON has it
	}
	switch {
	case u.Message == "BSM" && strings.HasSuffix(u.Topic, "/uper"):
		r.search.id(frame(r.t, u.Payload).BsmFrame.ID)
	case u.Message == "BSM":
		f, err := v2x.ReadFramed(u.Payload, true)
		for err == nil {
			var one []byte
			if one, err = f.Next(); one == nil {
				break
			}
			r.search.id(frame(r.t, one).BsmFrame.ID)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	case u.Message == "RSM" && u.Payload[0] == '{':
		return track.ReplaceAllFunc(u.Payload, func(m []byte) []byte {
			var n uint16
			if _, err := fmt.Sscanf(string(m), `"ptcId":%d`, &n); err != nil {
				r.t.Fatal(err)
			}
			is := id(n)
			r.search.id(is)
			return fmt.Appendf(m, `,"id":%q`, is[:])
		})
	case u.Message == "RSM" && strings.HasSuffix(u.Topic, "/uper"):
		f := frame(r.t, u.Payload)
		for i := range f.RsmFrame.Participants {
			p := &f.RsmFrame.Participants[i]
			p.ID = v2x.Some(id(p.PtcId))
			r.search.id(p.ID.V)
		}
		out, err := f.AppendEncoded(nil)
		if err != nil {
			r.t.Fatal(err)
		}
		return out
	}
	return bytes.Clone(u.Payload)
}

// track is where a participant of an RSM in JSON has its number.
var track = regexp.MustCompile(`"ptcId":\d+`)

func frame(t *testing.T, data []byte) *v2x.MessageFrame {
	t.Helper()
	var f v2x.MessageFrame
	if _, _, err := f.Decode(data); err != nil {
		t.Fatal(err)
	}
	return &f
}

// gossip are messages that tell of people: in fields of the standard and in
// others, in names, and in the texts of frames.
func (r *road) gossip() (all []sent) {
	r.search.text(unknown)
	for _, who := range people {
		r.search.text(who)
		for _, form := range []string{
			`{"rsuId":"R1","rsuEsn":"R000001","timestamp":%d,"owner":"%s"}`, `{"rsuId":"R1","rsuEsn":"R000001","timestamp":%d,"rsuStatus":"seen %s"}`,
			`{"rsuId":"R1","rsuEsn":"R000001","timestamp":%d,"%s":{"face":"x"}}`, `{"rsuId":"R1","rsuEsn":"R000001","timestamp":%d,"more":[{"plates":["%s"]}]}`,
		} {
			all = append(all, sent{device(0), "V2X.RSU.R000001.HB.UP", fmt.Appendf(nil, form, time.Now().UnixMilli(), who)})
		}
		all = append(all, sent{device(8), "V2X/RSU/R000009/RSI/UP", fmt.Appendf(nil, `{"rsiSourceId":"c","rsi":{"alertID":"1","eventType":901,"eventDescription":"wrong way: %s","timeStamp":%d}}`, who, time.Now().UnixMilli())},
			sent{device(0), "devices/" + device(0) + "/v2x/uper", described(r.t, who)})
	}
	named := fmt.Appendf(nil, `{"rsuId":"R1","rsuEsn":"R000001","timestamp":%d,"driver":%q}`, time.Now().UnixMilli(), unknown)
	cut := all[0].payload[:len(all[0].payload)-2]
	return append(all, sent{device(0), "V2X.RSU.R000001.HB.UP", named}, sent{device(0), "V2X.RSU.R000001.HB.UP", cut}, sent{device(0), "devices/" + device(0) + "/v2x/uper", named})
}

// described is a frame that tells of an event in words.
func described(t *testing.T, who string) []byte {
	t.Helper()
	f := v2x.MessageFrame{Alt: v2x.MessageFrameRsiFrame}
	text := v2x.Description{Alt: v2x.DescriptionTextString, TextString: v2x.Text(who)}
	if who[0] >= 0x80 {
		text = v2x.Description{Alt: v2x.DescriptionTextGB2312, TextGB2312: gbk(who)}
	}
	f.RsiFrame = v2x.RoadSideInformation{ID: [8]byte([]byte("R000001 ")), Rtes: v2x.Some(v2x.RTEList{{RteId: 9, EventType: 901, EventSource: v2x.EventSourceDetection, Description: v2x.Some(text)}})}
	out, err := f.AppendEncoded(nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// post sends messages by HTTP; each is answered, by whatever.
func (r *road) post(all []sent) {
	r.t.Helper()
	for _, m := range all {
		kind := ""
		if m.payload[0] == '{' {
			kind = "?kind=heartbeat"
		}
		text := r.ask(http.MethodPost, "/api/v1/devices/"+m.device+"/v2x"+kind, r.secrets[m.device], m.payload)
		r.none("the answer to a message by HTTP", text)
	}
}

// ask makes a request and returns what comes; of what has no end, what comes within
// a second of its beginning.
func (r *road) ask(method, path, token string, body []byte) []byte {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, r.HTTP+path, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		r.t.Fatal(method, path, err)
	}
	defer resp.Body.Close()
	if strings.Contains(path, "watch") { // it has no end
		defer time.AfterFunc(time.Second, cancel).Stop()
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil && ctx.Err() == nil {
		r.t.Fatal(method, path, err)
	}
	return text
}

// none reports what was found where nothing is to be.
func (r *road) none(where string, text []byte) {
	r.t.Helper()
	if found := r.search.inText(text); len(found) > 0 {
		r.t.Errorf("%s holds %d, such as %s", where, len(found), found[0])
	}
}

// parameters are those of paths.
var parameters = regexp.MustCompile(`\{[^}]+\}`)

// answers looks at all that can be asked for, and at the log.
func (r *road) answers() {
	r.t.Helper()
	var api struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := r.Do(r.t.Context(), http.MethodGet, "/openapi.json", nil, &api); err != nil {
		r.t.Fatal(err)
	}
	asked := []string{"/metrics", "/prometheus/api/v1/labels", "/prometheus/api/v1/metadata", "/prometheus/api/v1/series?match[]=" + url.QueryEscape(`{__name__=~".+"}`),
		"/prometheus/api/v1/query?query=" + url.QueryEscape(`{__name__=~".+"}`)}
	for path, methods := range api.Paths {
		if methods["get"] != nil && !strings.Contains(path, "{wait") {
			asked = append(asked, parameters.ReplaceAllString(path, device(0)))
		}
	}
	for _, path := range asked {
		r.none("GET "+path+" as a reader", r.ask(http.MethodGet, path, r.reader, nil))
		// Evidence is what the units sent: it is for those who look into faults.
		if !strings.Contains(path, "evidence") {
			r.none("GET "+path, r.ask(http.MethodGet, path, r.Token, nil))
		}
	}
	r.none("the log", []byte(r.Output()))
}

// directory looks at all files of the hub. What is stored is there as it is: that
// the search would see it is known from the names of devices.
func (r *road) directory(when string) {
	r.t.Helper()
	seen := map[string]bool{}
	files(r.t, r.Dir, func(name string, data []byte) {
		if found := r.search.in(data); len(found) > 0 {
			r.t.Errorf("%s, %s holds %d, such as %s", when, name, len(found), found[0])
		}
		if bytes.Contains(data, []byte(device(0))) {
			top, _, _ := strings.Cut(name, string(filepath.Separator))
			seen[top] = true
		}
	})
	for _, where := range []string{"series", "records.db", "desk", "traffic"} {
		if !seen[where] {
			r.t.Errorf("%s, %s does not name device %s: is it written in a form that the search cannot read?", when, where, device(0))
		}
	}
}

// over has all minutes end, and waits until they are written: each unit, and a
// vehicle that it hears, tell of a while later.
func (r *road) over() {
	r.t.Helper()
	later := r.config(1, time.Now().Add(3*time.Minute))
	later.Faulty, later.Speech = nil, map[int]roads.Speech{}
	for i := range units {
		later.Speech[i] = roads.Framed
	}
	w := roads.New(later)
	var all []sent
	for range time.Second / roads.Tick {
		w.Step(func(u roads.Uplink) {
			if u.Message == "SPAT" || u.Message == "BSM" {
				all = append(all, sent{r.devices[u.Unit], u.Topic, r.identified(9, u)})
			}
		})
	}
	r.publish(all)
	r.eventually("minutes", func() bool {
		series, err := r.Query(r.t.Context(), `sum(sum_over_time(rsu_messages{type="bsm"}[30m]))`, time.Now().Add(2*time.Minute))
		return err == nil && len(series) > 0
	})
}

func (r *road) eventually(what string, is func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(50 * time.Millisecond) { // between two looks
		if time.Now().After(deadline) {
			r.t.Fatalf("no %s after %v\n%s", what, patience, r.Output())
		}
	}
}

// TestNobodyIsKept has units tell of a thousand vehicles and of people, and kills
// and stops the hub.
func TestNobodyIsKept(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a hub three times; make test")
	}
	dir, config := t.TempDir(), filepath.Join(t.TempDir(), "hub.yaml")
	if err := os.WriteFile(config, []byte("log: {level: debug}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	binary := hubtest.Build(t, "")
	r := &road{Hub: hubtest.Start(t, binary, dir, "--config", config), t: t, search: newSearch(), devices: map[string]string{}, secrets: map[string]string{}, clients: map[string]paho.Client{}}
	r.register()
	gossip := r.gossip()
	tell := func(seed uint64) {
		t.Helper()
		r.connect()
		r.publish(r.play(seed))
		r.publish(gossip)
		r.post(gossip)
	}
	for seed := range uint64(2) {
		tell(seed + 1)
	}
	t.Logf("%d ids and texts are looked for", len(r.search.whats))
	r.over()
	r.eventually("rejects", func() bool {
		n, err := r.Sum(t.Context(), "hub_ingest_rejects_total", `reason="personal_data"`)
		return err == nil && int(n) >= 2*2*6*len(people)
	})
	r.answers()
	r.directory("while the hub runs")
	r.Kill()
	r.none("the log of what was killed", []byte(r.Output()))
	r.directory("after kill -9")

	r.Hub = hubtest.Start(t, binary, dir, "--config", config)
	tell(4)
	r.answers()
	if code, err := r.Stop(); code != 0 || err != nil {
		t.Fatal(code, err)
	}
	r.none("the log", []byte(r.Output()))
	r.directory("after a stop")

	r.Hub = hubtest.Start(t, binary, dir, "--config", config) // what it has is written anew
	r.Kill()
	r.directory("after another start")
}
