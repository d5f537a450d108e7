package backfill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Bounds of a part.
const (
	// MaxSamples is how many samples a part holds at most.
	MaxSamples = 100_000
	maxBody    = 8 << 20
	maxDecoded = 32 << 20
	maxMark    = 200 // bytes
)

// deviceLabel names the device of a series in a part; it leads the samples there
// and is not stored as a tag.
const deviceLabel = "device"

// Deps are what a door works with. All are required.
type Deps struct {
	Ledger   *Ledger
	Pipeline *ingest.Pipeline
	Device   func(id string) *telemetry.Device
	// Noted makes the transaction of a context one that is on record, as the end of
	// an import by the context's caller.
	Noted func(ctx context.Context, i *Import) context.Context
	Log   *slog.Logger
}

// Door takes parts: a body is a remote write 1 request, compressed as one, whose
// series carry the label device.
type Door struct {
	deps Deps
	pool sync.Pool // of *request
}

// NewDoor returns a door. Its callers have the right to import.
func NewDoor(d Deps) *Door {
	return &Door{deps: d, pool: sync.Pool{New: func() any { return &request{} }}}
}

// Reject is a sample of a part that was not stored, or, with Index -1, all of
// a device's in the part.
type Reject struct {
	Device string `json:"device,omitempty"`
	Index  int    `json:"index"` // of the sample in the part
	Stage  string `json:"stage"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

// Answer is what became of a part.
type Answer struct {
	Accepted int64    `json:"accepted"`
	Rejected []Reject `json:"rejected"`
	Import   *Import  `json:"import,omitempty"`
}

// request is the memory of one part.
type request struct {
	batch    telemetry.Batch
	delivery ingest.Delivery
	runs     []run
	body     []byte
	answer   Answer
}

// run is samples from..to of the batch, of one device.
type run struct {
	device   string
	from, to int
}

// ServeHTTP implements http.Handler for POST /api/v1/imports/{id}/parts.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := d.pool.Get().(*request)
	defer d.pool.Put(q)
	if err := d.serve(q, w, r); err != nil {
		d.refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(&q.answer) // an error means that the caller is gone
	q.trim()
}

func (d *Door) serve(q *request, w http.ResponseWriter, r *http.Request) error {
	part, err := described(r)
	if err != nil {
		return err
	}
	if err := q.read(w, r); err != nil {
		return err
	}
	if err := q.decode(d.deps.Pipeline); err != nil {
		return err
	}
	if r.FormValue("dry_run") == "true" {
		d.split(q, access.CallerOf(r.Context()))
		d.deps.Pipeline.Try(&q.delivery)
		q.settle()
		return nil
	}
	q.answer.Import, err = d.deps.Ledger.take(r.Context(), r.PathValue("id"), access.CallerOf(r.Context()).Region, part, d.deps.Noted, func() (accepted, rejected int64, err error) {
		d.split(q, access.CallerOf(r.Context()))
		if err := d.deps.Pipeline.Ingest(&q.delivery); err != nil {
			return 0, 0, err
		}
		rejected = q.settle()
		return q.answer.Accepted, rejected, nil
	})
	return err
}

// described reads what the sender says of a part.
func described(r *http.Request) (p Part, err error) {
	if p.Number, err = strconv.ParseInt(r.FormValue("part"), 10, 64); err != nil || p.Number < 1 {
		return p, fmt.Errorf("part %q %w: parts are numbered from 1", r.FormValue("part"), ErrInvalid)
	}
	if p.Mark = r.FormValue("mark"); len(p.Mark) > maxMark {
		return p, fmt.Errorf("a mark of %d bytes %w: it has at most %d", len(p.Mark), ErrInvalid, maxMark)
	}
	if s := r.FormValue("faults"); s != "" {
		if p.Faults, err = strconv.ParseInt(s, 10, 64); err != nil || p.Faults < 0 {
			return p, fmt.Errorf("faults %q %w: it is a count of lines", s, ErrInvalid)
		}
	}
	p.Last = r.FormValue("last") == "true"
	return p, nil
}

func (q *request) read(w http.ResponseWriter, r *http.Request) error {
	body := http.MaxBytesReader(w, r.Body, maxBody)
	q.body = q.body[:0]
	for {
		if len(q.body) == cap(q.body) {
			q.body = append(q.body, 0)[:len(q.body)]
		}
		n, err := body.Read(q.body[len(q.body):cap(q.body)])
		q.body = q.body[:len(q.body)+n]
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("a part whose body cannot be read %w: %w", ErrInvalid, err)
		}
	}
}

func (q *request) decode(p *ingest.Pipeline) error {
	q.batch.Reset()
	q.runs, q.answer = q.runs[:0], Answer{Rejected: q.answer.Rejected[:0]}
	if len(q.body) == 0 {
		return nil // a file may end with lines that are none
	}
	in := p.Input(q.body, "", 0)
	in.MaxTags++ // deviceLabel is taken off
	in.MaxSamples, in.MaxDecoded = MaxSamples, maxDecoded
	if err := codec.Decode(&q.batch, codec.RemoteWrite, in); err != nil {
		return fmt.Errorf("a part that cannot be read %w: %w", ErrInvalid, err)
	}
	for _, r := range q.batch.Rejects {
		q.answer.Rejected = append(q.answer.Rejected, Reject{Index: r.Index, Stage: string(r.Stage), Reason: string(r.Reason), Detail: r.Detail})
	}
	for i := range q.batch.Samples {
		device := deviceOf(&q.batch.Samples[i])
		if n := len(q.runs); n > 0 && q.runs[n-1].device == string(device) {
			q.runs[n-1].to = i + 1
		} else {
			q.runs = append(q.runs, run{string(device), i, i + 1})
		}
	}
	return nil
}

func deviceOf(s *telemetry.Sample) []byte {
	for _, t := range s.Tags {
		if string(t.Name) == deviceLabel {
			return t.Value
		}
	}
	return nil
}

// split makes a message of every device's samples in a row. The caller brings
// history of devices of its region that it may see.
func (d *Door) split(q *request, c access.Caller) {
	q.delivery.Reset()
	for _, r := range q.runs {
		m := q.delivery.Add(r.device, codec.RemoteWrite, nil)
		m.History = true
		m.Decode = q.decoder(r)
		device := d.deps.Device(r.device)
		switch {
		case r.device == "":
			m.Refuse(telemetry.ReasonUnknownDevice, "no device is named")
		case device != nil && !c.Sees(device):
			m.Refuse(telemetry.ReasonUnknownDevice, fmt.Sprintf("device %q is not registered", r.device)) // as if it were not there
		}
	}
}

// decoder hands samples to the pipeline, without the label that led them there.
// Samples of one series in a row share their tags.
func (q *request) decoder(r run) func(*telemetry.Batch, codec.Input) error {
	return func(b *telemetry.Batch, _ codec.Input) error {
		var from, tags []telemetry.Tag
		for k := r.from; k < r.to; k++ {
			s := q.batch.Samples[k]
			if len(from) == 0 || &from[0] != &s.Tags[0] {
				from = s.Tags
				mark := b.Mark()
				for _, t := range from {
					if string(t.Name) != deviceLabel {
						b.AddTag(t.Name, t.Value)
					}
				}
				tags = b.EndTags(mark)
			}
			s.Tags = tags
			b.Samples = append(b.Samples, s)
		}
		return nil
	}
}

// settle gathers what became of the messages, and returns how many samples were
// not stored.
func (q *request) settle() (rejected int64) {
	rejected = int64(len(q.answer.Rejected))
	for i := range q.delivery.Messages {
		m := &q.delivery.Messages[i]
		q.answer.Accepted += int64(m.Accepted)
		for _, r := range m.Rejects {
			q.answer.Rejected = append(q.answer.Rejected, Reject{Device: m.Device, Index: r.Index, Stage: string(r.Stage), Reason: string(r.Reason), Detail: r.Detail})
			if r.Index < 0 {
				rejected += int64(q.runs[i].to - q.runs[i].from)
			} else {
				rejected++
			}
		}
	}
	slices.SortStableFunc(q.answer.Rejected, func(a, b Reject) int { return a.Index - b.Index })
	return rejected
}

// trim gives back memory that a large part made the request grow to.
func (q *request) trim() {
	q.delivery.Trim()
	if cap(q.answer.Rejected) > 1024 {
		q.answer.Rejected = nil
	}
}

// refuse answers in the form of all refusals (RFC 9457).
func (d *Door) refuse(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		code = http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrInvalid):
		code = http.StatusUnprocessableEntity
	case errors.Is(err, ErrUnknown):
		code = http.StatusNotFound
	case errors.Is(err, ErrOrder), errors.Is(err, ErrBusy):
		code = http.StatusConflict
	case errors.Is(err, ingest.ErrBusy), errors.Is(err, ingest.ErrClosed):
		code = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	default:
		d.deps.Log.Error("import_part_failed", "error", err)
		err = errors.New("the hub failed to take the part; its log says why")
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(code), "status": code, "detail": err.Error()})
}
