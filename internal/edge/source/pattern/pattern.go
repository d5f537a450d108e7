// Package pattern matches names against the patterns of a config: * is any
// text without a slash, ? any one character.
package pattern

import (
	"path"
	"slices"
)

// Valid reports whether p is a pattern.
func Valid(p string) bool {
	_, err := path.Match(p, "")
	return err == nil
}

// Any reports whether a pattern matches the name.
func Any(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, name)
		return ok && err == nil
	})
}
