package query

import (
	"regexp"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Check returns every bound that makes no sense.
func (c Config) Check(path string) []strict.Error {
	errs := slices.Concat(
		strict.AtLeast(path, "timeout", c.Timeout, time.Millisecond),
		strict.AtLeast(path, "max_samples", c.MaxSamples, 1),
		strict.AtLeast(path, "max_answer_bytes", c.MaxAnswerBytes, 1),
		strict.AtLeast(path, "max_series", c.MaxSeries, 1),
		strict.AtLeast(path, "max_points", c.MaxPoints, 1),
		strict.AtLeast(path, "max_concurrency", c.MaxConcurrency, 1),
		strict.AtLeast(path, "max_queue", c.MaxQueue, 1),
		strict.AtLeast(path, "max_request_bytes", c.MaxRequestBytes, 1),
	)
	if _, err := regexp.Compile(c.CORSOrigin); err != nil {
		errs = append(errs, strict.Fault(path, "cors_origin", "%q is no regular expression: %v; write one such as https://.*, or nothing to allow none", c.CORSOrigin, err))
	}
	return errs
}
