package remotewrite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"strconv"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/songhua-io/hub/internal/telemetry"
)

// export reads by /api/v1/export of VictoriaMetrics: an object for each series,
// or for a part of one.
func (c *Client) export(ctx context.Context, into *collector) error {
	from, to := bounds(into.mint, into.maxt)
	req, err := c.form(ctx, "/api/v1/export", url.Values{"match[]": {selector(into.matchers)}, "start": {moment(from)}, "end": {moment(to)}})
	if err != nil {
		return err
	}
	body, err := c.ask(req)
	if err != nil {
		return err
	}
	defer drain(body)
	lines := json.NewDecoder(body)
	for {
		var line struct {
			Metric     map[string]string `json:"metric"`
			Values     exportedValues    `json:"values"`
			Timestamps exportedTimes     `json:"timestamps"`
		}
		err := lines.Decode(&line)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("export: %w", err)
		}
		if len(line.Values) != len(line.Timestamps) {
			return fmt.Errorf("export: a series has %d values and %d times", len(line.Values), len(line.Timestamps))
		}
		if err := into.count(len(line.Values)); err != nil {
			return err
		}
		if s := into.at(labels.FromMap(line.Metric)); s != nil {
			for i, t := range line.Timestamps {
				s.points = append(s.points, point{t, line.Values[i]})
			}
		}
	}
}

// exportedValues are numbers, the texts "Infinity" and "-Infinity", and null,
// which is a stale marker: VictoriaMetrics stores no other NaN.
type exportedValues []float64

func (v *exportedValues) UnmarshalJSON(b []byte) error {
	return eachElement(b, func(e []byte) (err error) {
		f := telemetry.StaleMarker()
		switch text := string(bytes.Trim(e, `"`)); text {
		case "null":
		case "Infinity":
			f = math.Inf(1)
		case "-Infinity":
			f = math.Inf(-1)
		default:
			f, err = strconv.ParseFloat(text, 64)
		}
		*v = append(*v, f)
		return err
	})
}

type exportedTimes []int64

func (t *exportedTimes) UnmarshalJSON(b []byte) error {
	return eachElement(b, func(e []byte) error {
		at, err := strconv.ParseInt(string(e), 10, 64)
		*t = append(*t, at)
		return err
	})
}

// eachElement calls f with the elements of a JSON array of numbers, null and
// texts without commas.
func eachElement(b []byte, f func([]byte) error) error {
	b = bytes.TrimSpace(b)
	if len(b) < 2 || b[0] != '[' || b[len(b)-1] != ']' {
		return fmt.Errorf("%.40q is no array", b)
	}
	for b = b[1 : len(b)-1]; len(b) > 0; {
		e, rest, _ := bytes.Cut(b, []byte{','})
		if err := f(bytes.TrimSpace(e)); err != nil {
			return err
		}
		b = rest
	}
	return nil
}
