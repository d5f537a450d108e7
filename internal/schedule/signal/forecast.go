package signal

import (
	"fmt"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Forecast is a series as it is sent and written into files.
type Forecast struct {
	IssuedAt time.Time `json:"issued_at"`
	Unit     string    `json:"unit" doc:"g/kWh for carbon, CNY/kWh for price, 1 for pue and for free (the share of a pool that will be free)"`
	Points   []Point   `json:"points" maxItems:"35200"`
}

// Point is a step of a forecast.
type Point struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	Value *float64  `json:"value,omitempty" doc:"p50 when absent"`
	Low   *float64  `json:"p10,omitempty" doc:"the value when absent"`
	Mid   *float64  `json:"p50,omitempty" doc:"the value; say one of the two"`
	High  *float64  `json:"p90,omitempty" doc:"the value when absent"`
}

// Series returns the forecast as what it is about, or everything that is wrong
// with it.
func (f Forecast) Series(kind Kind, zone string) (*Series, []strict.Error) {
	s := &Series{Kind: kind, Zone: zone, Issued: f.IssuedAt.UTC()}
	var errs []strict.Error
	fault := func(key, format string, args ...any) { errs = append(errs, strict.Fault("", key, format, args...)) }
	if want, ok := Units[kind]; ok && f.Unit != want {
		fault("unit", "%q is not that of %s; convert the values to %s", f.Unit, kind, want)
	}
	for i, p := range f.Points {
		value := p.Value
		switch {
		case value == nil:
			value = p.Mid
		case p.Mid != nil && *p.Mid != *value:
			fault(fmt.Sprintf("points[%d].p50", i), "is %v and value %v; say one of the two", *p.Mid, *value)
		}
		if value == nil {
			fault(fmt.Sprintf("points[%d].value", i), "is missing, and p50 too; say one of the two")
			continue
		}
		step := Step{Start: p.Start.UTC(), End: p.End.UTC(), Value: *value, Low: *value, High: *value}
		if p.Low != nil {
			step.Low = *p.Low
		}
		if p.High != nil {
			step.High = *p.High
		}
		s.Steps = append(s.Steps, step)
	}
	if errs == nil {
		errs = s.Check("")
	}
	return s, errs
}

// Forecast returns a series as it is sent.
func (s *Series) Forecast() Forecast {
	out := Forecast{IssuedAt: s.Issued, Unit: Units[s.Kind], Points: make([]Point, len(s.Steps))}
	for i, p := range s.Steps {
		out.Points[i] = Point{Start: p.Start, End: p.End, Value: &p.Value}
		if p.Low != p.Value || p.High != p.Value {
			out.Points[i].Low, out.Points[i].High = &p.Low, &p.High
		}
	}
	return out
}
