package modbus

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/songhua-io/hub/internal/edge/source"
)

// server is a Modbus TCP server whose units answer from their registers. A
// silent unit does not answer; a late one answers after the next request came.
type server struct {
	mu        sync.Mutex
	registers map[byte]map[uint16]uint16 // by unit
	bits      map[byte]map[uint16]bool
	silent    map[byte]bool
	requests  int
}

func (s *server) listen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	return l.Addr().String()
}

func (s *server) serve(conn net.Conn) {
	defer conn.Close()
	var late []byte
	for {
		var req [12]byte
		if _, err := io.ReadFull(conn, req[:]); err != nil {
			return
		}
		answer := s.answer(req)
		if answer == nil {
			late = s.frame(req, []byte{req[7], 2, 0xde, 0xad})
			continue
		}
		if _, err := conn.Write(append(late, answer...)); err != nil {
			return
		}
		late = nil
	}
}

func (s *server) answer(req [12]byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	unit, function := req[6], req[7]
	first, count := binary.BigEndian.Uint16(req[8:]), binary.BigEndian.Uint16(req[10:])
	if s.silent[unit] {
		return nil
	}
	var data []byte
	for i := range count {
		at := first + i
		if function <= 2 {
			if i%8 == 0 {
				data = append(data, 0)
			}
			if s.bits[unit][at] {
				data[i/8] |= 1 << (i % 8)
			}
			continue
		}
		v, ok := s.registers[unit][at]
		if !ok {
			return s.frame(req, []byte{function | 0x80, 2})
		}
		data = binary.BigEndian.AppendUint16(data, v)
	}
	return s.frame(req, append([]byte{function, byte(len(data))}, data...))
}

func (s *server) frame(req [12]byte, pdu []byte) []byte {
	f := append([]byte{}, req[0], req[1], 0, 0, 0, byte(len(pdu)+1), req[6])
	return append(f, pdu...)
}

func register(name, table string, address uint16, kind, order string, scale, offset float64) Register {
	return Register{Name: name, Table: table, Address: address, Type: kind, Order: order, Scale: scale, Offset: offset}
}

// readOnce takes one reading.
func readOnce(t *testing.T, b *bus, units ...Unit) (values map[string]float64, faults []string, err error) {
	t.Helper()
	var plans []plan
	for _, u := range units {
		plans = append(plans, newPlan(u))
	}
	r, err := b.readAll(t.Context(), plans, time.Now())
	values = map[string]float64{}
	for _, s := range r.Samples {
		values[string(s.Metric)] = s.Value
	}
	for _, f := range r.Faults {
		faults = append(faults, f.Error())
	}
	return values, faults, err
}

func TestRegistersOfEveryType(t *testing.T) {
	f := math.Float32bits(21.5)
	d := math.Float64bits(-1234.5678)
	s := &server{
		registers: map[byte]map[uint16]uint16{1: {
			0: 0xfffe, 1: 40000, 2: uint16(f >> 16), 3: uint16(f), 4: uint16(f), 5: uint16(f >> 16),
			6: 0xffff, 7: 0xff9c, 8: 0x0001, 9: 0x0000,
			20: uint16(d >> 48), 21: uint16(d >> 32), 22: uint16(d >> 16), 23: uint16(d), 30: 0x3412, 31: 0x7856,
		}},
		bits: map[byte]map[uint16]bool{1: {3: true, 11: true}},
	}
	b := &bus{cfg: Config{Address: s.listen(t), Timeout: 5 * time.Second}}
	defer b.hangUp()
	got, faults, err := readOnce(t, b, Unit{ID: 1, Registers: []Register{
		register("int16", "holding", 0, "int16", "ABCD", 0.1, 100),
		register("uint16", "holding", 1, "uint16", "ABCD", 1, 0),
		register("float", "holding", 2, "float32", "ABCD", 1, 0),
		register("swapped", "holding", 4, "float32", "CDAB", 1, 0),
		register("int32", "input", 6, "int32", "ABCD", 1, 0),
		register("uint32", "input", 8, "uint32", "ABCD", 1, 0),
		register("double", "input", 20, "float64", "ABCD", 1, 0),
		register("badc", "input", 30, "uint32", "BADC", 1, 0),
		register("dcba", "input", 30, "uint32", "DCBA", 1, 0),
		register("on", "coil", 3, "uint16", "ABCD", 1, 0),
		register("off", "discrete", 4, "uint16", "ABCD", 1, 0),
		register("far", "coil", 11, "uint16", "ABCD", 1, 0),
	}})
	want := map[string]float64{
		"int16": 99.8, "uint16": 40000, "float": 21.5, "swapped": 21.5, "int32": -100, "uint32": 65536, "double": -1234.5678,
		"badc": 0x12345678, "dcba": 0x56781234, "on": 1, "off": 0, "far": 1,
	}
	if d := cmp.Diff(want, got, cmpopts.EquateApprox(0, 1e-9)); err != nil || faults != nil || d != "" {
		t.Error(err, faults, d)
	}
	// Neighbours share a request: holding 0-5, input 6-9, 20-23, 30-31, coils 3 and 11, discrete 4.
	if s.requests != 7 {
		t.Errorf("%d requests", s.requests)
	}
}

