package influx

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/songhua-io/hub/internal/hubtest/engine"
	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/telemetry"
)

// TestWhatInfluxDBNeverTakesIsFoundAmongTheRest has a real server refuse points
// beyond its retention, of a field that somebody wrote with another type, and with
// too long a key, among others that it takes.
func TestWhatInfluxDBNeverTakesIsFoundAmongTheRest(t *testing.T) {
	s := startInflux(t)
	s.influxQL(t, "CREATE DATABASE short WITH DURATION 1d")
	c := s.client(t, "short/autogen")
	ctx, now := context.Background(), time.Now().UnixMilli()
	foreign := &body{} // a type is of a shard, which is of an hour: one beside each point
	for _, ago := range []int64{0, 1000} {
		foreign.lines = fmt.Appendf(foreign.lines, "taken value=\"text\" %d\n", now-ago)
	}
	if err := c.write(ctx, foreign); err != nil {
		t.Fatal(err)
	}
	point := func(ago time.Duration, v float64) telemetry.Point {
		return telemetry.Point{Time: now - ago.Milliseconds(), Value: v}
	}
	batch := []queue.Series{
		{Labels: metric("load", "device", "a"), Points: []telemetry.Point{point(0, 1), point(50*time.Hour, 2), point(time.Minute, 3)}},
		{Labels: metric("taken", "device", "a"), Points: []telemetry.Point{point(0, 1), point(time.Second, 2)}},
		{Labels: metric("load", "device", "b", "text", strings.Repeat("x", 70_000)), Points: []telemetry.Point{point(0, 4)}},
		{Labels: metric("load", "device", "c"), Points: []telemetry.Point{point(0, 5), point(time.Second, 6)}},
	}
	var refused *queue.Refused
	if err := c.Send(ctx, batch); !errors.As(err, &refused) {
		t.Fatalf("got %v", err)
	}
	want := []queue.RefusedPoint{
		{Series: 0, Point: 1, Reason: telemetry.ReasonTimePast}, {Series: 1, Point: 0, Reason: telemetry.ReasonUnsupported},
		{Series: 1, Point: 1, Reason: telemetry.ReasonUnsupported}, {Series: 2, Point: 0, Reason: telemetry.ReasonMalformed}, // what 1.8 says of it is cut before the reason
	}
	if len(refused.Points) != len(want) {
		t.Fatalf("refused %+v", refused.Points)
	}
	for i, got := range refused.Points {
		if got.Detail = ""; got != want[i] {
			t.Errorf("refused %+v, want %+v", got, want[i])
		}
	}
	set := selectAll(c, ctx, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "load"))
	n := 0
	for set.Next() {
		for it := set.At().Iterator(nil); it.Next() != 0; n++ {
		}
	}
	if n != 4 || set.Err() != nil {
		t.Errorf("%d points are stored, %v", n, set.Err())
	}
}

func TestReadySaysWhatIsMissing(t *testing.T) {
	s := startInflux(t)
	ctx := context.Background()
	if err := s.client(t, s.bucket(t)).Ready(ctx); err != nil {
		t.Error(err)
	}
	for bucket, token := range map[string]string{"tele/autogen": engine.InfluxUser + ":wrong-secret", "gone/autogen": engine.InfluxToken, "tele/gone": engine.InfluxToken} {
		c := clientWith(t, configAt(t, s.URL, bucket, token))
		want := "create the bucket"
		if token != engine.InfluxToken {
			want = "token_file"
		}
		for of, err := range map[string]error{"ready": c.Ready(ctx), "send": c.Send(ctx, batchOf(1, 1))} {
			var refused *queue.Refused
			if err == nil || errors.As(err, &refused) || strings.Contains(err.Error(), token) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s of %s: %v", of, bucket, err)
			} else {
				t.Log(err)
			}
		}
	}
}
