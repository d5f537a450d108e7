package modbus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// client is a Modbus TCP master on one connection (Modbus Messaging on TCP/IP
// 1.0b).
type client struct {
	conn        net.Conn
	timeout     time.Duration
	transaction uint16
}

const (
	// maxWords and maxBits bound one request.
	maxWords = 125
	maxBits  = 2000
	// maxAnswer is the largest protocol data unit, with the unit identifier.
	maxAnswer = 254
)

// exception is an answer that says why there is no value.
type exception byte

func (e exception) Error() string {
	names := map[exception]string{
		1: "illegal function", 2: "illegal data address", 3: "illegal data value", 4: "device failure", 5: "acknowledge",
		6: "device busy", 8: "memory parity error", 10: "gateway path unavailable", 11: "gateway target does not respond",
	}
	if name, ok := names[e]; ok {
		return fmt.Sprintf("exception %d (%s)", byte(e), name)
	}
	return fmt.Sprintf("exception %d", byte(e))
}

// read asks the unit for count values from the address on, and returns the
// bytes that follow the byte count.
func (c *client) read(unit, function byte, address uint16, count int) ([]byte, error) {
	c.transaction++
	var req [12]byte
	binary.BigEndian.PutUint16(req[0:], c.transaction)
	binary.BigEndian.PutUint16(req[4:], 6)
	req[6], req[7] = unit, function
	binary.BigEndian.PutUint16(req[8:], address)
	binary.BigEndian.PutUint16(req[10:], uint16(count))
	if err := c.conn.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return nil, err
	}
	if _, err := c.conn.Write(req[:]); err != nil {
		return nil, err
	}
	pdu, err := c.answer(unit)
	if err != nil {
		return nil, err
	}
	want := 2 * count
	if function <= 2 {
		want = (count + 7) / 8
	}
	switch {
	case len(pdu) == 2 && pdu[0] == function|0x80:
		return nil, exception(pdu[1])
	case len(pdu) < 2 || pdu[0] != function:
		return nil, fmt.Errorf("the answer is of another function than %d", function)
	case int(pdu[1]) != want || len(pdu) != 2+want:
		return nil, fmt.Errorf("the answer has %d B, %d were asked for", len(pdu)-2, want)
	}
	return pdu[2:], nil
}

// answer reads frames until the one of this transaction: what comes late from
// a unit that had been given up is passed over.
func (c *client) answer(unit byte) ([]byte, error) {
	for {
		var head [7]byte
		if _, err := io.ReadFull(c.conn, head[:]); err != nil {
			return nil, err
		}
		n := int(binary.BigEndian.Uint16(head[4:]))
		if binary.BigEndian.Uint16(head[2:]) != 0 || n < 2 || n > maxAnswer {
			return nil, errDesync
		}
		pdu := make([]byte, n-1)
		if _, err := io.ReadFull(c.conn, pdu); err != nil {
			return nil, err
		}
		if binary.BigEndian.Uint16(head[:]) == c.transaction && head[6] == unit {
			return pdu, nil
		}
	}
}

var errDesync = errors.New("the server sends what is no Modbus TCP; check address and port")

// alive reports whether the connection can be used after the error: an
// exception and a silent unit leave it whole.
func alive(err error) bool {
	if e := exception(0); errors.As(err, &e) {
		return true
	}
	n := net.Error(nil)
	return errors.As(err, &n) && n.Timeout()
}
