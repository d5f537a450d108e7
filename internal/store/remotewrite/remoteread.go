package remotewrite

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// maxFrame bounds a frame of a streamed answer (Prometheus: 50 MB), and
// maxAnswer what one that is not streamed unfolds to.
const (
	maxFrame  = 64 << 20
	maxAnswer = 1 << 30
)

var matchTypes = map[labels.MatchType]prompb.LabelMatcher_Type{
	labels.MatchEqual: prompb.LabelMatcher_EQ, labels.MatchNotEqual: prompb.LabelMatcher_NEQ,
	labels.MatchRegexp: prompb.LabelMatcher_RE, labels.MatchNotRegexp: prompb.LabelMatcher_NRE,
}

func (c *Client) readRequest(ctx context.Context, mint, maxt int64, hints *storage.SelectHints, ms []*labels.Matcher) (*http.Request, error) {
	q := &prompb.Query{StartTimestampMs: mint, EndTimestampMs: maxt}
	for _, m := range ms {
		q.Matchers = append(q.Matchers, &prompb.LabelMatcher{Type: matchTypes[m.Type], Name: m.Name, Value: m.Value})
	}
	if hints != nil {
		q.Hints = &prompb.ReadHints{StepMs: hints.Step, Func: hints.Func, StartMs: hints.Start, EndMs: hints.End, Grouping: hints.Grouping, By: hints.By, RangeMs: hints.Range}
	}
	body, err := (&prompb.ReadRequest{Queries: []*prompb.Query{q}, AcceptedResponseTypes: []prompb.ReadRequest_ResponseType{prompb.ReadRequest_STREAMED_XOR_CHUNKS, prompb.ReadRequest_SAMPLES}}).Marshal()
	if err != nil {
		return nil, err
	}
	return c.protobuf(ctx, body)
}

// remoteRead reads by Prometheus remote read, in chunks where the server can.
func (c *Client) remoteRead(ctx context.Context, into *collector, hints *storage.SelectHints) error {
	req, err := c.readRequest(ctx, into.mint, into.maxt, hints, into.matchers)
	if err != nil {
		return err
	}
	resp, err := c.read.Do(req)
	if err != nil {
		return err
	}
	defer drain(resp.Body)
	switch kind := resp.Header.Get("Content-Type"); {
	case resp.StatusCode != http.StatusOK:
		return failure(resp)
	case strings.HasPrefix(kind, "application/x-streamed-protobuf"):
		return chunked(bufio.NewReaderSize(resp.Body, 64<<10), into)
	default:
		return sampled(resp.Body, into)
	}
}

// chunked reads ChunkedReadResponses, each behind its length and checksum.
func chunked(r *bufio.Reader, into *collector) error {
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	var frame []byte
	for {
		size, err := binary.ReadUvarint(r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if size > maxFrame {
			return fmt.Errorf("remote read: a frame of %d bytes is larger than %d", size, maxFrame)
		}
		frame = slices.Grow(frame[:0], 4+int(size))[:4+size]
		if _, err := io.ReadFull(r, frame); err != nil {
			return fmt.Errorf("remote read: the answer ends within a frame: %w", err)
		}
		if crc32.Checksum(frame[4:], castagnoli) != binary.BigEndian.Uint32(frame) {
			return errors.New("remote read: the checksum of a frame is wrong")
		}
		var answer prompb.ChunkedReadResponse
		if err := answer.Unmarshal(frame[4:]); err != nil {
			return fmt.Errorf("remote read: %w", err)
		}
		for _, s := range answer.ChunkedSeries {
			if err := into.chunks(labelsOf(s.Labels), s.Chunks); err != nil {
				return err
			}
		}
	}
}

// chunks takes the chunks of floats; a hub stores no native histograms. A message
// has memory of its own, so that they may be kept.
func (c *collector) chunks(ls labels.Labels, chunks []prompb.Chunk) error {
	s := c.at(ls)
	if s == nil {
		return nil
	}
	for _, chunk := range chunks {
		if chunk.Type != prompb.Chunk_XOR && chunk.Type != prompb.Chunk_XOR2 {
			continue
		}
		floats, err := chunkenc.FromData(chunkenc.Encoding(chunk.Type), chunk.Data)
		if err != nil {
			return fmt.Errorf("remote read: %w", err)
		}
		if err := c.count(floats.NumSamples()); err != nil {
			return err
		}
		s.chunks = append(s.chunks, floats)
	}
	return nil
}

func sampled(r io.Reader, into *collector) error {
	packed, err := io.ReadAll(io.LimitReader(r, maxAnswer))
	if err != nil {
		return err
	}
	n, err := snappy.DecodedLen(packed)
	if err != nil || n > maxAnswer {
		return fmt.Errorf("remote read: the answer unfolds to %d bytes, of at most %d: %w", n, maxAnswer, err)
	}
	plain, err := snappy.Decode(nil, packed)
	if err != nil {
		return fmt.Errorf("remote read: %w", err)
	}
	var answer prompb.ReadResponse
	if err := answer.Unmarshal(plain); err != nil {
		return fmt.Errorf("remote read: %w", err)
	}
	for _, result := range answer.Results {
		for _, ts := range result.Timeseries {
			s := into.at(labelsOf(ts.Labels))
			if s == nil {
				continue
			}
			if err := into.count(len(ts.Samples)); err != nil {
				return err
			}
			for _, p := range ts.Samples {
				s.points = append(s.points, point{p.Timestamp, p.Value})
			}
		}
	}
	return nil
}

func labelsOf(from []prompb.Label) labels.Labels {
	b := labels.NewScratchBuilder(len(from))
	for _, l := range from {
		b.Add(l.Name, l.Value)
	}
	b.Sort()
	return b.Labels()
}
