package ledger

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

func TestLeasesComeInTheOrderInWhichTheyEnd(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 70 {
		var all expiries
		var want []int64
		for token := range n {
			at := time.Unix(1_800_000_000+rng.Int64N(20), 0)
			all.push(&schedule.Lease{Token: uint64(token), Expires: at})
			want = append(want, at.UnixNano())
		}
		all.push(&schedule.Lease{Token: 1}) // which never ends
		if n%2 == 1 {
			rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			all.order()
		}
		slices.Sort(want)
		var got []int64
		for len(all) > 0 {
			got = append(got, all.pop().at)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%d leases: %v, want %v", n, got, want)
		}
	}
}
