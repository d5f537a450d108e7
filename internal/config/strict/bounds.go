package strict

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// AtLeast faults a value of the key beneath path that is below low.
func AtLeast[T cmp.Ordered](path, key string, v, low T) []Error {
	if v >= low {
		return nil
	}
	return []Error{Fault(path, key, "%s is too little; use %s or more", text(v), text(low))}
}

// Between faults a value of the key beneath path that is below low or above
// high.
func Between[T cmp.Ordered](path, key string, v, low, high T) []Error {
	if low <= v && v <= high {
		return nil
	}
	return []Error{Fault(path, key, "%s is out of bounds; use %s to %s", text(v), text(low), text(high))}
}

// Join returns faults as one error; nil when there is none.
func Join(faults []Error) error {
	errs := make([]error, len(faults))
	for i, f := range faults {
		errs[i] = f
	}
	return errors.Join(errs...)
}

// text writes a value as a person would write it in the file.
func text(v any) string {
	if d, ok := v.(time.Duration); ok {
		return durationText(d)
	}
	return fmt.Sprint(v)
}
