package cli

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/config/strict"
)

// far is how many letters of a flag may be wrong for it to be taken for the one meant.
const far = 2

// flags are the names of flags in what help says of them.
var flags = regexp.MustCompile(`(?m)^ +(?:-\w, )?--([\w-]+)`)

// FlagFault is what was wrong with the flags of a command, with those that may have
// been meant by one that there is not.
func FlagFault(c *cobra.Command, err error) error {
	name, unknown := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !unknown {
		return err
	}
	var near []string
	best := far
	for _, known := range flags.FindAllStringSubmatch(c.Flags().FlagUsages(), -1) {
		is := strict.Distance(name, known[1])
		if len(name) > far && strings.HasPrefix(known[1], name) {
			is = 1
		}
		if is < best {
			best, near = is, nil
		}
		if is == best {
			near = append(near, "--"+known[1])
		}
	}
	return fmt.Errorf("%w%s", err, Meant(near))
}

// Meant is the end of a sentence about something unknown: what there is that comes
// near to it.
func Meant(near []string) string {
	if len(near) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(near, " or ") + "?"
}
