package query

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/prometheus/prometheus/promql"
)

// kind is what went wrong, as errorType in the answer names it.
type kind struct {
	name string
	code int
}

// The kinds of failures. Names and codes are those of Prometheus, except that
// it knows neither denied nor busy, full and tooLarge.
var (
	badData  = kind{"bad_data", http.StatusBadRequest}
	execute  = kind{"execution", http.StatusUnprocessableEntity}
	costly   = kind{"cost_limit", http.StatusUnprocessableEntity}
	canceled = kind{"canceled", 499} // nginx' code for a client that went away
	timedOut = kind{"timeout", http.StatusServiceUnavailable}
	internal = kind{"internal", http.StatusInternalServerError}
	denied   = kind{"forbidden", http.StatusForbidden}
	busy     = kind{"unavailable", http.StatusTooManyRequests}
	full     = kind{"unavailable", http.StatusServiceUnavailable}
	tooLarge = kind{"bad_data", http.StatusRequestEntityTooLarge}
)

// failure is an error with what becomes of it in the answer.
type failure struct {
	kind kind
	err  error
}

func bad(err error) *failure { return &failure{badData, err} }

func badParameter(err error, name string) *failure {
	return bad(fmt.Errorf("invalid parameter %q: %w", name, err))
}

// failed sorts an error of the engine or the store into its kind.
func failed(err error) *failure {
	var (
		eqc  promql.ErrQueryCanceled
		eqt  promql.ErrQueryTimeout
		es   promql.ErrStorage
		many errTooManySeries
		unit *errUnit
	)
	switch {
	case errors.As(err, &unit):
		return badParameter(unit, "unit")
	case errors.As(err, &eqc):
		return &failure{canceled, err}
	case errors.As(err, &eqt), errors.Is(err, context.DeadlineExceeded):
		return &failure{timedOut, err}
	case errors.As(err, &many):
		return &failure{costly, err}
	case errors.Is(err, errNoScope):
		return &failure{denied, err}
	case errors.As(err, &es):
		return &failure{internal, err}
	case errors.Is(err, context.Canceled):
		return &failure{canceled, err}
	}
	return &failure{execute, err}
}

// limit names the bound that a failure met; empty when it met none.
func (f *failure) limit() string {
	var (
		series errTooManySeries
		answer errAnswerTooLarge
	)
	switch {
	case errors.Is(f.err, errQueueFull):
		return limitQueue
	case f.kind == timedOut:
		return limitTime
	case f.kind == tooLarge:
		return limitBody
	case errors.As(f.err, &answer), errors.Is(f.err, errNoRoom):
		return limitAnswer
	case tooManySamples(f.err), errors.Is(f.err, errTooManySamples):
		return limitSamples
	case errors.As(f.err, &series):
		return limitSeries
	case errors.Is(f.err, errTooManyPoints):
		return limitPoints
	}
	return ""
}
