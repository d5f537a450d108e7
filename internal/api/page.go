package api

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"
)

// Paging is what every list takes.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"how many at most"`
	Cursor string `query:"cursor" maxLength:"512" doc:"next_cursor of the page before"`
}

const badCursor = "cursor is none that this hub gave; leave it out to begin anew"

// after returns the key behind which the page begins.
func (p Paging) after() (string, error) {
	key, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err != nil {
		return "", fault("query.cursor", p.Cursor, badCursor)
	}
	return string(key), nil
}

// before is after for lists by number; 0 for the first page.
func (p Paging) before() (int64, error) {
	key, err := p.after()
	if key == "" || err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(key, 10, 64)
	if err != nil || n < 1 {
		return 0, fault("query.cursor", p.Cursor, badCursor)
	}
	return n, nil
}

func cursor(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }

// page is the body of every list.
type page[T any] struct {
	Items []T `json:"items"`
	// Next is empty on the last page.
	Next string `json:"next_cursor,omitempty"`
}

type pageOut[T any] struct{ Body page[T] }

func newPage[T any](n int) *pageOut[T] { return &pageOut[T]{page[T]{Items: make([]T, 0, n)}} }

// Conditional is what single objects take.
type Conditional struct {
	IfMatch string `header:"If-Match" doc:"ETag that the object must still have"`
}

// version returns the version that If-Match asks for; 0 for any.
func (c Conditional) version() (int64, error) {
	s := strings.TrimSpace(c.IfMatch)
	if s == "" || s == "*" {
		return 0, nil
	}
	n, err := strconv.ParseInt(strings.Trim(strings.TrimPrefix(s, "W/"), `"`), 10, 64)
	if err != nil || n < 1 {
		return 0, newProblem(412, "If-Match "+strconv.Quote(s)+" is no ETag of this hub; read the object again and send its ETag")
	}
	return n, nil
}

// still reports an object that is not the one that If-Match asks for.
func (c Conditional) still(version int64) error {
	want, err := c.version()
	if err == nil && want != 0 && want != version {
		err = newProblem(412, "it was changed meanwhile: its ETag is "+etag(version)+"; read it again")
	}
	return err
}

func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// moment returns t for JSON: nil for the zero time.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// cut returns the part of a short sorted list behind a key.
func cut[T any](all []T, keyOf func(T) string, after string, limit int) (part []T, next string) {
	for _, v := range all {
		switch {
		case keyOf(v) <= after:
		case len(part) == limit:
			return part, cursor(keyOf(part[limit-1]))
		default:
			part = append(part, v)
		}
	}
	return part, ""
}

// nothing is the body of answers without one.
type nothing struct{}
