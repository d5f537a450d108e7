package web

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Charts are drawn in a box of 1000 × 1000 that is stretched to the place there
// is; what is written beside it is placed in percent.
const chartBox = 1000

// plot is a chart of lines over time.
type plot struct {
	YTicks, XTicks []tick
	Lines          []plotLine
	Said           string // what it shows, for who does not see it
}

type plotLine struct {
	Name   string
	Number int // of its colour
	Path   string
	// Dots are single values between gaps.
	Dots []dot
}

type dot struct{ X, Y string }

// points are values in order of time; NaN is a gap.
type points struct {
	at     []time.Time
	values []float64
}

// maxPoints bounds what is drawn of a line: the least and the most of each part
// are kept, so that no peak is lost.
const maxPoints = 400

func (s *points) thin() {
	n := len(s.values)
	if n <= maxPoints {
		return
	}
	var out points
	for part := range maxPoints / 2 {
		from, to := part*n/(maxPoints/2), (part+1)*n/(maxPoints/2)
		least, most := -1, -1
		for i := from; i < to; i++ {
			if v := s.values[i]; !math.IsNaN(v) {
				if least < 0 || v < s.values[least] {
					least = i
				}
				if most < 0 || v > s.values[most] {
					most = i
				}
			}
		}
		if least < 0 {
			out.at, out.values = append(out.at, s.at[from]), append(out.values, math.NaN())
			continue
		}
		for _, i := range []int{min(least, most), max(least, most)} {
			out.at, out.values = append(out.at, s.at[i]), append(out.values, s.values[i])
		}
	}
	*s = out
}

// scale is a span of values with round marks.
type scale struct{ low, high, step float64 }

// scaleOf holds all values, with about n marks.
func scaleOf(low, high float64, n int) scale {
	if low > high {
		low, high = 0, 1
	}
	if low > 0 && low < .35*high {
		low = 0
	}
	if high == low {
		high, low = high+max(1, math.Abs(high)*.1), low-max(1, math.Abs(low)*.1)
	}
	raw := (high - low) / float64(n)
	step := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, f := range []float64{1, 2, 2.5, 5, 10} {
		if f*step >= raw {
			step *= f
			break
		}
	}
	return scale{math.Floor(low/step) * step, math.Ceil(high/step) * step, step}
}

func (s scale) at(v float64) float64 { return (v - s.low) / (s.high - s.low) }

// mark writes a value at the precision of the steps.
func (s scale) mark(v float64) string {
	digits := max(0, int(math.Ceil(-math.Log10(s.step)-1e-9)))
	if x := s.step * math.Pow(10, float64(digits)); math.Abs(x-math.Round(x)) > 1e-6 {
		digits++ // steps of 2.5
	}
	return grouped(strconv.FormatFloat(v+0, 'f', min(digits, 8), 64))
}

// grouped writes the thousands of a number apart.
func grouped(s string) string {
	whole, rest, broken := strings.Cut(s, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if broken {
		return sign + whole + "." + rest
	}
	return sign + whole
}

// timeSteps are those that people count time in.
var timeSteps = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	24 * time.Hour, 2 * 24 * time.Hour, 7 * 24 * time.Hour, 14 * 24 * time.Hour, 30 * 24 * time.Hour, 91 * 24 * time.Hour, 365 * 24 * time.Hour}

// chinaTime is what days of the catalogue are counted in.
var chinaTime = time.FixedZone("UTC+8", 8*60*60)

func timeTicks(from, to time.Time) (all []tick) {
	span := to.Sub(from)
	if span <= 0 {
		return nil
	}
	step := timeSteps[len(timeSteps)-1]
	for _, s := range timeSteps {
		if span/s <= 6 {
			step = s
			break
		}
	}
	form := "15:04"
	if step >= 24*time.Hour {
		form = "01-02"
	}
	const offset = 8 * time.Hour // steps begin at midnight in China
	for t := from.Add(offset).Truncate(step).Add(-offset); !t.After(to); t = t.Add(step) {
		x := 100 * float64(t.Sub(from)) / float64(span)
		if x < 0 {
			continue
		}
		one := tick{At: percent(x)}
		if x > 2 && x < 98 {
			one.Label = t.In(chinaTime).Format(form)
			if step < 24*time.Hour && one.Label == "00:00" {
				one.Label = t.In(chinaTime).Format("01-02")
			}
		}
		all = append(all, one)
	}
	return all
}

// draw makes lines of points that share axes.
func draw(names []string, lines []points) *plot {
	low, high := math.Inf(1), math.Inf(-1)
	var from, to time.Time
	for i := range lines {
		lines[i].thin()
		for k, v := range lines[i].values {
			at := lines[i].at[k]
			if from.IsZero() || at.Before(from) {
				from = at
			}
			if to.IsZero() || at.After(to) {
				to = at
			}
			if !math.IsNaN(v) {
				low, high = min(low, v), max(high, v)
			}
		}
	}
	if low > high || !to.After(from) {
		return nil
	}
	s := scaleOf(low, high, 4)
	p := &plot{XTicks: timeTicks(from, to)}
	for v := s.low; v <= s.high+s.step/2; v += s.step {
		p.YTicks = append(p.YTicks, tick{At: percent(100 - 100*s.at(v)), Label: s.mark(v)})
	}
	for i := range lines {
		l := plotLine{Name: names[i], Number: i}
		l.draw(&lines[i], s, from, to)
		p.Lines = append(p.Lines, l)
	}
	return p
}

func (l *plotLine) draw(s *points, y scale, from, to time.Time) {
	var path strings.Builder
	x := func(i int) float64 { return float64(s.at[i].Sub(from)) / float64(to.Sub(from)) }
	run := 0
	for i, v := range s.values {
		if math.IsNaN(v) {
			run = 0
			continue
		}
		letter := "L"
		if run == 0 {
			letter = "M"
			if i+1 == len(s.values) || math.IsNaN(s.values[i+1]) {
				l.Dots = append(l.Dots, dot{percent(100 * x(i)), percent(100 - 100*y.at(v))})
				continue
			}
		}
		run++
		fmt.Fprintf(&path, "%s%d,%d", letter, int(math.Round(chartBox*x(i))), int(math.Round(chartBox*(1-y.at(v)))))
	}
	l.Path = path.String()
}

// spark is a small line of values from 0 to 1 of a span; NaN is a gap.
func spark(values []float64, low, high float64) string {
	if len(values) < 2 || high <= low {
		return ""
	}
	var path strings.Builder
	on := false
	for i, v := range values {
		if math.IsNaN(v) {
			on = false
			continue
		}
		letter := "L"
		if !on {
			letter = "M"
		}
		on = true
		share := min(max((v-low)/(high-low), 0), 1)
		fmt.Fprintf(&path, "%s%d,%d", letter, chartBox*i/(len(values)-1), int(math.Round(chartBox*(1-share))))
	}
	return path.String()
}
