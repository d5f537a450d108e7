// Package file reads files of history, of whatever form, as parts of samples that
// a hub takes one after the other. It reads from a mark on, holds one part in
// memory, and tells of each line that it cannot read.
package file

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/codec"
)

// Formats of files.
const (
	CSV         = "csv"
	Influx      = "influx"
	OpenMetrics = "openmetrics"
	Blocks      = "prometheus-blocks"
)

// Formats lists the formats.
func Formats() []string { return []string{CSV, Influx, OpenMetrics, Blocks} }

// Options say how a file is read.
type Options struct {
	Format string
	// Device is whose all samples are; empty: DeviceFrom names the column, tag or
	// label with the device, and no tag.
	Device, DeviceFrom string
	// Time is the column with the time, and TimeFormat how it is written, by the
	// conversions of strptime (%Y-%m-%d %H:%M:%S), or s, ms, us or ns; empty: it is
	// recognised. Zone is that of times that name none; nil: there are none such.
	Time, TimeFormat string
	Zone             *time.Location
	// Tags are columns of a CSV file that are tags. In the wide form all others are
	// metrics.
	Tags      []string
	Separator rune
	// Precision is the unit of times in line protocol.
	Precision time.Duration
}

// Fingerprint tells apart readings of one file that give other samples.
func (o *Options) Fingerprint() string {
	zone := ""
	if o.Zone != nil {
		zone = o.Zone.String()
	}
	return fmt.Sprintf("%q", []string{o.Format, o.Device, o.DeviceFrom, o.Time, o.TimeFormat, zone, strings.Join(o.Tags, "\x00"), string(o.Separator), o.Precision.String()})
}

// Mark is a place in a file: in bytes and lines, or in series and samples of a
// block.
type Mark struct{ Offset, Line int64 }

// String writes a mark as ParseMark reads it.
func (m Mark) String() string { return fmt.Sprintf("%d:%d", m.Offset, m.Line) }

// ParseMark reads a mark; the empty one is the begin of a file.
func ParseMark(s string) (m Mark, err error) {
	if s == "" {
		return m, nil
	}
	offset, line, _ := strings.Cut(s, ":")
	if m.Offset, err = strconv.ParseInt(offset, 10, 64); err == nil {
		m.Line, err = strconv.ParseInt(line, 10, 64)
	}
	if err != nil || m.Offset < 0 || m.Line < 0 {
		return m, fmt.Errorf("%q is no place in a file", s)
	}
	return m, nil
}

// Fault is a line that cannot be read.
type Fault struct {
	Line   int64 // from 1; of a block: the series
	Detail string
}

// Bounds of a part, and of a line.
const (
	partSamples = 50_000
	partFaults  = 5_000
	maxLine     = 1 << 20
)

// Reader reads a file.
type Reader struct {
	from source
}

// source is a file of one form. Begin is told of each new part.
type source interface {
	begin()
	// next adds one record to a part; io.EOF behind the last.
	next(*Part) error
	mark() Mark
	close() error
}

// Open opens a file from a mark on.
func Open(path string, o Options, at Mark) (*Reader, error) {
	var s source
	var err error
	switch o.Format {
	case CSV:
		s, err = openCSV(path, o, at)
	case Influx:
		s, err = openInflux(path, o, at)
	case OpenMetrics:
		s, err = openMetrics(path, o, at)
	case Blocks:
		s, err = openBlock(path, o, at)
	default:
		err = fmt.Errorf("format %q is not read; there are %s", o.Format, strings.Join(Formats(), ", "))
	}
	if err != nil {
		return nil, err
	}
	return &Reader{s}, nil
}

// Close closes the file.
func (r *Reader) Close() error { return r.from.close() }

// Next reads a part in the place of what p held. The last one says so.
func (r *Reader) Next(p *Part) error {
	p.reset(r.from.mark())
	r.from.begin()
	for p.Samples < partSamples && len(p.Faults) < partFaults && p.text < partText {
		err := r.from.next(p)
		if errors.Is(err, io.EOF) {
			p.Last = true
			break
		}
		if err != nil {
			return err
		}
	}
	p.Mark = r.from.mark()
	return nil
}

