package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"
)

// maxLine bounds a line of an export, in bytes.
const maxLine = 64 << 20

// ExportReport is what the verification of an export went over.
type ExportReport struct {
	Entries int64
	Signed  Checkpoint // the newest of the export
	// OwnKey says that no key was given, so that the export's own was taken: that
	// shows that nothing was changed after, not who wrote it.
	OwnKey bool
	// Filtered says that entries were left out; Whole that it has every entry from
	// the first to the checkpoint.
	Filtered, Whole bool
	Findings        int
}

// VerifyExport reads an export, or several one behind the other, and reports
// what is wrong; of the entries the first that is. Checkpoints known otherwise
// are held against it as far as it is whole.
func VerifyExport(r io.Reader, o Outside, found func(Finding)) (ExportReport, error) {
	v := &imported{o: o, lines: bufio.NewReaderSize(r, 64<<10), walk: newWalk(o.Checkpoints), whole: true}
	v.found = func(f Finding) { v.report.Findings++; found(f) }
	err := v.read()
	var f *Finding
	if errors.As(err, &f) {
		v.found(*f)
		err = nil
	}
	v.report.Whole = v.whole && v.report.Findings == 0
	return v.report, err
}

// imported is an export that is read.
type imported struct {
	o      Outside
	lines  *bufio.Reader
	found  func(Finding)
	report ExportReport

	number int        // of the line
	part   opening    // what the entries stand under
	signed Checkpoint // of the part
	last   Entry
	proved bool  // the last entry is
	of     int64 // entries of the part
	ended  bool  // the part has its last line
	whole  bool  // every entry so far follows the one before, from the first on
	walk   *walk
}

// line is any line of an export.
type line struct {
	opening
	exported
	End *struct {
		Entries int64 `json:"entries"`
		Last    int64 `json:"last"`
	} `json:"end"`
}

// read returns a *Finding as error for what ends the verification.
func (v *imported) read() error {
	for {
		text, err := v.lines.ReadSlice('\n')
		long := bytes.Clone(text)
		for errors.Is(err, bufio.ErrBufferFull) && len(long) <= maxLine {
			text, err = v.lines.ReadSlice('\n')
			long = append(long, text...)
		}
		if errors.Is(err, io.EOF) {
			if len(bytes.TrimSpace(long)) > 0 {
				return v.cut("its last line is not whole")
			}
			return v.finish()
		}
		if err != nil {
			return fmt.Errorf("line %d of the export: %w", v.number+1, err)
		}
		v.number++
		if err := v.take(long); err != nil {
			return err
		}
	}
}

func (v *imported) take(text []byte) error {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return &Finding{Seq: v.last.Seq + 1, How: Changed, Text: fmt.Sprintf("line %d of the export is no JSON of an entry: %v", v.number, err)}
	}
	switch {
	case l.Format != "":
		return v.open(l.opening)
	case v.part.Format == "":
		return &Finding{How: Unproved, Text: "the export does not begin with its first line ({\"audit\": …}), which holds the checkpoint"}
	case l.End != nil:
		return v.end(l.End.Entries, l.End.Last)
	}
	v.ended = false
	return v.entry(&l.exported)
}

func (v *imported) open(p opening) error {
	if p.Format != Format {
		return &Finding{How: Unproved, Text: fmt.Sprintf("line %d: format %q is not %s; take a newer hub to verify it", v.number, p.Format, Format)}
	}
	keys := v.o.Keys
	if len(keys.text) == 0 {
		var err error
		if keys, err = ParseKeys(p.Key); err != nil {
			return &Finding{How: BadCheckpoint, Text: fmt.Sprintf("line %d: %v", v.number, err)}
		}
		v.report.OwnKey = true
	}
	c, err := keys.Open(p.Checkpoint)
	if err != nil {
		f := badCheckpoint(fmt.Sprintf("the checkpoint in line %d", v.number), err)
		return &f
	}
	if v.part.Format != "" && p.After != v.last.Seq && (!v.proved || p.After < v.last.Seq) {
		return v.cut(fmt.Sprintf("the next part begins behind entry %d", p.After))
	}
	c.From = "the export"
	for _, known := range v.o.Checkpoints {
		if known.Size > c.Size && !known.At.After(c.At) {
			v.found(Finding{Seq: c.Size + 1, How: Truncated, Text: fmt.Sprintf("the export's checkpoint of %s covers %d entries, but an earlier one (%s) covers %d", c.At.Format(timeShown), c.Size, known.From, known.Size)})
		}
		if known.Size == c.Size && known.Root != c.Root {
			v.found(Finding{How: Forged, Text: fmt.Sprintf("the export's checkpoint and the one of %s differ about the same %d entries", known.From, c.Size)})
		}
	}
	if p.After > v.last.Seq {
		v.whole = false
	}
	v.part, v.signed, v.of, v.ended = p, c, 0, false
	v.report.Filtered = v.report.Filtered || p.Filter != nil
	if c.Size >= v.report.Signed.Size {
		v.report.Signed = c
	}
	return nil
}

