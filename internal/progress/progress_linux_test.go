package progress

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo-terminal: what is written to tty can be read from screen.
func terminal(t *testing.T) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal here: %v", err)
	}
	t.Cleanup(func() { screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return screen, tty
}

func TestATerminalShowsTheLineBelowTheLog(t *testing.T) {
	screen, tty := terminal(t)
	l := On(tty)
	told := make(chan struct{}, 1)
	stop := l.Every(func() {
		l.Say("%d of %d", 3, 10)
		select {
		case told <- struct{}{}:
		default:
		}
	})
	select {
	case <-told:
	case <-time.After(30 * time.Second):
		t.Fatal("nobody was told")
	}
	fmt.Fprintln(l, "a line of the log")
	stop()
	fmt.Fprintln(tty, "end")
	var got strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(got.String(), "end") {
		n, err := screen.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got.Write(buf[:n])
	}
	for _, want := range []string{erase + "3 of 10", erase + "a line of the log\r\n3 of 10", erase + "end\r\n"} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("no %q in %q", want, got.String())
		}
	}
}

func TestAPipeOrFileGetsTheLogOnly(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var buffer bytes.Buffer
	for _, l := range []*Line{On(file), On(&buffer)} {
		stop := l.Every(func() { t.Error("asked for what nobody sees") })
		l.Say("half")
		fmt.Fprintln(l, "log")
		stop()
	}
	text, err := os.ReadFile(file.Name())
	if err != nil || string(text) != "log\n" || buffer.String() != "log\n" {
		t.Errorf("%q, %q, %v", text, buffer.String(), err)
	}
}