func TestADeadUnitCostsOnlyItsOwnValues(t *testing.T) {
	s := &server{
		registers: map[byte]map[uint16]uint16{1: {0: 11}, 2: {0: 22}, 3: {0: 33, 5: 55}},
		silent:    map[byte]bool{2: true},
	}
	b := &bus{cfg: Config{Address: s.listen(t), Timeout: 2 * time.Second}} // of a healthy unit on a busy machine
	defer b.hangUp()
	one := func(id uint8) Unit {
		return Unit{ID: id, Registers: []Register{register(fmt.Sprintf("u%d", id), "holding", 0, "uint16", "ABCD", 1, 0)}}
	}
	three := one(3)
	three.Registers = append(three.Registers, register("refused", "holding", 9, "uint16", "ABCD", 1, 0), register("kept", "holding", 5, "uint16", "ABCD", 1, 0))
	for range 2 {
		got, faults, err := readOnce(t, b, one(1), one(2), three)
		if d := cmp.Diff(map[string]float64{"u1": 11, "u3": 33, "kept": 55}, got); err != nil || d != "" {
			t.Error(err, d)
		}
		if len(faults) != 2 || !strings.Contains(faults[0], "unit 2") || !strings.Contains(faults[1], "illegal data address") {
			t.Errorf("%q", faults)
		}
	}
	// It comes back without anybody's doing.
	s.mu.Lock()
	s.silent[2] = false
	s.mu.Unlock()
	got, _, _ := readOnce(t, b, one(2))
	if got["u2"] != 22 {
		t.Error(got)
	}
}

func TestAServerThatIsAwayIsAFailure(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Address: address, Timeout: time.Second, Interval: source.Interval{Interval: time.Hour}, Units: []Unit{{ID: 1, Registers: []Register{register("x", "input", 0, "int16", "ABCD", 1, 0)}}}}
	err = New(cfg, time.Now).Run(t.Context(), func(context.Context, source.Record) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "unit 1") {
		t.Error(err)
	}
}

// canned is a connection on which the answer is there already.
type canned struct {
	net.Conn
	in *bytes.Reader
}

func (c canned) Read(b []byte) (int, error) { return c.in.Read(b) }
func (canned) Write(b []byte) (int, error)  { return len(b), nil }
func (canned) SetDeadline(time.Time) error  { return nil }

func FuzzAnswer(f *testing.F) {
	f.Add(byte(3), uint8(2), []byte{0, 1, 0, 0, 0, 7, 9, 3, 4, 1, 2, 3, 4})
	f.Add(byte(1), uint8(9), []byte{0, 1, 0, 0, 0, 5, 9, 1, 2, 0xff, 1})
	f.Add(byte(4), uint8(1), []byte{0, 1, 0, 0, 0, 3, 9, 0x84, 2})
	f.Fuzz(func(t *testing.T, function byte, count uint8, in []byte) {
		function, count = 1+function%4, max(1, count%maxWords)
		c := &client{conn: canned{in: bytes.NewReader(in)}, timeout: time.Second}
		data, err := c.read(9, function, 0, int(count))
		if err != nil {
			return
		}
		for _, table := range []string{"coil", "discrete", "holding", "input"}[function-1 : function] {
			r := register("m", table, 0, "uint16", "ABCD", 1, 0)
			_ = r.value(r.cut(data, int(count)-1))
		}
	})
}
