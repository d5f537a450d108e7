package query

import (
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// response notes the status code and, when the caller takes gzip, compresses
// what is written. An answer without a body stays without one.
type response struct {
	http.ResponseWriter
	code int
	gzip bool
	zip  *gzip.Writer // from the first byte on
	pool *sync.Pool
}

// compress returns the writer of an answer; the pool keeps compressors, which
// are large, between answers.
func compress(w http.ResponseWriter, r *http.Request, pool *sync.Pool) *response {
	w.Header().Add("Vary", "Accept-Encoding")
	return &response{ResponseWriter: w, code: http.StatusOK, gzip: takesGzip(r.Header.Get("Accept-Encoding")), pool: pool}
}

// takesGzip reports whether an Accept-Encoding names gzip with a weight above 0.
func takesGzip(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		coding, parameter, weighted := strings.Cut(part, ";")
		if strings.TrimSpace(coding) != "gzip" {
			continue
		}
		if !weighted {
			return true
		}
		q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(parameter), "q="), 64)
		return err == nil && q > 0
	}
	return false
}

func (r *response) WriteHeader(code int) {
	r.code = code
	if r.gzip && code != http.StatusNoContent {
		r.Header().Set("Content-Encoding", "gzip")
		if zip, ok := r.pool.Get().(*gzip.Writer); ok {
			zip.Reset(r.ResponseWriter)
			r.zip = zip
		} else {
			r.zip = gzip.NewWriter(r.ResponseWriter)
		}
	}
	r.gzip = false
	r.ResponseWriter.WriteHeader(code)
}

func (r *response) Write(b []byte) (int, error) {
	if r.gzip {
		r.WriteHeader(http.StatusOK)
	}
	if r.zip != nil {
		return r.zip.Write(b)
	}
	return r.ResponseWriter.Write(b)
}

// Flush sends what was written so far; search streams its batches.
func (r *response) Flush() {
	if r.zip != nil {
		if r.zip.Flush() != nil {
			return // the caller has gone; the next write says so
		}
	}
	if f, ok := r.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

func (r *response) close() {
	if r.zip != nil {
		_ = r.zip.Close() // fails only when the caller has gone
		r.zip.Reset(nil)
		r.pool.Put(r.zip)
	}
}
