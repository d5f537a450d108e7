package query

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
)

// reply collects an answer in memory. It is sent after the question has closed
// what it read from and given back its turn, so that who reads slowly keeps
// nothing but this memory, and that not for long.
type reply struct {
	body
	api  *API
	to   http.ResponseWriter
	code int
	gzip bool // the caller takes it
	fail func(w http.ResponseWriter, code int, err error)
}

func (a *API) newReply(w http.ResponseWriter, r *http.Request) *reply {
	w.Header().Add("Vary", "Accept-Encoding")
	return &reply{body: body{memory: a.answers}, api: a, to: w, code: http.StatusOK, gzip: takesGzip(r.Header.Get("Accept-Encoding"))}
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

func (r *reply) header() http.Header { return r.to.Header() }

// Whoever asked must take an answer within patience and a second for each
// minRate bytes of it.
const (
	patience = 30 * time.Second
	minRate  = 512 << 10
)

// send writes what was collected, unless the right to it ended meanwhile, and
// ctx with it. The deadline it sets is taken back by the server's own with the
// next request, and by whoever ends ctx.
func (r *reply) send(ctx context.Context) {
	allowed := r.api.patience + time.Duration((r.size+int64(len(r.b)))/minRate)*time.Second
	// Only recorders of tests know no deadlines.
	_ = http.NewResponseController(r.to).SetWriteDeadline(time.Now().Add(allowed))
	if ctx.Err() != nil && r.code == http.StatusOK {
		r.api.fail(r, &failure{canceled, context.Cause(ctx)})
	}
	if r.code == http.StatusNoContent || r.code == http.StatusNotModified {
		r.to.WriteHeader(r.code)
		return
	}
	// Who has gone away or is too slow cannot be told, so the log is.
	err := r.write()
	r.drop()
	if err != nil {
		r.api.metrics.unsent.Inc()
		r.api.log.Debug("query answer not sent", "err", err)
	}
}

func (r *reply) write() error {
	if !r.gzip {
		r.to.WriteHeader(r.code)
		return r.chunks(r.to.Write)
	}
	r.header().Set("Content-Encoding", "gzip")
	r.to.WriteHeader(r.code)
	zip, ok := r.api.zippers.Get().(*gzip.Writer)
	if !ok {
		zip = gzip.NewWriter(nil)
	}
	zip.Reset(r.to)
	defer func() {
		zip.Reset(nil)
		r.api.zippers.Put(zip)
	}()
	if err := r.chunks(zip.Write); err != nil {
		return err
	}
	return zip.Close()
}

// chunks writes the collected bytes and gives their memory back on the way.
func (r *reply) chunks(write func([]byte) (int, error)) error {
	for i, c := range r.sealed {
		if _, err := write(c); err != nil {
			return err
		}
		r.sealed[i] = nil
		r.size -= int64(len(c))
		r.memory.taken.Add(-int64(len(c)))
	}
	_, err := write(r.b)
	return err
}
