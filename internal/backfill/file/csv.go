package file

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxColumns bounds a row, and so what one record adds to a part.
const maxColumns = 10_000

// csvFile is a CSV file (RFC 4180) with a header: in the long form, with columns
// metric and value, or in the wide form, with a column for each metric.
type csvFile struct {
	f     *os.File
	guard *guard
	r     *csv.Reader
	o     Options
	clock *clock
	base  Mark // where r began
	at    Mark

	names                       []string
	time, device, metric, value int    // columns; -1: none
	tags, metrics               []int  // columns
	widest                      string // of the names of metrics

	// rows finds the series of a row's columns by its device and tags, in this part.
	rows   map[string][]int
	key    []byte
	pairs  []string
	filled []cell
}

type cell struct {
	column int
	v      float64
}

// guard fails a reader that goes on for too long without a record coming to its
// end, as one does behind a quote that is never closed.
type guard struct {
	r io.Reader
	n int
}

var errLong = fmt.Errorf("a record is longer than %d bytes: a quote is not closed, or the file is no CSV", maxLine)

func (g *guard) Read(p []byte) (int, error) {
	if g.n > maxLine {
		return 0, errLong
	}
	n, err := g.r.Read(p)
	g.n += n
	return n, err
}

func openCSV(path string, o Options, at Mark) (source, error) {
	f, err := openText(path, Mark{}) // its header comes first
	if err != nil {
		return nil, err
	}
	c := &csvFile{f: f, o: o, rows: map[string][]int{}}
	if err := c.open(at); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return c, nil
}

func (c *csvFile) open(at Mark) (err error) {
	if c.clock, err = newClock(c.o.TimeFormat, c.o.Zone); err != nil {
		return err
	}
	c.reader()
	head, err := c.r.Read()
	if err != nil {
		return fmt.Errorf("the header cannot be read: %w", err)
	}
	if err := c.columns(head); err != nil {
		return err
	}
	if at.Offset == 0 {
		c.at = Mark{c.r.InputOffset(), c.lines(head)}
		return nil
	}
	if err := readable(c.f, at); err != nil {
		return err
	}
	c.base, c.at = at, at
	c.reader()
	return nil
}

func (c *csvFile) reader() {
	c.guard = &guard{r: c.f}
	c.r = csv.NewReader(c.guard)
	c.r.FieldsPerRecord, c.r.ReuseRecord = -1, true
	if c.o.Separator != 0 {
		c.r.Comma = c.o.Separator
	}
}

// columns finds out what each column is.
func (c *csvFile) columns(head []string) error {
	if len(head) > maxColumns {
		return fmt.Errorf("the header has %d columns; at most %d are read", len(head), maxColumns)
	}
	c.names = make([]string, len(head))
	for i, name := range head {
		if i == 0 {
			name = strings.TrimPrefix(name, "\ufeff")
		}
		if c.names[i] = strings.TrimSpace(name); !utf8.ValidString(name) {
			return fmt.Errorf("column %d of the header is no UTF-8; convert the file first (iconv -f GBK -t UTF-8)", i+1)
		}
		if slices.Contains(c.names[:i], c.names[i]) {
			return fmt.Errorf("column %q stands twice in the header", c.names[i])
		}
	}
	c.time, c.device, c.metric, c.value = slices.Index(c.names, c.o.Time), -1, slices.Index(c.names, "metric"), slices.Index(c.names, "value")
	if c.time < 0 {
		return fmt.Errorf("no column %q for the time among %.200q; name it with --time", c.o.Time, c.names)
	}
	if c.device = slices.Index(c.names, c.o.DeviceFrom); c.device < 0 && c.o.Device == "" {
		return fmt.Errorf("no column %q for the device among %.200q; name it with --device-from, or say whose all are with --device", c.o.DeviceFrom, c.names)
	}
	for _, name := range c.o.Tags {
		i := slices.Index(c.names, name)
		if i < 0 {
			return fmt.Errorf("no column %q for a tag among %.200q", name, c.names)
		}
		c.tags = append(c.tags, i)
	}
	if c.metric >= 0 && c.value >= 0 {
		return nil
	}
	c.metric, c.value = -1, -1
	for i, name := range c.names {
		if i != c.time && i != c.device && name != "" && !slices.Contains(c.tags, i) {
			c.metrics = append(c.metrics, i)
			if len(name) > len(c.widest) {
				c.widest = name
			}
		}
	}
	if len(c.metrics) == 0 {
		return errors.New("the header names no metric; the long form has the columns metric and value, the wide form one for each metric")
	}
	return nil
}

