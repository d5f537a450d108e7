package scheduletest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Shell lets scripts be done by a shell, and seen by their files in a folder
// that the facility shares with the test.
type Shell struct{ Dir string }

// Script is a script as text for sh, without its first line. It ends when the
// folder is gone, too.
func (s Shell) Script(do Script) string {
	mark := filepath.Join(s.Dir, do.Mark)
	var b strings.Builder
	fmt.Fprintf(&b, "echo $$ >> '%s'\n", mark)
	if do.Hold {
		fmt.Fprintf(&b, "while [ -e '%s' ] && [ ! -e '%s.go' ]; do sleep 0.05; done\n", mark, mark)
	}
	fmt.Fprintf(&b, "exit %d\n", do.Exit)
	return b.String()
}

func (s Shell) pids(mark string) []string {
	all, _ := os.ReadFile(filepath.Join(s.Dir, mark)) // none: nobody has made it yet
	return strings.Fields(string(all))
}

// Began is that of a Fixture.
func (s Shell) Began(mark string) int { return len(s.pids(mark)) }

// Alive is that of a Fixture. Who has ended and was not waited for is not alive.
func (s Shell) Alive(mark string) (n int) {
	for _, pid := range s.pids(mark) {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if _, rest, ok := strings.Cut(string(stat), ") "); err == nil && ok && !strings.HasPrefix(rest, "Z") {
			n++
		}
	}
	return n
}

// Release is that of a Fixture.
func (s Shell) Release(mark string) {
	//nolint:gosec // others run the scripts
	if err := os.WriteFile(filepath.Join(s.Dir, mark+".go"), nil, 0o644); err != nil {
		panic(err)
	}
}
