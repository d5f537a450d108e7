package file

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/telemetry"
)

// lines are a file of one record a line.
type lines struct {
	f  *os.File
	r  *bufio.Reader
	at Mark
}

func openLines(path string, at Mark) (*lines, error) {
	f, err := openText(path, at)
	if err != nil {
		return nil, err
	}
	return &lines{f, bufio.NewReaderSize(f, maxLine), at}, nil
}

func (l *lines) mark() Mark { return l.at }

func (l *lines) begin() {}

func (l *lines) close() error { return l.f.Close() }

// line returns the next line without its end, valid until the next one; one that
// is too long is a fault, and nil.
func (l *lines) line(p *Part) ([]byte, error) {
	text, err := l.r.ReadSlice('\n')
	long := errors.Is(err, bufio.ErrBufferFull)
	l.at.Offset += int64(len(text))
	for errors.Is(err, bufio.ErrBufferFull) {
		var more []byte
		more, err = l.r.ReadSlice('\n')
		l.at.Offset += int64(len(more))
	}
	if err != nil && !errors.Is(err, io.EOF) || len(text) == 0 {
		return nil, err
	}
	l.at.Line++
	if long {
		p.fault(l.at.Line, "the line is longer than %d bytes", maxLine)
		return nil, nil
	}
	return bytes.TrimRight(text, "\r\n"), nil
}

// influxFile is line protocol, one record a line.
type influxFile struct {
	*lines
	o     Options
	batch telemetry.Batch
	pairs []string
}

func openInflux(path string, o Options, at Mark) (source, error) {
	l, err := openLines(path, at)
	if err != nil {
		return nil, err
	}
	return &influxFile{lines: l, o: o}, nil
}

// noTime stands for the time of a line that has none: one that no line can have.
const noTime = -1 << 62

func (f *influxFile) next(p *Part) error {
	text, err := f.line(p)
	if err != nil || len(text) == 0 {
		return err
	}
	f.batch.Reset()
	if err := codec.Decode(&f.batch, codec.Influx, codec.Input{Payload: text, Now: noTime, Precision: f.o.Precision}); err != nil {
		p.fault(f.at.Line, "%v", err)
		return nil
	}
	for _, r := range f.batch.Rejects {
		p.fault(f.at.Line, "%s", r.Detail)
	}
	for _, s := range f.batch.States {
		p.fault(f.at.Line, "field %q is text, and no sample", s.Name)
	}
	for i := range f.batch.Samples {
		s := &f.batch.Samples[i]
		device := f.o.Device
		f.pairs = f.pairs[:0]
		for _, t := range s.Tags {
			if string(t.Name) != f.o.DeviceFrom {
				f.pairs = append(f.pairs, string(t.Name), string(t.Value))
			} else if device == "" {
				device = string(t.Value)
			}
		}
		switch {
		case s.Time == noTime:
			p.fault(f.at.Line, "the line has no time; history needs one")
			return nil
		case device == "":
			p.fault(f.at.Line, "no tag %q names the device; say which tag does with --device-from, or whose all are with --device", f.o.DeviceFrom)
			return nil
		}
		if metric := string(s.Metric); p.fits(f.at.Line, device, metric, f.pairs) {
			p.add(p.seriesOf(device, metric, f.pairs), s.Time, s.Value, f.at.Line)
		}
	}
	return nil
}

// metricsFile is OpenMetrics text, as promtool reads it to make blocks.
type metricsFile struct {
	*lines
	o       Options
	symbols *labels.SymbolTable
	buffer  []byte
	ended   bool // # EOF came
	pairs   []string
	// known are the series of this part by how a line writes them, up to its value.
	known map[string]int
}

func (f *metricsFile) begin() { clear(f.known) }

// seen adds the sample of a line whose series was read before in this part, and
// reports whether it is one: most lines are, and only their numbers are left to
// read.
func (f *metricsFile) seen(p *Part, text []byte) bool {
	end := seriesEnd(text)
	number, known := f.known[string(text[:end])]
	if !known || !bytes.HasPrefix(text[end:], space) {
		return false
	}
	v, at, two := bytes.Cut(text[end+1:], space)
	if !two || bytes.ContainsAny(v, "pP_xX#") || bytes.ContainsAny(at, "pP_xX# ") {
		return false
	}
	value, err := strconv.ParseFloat(string(v), 64)
	seconds, wrong := strconv.ParseFloat(string(at), 64)
	if err != nil || wrong != nil || math.IsNaN(seconds) || math.IsInf(seconds, 0) {
		return false // the parser says what is wrong
	}
	if math.IsNaN(value) {
		value = math.Float64frombits(normalNaN)
	}
	p.add(number, int64(seconds*1000), value, f.at.Line)
	return true
}

var space = []byte{' '}

// seriesEnd is where the name and labels of a line end, if it has no exemplar.
func seriesEnd(text []byte) int {
	if end := bytes.LastIndexByte(text, '}') + 1; end > 0 {
		return end
	}
	return max(0, bytes.IndexByte(text, ' '))
}

// normalNaN is the one that parsers make of text.
const normalNaN = 0x7ff8000000000001

func openMetrics(path string, o Options, at Mark) (source, error) {
	l, err := openLines(path, at)
	if err != nil {
		return nil, err
	}
	return &metricsFile{lines: l, o: o, symbols: labels.NewSymbolTable(), known: map[string]int{}}, nil
}

func (f *metricsFile) next(p *Part) error {
	text, err := f.line(p)
	switch {
	case errors.Is(err, io.EOF) && !f.ended:
		f.ended = true
		p.fault(f.at.Line+1, "the file ends without # EOF: something may be missing behind it")
		return nil
	case err != nil:
		return err
	case string(text) == "# EOF":
		f.ended = true
		return nil
	case len(text) == 0 || text[0] == '#':
		return nil
	}
	if f.seen(p, text) {
		return nil
	}
	f.buffer = append(append(f.buffer[:0], text...), "\n# EOF\n"...)
	parser := textparse.NewOpenMetricsParser(f.buffer, f.symbols)
	if kind, err := parser.Next(); err != nil || kind != textparse.EntrySeries {
		if err == nil {
			err = errors.New("it is no sample")
		}
		p.fault(f.at.Line, "%v", err)
		return nil
	}
	var ls labels.Labels
	_, ms, v := parser.Series()
	parser.Labels(&ls)
	if ms == nil {
		p.fault(f.at.Line, "the sample has no time; history needs one")
		return nil
	}
	device, metric, pairs := named(ls, &f.o, f.pairs[:0])
	if f.pairs = pairs; device == "" {
		p.fault(f.at.Line, "no label %q names the device; say which label does with --device-from, or whose all are with --device", f.o.DeviceFrom)
		return nil
	}
	if p.fits(f.at.Line, device, metric, pairs) {
		number := p.seriesOf(device, metric, pairs)
		f.known[string(text[:seriesEnd(text)])] = number
		p.add(number, *ms, v, f.at.Line)
	}
	return nil
}

const metricLabel = "__name__"

// named takes labels apart; what else a series has are tags.
func named(ls labels.Labels, o *Options, pairs []string) (device, metric string, tags []string) {
	device, tags = o.Device, pairs
	ls.Range(func(l labels.Label) {
		switch {
		case l.Name == metricLabel:
			metric = l.Value
		case l.Name == o.DeviceFrom:
			if device == "" {
				device = l.Value
			}
		case strings.HasPrefix(l.Name, "__"): // of the scraper's own
		default:
			tags = append(tags, l.Name, l.Value)
		}
	})
	return device, metric, tags
}
