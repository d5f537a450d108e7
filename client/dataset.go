package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// DatasetRelease is an immutable version of a dataset, as the token may have it:
// all of it, or the part that a grant gives.
type DatasetRelease struct {
	Dataset  string        `json:"dataset"`
	Version  int64         `json:"version"`
	Period   Span          `json:"period"`
	Made     time.Time     `json:"made"`
	Grade    string        `json:"grade"`
	Rows     *int64        `json:"rows"` // nil: of a part that was not made yet
	Files    []DatasetFile `json:"files"`
	Replaces int64         `json:"replaces"` // the version that it corrects; 0: none
	// Grant is by which the token has a part, and Cut and Columns say which; empty:
	// it has all.
	Grant   string       `json:"grant"`
	Cut     *DatasetPart `json:"cut"`
	Columns []string     `json:"columns"`
	Note    *Text        `json:"note"`
	// Removed is set when its files are gone.
	Removed *struct {
		At     time.Time `json:"at"`
		Reason Text      `json:"reason"`
	} `json:"removed"`
}

// Span is a span of time; its end is not in it.
type Span struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// DatasetPart is which part of a release a grant gives; what is empty is not
// narrowed.
type DatasetPart struct {
	Items []string  `json:"items"`
	Area  string    `json:"area"` // prefix of division codes
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
}

// DatasetFile is a file of a release, or of a part of it.
type DatasetFile struct {
	Name      string `json:"name"`
	MediaType string `json:"media_type"`
	Size      *int64 `json:"size"`   // nil: known after the first download of one of its files
	SHA256    string `json:"sha256"` // empty: as the size
	Rows      int64  `json:"rows"`
	URL       string `json:"url"` // path of the download
}

// DatasetReleases returns the releases of a dataset, the oldest first. With the id
// of a grant they are what that gives, else what the token's own grants give, or
// all of what is opened to everybody.
func (c *Client) DatasetReleases(ctx context.Context, dataset, grant string) (all []DatasetRelease, err error) {
	q := url.Values{"dataset": {dataset}, "limit": {"1000"}}
	if grant != "" {
		q.Set("grant", grant)
	}
	for {
		var page struct {
			Items []DatasetRelease `json:"items"`
			Next  string           `json:"next_cursor"`
		}
		if err := c.call(ctx, http.MethodGet, "/api/v1/releases?"+q.Encode(), "", nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == "" {
			return all, nil
		}
		q.Set("cursor", page.Next)
	}
}

// OpenFile opens a file behind its first n bytes, where it still has the SHA-256
// that f names; it begins at from, which is 0 where it has another one. The hash is
// that of the whole file.
func (c *Client) OpenFile(ctx context.Context, f DatasetFile, n int64) (body io.ReadCloser, from int64, hash string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+f.URL, nil)
	if err != nil {
		return nil, 0, "", err
	}
	if n > 0 && f.SHA256 != "" {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", n))
		req.Header.Set("If-Range", `"`+f.SHA256+`"`)
	}
	resp, err := c.send(req)
	if err != nil {
		return nil, 0, "", err
	}
	if resp.StatusCode == http.StatusPartialContent {
		from = n
	}
	return resp.Body, from, strings.Trim(resp.Header.Get("ETag"), `"`), nil
}

// ErrChanged says that a file is another one than was asked for: other rows, or
// the part that another grant gives.
var ErrChanged = errors.New("it is another file by now; list the releases again")

// Download writes a file to w, and returns its SHA-256, with which what was
// written was compared. It goes on where a connection broke, as long as something
// came of it.
func (c *Client) Download(ctx context.Context, f DatasetFile, w io.Writer) (hash string, err error) {
	sum := sha256.New()
	for n := int64(0); ; {
		body, from, is, err := c.OpenFile(ctx, f, n)
		if err != nil {
			return "", err
		}
		if from != n || f.SHA256 != "" && is != f.SHA256 {
			return "", errors.Join(ErrChanged, body.Close())
		}
		f.SHA256 = is
		to := &sink{w: w}
		some, err := io.Copy(io.MultiWriter(to, sum), body)
		err = errors.Join(err, body.Close())
		switch n += some; {
		case to.err != nil:
			return "", to.err
		case err == nil && hex.EncodeToString(sum.Sum(nil)) != is:
			return "", fmt.Errorf("%s: what came has another SHA-256 than %s", f.Name, is)
		case err == nil:
			return is, nil
		case some == 0 || ctx.Err() != nil:
			return "", fmt.Errorf("%s: %w", f.Name, err)
		}
	}
}

// sink tells an error of its writer from one of what is read.
type sink struct {
	w   io.Writer
	err error
}

// Write implements io.Writer.
func (s *sink) Write(p []byte) (n int, err error) {
	n, s.err = s.w.Write(p)
	return n, s.err
}
