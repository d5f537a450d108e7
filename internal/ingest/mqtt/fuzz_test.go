package mqtt_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"
)

// exchange sends the pieces to a fresh server and returns what it answers.
func exchange(t *testing.T, pieces ...[]byte) []byte {
	t.Helper()
	l := newPipes()
	h := startOn(t, newMemory("t1"), l)
	defer h.stop()
	client := l.dial()
	var answer bytes.Buffer
	read := make(chan error, 1)
	go func() { _, err := io.Copy(&answer, client); read <- err }()
	// An empty write ends when the server reads again: by then it has answered
	// all that came before.
	for _, p := range append(pieces, nil) {
		err := client.SetWriteDeadline(time.Now().Add(5 * time.Second))
		if err == nil {
			_, err = client.Write(p)
		}
		if errors.Is(err, io.ErrClosedPipe) {
			break // the server has ended the connection
		}
		if err != nil {
			t.Fatalf("the server neither reads nor closes: %v", err)
		}
	}
	client.Close()
	<-read
	return answer.Bytes()
}

// packets returns type and identifier of every packet that the server sent:
// reasons may name the time of day.
func packets(t *testing.T, b []byte) (all []string) {
	t.Helper()
	for len(b) > 0 {
		length, n, shift := 0, 1, 0
		for ; n < len(b); n++ {
			length |= int(b[n]&0x7f) << shift
			shift += 7
			if b[n] < 0x80 {
				n++
				break
			}
		}
		if n+length > len(b) {
			t.Fatalf("the server sent a cut packet: % x", b)
		}
		all = append(all, string(b[:1])+string(b[n:n+min(length, 3)]))
		b = b[n+length:]
	}
	return all
}

// FuzzStream sends any bytes, once whole and once split: no panic, no wait
// without end, whole packets back, and the same ones however they were split.
func FuzzStream(f *testing.F) {
	login := []byte("\x10\x20\x00\x04MQTT\x05\xc2\x00\x3c\x00\x00\x02c1\x00\x02t1\x00\x0csecret-of-t1")
	login[1] = byte(len(login) - 2)
	v4 := []byte("\x10\x20\x00\x04MQTT\x04\xc2\x00\x3c\x00\x02c1\x00\x02t1\x00\x0csecret-of-t1")
	v4[1] = byte(len(v4) - 2)
	publish := func(flags byte, rest string) []byte {
		return append([]byte{0x30 | flags, byte(len(rest))}, rest...)
	}
	topic := "\x00\x14devices/t1/telemetry"
	for _, after := range [][]byte{
		{},
		publish(2, topic+"\x00\x01\x00m value=1 1"),
		publish(4, topic+"\x00\x02\x00{\"a\":1}"),
		publish(2, "\x00\x03a/b\x00\x01\x00x"),
		[]byte("\x82\x18\x00\x05\x00\x00\x12devices/t1/rejects\x01"),
		[]byte("\xc0\x00\xe0\x00"),
		[]byte("\x30\xff\xff\xff\xff\x7f"),
	} {
		f.Add(slices.Concat(login, after), uint16(len(login)-3))
		f.Add(slices.Concat(v4, after), uint16(7))
	}
	f.Fuzz(func(t *testing.T, stream []byte, at uint16) {
		if len(stream) > 4096 {
			return
		}
		cut := min(int(at), len(stream))
		whole := packets(t, exchange(t, stream))
		split := packets(t, exchange(t, stream[:cut], stream[cut:]))
		if !slices.Equal(whole, split) {
			t.Errorf("split at %d the answers differ:\n% x\n% x", cut, whole, split)
		}
	})
}