// lines is how many lines of the file lie before the end of the record.
func (c *csvFile) lines(record []string) int64 {
	last := len(record) - 1
	line, _ := c.r.FieldPos(last)
	return c.base.Line + int64(line+strings.Count(record[last], "\n"))
}

func (c *csvFile) mark() Mark { return c.at }

func (c *csvFile) begin() { clear(c.rows) }

func (c *csvFile) close() error { return c.f.Close() }

func (c *csvFile) next(p *Part) error {
	c.guard.n = 0
	record, err := c.r.Read()
	var bad *csv.ParseError
	switch {
	case errors.As(err, &bad):
		c.at = Mark{c.base.Offset + c.r.InputOffset(), c.base.Line + int64(bad.Line)}
		p.fault(c.base.Line+int64(bad.StartLine), "%v", bad.Err)
		return nil
	case err != nil:
		return err
	}
	first, _ := c.r.FieldPos(0)
	line := c.base.Line + int64(first)
	c.at = Mark{c.base.Offset + c.r.InputOffset(), c.lines(record)}
	if len(record) != len(c.names) {
		p.fault(line, "the row has %d fields and the header %d", len(record), len(c.names))
		return nil
	}
	ms, err := c.clock.read(record[c.time])
	if err != nil {
		p.fault(line, "%v", err)
		return nil
	}
	device := c.o.Device
	if device == "" {
		if device = strings.TrimSpace(record[c.device]); device == "" {
			p.fault(line, "column %q is empty: no device is named", c.names[c.device])
			return nil
		}
	}
	c.pairs = c.pairs[:0]
	for _, i := range c.tags {
		if record[i] != "" {
			c.pairs = append(c.pairs, c.names[i], record[i])
		}
	}
	if c.metric >= 0 {
		c.long(p, record, device, ms, line)
	} else {
		c.wide(p, record, device, ms, line)
	}
	return nil
}

func (c *csvFile) long(p *Part, record []string, device string, ms, line int64) {
	metric := strings.TrimSpace(record[c.metric])
	if metric == "" {
		p.fault(line, "column %q is empty: no metric is named", c.names[c.metric])
		return
	}
	if !p.fits(line, device, metric, c.pairs) {
		return
	}
	v, err := value(record[c.value])
	if err != nil {
		p.fault(line, "column %q: %v", c.names[c.value], err)
		return
	}
	p.add(p.seriesOf(device, metric, c.pairs), ms, v, line)
}

// wide adds the cells of a row; empty ones are no samples. A cell that cannot be
// read takes no other with it.
func (c *csvFile) wide(p *Part, record []string, device string, ms, line int64) {
	c.filled = c.filled[:0]
	for n, i := range c.metrics {
		s := strings.TrimSpace(record[i])
		if s == "" {
			continue
		}
		v, err := value(s)
		if err != nil {
			p.fault(line, "column %q: %v", c.names[i], err)
			continue
		}
		c.filled = append(c.filled, cell{n, v})
	}
	if len(c.filled) == 0 {
		return
	}
	if !p.fits(line, device, c.widest, c.pairs) {
		return
	}
	c.key = append(c.key[:0], device...)
	for _, t := range c.pairs {
		c.key = append(append(c.key, 0xff), t...)
	}
	row, ok := c.rows[string(c.key)]
	if !ok {
		row = make([]int, len(c.metrics))
		for n := range row {
			row[n] = -1
		}
		c.rows[string(c.key)] = row
	}
	for _, f := range c.filled {
		if row[f.column] < 0 {
			row[f.column] = p.seriesOf(device, c.names[c.metrics[f.column]], c.pairs)
		}
		p.add(row[f.column], ms, f.v, line)
	}
}

func value(s string) (float64, error) {
	s = strings.TrimSpace(s)
	if v, err := strconv.ParseFloat(s, 64); err == nil {
		return v, nil
	}
	switch strings.ToLower(s) {
	case "true":
		return 1, nil
	case "false":
		return 0, nil
	}
	return 0, fmt.Errorf("%.60q is no number", s)
}
