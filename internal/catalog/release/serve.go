package release

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// slowest is how long a reader may take to take the next part of a file.
const slowest = time.Minute

// Serve answers a request for a file of a release: whole or in ranges (RFC 9110,
// 14), its headers alone, or that it is what the caller has. Held is the context
// of who may read it (see register.Hold). When that ends in the midst, so does
// the answer, within a second and as one that broke off: the bytes that came
// cannot be taken for all of them. The same goes for a file that turns out to be
// damaged.
func Serve(w http.ResponseWriter, r *http.Request, held context.Context, m *Manifest, c *Content) {
	h := w.Header()
	h.Set("Content-Type", c.MediaType)
	if strings.HasPrefix(c.MediaType, "text/") {
		h.Set("Content-Type", c.MediaType+"; charset=utf-8; header=present")
	}
	h.Set("ETag", `"`+c.SHA256+`"`)
	h.Set("Content-Disposition", `attachment; filename="`+m.fileName(c.Name)+`"`)
	h.Set("X-Content-Type-Options", "nosniff")
	if c.Name == CSVFile {
		schema := SchemaFile
		if q := r.URL.Query(); m.Cut != nil && len(q) > 0 {
			schema += "?" + q.Encode() // the sidecar of the same part
		}
		h.Set("Link", "<"+schema+`>; rel="describedby"; type="application/csvm+json"`) // CSV on the Web, 5.2
	}
	// Who may have it is asked each time: a copy is good as long as it is not known
	// that it is not.
	h.Set("Cache-Control", "private, no-cache")
	b := &body{content: c, held: held, conn: http.NewResponseController(w)}
	defer context.AfterFunc(held, b.end)()
	http.ServeContent(w, r, "", c.Made, b)
	if b.ended() {
		panic(http.ErrAbortHandler) // with fewer bytes than announced, and no end of a stream
	}
}

// fileName is what a file is called where it is downloaded to. Parts have names of
// their own, so that none is taken for the release or for another part.
func (m *Manifest) fileName(name string) string {
	of := m.Dataset + "-v" + strconv.FormatInt(m.Version, 10)
	if m.Cut != nil {
		if id, err := m.Cut.id(m); err == nil {
			of += "-part-" + id[:8]
		}
	}
	return of + "-" + name
}

// body reads a file for somebody who may be told to stop.
type body struct {
	content *Content
	held    context.Context
	conn    *http.ResponseController
	mu      sync.Mutex // no deadline is moved once it ended
	failed  bool
}

// end makes a write that waits for a slow reader fail.
func (b *body) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conn.SetWriteDeadline(time.Unix(1, 0)) //nolint:errcheck // who cannot be hurried is ended with the next byte
}

// ended reports whether the answer broke off.
func (b *body) ended() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed || b.held.Err() != nil
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	err := context.Cause(b.held)
	if err == nil {
		b.conn.SetWriteDeadline(time.Now().Add(slowest)) //nolint:errcheck // as above
	}
	b.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := b.content.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.mu.Lock()
		b.failed = true
		b.mu.Unlock()
	}
	return n, err
}

// Seek implements io.Seeker.
func (b *body) Seek(offset int64, whence int) (int64, error) { return b.content.Seek(offset, whence) }
