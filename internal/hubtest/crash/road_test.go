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

// roadRounds is how often the hub is killed under V2X messages: each time, what is
// sent again must still be near to its time.
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
		case <-time.After(2 * time.Minute):
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
	now := played(roadRounds, units)
	for i := range units {
		id, after := now[i][0].unit, time.Now().Add(5*time.Minute).UnixMilli()
		all := []uplink{{id, "V2X/RSU/HB/UP", fmt.Appendf(nil, `{"rsuId":%q,"rsuEsn":%q,"timestamp":%d}`, id, id, after)}}
		for _, m := range slices.Backward(slices.Concat(now...)) {
			if strings.HasSuffix(m.topic, "/BSM/UP") {
				framed := binary.LittleEndian.AppendUint64([]byte("unit\x00\x00\x00\x00"), uint64(after))
				framed = append(binary.LittleEndian.AppendUint16(framed, uint16(len(m.payload))), m.payload...)
				all = append(all, uplink{id, "devices/" + id + "/v2x/framed", framed})
				break
			}
		}
		if n := speak(t.Context(), hub, secrets, all, func(int) {}); n != len(all) {
			t.Fatal(hub.Output())
		}
	}
	counted := -1
	for until := time.Now().Add(time.Minute); counted != len(distinct); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d messages are counted, %d were sent", counted, len(distinct))
		}
		series, err := hub.Query(t.Context(), "sum(sum_over_time(rsu_messages[1h]))", time.Now().Add(4*time.Minute))
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

// played are the messages of some seconds that end now, by unit, but for maps and
// events: those are sent again as they are, and count each time.
func played(seed uint64, units int) [][]uplink {
	all := make([][]uplink, units)
	w := roads.New(roads.Config{Seed: seed, Units: units, Vehicles: 8, Connected: 0.5, Start: time.Now().Add(-15 * time.Second)})
	for range 150 {
		w.Step(func(u roads.Uplink) {
			if u.Message == "MAP" || u.Message == "RSI" {
				return
			}
			i := slices.Index(w.Names(), u.Unit)
			all[i] = append(all[i], uplink{u.Unit, "V2X/RSU/" + u.Unit + "/" + u.Message + "/UP", slices.Clone(u.Payload)})
		})
	}
	return all
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
	for token := range tokens {
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
	return acked
}