func (v *imported) entry(x *exported) error {
	e, err := x.entry()
	if err != nil {
		return &Finding{Seq: x.Seq, How: Changed, Text: fmt.Sprintf("entry %d in line %d was changed: its hashes are not whole", x.Seq, v.number)}
	}
	if f := v.follows(e); f != nil {
		return f
	}
	if v.whole {
		if v.whole = e.Seq == v.walk.last.Seq+1; v.whole {
			if _, f := v.walk.take(e); f != nil {
				return f
			}
		}
	}
	v.last, v.proved = e, x.Proof != nil
	v.of++
	v.report.Entries++
	if x.Proof == nil {
		return nil
	}
	if err := tlog.CheckRecord(*x.Proof, v.signed.Size, v.signed.Root, e.Seq-1, tlog.RecordHash(e.Hash[:])); err != nil {
		return &Finding{Seq: e.Seq, How: Forged, Text: fmt.Sprintf(
			"entry %d is not the one that was signed at %s: it, or one before it, was replaced and the hashes computed anew", e.Seq, v.signed.At.Format(timeShown))}
	}
	return nil
}

// follows says what is wrong between the last entry and the next.
func (v *imported) follows(e Entry) *Finding {
	if e.Seq <= v.last.Seq {
		return &Finding{Seq: e.Seq, How: Reordered, Text: fmt.Sprintf("entry %d in line %d comes after entry %d: entries were reordered or inserted", e.Seq, v.number, v.last.Seq)}
	}
	near, expected := v.part.Filter == nil || v.last.Seq > 0 && !v.proved, v.last.Seq+1
	if v.part.Filter == nil && v.of == 0 {
		expected = v.part.After + 1
	}
	if near && e.Seq != expected {
		if v.comes(expected) {
			return &Finding{Seq: expected, How: Reordered, Text: fmt.Sprintf("entry %d stands behind entry %d: entries were reordered", expected, e.Seq)}
		}
		return removed(expected, e.Seq-1, fmt.Sprintf("entry %d follows in line %d", e.Seq, v.number))
	}
	a := around{last: v.last, elsewhere: func([32]byte, int64) bool { return false }, newest: e.Seq}
	if e.Hash != e.digest() {
		a.last.Seq = e.Seq - 1
		return a.damage(e)
	}
	if v.last.Seq == e.Seq-1 && e.Prev != v.last.Hash {
		return a.damage(e)
	}
	return nil
}

// comes reads on and looks for an entry.
func (v *imported) comes(seq int64) bool {
	lines := json.NewDecoder(v.lines)
	for {
		var x struct{ Seq int64 }
		if err := lines.Decode(&x); err != nil {
			return false
		}
		if x.Seq == seq {
			return true
		}
	}
}

func (v *imported) end(entries, last int64) error {
	if entries != v.of || entries > 0 && (last != v.last.Seq || !v.proved) {
		return v.cut(fmt.Sprintf("its last line speaks of %d entries up to %d, and there are %d up to %d", entries, last, v.of, v.last.Seq))
	}
	if v.part.Filter == nil && v.last.Seq != v.signed.Size && v.part.After < v.signed.Size {
		return v.cut(fmt.Sprintf("its checkpoint covers %d entries", v.signed.Size))
	}
	v.ended = true
	return nil
}

func (v *imported) cut(why string) *Finding {
	return &Finding{Seq: v.last.Seq + 1, How: Truncated, Text: fmt.Sprintf("the export was cut off after entry %d: %s", v.last.Seq, why)}
}

func (v *imported) finish() error {
	switch {
	case v.part.Format == "":
		return &Finding{How: Unproved, Text: "the export is empty"}
	case !v.ended:
		return v.cut("its last line ({\"end\": …}) is missing")
	}
	return nil
}
