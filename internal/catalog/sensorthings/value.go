package sensorthings

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
)

// kind is what a value is.
type kind uint8

const (
	null kind = iota
	text
	number
	instant // milliseconds since the Unix epoch
	boolean
	object
	dynamic // of a property: known when it is read
)

func (k kind) String() string {
	return [...]string{"null", "a text", "a number", "a time", "true or false", "an object", "anything"}[k]
}

// zh is the kind in Chinese.
func (k kind) zh() string {
	return [...]string{"空值", "文本", "数字", "时刻", "真假值", "对象", "任意值"}[k]
}

// value is what a property has. The zero value is null.
type value struct {
	kind   kind
	text   string
	number float64 // of a boolean 0 or 1
	at     int64
	fields []field
	items  []value // an object with items is a list
}

type field struct {
	name  string
	value value
}

func textOf(s string) value     { return value{kind: text, text: s} }
func numberOf(v float64) value  { return value{kind: number, number: v} }
func instantOf(ms int64) value  { return value{kind: instant, at: ms} }
func objectOf(f ...field) value { return value{kind: object, fields: f} }

func truthOf(b bool) value {
	v := value{kind: boolean}
	if b {
		v.number = 1
	}
	return v
}

// textOrNull is null for the empty text.
func textOrNull(s string) value {
	if s == "" {
		return value{}
	}
	return textOf(s)
}

// optional leaves fields without a value out.
func optional(all ...field) value {
	kept := []field{}
	for _, f := range all {
		if f.value.kind != null && (f.value.kind != object || len(f.value.fields)+len(f.value.items) > 0) {
			kept = append(kept, f)
		}
	}
	return objectOf(kept...)
}

// in follows a path into an object; null where it leads nowhere.
func (v value) in(path []string) value {
	for _, name := range path {
		next := value{}
		for _, f := range v.fields {
			if f.name == name {
				next = f.value
			}
		}
		v = next
	}
	return v
}

const timeLayout = "2006-01-02T15:04:05.000Z"

func appendValue(b []byte, v value) []byte {
	switch v.kind {
	case text:
		return appendText(b, v.text)
	case number:
		return appendNumber(b, v.number)
	case boolean:
		return strconv.AppendBool(b, v.number != 0)
	case instant:
		b = append(b, '"')
		b = time.UnixMilli(v.at).UTC().AppendFormat(b, timeLayout)
		return append(b, '"')
	case object:
		if v.items != nil {
			return appendItems(b, v.items)
		}
		return appendFields(b, v.fields)
	}
	return append(b, "null"...)
}

func appendItems(b []byte, items []value) []byte {
	b = append(b, '[')
	for i, v := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendValue(b, v)
	}
	return append(b, ']')
}

func appendFields(b []byte, fields []field) []byte {
	b = append(b, '{')
	for i, f := range fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, f.name), ':')
		b = appendValue(b, f.value)
	}
	return append(b, '}')
}

// appendNumber writes what JSON has no number for as OData does: "NaN", "INF" and
// "-INF" (OData JSON 4.01, 7.1).
func appendNumber(b []byte, v float64) []byte {
	switch {
	case math.IsNaN(v):
		return append(b, `"NaN"`...)
	case math.IsInf(v, 1):
		return append(b, `"INF"`...)
	case math.IsInf(v, -1):
		return append(b, `"-INF"`...)
	case v == math.Trunc(v) && math.Abs(v) < 1<<53:
		return strconv.AppendInt(b, int64(v), 10)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x80 {
			quoted, err := json.Marshal(s)
			if err != nil {
				panic(err) // every text has a JSON form
			}
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
