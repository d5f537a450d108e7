package uplink

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestConnectionsThatFailComeBackMoreSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		down := errors.New("down")
		sessions := 0
		session := func(context.Context) error {
			if sessions++; sessions == 10 { // one that lasted
				time.Sleep(stable + time.Second)
			}
			return down
		}
		var pauses []time.Duration
		failed := func(err error, in time.Duration) {
			if !errors.Is(err, down) {
				t.Error(err)
			}
			if pauses = append(pauses, in); len(pauses) == 12 {
				cancel()
			}
		}
		began := time.Now()
		if err := Reconnect(ctx, session, failed); err != nil {
			t.Fatal(err)
		}
		sum := stable + time.Second
		for i, seconds := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60, 1, 2, 4} {
			want := seconds * time.Second
			if pauses[i] < want/2 || pauses[i] >= want*3/2 {
				t.Errorf("pause %d is %s, want about %s", i, pauses[i], want)
			}
			if i < 11 {
				sum += pauses[i]
			}
		}
		if got := time.Since(began); got != sum {
			t.Errorf("it took %s, the pauses are %s", got, sum)
		}
	})
}

func TestReconnectEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		session := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		go func() {
			time.Sleep(time.Hour)
			cancel()
		}()
		if err := Reconnect(ctx, session, func(err error, _ time.Duration) { t.Error("the end is no failure: ", err) }); err != nil {
			t.Error(err)
		}
	})
}
