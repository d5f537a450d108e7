// Package deliver brings datasets to a provincial platform by the template of its
// catalogue: by HTTPS, or as files that it fetches. What the platform answers is
// kept: its receipt, and 信息资源代码 as it gave it. Art. 24
package deliver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/outbox"
	"github.com/songhua-io/hub/internal/catalog/province"
)

// carrier takes a document to the platform.
type carrier interface {
	// carry returns what the platform answered; an answer that it gives later is
	// empty. Errors are as those of outbox.Destination.
	carry(ctx context.Context, d document) (answer []byte, err error)
	// later looks for an answer that was not there at once; nil: there is none yet.
	later(d document) ([]byte, error)
}

// document is what is said of a dataset, once.
type document struct {
	dataset string
	number  int64
	action  string // publish or withdraw
	format  string // csv or json
	body    []byte
}

// name is that of a file: it tells one change from another.
func (d *document) name() string { return fmt.Sprintf("%s-%d", d.dataset, d.number) }

func (d *document) mediaType() string {
	if d.format == "csv" {
		return "text/csv"
	}
	return "application/json"
}

// Platform is a destination of the outbox.
type Platform struct {
	cfg     Config
	codes   *province.Destination
	carrier carrier
}

// New returns the destination. The error names a file of the configuration that
// cannot be used. A transport of nil is the usual one.
func New(c Config, transport http.RoundTripper) (*Platform, error) {
	p := &Platform{cfg: c, codes: c.destination()}
	if c.Directory != "" {
		p.carrier = &directory{dir: c.Directory, most: c.MaxFiles}
		return p, nil
	}
	line, err := newLine(c, transport)
	p.carrier = line
	return p, err
}

// Send implements outbox.Destination.
func (p *Platform) Send(ctx context.Context, it outbox.Item) (outbox.Known, error) {
	known := it.Known
	if it.Entry == nil && known == (outbox.Known{}) {
		return known, nil // it never arrived there
	}
	d, err := p.document(it)
	if err != nil {
		return known, err
	}
	answer, err := p.carrier.carry(ctx, d)
	if err != nil {
		return known, err
	}
	known.Name = d.name()
	if known.ID == "" && it.Entry != nil {
		known.ID = it.Entry.Dataset.Code
	}
	return p.heard(known, answer)
}

// document writes a dataset in the form and the codes of the platform.
func (p *Platform) document(it outbox.Item) (d document, err error) {
	d = document{dataset: it.Dataset, number: it.Number, action: "publish", format: p.cfg.Format}
	if it.Entry == nil {
		d.action = "withdraw"
		w := province.NewWithdrawal(orElse(it.Known.Code, it.Known.ID), it.Reason)
		if d.format == "csv" {
			d.body, err = w.CSV()
		} else {
			d.body, err = json.MarshalIndent(w, "", "  ")
		}
		return d, err
	}
	r, ps := p.codes.Resource(it.Snapshot, it.Entry)
	if len(ps) > 0 {
		return d, refused(ps)
	}
	d.body, err = p.write([]province.Resource{r}, d.format)
	return d, err
}

func (p *Platform) write(all []province.Resource, format string) ([]byte, error) {
	if format == "csv" {
		return province.CSV(all)
	}
	return province.JSON(all)
}

// Export is all datasets of a snapshot in one document by the template, and what
// keeps others out of it.
func (p *Platform) Export(s *catalog.Snapshot, format string) ([]byte, []catalog.Problem, error) {
	all, ps := p.codes.Resources(s)
	body, err := p.write(all, format)
	return body, ps, err
}

// refused says all that keeps a dataset from being sent, each once with the first
// place that it is at.
func refused(ps []catalog.Problem) error {
	var t catalog.Text
	seen := map[string]bool{}
	for _, q := range ps {
		if seen[q.EN] {
			continue
		}
		if len(seen) > 0 {
			t.ZH, t.EN = t.ZH+"；", t.EN+"; "
		}
		seen[q.EN] = true
		t.ZH, t.EN = t.ZH+q.Path+"："+q.ZH, t.EN+q.Path+": "+q.EN
	}
	return &outbox.Refused{Text: t}
}

// Look implements outbox.Destination: it takes what the platform answered
// meanwhile. What the platform has, it cannot be asked.
func (p *Platform) Look(_ context.Context, it outbox.Item) (outbox.Known, []string, error) {
	known := it.Known
	if known.Name != fmt.Sprintf("%s-%d", it.Dataset, it.Number) || known.Receipt != "" {
		return known, nil, outbox.ErrAlike
	}
	d := document{dataset: it.Dataset, number: it.Number}
	answer, err := p.carrier.later(d)
	if err != nil || answer == nil {
		return known, nil, orErr(err, outbox.ErrAlike)
	}
	known, err = p.heard(known, answer)
	return known, nil, err
}

func orErr(err, absent error) error {
	if err != nil {
		return err
	}
	return absent
}

func orElse(s, absent string) string {
	if s == "" {
		return absent
	}
	return s
}

// longestReceipt is how much of an answer is kept, in characters.
const longestReceipt = 1000

// heard takes what the platform answered.
func (p *Platform) heard(known outbox.Known, answer []byte) (outbox.Known, error) {
	known.Receipt = ""
	if len(answer) == 0 {
		return known, nil
	}
	var doc any
	if err := json.Unmarshal(answer, &doc); err != nil {
		if p.cfg.Answer.OK != "" {
			return known, fmt.Errorf("the platform's answer is no JSON: %.200q", answer)
		}
		known.Receipt = short(string(answer))
		return known, nil
	}
	a := p.cfg.Answer
	if a.OK != "" && !slices.Contains(a.Values, at(doc, a.OK)) {
		said := orElse(at(doc, a.Message), short(string(answer)))
		return known, &outbox.Refused{Text: catalog.Text{ZH: "平台不接受：" + said, EN: "the platform does not take it: " + said}}
	}
	known.Receipt = orElse(at(doc, a.Receipt), short(string(answer)))
	known.Code = orElse(at(doc, a.Code), known.Code)
	return known, nil
}

// at is the value of a field of an answer as a text; empty: it is not there.
func at(doc any, path string) string {
	if path == "" {
		return ""
	}
	for key := range strings.SplitSeq(path, ".") {
		fields, is := doc.(map[string]any)
		if !is {
			return ""
		}
		doc = fields[key]
	}
	switch v := doc.(type) {
	case nil, map[string]any, []any:
		return ""
	case string:
		return short(v)
	default:
		return fmt.Sprint(v)
	}
}

func short(s string) string {
	s = strings.ToValidUTF8(strings.TrimSpace(s), "")
	if r := []rune(s); len(r) > longestReceipt {
		s = string(r[:longestReceipt]) + "…"
	}
	return s
}
