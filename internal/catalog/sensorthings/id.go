package sensorthings

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/songhua-io/hub/internal/telemetry"
)

// Ids hold A-Z a-z 0-9 . _ : - of names as they are and every other byte as =XX,
// so that they need no escaping in an address and ~ and @ are free to part them.
const (
	partMark = '~' // device~metric, device~metric~tags
	timeMark = '@' // datastream@milliseconds
)

const metricLabel = "__name__"

func escape(name string) string {
	plain := true
	for i := range len(name) {
		plain = plain && isPlain(name[i])
	}
	if plain {
		return name
	}
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; isPlain(c) {
			b.WriteByte(c)
		} else {
			const digits = "0123456789ABCDEF"
			b.Write([]byte{'=', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == ':' || c == '-'
}

// unescape is the name that escape made an id of; false when it made none such.
func unescape(id string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(id); i++ {
		switch c := id[i]; {
		case isPlain(c):
			b.WriteByte(c)
		case c == '=' && i+2 < len(id):
			raw, err := hex.DecodeString(id[i+1 : i+3])
			if err != nil {
				return "", false
			}
			b.WriteByte(raw[0])
			i += 2
		default:
			return "", false
		}
	}
	name := b.String()
	return name, name != "" && escape(name) == id
}

// tagsOf are the labels that tell the datastreams of one device and metric
// apart. A device that moves to another site or region keeps its datastreams.
func tagsOf(ls labels.Labels) (tags []telemetry.Label) {
	ls.Range(func(l labels.Label) {
		if l.Name != metricLabel && !telemetry.IsReserved([]byte(l.Name)) {
			tags = append(tags, telemetry.Label{Name: l.Name, Value: l.Value})
		}
	})
	return tags
}

var base = base32.StdEncoding.WithPadding(base32.NoPadding)

// streamTail is a datastream's id behind its device: ~metric, and where there are
// tags ~ and the first 80 bits of the SHA-256 of their names and values, sorted
// by name, each followed by a zero byte, in base 32 (RFC 4648).
func streamTail(metric string, tags []telemetry.Label) string {
	tail := string(partMark) + escape(metric)
	if len(tags) == 0 {
		return tail
	}
	var text []byte
	for _, t := range tags {
		text = append(append(append(append(text, t.Name...), 0), t.Value...), 0)
	}
	sum := sha256.Sum256(text)
	return tail + string(partMark) + base.EncodeToString(sum[:10])
}

// parseStream parts a datastream's id. Whether there is one is not known yet.
func parseStream(id string) (device, metric string, ok bool) {
	device, rest, ok := strings.Cut(id, string(partMark))
	if !ok || telemetry.CheckDeviceID(device) != nil {
		return "", "", false
	}
	escaped, _, _ := strings.Cut(rest, string(partMark))
	metric, ok = unescape(escaped)
	return device, metric, ok
}

func observationID(stream string, at int64) string {
	return stream + string(timeMark) + strconv.FormatInt(at, 10)
}

func parseObservation(id string) (stream string, at int64, ok bool) {
	i := strings.LastIndexByte(id, timeMark)
	if i < 0 {
		return "", 0, false
	}
	at, err := strconv.ParseInt(id[i+1:], 10, 64)
	return id[:i], at, err == nil && at == at<<10>>10 && observationID(id[:i], at) == id
}
