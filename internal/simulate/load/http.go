package load

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// HTTP posts to /api/v1/devices/{id}/telemetry/{format}, one request at a time
// on each connection.
func HTTP(ctx context.Context, cfg Config) (*Result, error) { return run(ctx, cfg, driveHTTP) }

// poster is one HTTP connection that is kept alive. Requests differ in their
// bodies only, which all have one length.
type poster struct {
	*Line
	conn  net.Conn
	read  *bufio.Reader
	head  []byte
	out   []byte
	body  []byte
	next  int
	begin time.Time
	gap   time.Duration
}

func driveHTTP(ctx context.Context, l *Line) error {
	if l.Config.Window > 1 {
		return fmt.Errorf("window %d: an HTTP connection has one request under way; use more connections", l.Config.Window)
	}
	p := &poster{Line: l, next: l.Config.First, begin: time.Now(), read: bufio.NewReaderSize(nil, 4<<10)}
	if l.Config.Rate > 0 {
		p.gap = time.Duration(float64(l.Config.Connections) / l.Config.Rate * float64(time.Second))
	}
	p.head = fmt.Appendf(nil, "POST /api/v1/devices/%s/telemetry/%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n",
		l.Device, l.Config.Format, l.Config.Address, l.Secret, l.Sequence.Size())
	for {
		err := p.session(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
			return nil
		case !l.Config.Again:
			return err
		}
		l.Broken++
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// session connects and posts until all is acknowledged or the connection
// breaks; the request that was under way then is sent again by the next.
func (p *poster) session(ctx context.Context) error {
	d := net.Dialer{Timeout: 10 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", p.Config.Address)
	if err != nil {
		return err
	}
	if p.Config.TLS != nil {
		conn = tls.Client(conn, p.Config.TLS)
	}
	defer conn.Close()
	p.conn = conn
	p.read.Reset(conn)
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for ctx.Err() == nil && !p.done(p.next) {
		sent, err := p.pace(ctx)
		if err != nil {
			return err
		}
		if err := p.post(ctx, sent); err != nil {
			return err
		}
	}
	return nil
}

// pace waits until the next message is due and returns when that was.
func (p *poster) pace(ctx context.Context) (time.Time, error) {
	if p.gap == 0 {
		return time.Now(), nil
	}
	due := p.begin.Add(time.Duration(p.next-p.Config.First) * p.gap)
	return due, wait(ctx, time.Until(due))
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (p *poster) post(ctx context.Context, sent time.Time) error {
	p.out = append(p.out[:0], p.head...)
	p.out = p.Sequence.Append(p.out, p.next)
	if _, err := p.conn.Write(p.out); err != nil {
		return err
	}
	status, err := p.answer()
	if err != nil {
		return err
	}
	switch {
	case status == 200 && bytes.HasSuffix(p.body, []byte(`"rejected":[]}`)):
		p.Ledger.Acknowledge(p.next)
		p.Latencies.Observe(time.Since(sent), 1)
	case status == 429, status == 503:
		return wait(ctx, time.Second)
	default:
		p.Refused++
	}
	p.next++
	return nil
}

// answer reads a response with a Content-Length.
func (p *poster) answer() (status int, err error) {
	length := -1
	for first := true; ; first = false {
		line, err := p.read.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case first:
			if len(line) < 12 {
				return 0, fmt.Errorf("the hub sent %q", line)
			}
			if status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return 0, fmt.Errorf("the hub sent %q", line)
			}
		case len(line) == 0:
			if length < 0 {
				return 0, errors.New("an answer without a Content-Length")
			}
			p.body = append(p.body[:0], make([]byte, length)...)
			_, err := io.ReadFull(p.read, p.body)
			return status, err
		case len(line) > 15 && bytes.EqualFold(line[:15], []byte("Content-Length:")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[15:]))); err != nil {
				return 0, fmt.Errorf("the hub sent %q", line)
			}
		}
	}
}
