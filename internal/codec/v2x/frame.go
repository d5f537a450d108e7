package v2x

import "fmt"

// Decode reads a frame into f, whose memory it uses again. It returns how many
// octets the frame has and how many extensions of later editions were skipped; an
// error is an *Error. What f holds after an error means nothing.
func (f *MessageFrame) Decode(data []byte) (n, unknown int, err error) {
	r := reader{data: data, end: 8 * len(data)}
	f.decode(&r)
	if r.fault != nil {
		return 0, 0, r.fault
	}
	return (r.pos + 7) / 8, r.unknown, nil
}

// AppendEncoded appends the frame. An error is an *Error.
func (f *MessageFrame) AppendEncoded(to []byte) ([]byte, error) {
	w := writer{data: to}
	f.encode(&w)
	if w.fault != nil {
		w.fault.Bit -= 8 * len(to)
		return to, w.fault
	}
	w.finish()
	return w.data, nil
}

// Later is a frame of a later edition (Day 2): T/CSAE 157-2020 and others put
// their messages into the first extension of MessageFrame.
type Later struct {
	MessageID int
	Raw       []byte // of the message, as it is
}

// Name is that of the message, or ext:<id>.
func (l Later) Name() string {
	switch l.MessageID {
	case 11:
		return "RSC"
	case 12:
		return "SSM"
	case 13:
		return "VIR"
	case 16:
		return "CLPMM"
	}
	return fmt.Sprintf("ext:%d", l.MessageID)
}

// Later returns the message of a later edition that the frame carries; false
// when it carries another. Raw is of the memory of f.
func (f *MessageFrame) Later() (Later, bool) {
	if f.Alt != MessageFrameOther || f.Other.Index != 0 {
		return Later{}, false
	}
	r := reader{data: f.Other.Raw, end: 8 * len(f.Other.Raw)}
	r.take(1)
	l := Later{MessageID: int(r.take(15))}
	if n := r.open(""); r.fault == nil {
		from := r.pos / 8
		l.Raw = f.Other.Raw[from : from+n]
	}
	return l, r.fault == nil
}
