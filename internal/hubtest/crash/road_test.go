package crash

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/songhua-io/hub/internal/hubtest"
	"github.com/songhua-io/hub/internal/simulate/roads"
)

// roadRounds is how often the hub is killed under V2X messages.
const roadRounds = 6

// TestV2XMessagesAreCountedOnce kills the hub while roadside units speak. What was
// not acknowledged is sent again, and some of what was; then the minutes that are
// written count every message once.
func TestV2XMessagesAreCountedOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; make crash")
	}
	program, dir := hubtest.Build(t, ""), t.TempDir()
	hub := hubtest.Start(t, program, dir)
	const units = 4
	secrets := map[string]string{}
	for i := range units {
		id := fmt.Sprintf("R%06d", i+1)
		secrets[id] = hub.AddDevice(t, id, "rsu")
	}
	distinct := map[string]bool{}
	for round := range roadRounds {
		queues := played(uint64(round), units)
		for _, queue := range queues {
			for _, m := range queue {
				distinct[m.unit+string(m.payload)] = true
			}
		}
		sent := make(chan struct{})
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		left, some := make([][]uplink, units), make([][]uplink, units)
		var begun sync.Once
		for i, queue := range queues {
			wg.Go(func() {
				n := speak(ctx, hub, secrets, queue, func(n int) {
					if n > 30 {
						begun.Do(func() { close(sent) })
					}
				})
				left[i], some[i] = queue[n:], queue[max(0, n-8):n]
			})
		}
		select {
		case <-sent:
		case <-time.After(patience):
			t.Fatalf("nothing is acknowledged\n%s", hub.Output())
		}
		time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
		hub.Kill()
		cancel()
		wg.Wait()
		var err error
		if hub, err = hubtest.Launch(program, dir, "serve"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(hub.Kill)
		for i := range queues {
			again := slices.Concat(some[i], left[i])
			wg.Go(func() {
				if n := speak(t.Context(), hub, secrets, again, func(int) {}); n != len(again) {
					t.Errorf("%d of %d are acknowledged\n%s", n, len(again), hub.Output())
				}
			})
		}
		wg.Wait()
		if n, err := hub.Sum(t.Context(), "hub_ingest_rejects_total"); err != nil || n != 0 {
			t.Fatalf("round %d: %v rejects, %v", round, n, err)
		}
	}
	// All minutes are over when the units' own time is past them, and that of the
	// vehicles that they hear.
	before := time.Now().Add(3 * time.Minute)
	after := before.Add(2 * time.Minute).UnixMilli()
	now := played(roadRounds, units)
	for i := range units {
		id := now[i][0].unit
		all := []uplink{{id, "V2X/RSU/HB/UP", fmt.Appendf(nil, `{"rsuId":%q,"rsuEsn":%q,"timestamp":%d}`, id, id, after)}}
		for _, m := range slices.Backward(slices.Concat(now...)) {
			if strings.HasSuffix(m.topic, "/BSM/UP") {
				payload := slices.Clone(m.payload)
				binary.LittleEndian.PutUint64(payload[8:], uint64(after))
				all = append(all, uplink{id, "V2X/RSU/" + id + "/BSM/UP", payload})
				break
			}
		}
		if n := speak(t.Context(), hub, secrets, all, func(int) {}); n != len(all) {
			t.Fatal(hub.Output())
		}
	}
	counted := -1
	for until := time.Now().Add(patience); counted != len(distinct); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d messages are counted, %d were sent", counted, len(distinct))
		}
		series, err := hub.Query(t.Context(), "sum(sum_over_time(rsu_messages[1h]))", before)
		must(t, err)
		if len(series) == 1 {
			v, err := strconv.ParseFloat(series[0].Value[1].(string), 64)
			must(t, err)
			counted = int(v)
		}
	}
	t.Logf("%d rounds, %d messages, each counted once", roadRounds, len(distinct))
}

// uplink is a message of a unit.
type uplink struct {
	unit, topic string
	payload     []byte
}

// played are the messages of some seconds that end now, by unit, but for maps,
// events, and who a unit is: those have no time and are sent again as they are, and
// count each time, or once in each minute. What says only the
// second of the minute is in an uplink that says when it was, as units send what
// they could not send at once: alone it has no time half a minute later, and a hub
// on a slow machine may be back no sooner.
func played(seed uint64, units int) [][]uplink {
	all := make([][]uplink, units)
	w := roads.New(roads.Config{Seed: seed, Units: units, Vehicles: 8, Connected: 0.5, Start: time.Now().Add(-15 * time.Second)})
	for range 150 {
		w.Step(func(u roads.Uplink) {
			if u.Message == "MAP" || u.Message == "RSI" || u.Message == "INFO" {
				return
			}
			payload := slices.Clone(u.Payload)
			if u.Message == "BSM" || u.Message == "RSM" {
				payload = framed(u.Message, w.Now(), payload)
			}
			i := slices.Index(w.Names(), u.Unit)
			all[i] = append(all[i], uplink{u.Unit, "V2X/RSU/" + u.Unit + "/" + u.Message + "/UP", payload})
		})
	}
	return all
}

// framed is an uplink with one frame.
func framed(message string, at time.Time, frame []byte) []byte {
	p := binary.LittleEndian.AppendUint64([]byte("unit\x00\x00\x00\x00"), uint64(at.UnixMilli()))
	if message == "BSM" {
		p = append(p, 1) // the count, which uplinks of BSM have
	}
	return append(binary.LittleEndian.AppendUint16(p, uint16(len(frame))), frame...)
}

// speak publishes until all is acknowledged, or the hub is gone; it returns how
// many are, from the first on.
func speak(ctx context.Context, h *hubtest.Hub, secrets map[string]string, queue []uplink, progress func(acked int)) (acked int) {
	if len(queue) == 0 {
		return 0
	}
	ctx, lost := context.WithCancel(ctx)
	defer lost()
	unit := queue[0].unit
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + h.MQTT).SetClientID(unit).SetUsername(unit).SetPassword(secrets[unit]).
		SetAutoReconnect(false).SetConnectTimeout(patience).SetWriteTimeout(patience).SetConnectionLostHandler(func(paho.Client, error) { lost() }))
	if token := c.Connect(); token.Wait() && token.Error() != nil {
		return 0
	}
	defer c.Disconnect(0)
	tokens := make(chan paho.Token, inFlight)
	go func() {
		defer close(tokens)
		for _, m := range queue {
			select {
			case tokens <- c.Publish(m.topic, 1, false, m.payload):
			case <-ctx.Done():
				return
			}
		}
	}()
	// Where the connection is lost, paho returns from Publish no sooner than after the
	// timeout of writes: nobody waits for that.
	for {
		var token paho.Token
		select {
		case next, more := <-tokens:
			if !more {
				return acked
			}
			token = next
		case <-ctx.Done():
			return acked
		}
		select {
		case <-token.Done():
		case <-ctx.Done():
			return acked
		}
		if token.Error() != nil {
			return acked
		}
		acked++
		progress(acked)
	}
}
