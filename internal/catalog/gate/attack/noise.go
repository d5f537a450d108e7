package attack

import (
	"bytes"
	"fmt"
	"io"
	"math"

	"github.com/songhua-io/hub/internal/catalog/gate"
)

// ChiSquare draws noise and looks at its shape.
func ChiSquare(scale gate.Scale, draws int, from io.Reader) (gate.Finding, error) {
	drawn := make([]int64, draws)
	for i := range drawn {
		x, err := gate.Geometric(from, scale)
		if err != nil {
			return gate.Finding{}, err
		}
		drawn[i] = x
	}
	return Shape(scale, drawn), nil
}

// Shape compares noise with the distribution that is declared. It counts as found
// out when the chance of such a difference is below a millionth: noise of another
// shape hides less than it says. The odds of a draw are worked out here in floating
// point, which the noise itself never sees.
func Shape(scale gate.Scale, noise []int64) gate.Finding {
	f := gate.Finding{Attack: "noise_shape", Tried: int64(len(noise)), Detail: gate.Text{ZH: "噪声分布的卡方检验", EN: "chi-square of the noise against its declared distribution"}}
	width := max(1, scale.T/scale.S/4) // of a bin
	const bins = 24                    // on each side
	counts := make([]float64, 2*bins+1)
	for _, x := range noise {
		counts[bin(x, width, bins)]++
	}
	a := float64(scale.S) / float64(scale.T)
	// P(|X| ≥ n) on one side, for n ≥ 1.
	tail := func(n int64) float64 { return math.Exp(-a*float64(n)) / (1 + math.Exp(-a)) }
	statistic, freedom := 0.0, -1
	rest, restExpected := 0.0, 0.0
	for b := range counts {
		side := b - bins
		var p float64
		switch n := int64(max(side, -side)); {
		case n == 0:
			p = 1 - 2*tail(1)
		case n == bins:
			p = tail((n-1)*width + 1)
		default:
			p = tail((n-1)*width+1) - tail(n*width+1)
		}
		expected := p * float64(len(noise))
		if expected < 10 {
			rest, restExpected = rest+counts[b], restExpected+expected
			continue
		}
		statistic += (counts[b] - expected) * (counts[b] - expected) / expected
		freedom++
	}
	if restExpected >= 1 {
		statistic += (rest - restExpected) * (rest - restExpected) / restExpected
		freedom++
	}
	// Wilson and Hilferty, 1931; 4.753 is the quantile of a millionth.
	k := float64(max(freedom, 1))
	limit := k * math.Pow(1-2/(9*k)+4.753*math.Sqrt(2/(9*k)), 3)
	if statistic > limit || rest > 100+10*restExpected {
		f.Recovered = f.Tried
	}
	return f
}

// bin is 0 alone in the middle, and width values each on both sides of it.
func bin(x, width int64, bins int) int {
	n := max(x, -x)
	b := int(min(int64(bins), (n+width-1)/width))
	if x < 0 {
		return bins - b
	}
	return bins + b
}

// Repeat asks for the same version again: an answer that differs is a second
// draw, and enough of them average the noise away.
func Repeat(first *gate.Published, again func() (*gate.Published, error), times int) (gate.Finding, error) {
	f := gate.Finding{Attack: "repeated_queries", Detail: gate.Text{ZH: "重复请求同一版本", EN: "the same version asked for again"}}
	want, err := gate.Canonical(first)
	if err != nil {
		return f, err
	}
	for range times {
		p, err := again()
		if err != nil {
			return f, fmt.Errorf("asking for the same version again: %w", err)
		}
		got, err := gate.Canonical(p)
		if err != nil {
			return f, err
		}
		f.Tried++
		if !bytes.Equal(want, got) {
			f.Recovered++
		}
	}
	return f, nil
}

// Overdraw tries to spend more of a copy of a ledger than is left: at once, bit
// by bit, as versions that have been paid for, up to paid, and with amounts that
// overflow.
func Overdraw(of *gate.Ledger, dataset string, day, paid int64) gate.Finding {
	f := gate.Finding{Attack: "budget_overdraw", Detail: gate.Text{ZH: "尝试超支隐私预算", EN: "spending more of the privacy budget than is left"}}
	l := &gate.Ledger{Budget: of.Budget, Shared: of.Shared, Entries: append([]gate.Spent(nil), of.Entries...)}
	spent := func() (all int64) {
		for _, e := range l.Entries {
			if e.Dataset == dataset && e.Day == day {
				all += e.MicroEpsilon
			}
		}
		return all
	}
	version := int64(math.MaxInt64)
	try := func(amount int64) {
		f.Tried++
		version--
		_ = l.Spend([]gate.Spent{{Dataset: dataset, Day: day, Version: version, MicroEpsilon: amount}}) // what counts is what it left
		if spent() > l.Budget {
			f.Recovered++
		}
	}
	left := l.Left(dataset, day)
	for _, amount := range []int64{left + 1, math.MaxInt64, -1, math.MinInt64, 0} {
		try(amount)
	}
	for range 16 {
		try(max(1, left/15))
	}
	for _, e := range append([]gate.Spent(nil), l.Entries...) { // more, for what has been paid
		if e.Dataset != dataset || e.Day != day || e.Version > paid {
			continue // a report says the same when it is made again beside later ones
		}
		f.Tried++
		e.MicroEpsilon++
		_ = l.Spend([]gate.Spent{e})
		if spent() > l.Budget {
			f.Recovered++
		}
	}
	return f
}