// Part is samples of a file from one mark to another.
type Part struct {
	From, Mark Mark
	Samples    int
	Faults     []Fault
	Last       bool

	series []series
	index  map[string]int
	key    []byte
	text   int   // bytes of the labels of all series
	order  []int // of series, by device
	ends   []int // of each series in order, as count of samples
}

type series struct {
	device string
	labels []string // pairs of name and value, __name__ and device among them
	points []point
}

type point struct {
	ms    int64
	value float64
	line  int64
}

func (p *Part) reset(from Mark) {
	p.From, p.Mark, p.Samples, p.Last, p.text = from, from, 0, false, 0
	p.Faults, p.series, p.order, p.ends = p.Faults[:0], p.series[:0], p.order[:0], p.ends[:0]
	if p.index == nil {
		p.index = map[string]int{}
	}
	clear(p.index)
}

func (p *Part) fault(line int64, format string, args ...any) {
	p.Faults = append(p.Faults, Fault{line, fmt.Sprintf(format, args...)})
}

// seriesOf returns the number of a series in the part; tags are pairs of name and
// value.
func (p *Part) seriesOf(device, metric string, tags []string) int {
	p.key = append(append(append(p.key[:0], device...), 0xff), metric...)
	for _, t := range tags {
		p.key = append(append(p.key, 0xfe), t...)
	}
	if i, ok := p.index[string(p.key)]; ok {
		return i
	}
	i := len(p.series)
	if i < cap(p.series) {
		p.series = p.series[:i+1]
	} else {
		p.series = append(p.series, series{})
	}
	s := &p.series[i]
	s.device = strings.Clone(device)
	s.labels = append(s.labels[:0], "__name__", strings.Clone(metric), "device", s.device)
	for _, t := range tags {
		s.labels = append(s.labels, strings.Clone(t))
	}
	s.points = s.points[:0]
	p.text += len(p.key)
	p.index[string(p.key)] = i
	return i
}

func (p *Part) add(series int, ms int64, v float64, line int64) {
	s := &p.series[series]
	s.points = append(s.points, point{ms, v, line})
	p.Samples++
}

// Devices calls yield for every device of the part, in order, with the count of
// its samples.
func (p *Part) Devices(yield func(device string, samples int)) {
	p.arrange(nil)
	for i := 0; i < len(p.order); {
		device, n := p.series[p.order[i]].device, 0
		for ; i < len(p.order) && p.series[p.order[i]].device == device; i++ {
			n += len(p.series[p.order[i]].points)
		}
		yield(device, n)
	}
}

// arrange puts the series of a device beside one another, without those that are
// left out.
func (p *Part) arrange(without map[string]bool) {
	p.order, p.ends = p.order[:0], p.ends[:0]
	for i := range p.series {
		if !without[p.series[i].device] {
			p.order = append(p.order, i)
		}
	}
	slices.SortStableFunc(p.order, func(a, b int) int { return cmp.Compare(p.series[a].device, p.series[b].device) })
	end := 0
	for _, i := range p.order {
		end += len(p.series[i].points)
		p.ends = append(p.ends, end)
	}
}

// Encode writes the part as a hub takes it, without the samples of some devices;
// nil when there are none.
func (p *Part) Encode(e *codec.RemoteWriteEncoder, without map[string]bool) []byte {
	p.arrange(without)
	if len(p.ends) == 0 || p.ends[len(p.ends)-1] == 0 {
		return nil
	}
	for _, i := range p.order {
		s := &p.series[i]
		e.Begin(s.labels...)
		for _, pt := range s.points {
			e.Sample(pt.ms, pt.value)
		}
	}
	return e.Bytes()
}

// At returns whose the sample of an index is that Encode wrote, and its line.
func (p *Part) At(index int) (device, metric string, ms, line int64) {
	i := sort.SearchInts(p.ends, index+1)
	if i == len(p.ends) {
		return "", "", 0, 0
	}
	s := &p.series[p.order[i]]
	pt := s.points[index-(p.ends[i]-len(s.points))]
	return s.device, s.labels[1], pt.ms, pt.line
}

// Of calls yield for the samples of a device.
func (p *Part) Of(device string, yield func(metric string, ms, line int64)) {
	for _, i := range p.order {
		if s := &p.series[i]; s.device == device {
			for _, pt := range s.points {
				yield(s.labels[1], pt.ms, pt.line)
			}
		}
	}
}
