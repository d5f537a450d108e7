package backoff

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestPausesGrowAndVary(t *testing.T) {
	var b Backoff
	for round, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
		want *= time.Second
		if got := b.Next(); got < want/2 || got >= want*3/2 {
			t.Errorf("pause %d is %s, want about %s", round, got, want)
		}
	}
	if a, b, c := b.Next(), b.Next(), b.Next(); a == b && b == c {
		t.Errorf("three pauses are %s: a fleet would come back at once", a)
	}
	b.Reset()
	if got := b.Next(); got >= First*3/2 {
		t.Errorf("after a reset the pause is %s", got)
	}
}

func TestASleepEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if !Sleep(t.Context(), time.Minute) || time.Since(began) != time.Minute {
			t.Errorf("slept %s", time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if Sleep(ctx, time.Minute) || time.Since(began) != time.Minute+time.Second {
			t.Errorf("slept %s", time.Since(began))
		}
	})
}
